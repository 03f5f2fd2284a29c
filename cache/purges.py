"""What was purged, and when: an answer from before must not come back.

Purging deletes, but a tier that was out of reach still holds what should be gone, and a write that
was on its way lands after the deletion. So every purge is also written down, and an answer older
than a purge it falls under is not served, wherever it is found. A purge that is older than any
answer can be is forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Protocol

from django.conf import settings

from cache.entries import CacheKey, Scope
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.ids import hex_id

_LONGEST_LIFE_S = timedelta(days=30).total_seconds()  # of answers kept before the setting was lowered
_MOST_UNWRITTEN = 10_000


def oldest_that_matters(now: float) -> float:
    """When the oldest answer that may still be served at `now` was made. Both in seconds since the epoch."""
    return now - max(settings.CACHE_TTL_S, _LONGEST_LIFE_S)


@dataclass(frozen=True, slots=True)
class Purge:
    """A purge as it is written down."""

    scope: Scope
    at: float  # seconds since the epoch
    id: str = field(default_factory=partial(hex_id, 32))  # the same on every machine; empty: this machine's own affair
    is_ours: bool = True  # made by this machine, so the tiers that machines share are this machine's to sweep
    is_unsent: bool = False  # other machines are still to be told
    again_at: float | None = None  # when it is to be swept once more; None: never


@dataclass(frozen=True, slots=True)
class Place:
    """How far this machine has heard what others purged."""

    entry: str = ""  # of the feed; empty: nothing of it
    was_left: bool = False  # the machine took its leave then: nobody waits for it to hear


class PurgeStore(Protocol):
    """Keeps the record of purges for all processes of this machine. Every method raises TierUnavailable."""

    async def record_purges(self, purges: Sequence[Purge]) -> list[Purge]:
        """Write down those of `purges` that are not yet, and return them."""
        ...

    async def recorded_purges(self) -> list[Purge]:
        """Everything that was written down and may still matter."""
        ...

    async def unsent_purges(self) -> list[Purge]:
        """Those that other machines are still to be told."""
        ...

    async def purges_were_sent(self, ids: Sequence[str]) -> None:
        """Note that other machines can hear of them now."""
        ...

    async def take_due_purges(self, now: float, until: float) -> list[Purge]:
        """Those that are to be swept again by `now`, from when they count; nobody else gets them before `until`."""
        ...

    async def purges_were_swept(self, ids: Sequence[str]) -> None:
        """Note that they need not be swept again."""
        ...

    async def place(self) -> Place:
        """How far this machine has heard."""
        ...

    async def keep_place(self, place: Place) -> None:
        """Note how far that is."""
        ...


class PurgeLog:
    """The record in this process's memory, in a form that answers quickly."""

    def __init__(self, store: PurgeStore | None) -> None:
        """Without a `store` the record is this process's own, and as mortal."""
        self.store = store
        # Purges that set the same fields are looked up together: {fields: {their values: when}}.
        self._purged: dict[tuple[str, ...], dict[tuple[object, ...], float]] = {}
        self._unwritten: list[Purge] = []

    def covers(self, key: CacheKey, created_at: float) -> bool:
        """Whether the answer under `key`, made at `created_at`, was purged since."""
        for fields, purged in self._purged.items():
            at = purged.get(tuple([getattr(key, field) for field in fields]))
            if at is not None and created_at <= at:
                return True
        return False

    async def load(self, now: float) -> None:
        """Read what other processes wrote. Raises TierUnavailable, and then knows what it knew before."""
        if self.store is not None:
            self.note(await self.store.recorded_purges(), now)
        else:
            self._forget(now)

    async def add(self, purges: Sequence[Purge], now: float) -> list[Purge]:
        """Write down `purges`, and return those that no process of this machine had.

        Raises TierUnavailable when they are known to this process only; then `write_rest` tries again.
        """
        self.note(purges, now)
        if self.store is None:
            return list(purges)
        try:
            return await self.store.record_purges(purges)
        except (OrchestratorError, TimeoutError):
            self._unwritten += purges
            del self._unwritten[:-_MOST_UNWRITTEN]
            raise

    async def write_rest(self) -> None:
        """Write down what could not be so far. Raises TierUnavailable."""
        if self.store is not None and self._unwritten:
            writing = list(self._unwritten)
            await self.store.record_purges(writing)
            self._unwritten = [purge for purge in self._unwritten if purge not in writing]

    def note(self, purges: Iterable[Purge], now: float) -> None:
        """Let them count in this process."""
        for purge in purges:
            scope = purge.scope
            chosen = {name: value for name in Scope.__slots__ if (value := getattr(scope, name)) is not None}
            purged = self._purged.setdefault(tuple(chosen), {})
            values = tuple(chosen.values())
            purged[values] = max(purge.at, purged.get(values, purge.at))
        self._forget(now)

    def _forget(self, now: float) -> None:
        """Drop purges that cover no answer that is still served, and those that a later one of everything includes."""
        oldest = oldest_that_matters(now)
        everything = self._purged.get((), {}).get((), -math.inf)
        for fields, purged in list(self._purged.items()):
            left = {values: at for values, at in purged.items() if at >= oldest and (at > everything or not fields)}
            if left:
                self._purged[fields] = left
            else:
                del self._purged[fields]
