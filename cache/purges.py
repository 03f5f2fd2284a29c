"""What was purged, and when: an answer from before must not come back.

Purging deletes, but a tier that was out of reach still holds what should be gone, and a write that
was on its way lands after the deletion. So every purge is also written down, and an answer older
than a purge it falls under is not served, wherever it is found. A purge that is older than any
answer can be is forgotten.
"""

import math
from datetime import timedelta
from typing import Protocol

from django.conf import settings

from cache.entries import CacheKey, Scope

_LONGEST_LIFE_S = timedelta(days=30).total_seconds()  # of answers kept before the setting was lowered


def oldest_that_matters(now: float) -> float:
    """When the oldest answer that may still be served at `now` was made. Both in seconds since the epoch."""
    return now - max(settings.CACHE_TTL_S, _LONGEST_LIFE_S)


class PurgeStore(Protocol):
    """Keeps the record of purges for all processes of this machine."""

    async def record_purge(self, scope: Scope, at: float) -> None:
        """Write down that `scope` was purged; `at` in seconds since the epoch. Raises TierUnavailable."""
        ...

    async def recorded_purges(self) -> list[tuple[Scope, float]]:
        """Everything that was written down and may still matter. Raises TierUnavailable."""
        ...


class PurgeLog:
    """The record in this process's memory, in a form that answers quickly."""

    def __init__(self, store: PurgeStore | None) -> None:
        """Without a `store` the record is this process's own, and as mortal."""
        self._store = store
        # Purges that set the same fields are looked up together: {fields: {their values: when}}.
        self._purged: dict[tuple[str, ...], dict[tuple[object, ...], float]] = {}

    def covers(self, key: CacheKey, created_at: float) -> bool:
        """Whether the answer under `key`, made at `created_at`, was purged since."""
        for fields, purged in self._purged.items():
            at = purged.get(tuple([getattr(key, field) for field in fields]))
            if at is not None and created_at <= at:
                return True
        return False

    async def load(self, now: float) -> None:
        """Read what other processes wrote. Raises TierUnavailable, and then knows what it knew before."""
        if self._store is not None:
            for scope, at in await self._store.recorded_purges():
                self._note(scope, at)
        self._forget(now)

    async def add(self, scope: Scope, at: float) -> None:
        """Write down a purge made now, `at`. Raises TierUnavailable when it is known to this process only."""
        self._note(scope, at)
        self._forget(at)
        if self._store is not None:
            await self._store.record_purge(scope, at)

    def _note(self, scope: Scope, at: float) -> None:
        chosen = {name: value for name in Scope.__slots__ if (value := getattr(scope, name)) is not None}
        purged = self._purged.setdefault(tuple(chosen), {})
        values = tuple(chosen.values())
        purged[values] = max(at, purged.get(values, at))

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
