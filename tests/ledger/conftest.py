"""A Redis that machines spend by, empty before and after."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from tests.servers import RedisServer


@pytest.fixture
def redis(redis_server: RedisServer) -> Iterator[Redis]:
    """A client of it."""
    with Redis.from_url(redis_server.url) as client:
        client.flushall()
        yield client
        client.flushall()
