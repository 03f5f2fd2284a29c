"""The nearest tier: answers in this process's memory."""

from cache.bounded import Bounded
from cache.entries import CacheKey, Entry, Holding, Scope
from cache.weight import weigh
from orchestrator.core.clock import Clock


class MemoryTier:
    """Holds answers as objects, up to a number of bytes, its own bookkeeping included."""

    name = "memory"
    is_shared = False
    deadline_s: float | None = None
    invalid = 0

    def __init__(self, clock: Clock, limit: int) -> None:
        """`limit` is in bytes."""
        self._clock = clock
        self._kept: Bounded[str, Entry] = Bounded(limit)  # by hash

    def forget(self) -> None:
        """Drop everything, whatever was purged: it comes back from the slower tiers as it is asked for."""
        self._kept.clear()

    async def get(self, key: CacheKey) -> Entry | None:
        """Return the answer under `key` while it is fresh."""
        found = self._kept.get(key.hash)
        if found is None:
            return None
        if not found.is_fresh(self._clock.now()):
            self._kept.drop(key.hash)
            return None
        self._kept.used(key.hash)
        return found

    def has_newer(self, hash: str, created_at: float) -> bool:
        """Whether an answer to the same question is here that was made later."""
        found = self._kept.get(hash)
        return found is not None and found.created_at > created_at

    async def put(self, entry: Entry) -> bool:
        """Keep `entry`, unless it would take more than a quarter of the room."""
        return self._kept.put(entry.key.hash, entry, weigh(entry))

    async def purge(self, scope: Scope) -> int:
        """Drop every answer in `scope`, and return how many."""
        names = [name for name, entry, _ in self._kept if scope.matches(entry.key)]
        for name in names:
            self._kept.drop(name)
        return len(names)

    async def holding(self, scope: Scope) -> Holding:
        """Count what is kept of `scope`."""
        if scope == Scope():
            return Holding(len(self._kept), self._kept.bytes)
        sizes = [size for _, entry, size in self._kept if scope.matches(entry.key)]
        return Holding(len(sizes), sum(sizes))

    async def aclose(self) -> None:
        """Let go of everything."""
        self.forget()
