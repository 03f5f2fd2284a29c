"""What an endpoint hands to the replay front: an answer that can be given again without asking anybody."""

from __future__ import annotations

from dataclasses import dataclass

from cache.entries import Entry as Kept
from orchestrator.api.stamps import Template
from orchestrator.ledger.writer import Entry

SLOT = "orchestrator.slot"  # where the ASGI scope holds the slot


@dataclass(frozen=True, slots=True)
class Offer:
    """An answer found in memory, ready to be given again."""

    template: Template
    entry: Entry  # of the ledger: what the records of its repetitions say, too
    kept: Kept  # of the cache: from when it is, how long it may be served


@dataclass(slots=True)
class Slot:
    """The front leaves one in the scope of a request whose answer it would take."""

    offer: Offer | None = None
