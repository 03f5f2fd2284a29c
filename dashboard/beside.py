"""A word beside a page in the rail, where it says something: a draft, a slow provider, models in memory.

It is read with a page, kept for a moment for all of them, and waited for as long as nobody notices. What is not known
by then is not said.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from django.db import DatabaseError, close_old_connections

from dashboard.periods import DEFAULT
from dashboard.providers.rows import Providers
from dashboard.rail import Word
from dashboard.reading import reader
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.permissions import EVERYBODY
from orchestrator.engines.llamacpp import LoadedModel
from orchestrator.parts import Parts
from orchestrator.ruling import draft, versions
from orchestrator.wiring import parts_there

log = logging.getLogger(__name__)

KEPT_S = 5.0
LONGEST_S = 0.3  # that a page waits for it


class _Kept(NamedTuple):
    of: object  # the parts that were asked
    until: float
    words: Mapping[str, Word]


_kept = _Kept(None, 0.0, {})


async def words() -> Mapping[str, Word]:
    """By the names of pages; of what is known. Every page in it is for who sees every tenant's things alone."""
    global _kept
    now, asked = time.monotonic(), parts_there()
    if asked is None:  # nobody has asked anything of this process
        return {}
    if _kept.of is asked and now < _kept.until:
        return _kept.words
    before = _kept.words if _kept.of is asked else {}
    _kept = _Kept(asked, now + KEPT_S, before)  # whoever comes meanwhile takes what is there
    found = await asyncio.gather(_known(_loaded(asked)), _known(_providers()), _known(_draft()))
    said = {name: word for name, word in zip(("models", "providers", "rules"), found, strict=True) if word}
    _kept = _Kept(asked, time.monotonic() + KEPT_S, said)
    return said


async def _known(asking: Any) -> Word | None:
    try:
        return await asyncio.wait_for(asking, LONGEST_S)
    except (TimeoutError, OrchestratorError, DatabaseError, OSError) as error:
        log.debug("nothing is said beside a page: %s", str(error) or type(error).__name__)
        return None


async def _loaded(asked: Parts) -> Word | None:
    loaded: list[LoadedModel] = await asked.local.ps()
    return Word(f"{len(loaded)} loaded") if loaded else None


async def _providers() -> Word | None:
    return of_providers(await reader.providers(DEFAULT, EVERYBODY))


def of_providers(found: Providers) -> Word | None:
    """How many are down, else how many are slow."""
    for state in ("down", "slow"):
        if ill := [row for row in found.on if row.state == state]:
            return Word(f"{len(ill)} {state}", state)
    return None


async def _draft() -> Word | None:
    return Word("draft") if await reader.run(_is_drafted) else None


def _is_drafted() -> bool:
    """Whether the draft of the rules says something else than the rules that hold."""
    close_old_connections()
    now, (_, live) = draft.read().document, versions.live()
    return (now.rules, now.auto) != (live.rules, live.auto)
