"""What every tier is: a place where answers are kept under exact keys."""

from typing import Protocol

from cache.entries import CacheKey, Entry, Holding, Scope
from orchestrator.core.errors import OrchestratorError

# Seconds a purge, or counting what a tier holds, may take.
SWEEP_S = 30.0


class TierUnavailable(OrchestratorError):
    """A cache tier cannot be reached."""

    status = 503
    kind = "cache_unavailable"


class Tier(Protocol):
    """Keeps answers. It knows only itself: `TieredCache` asks the tiers in turn and catches what they raise.

    A tier belongs to the event loop that first used it.
    """

    name: str
    is_shared: bool  # with other machines
    deadline_s: float | None  # the longest `get` and `put` take; None: they never wait
    invalid: int  # values found that were no answers; each was deleted and counted as a miss

    async def get(self, key: CacheKey) -> Entry | None:
        """Return the answer under `key` while it is fresh. Raises TierUnavailable, TimeoutError or Busy."""
        ...

    async def put(self, entry: Entry) -> bool:
        """Keep `entry`, so that the next `get` finds it; False when it is not for this tier. Raises as `get` does."""
        ...

    async def purge(self, scope: Scope) -> int:
        """Drop every answer in `scope`, and return how many. Raises TierUnavailable when some may be left."""
        ...

    async def holding(self, scope: Scope) -> Holding:
        """Count what is kept of `scope`. Raises as `purge` does."""
        ...

    def forget(self) -> None:
        """Drop what only this process holds: something was purged, perhaps by another process."""
        ...

    async def aclose(self) -> None:
        """Write what waits to be written, and end its threads."""
        ...
