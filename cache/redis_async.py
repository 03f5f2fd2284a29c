"""Redis for the event loop: for what is asked of it beside the cache, which goes by way of django-redis."""

from __future__ import annotations

from django.conf import settings
from redis.asyncio import BlockingConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

MOST_CONNECTIONS = 16


def open_redis(location: str = "", timeout_s: float | None = None, most_connections: int = MOST_CONNECTIONS) -> Redis:
    """Return a client of the Redis that the settings name, or of the one at `location`. Close it with `aclose`.

    Nothing is connected before the first command. A command raises RedisError or OSError when Redis cannot
    be reached, or is silent for `timeout_s` (of the settings): also for a connection of the pool, of which
    there are `most_connections`. It is tried once. One that blocks on purpose needs a longer timeout than it blocks.

    A command that is cancelled or times out closes its connection, so no other caller can read its reply.
    """
    timeout_s = settings.REDIS_TIMEOUT_S if timeout_s is None else timeout_s
    pool = BlockingConnectionPool.from_url(
        location or settings.REDIS_LOCATION,
        max_connections=most_connections,
        timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        socket_timeout=timeout_s,
        # A second try would come after its caller's deadline.
        retry=Retry(NoBackoff(), 0),
        # With version 3 the pool hands out a connection in which there is something unread: it may be a notice.
        protocol=2,
        driver_info=None,
    )
    return Redis.from_pool(pool)
