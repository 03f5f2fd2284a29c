"""Behind Sentinels the cache and the client beside it find the Redis that took over."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from django_redis.cache import RedisCache
from redis.exceptions import RedisError

from cache.guard import Guard
from cache.tiers.redis import RedisTier
from orchestrator import settings
from orchestrator.core.clock import Clock
from orchestrator.core.redis_address import Sentinels as Address
from orchestrator.core.redis_address import sentinels
from orchestrator.core.redis_async import open_redis
from tests.cache.conftest import PATIENT_S, MakeEntry
from tests.servers import Sentinels

WITHIN_S = 30.0  # seconds are measured below, and not judged: the machine may be busy


@pytest.fixture
def watched() -> Iterator[Sentinels]:
    watched = Sentinels()
    try:
        yield watched.start()
    finally:
        watched.stop()


async def test_after_a_failover_everything_goes_on_at_the_new_primary(
    watched: Sentinels, make_entry: MakeEntry, closing: AsyncExitStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(settings, "REDIS_TIMEOUT_S", PATIENT_S)
    described = settings._redis_cache(watched.url)
    tier = RedisTier(RedisCache(described["LOCATION"], described), Clock(), PATIENT_S, watched.url)
    guard = Guard(tier, Clock())
    closing.push_async_callback(guard.aclose)
    client = open_redis(watched.url, PATIENT_S)
    closing.push_async_callback(client.aclose)

    entry = make_entry()
    assert await guard.put(entry)
    assert await guard.get(entry.key) == entry
    assert await client.set("before", "1")

    watched.kill(watched.sentinels[0])
    watched.kill(watched.primary)
    async with asyncio.timeout(WITHIN_S):
        while not (await guard.put(entry) and await guard.get(entry.key) == entry):
            await asyncio.sleep(0.02)
        while True:
            try:
                assert await client.get("before") in (b"1", None)
                assert await client.set("after", "1")
                break
            except (RedisError, OSError):
                await asyncio.sleep(0.02)


def test_an_address_by_way_of_sentinels_is_read_whole():
    assert sentinels("redis://host:6379/0") is None
    assert sentinels("redis+sentinel://one/MyService") == Address((("one", 26379),), "MyService")
    assert sentinels("redis+sentinel://user:p%40ss@one:1,[::1]:2,three/s/7") == Address(
        (("one", 1), ("::1", 2), ("three", 26379)), "s", 7, "user", "p@ss"
    )


@pytest.mark.parametrize(
    "wrong", ["", "one", "one:26379", "/service", "one:x/s", "one:99999/s", "one,,two/s", "one/s/x", "one/s?db=1"]
)
def test_an_address_by_way_of_sentinels_that_says_too_little_is_refused(wrong: str):
    with pytest.raises(ValueError, match=r"host"):
        sentinels(f"redis+sentinel://{wrong}")
