"""The nearest tier: answers in this process's memory."""

from cache.entries import CacheKey, Entry, Holding, Scope
from cache.tiers.replacement import Replacement, S3Fifo
from cache.weight import weigh
from orchestrator.core.clock import Clock


class MemoryTier:
    """Holds answers as objects, up to a number of bytes, its own bookkeeping included."""

    name = "memory"
    is_shared = False
    deadline_s: float | None = None
    invalid = 0

    def __init__(self, clock: Clock, limit: int, replacement: type[Replacement[str]] = S3Fifo[str]) -> None:
        """`limit` is in bytes; `replacement` makes the policy that chooses what goes."""
        self._clock = clock
        self._limit = limit
        self._replacement_type = replacement
        self.forget()

    def forget(self) -> None:
        """Drop everything, whatever was purged: it comes back from the slower tiers as it is asked for."""
        self._kept: dict[str, tuple[Entry, int]] = {}  # hash → answer, bytes
        self._bytes = 0
        self._replacement = self._replacement_type()

    async def get(self, key: CacheKey) -> Entry | None:
        """Return the answer under `key` while it is fresh."""
        found = self._kept.get(key.hash)
        if found is None:
            return None
        if not found[0].is_fresh(self._clock.now()):
            self._drop(key.hash)
            return None
        self._replacement.used(key.hash)
        return found[0]

    async def put(self, entry: Entry) -> bool:
        """Keep `entry`, unless it would take more than a quarter of the room."""
        size = weigh(entry)
        name = entry.key.hash
        if name in self._kept:
            self._drop(name)
        if size > self._limit / 4:
            return False
        while self._bytes + size > self._limit:
            self._bytes -= self._kept.pop(self._replacement.victim())[1]
        self._kept[name] = entry, size
        self._bytes += size
        self._replacement.added(name, size)
        return True

    async def purge(self, scope: Scope) -> int:
        """Drop every answer in `scope`, and return how many."""
        names = [name for name, (entry, _) in self._kept.items() if scope.matches(entry.key)]
        for name in names:
            self._drop(name)
        return len(names)

    async def holding(self, scope: Scope) -> Holding:
        """Count what is kept of `scope`."""
        if scope == Scope():
            return Holding(len(self._kept), self._bytes)
        sizes = [size for entry, size in self._kept.values() if scope.matches(entry.key)]
        return Holding(len(sizes), sum(sizes))

    async def aclose(self) -> None:
        """Let go of everything."""
        self.forget()

    def _drop(self, name: str) -> None:
        self._bytes -= self._kept.pop(name)[1]
        self._replacement.removed(name)
