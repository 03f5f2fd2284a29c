"""What was purged, and when: an answer from before must not come back.

Purging deletes, but a tier that was out of reach still holds what should be gone, and a write that
was on its way lands after the deletion. So every purge is also written down, and an answer older
than a purge it falls under is not served, wherever it is found.
"""

from typing import Protocol

from cache.entries import CacheKey, Scope


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

    async def load(self) -> None:
        """Read what other processes wrote. Raises TierUnavailable, and then knows what it knew before."""
        if self._store is not None:
            for scope, at in await self._store.recorded_purges():
                self._note(scope, at)

    async def add(self, scope: Scope, at: float) -> None:
        """Write down a purge. Raises TierUnavailable when it is known to this process only."""
        if scope == Scope():
            self._purged.clear()  # the new one includes them
        self._note(scope, at)
        if self._store is not None:
            await self._store.record_purge(scope, at)

    def _note(self, scope: Scope, at: float) -> None:
        chosen = {name: value for name in Scope.__slots__ if (value := getattr(scope, name)) is not None}
        purged = self._purged.setdefault(tuple(chosen), {})
        values = tuple(chosen.values())
        purged[values] = max(at, purged.get(values, at))
