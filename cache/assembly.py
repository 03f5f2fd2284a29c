"""The cache that the settings describe."""

import platform
from pathlib import Path

from django.conf import settings
from django.core.cache import caches

from cache.entries import Scope
from cache.feed import TIMEOUT_S, Feed
from cache.generation import Generation
from cache.purges import PurgeLog
from cache.tiered import Purged, TieredCache
from cache.tiers.base import Tier
from cache.tiers.memory import MemoryTier
from cache.tiers.off import OffTier
from cache.tiers.redis import RedisTier
from cache.tiers.sqlite import SQLiteTier
from orchestrator.core.clock import Clock
from orchestrator.core.redis_async import open_redis


def open_cache(clock: Clock, generation: Generation) -> TieredCache:
    """Return the cache of this process: memory, Redis where there is one, SQLite. Close it with `aclose`.

    It tells other machines what is purged; what they purge is heard once `listen` was called.
    """
    file = SQLiteTier(Path(str(settings.DATABASES["cache"]["NAME"])), clock, settings.CACHE_DISK)
    memory: Tier = MemoryTier(clock, settings.CACHE_MEMORY) if settings.CACHE_MEMORY else OffTier("memory")
    redis: Tier = OffTier("redis")
    if "redis" in settings.CACHES:
        # Its own, not the one `caches["redis"]` would give: that belongs to a thread, this goes from one to another.
        redis = RedisTier(caches.create_connection("redis"), clock, settings.REDIS_TIMEOUT_S)
    purges = PurgeLog(file)
    feed = None
    if settings.REDIS_URL:  # else it is this machine's own, and the generation file says all
        feed = Feed(open_redis(timeout_s=TIMEOUT_S, most_connections=4), _machine(), purges, clock)
    return TieredCache((memory, redis, file), clock, generation, purges, feed)


def _machine() -> str:
    """A name for this machine, or rather its data directory, in which the generation file is."""
    return f"{platform.node()}:{Path(settings.GENERATION_FILE).stat().st_ino:x}"


async def purge_everywhere(*scopes: Scope) -> Purged:
    """Drop every answer in one of `scopes`, from where there is no cache at hand: the admin, a command, a task."""
    generation = Generation(settings.GENERATION_FILE)
    cache = open_cache(Clock(), generation)
    try:
        total = Purged()
        for scope in scopes:
            total.add(await cache.purge(scope))
        return total
    finally:
        await cache.aclose()
        generation.close()
