"""The nearest tier: answers in this process's memory."""

from cache.bounded import Bounded
from cache.entries import CacheKey, Entry, Holding, Scope
from cache.replacement import Fair
from cache.weight import weigh
from orchestrator.core.clock import Clock

Place = tuple[int, str]  # tenant, hash


class MemoryTier:
    """Holds answers as objects, up to a number of bytes, its own bookkeeping included.

    When there is no room the tenant that holds most makes it.
    """

    name = "memory"
    is_shared = False
    deadline_s: float | None = None
    invalid = 0

    def __init__(self, clock: Clock, limit: int) -> None:
        """`limit` is in bytes."""
        self._clock = clock
        self._kept: Bounded[Place, Entry] = Bounded(limit, lambda: Fair(_tenant))

    def forget(self) -> None:
        """Drop everything, whatever was purged: it comes back from the slower tiers as it is asked for."""
        self._kept.clear()

    async def get(self, key: CacheKey) -> Entry | None:
        """Return the answer under `key` while it is fresh."""
        found = self._kept.get(_place(key))
        if found is None:
            return None
        if not found.is_fresh(self._clock.now()):
            self._kept.drop(_place(key))
            return None
        self._kept.used(_place(key))
        return found

    def has_newer(self, key: CacheKey, created_at: float) -> bool:
        """Whether an answer to the same question is here that was made later."""
        found = self._kept.get(_place(key))
        return found is not None and found.created_at > created_at

    async def put(self, entry: Entry) -> bool:
        """Keep `entry`, unless it would take more than a quarter of the room."""
        return self._kept.put(_place(entry.key), entry, weigh(entry))

    async def purge(self, scope: Scope) -> int:
        """Drop every answer in `scope`, and return how many."""
        places = [place for place, entry, _ in self._kept if scope.matches(entry.key)]
        for place in places:
            self._kept.drop(place)
        return len(places)

    async def holding(self, scope: Scope) -> Holding:
        """Count what is kept of `scope`."""
        if scope == Scope():
            return Holding(len(self._kept), self._kept.bytes)
        sizes = [size for _, entry, size in self._kept if scope.matches(entry.key)]
        return Holding(len(sizes), sum(sizes))

    async def aclose(self) -> None:
        """Let go of everything."""
        self.forget()


def _place(key: CacheKey) -> Place:
    return key.tenant_id, key.hash


def _tenant(place: Place) -> int:
    return place[0]
