"""A tier that is switched off."""

from cache.entries import CacheKey, Entry, Holding, Scope


class OffTier:
    """Never finds anything."""

    deadline_s: float | None = None
    is_shared = False
    invalid = 0

    def __init__(self, name: str) -> None:
        self.name = name

    async def get(self, key: CacheKey) -> Entry | None:
        """Find nothing."""
        return None

    async def put(self, entry: Entry) -> bool:
        """Keep nothing."""
        return False

    async def purge(self, scope: Scope) -> int:
        """Have nothing to drop."""
        return 0

    async def holding(self, scope: Scope) -> Holding:
        """Hold nothing."""
        return Holding(0, 0)

    def forget(self) -> None:
        """Have nothing to forget."""

    async def aclose(self) -> None:
        """Have nothing to end."""
