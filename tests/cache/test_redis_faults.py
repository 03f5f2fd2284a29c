"""A Redis that dies, hangs, fills up or holds rubbish costs a miss, never a request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest
from django_redis.cache import RedisCache
from redis.exceptions import ConnectionError as RedisConnectionError

from cache.entries import Scope
from cache.guard import Guard
from cache.tiers.base import TierUnavailable
from cache.tiers.redis import Bytes, RedisTier
from orchestrator.core.errors import Busy
from tests.cache.conftest import HandClock, MakeEntry, redis_cache, reply
from tests.servers import RedisServer

MakeRedisTier = Callable[..., RedisTier]
HASTY_S = 0.1


def only_name(server: RedisServer) -> bytes:
    """The full name of the one key in Redis."""
    name = server.command("RANDOMKEY").split(b"\r\n")[1]
    assert name.startswith(b"orchestrator:")
    return name


async def test_a_dead_redis_is_unavailable_and_back_when_it_is_back(
    own_redis: RedisServer, make_redis_tier: MakeRedisTier, make_entry: MakeEntry
):
    tier, entry = make_redis_tier(own_redis), make_entry()
    await tier.put(entry)
    own_redis.kill()
    with pytest.raises(TierUnavailable):
        await tier.get(entry.key)
    with pytest.raises(TierUnavailable):
        await tier.put(entry)
    with pytest.raises(TierUnavailable):
        await tier.purge(Scope())
    with pytest.raises(TierUnavailable):
        await tier.holding(Scope())
    own_redis.start()
    assert await tier.get(entry.key) is None
    assert await tier.put(entry)
    assert await tier.get(entry.key) == entry


async def test_a_redis_that_is_down_at_the_start_is_used_once_it_is_up(
    own_redis: RedisServer, make_redis_tier: MakeRedisTier, make_entry: MakeEntry
):
    own_redis.kill()
    tier, entry = make_redis_tier(own_redis), make_entry()
    with pytest.raises(TierUnavailable):
        await tier.get(entry.key)
    own_redis.start()
    assert await tier.put(entry)


async def test_a_hung_redis_is_given_up_by_the_deadline_and_then_costs_nothing(
    own_redis: RedisServer, make_redis_tier: MakeRedisTier, make_entry: MakeEntry, clock: HandClock
):
    tier, entry = make_redis_tier(own_redis, HASTY_S), make_entry()
    guard = Guard(tier, clock)
    await tier.put(entry)
    own_redis.pause()
    try:
        for _ in range(3):
            assert await guard.get(entry.key) is None
        assert guard.stats().errors == 3
        for _ in range(100):
            assert await guard.get(entry.key) is None
        assert guard.stats().errors == 3  # nobody was asked, so nobody waited
        assert guard.stats().skipped == 100
        clock.advance(1.1)
        for _ in range(100):
            await guard.get(entry.key)
        assert guard.stats().errors == 4  # one went to look
    finally:
        own_redis.resume()
    clock.advance(5)
    assert await guard.get(entry.key) == entry
    assert not guard.stats().is_out


async def test_an_answer_that_comes_too_late_does_not_reach_the_next_caller(
    own_redis: RedisServer, make_redis_tier: MakeRedisTier, make_entry: MakeEntry
):
    tier = make_redis_tier(own_redis, HASTY_S)
    entries = [make_entry(f"What is {number}?", reply(str(number))) for number in range(8)]
    for entry in entries:
        await tier.put(entry)
    own_redis.pause()
    for entry in entries:
        with pytest.raises((TierUnavailable, TimeoutError)):
            await tier.get(entry.key)
    own_redis.resume()
    for _ in range(5):
        for entry in reversed(entries):
            try:
                found = await tier.get(entry.key)
            except (TierUnavailable, TimeoutError):
                continue  # a thread that had not given up yet
            assert found == entry


async def test_more_callers_than_there_is_room_for_are_turned_away_at_once(
    own_redis: RedisServer, make_redis_tier: MakeRedisTier, make_entry: MakeEntry
):
    tier, entry = make_redis_tier(own_redis, HASTY_S), make_entry()
    own_redis.pause()
    try:
        results = await asyncio.gather(*(tier.get(entry.key) for _ in range(400)), return_exceptions=True)
    finally:
        own_redis.resume()
    assert any(isinstance(result, Busy) for result in results)
    assert all(isinstance(result, Busy | TierUnavailable | TimeoutError) for result in results)


async def test_a_full_redis_still_serves_and_stores_again_when_there_is_room(
    make_entry: MakeEntry, clock: HandClock, make_redis_tier: MakeRedisTier, closing: AsyncExitStack
):
    server = RedisServer("--maxmemory", "1mb", "--maxmemory-policy", "noeviction").start()
    closing.callback(server.stop)
    tier, entry = make_redis_tier(server), make_entry()
    server.command("CONFIG", "SET", "maxmemory", "0")
    await tier.put(entry)
    server.command("SET", "somebody else's", "x" * 1024**2)
    server.command("CONFIG", "SET", "maxmemory", "1mb")
    guard = Guard(tier, clock)
    for number in range(10):
        assert not await guard.put(make_entry(f"What is {number}?"))
        assert await guard.get(entry.key) == entry
    assert guard.stats().errors == 3
    server.command("CONFIG", "SET", "maxmemory", "0")
    clock.advance(5)
    assert await guard.put(make_entry("What now?"))


@pytest.mark.parametrize("rubbish", [b"hello", b"123", b"\x01" * 40, b"x" * 20_000_000])
async def test_rubbish_under_our_key_is_a_miss_and_is_deleted(
    own_redis: RedisServer, make_redis_tier: MakeRedisTier, make_entry: MakeEntry, rubbish: bytes
):
    tier, entry = make_redis_tier(own_redis), make_entry()
    await tier.put(entry)
    own_redis.command("SET", only_name(own_redis), rubbish)
    assert await tier.get(entry.key) is None
    assert tier.invalid == 1
    assert own_redis.command("DBSIZE") == b":0\r\n"


async def test_another_type_under_our_key_is_a_miss_and_is_deleted(
    own_redis: RedisServer, make_redis_tier: MakeRedisTier, make_entry: MakeEntry
):
    tier, entry = make_redis_tier(own_redis), make_entry()
    await tier.put(entry)
    name = only_name(own_redis)
    own_redis.command("DEL", name)
    own_redis.command("LPUSH", name, "a", "b")
    assert await tier.get(entry.key) is None
    assert tier.invalid == 1
    assert await tier.put(entry)
    assert await tier.get(entry.key) == entry


async def test_a_flipped_bit_and_a_swapped_value_are_misses(
    own_redis: RedisServer, make_redis_tier: MakeRedisTier, make_entry: MakeEntry
):
    tier, entry, other = make_redis_tier(own_redis), make_entry("one"), make_entry("other")
    await tier.put(entry)
    name = only_name(own_redis)
    own_redis.command("SETBIT", name, "300", "1")
    own_redis.command("SETBIT", name, "301", "1")
    own_redis.command("SETBIT", name, "302", "1")
    await tier.put(other)
    assert await tier.get(entry.key) is None
    assert await tier.get(other.key) == other

    other_name = only_name(own_redis)
    await tier.put(entry)
    own_redis.command("COPY", other_name, name, "REPLACE")
    assert await tier.get(entry.key) is None
    assert tier.invalid == 2


@pytest.mark.parametrize("command", [("REPLICAOF", "127.0.0.1", "1"), ("CONFIG", "SET", "requirepass", "secret")])
async def test_whatever_redis_refuses_with_means_unavailable(
    own_redis: RedisServer, make_redis_tier: MakeRedisTier, make_entry: MakeEntry, command: tuple[str, ...]
):
    own_redis.command(*command)
    tier = make_redis_tier(own_redis)
    with pytest.raises(TierUnavailable):
        await tier.put(make_entry())


async def test_a_flushed_redis_is_merely_empty(
    own_redis: RedisServer, make_redis_tier: MakeRedisTier, make_entry: MakeEntry
):
    tier, entry = make_redis_tier(own_redis), make_entry()
    await tier.put(entry)
    own_redis.command("FLUSHALL")
    assert await tier.get(entry.key) is None
    assert await tier.put(entry)


async def test_names_in_redis_tell_nothing_of_namespace_and_model(
    own_redis: RedisServer, make_redis_tier: MakeRedisTier, make_entry: MakeEntry
):
    await make_redis_tier(own_redis).put(make_entry(namespace="merger with acme"))
    assert b"merger" not in only_name(own_redis)
    assert b"tiny" not in only_name(own_redis)


async def test_redis_lets_answers_go_when_they_expire(
    own_redis: RedisServer, make_redis_tier: MakeRedisTier, make_entry: MakeEntry
):
    await make_redis_tier(own_redis).put(make_entry(ttl_s=3600))
    left_ms = int(own_redis.command("PTTL", only_name(own_redis))[1:-2])
    assert 3_500_000 < left_ms <= 3_600_000


def test_nothing_but_bytes_goes_through_the_serializer(own_redis: RedisServer):
    cache: RedisCache = redis_cache(own_redis)
    cache.set("ours", b"bytes")
    assert cache.get("ours") == b"bytes"
    with pytest.raises(TypeError, match="takes bytes here"):
        cache.set("theirs", {"a": 1})
    assert Bytes({}).loads(b"cos\nsystem\n(S'true'\ntR.") == b"cos\nsystem\n(S'true'\ntR."
    own_redis.kill()
    with pytest.raises((RedisConnectionError, OSError)):
        cache.get("ours")
    cache.client.get_client().connection_pool.disconnect()
