"""A Redis that dies, hangs, fills up or holds rubbish costs a miss, never a request."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from django_redis.cache import RedisCache
from redis.exceptions import ConnectionError as RedisConnectionError

from cache.codec import LARGEST, VERSION, decode
from cache.entries import Entry, Scope
from cache.guard import Guard
from cache.tiers import redis as redis_tier
from cache.tiers.base import TierUnavailable
from cache.tiers.redis import Bytes, RedisTier
from orchestrator.core.clock import Clock
from orchestrator.core.errors import Busy
from tests.cache.conftest import HandClock, MakeEntry, redis_cache, reply, until
from tests.faulty import FAULTS, STILL_READABLE, BadLine
from tests.servers import RedisServer

MakeRedisTier = Callable[..., RedisTier]
MakeGuard = Callable[..., Guard]
HASTY_S = 0.1


class HastyClock(Clock):
    """The true time, but that waiting can be left out."""

    def __init__(self) -> None:
        self.skipped_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.skipped_s


@pytest.fixture
def hasty() -> HastyClock:
    return HastyClock()


@pytest.fixture
async def make_guard(closing: AsyncExitStack) -> MakeGuard:
    """A guard that is closed, with what it looks for, after the test."""

    def make(tier: RedisTier, clock: Clock) -> Guard:
        guard = Guard(tier, clock)
        closing.push_async_callback(guard.aclose)
        return guard

    return make


@pytest.fixture
async def line(own_redis: RedisServer) -> AsyncIterator[BadLine]:
    """A bad line to the test's own Redis."""
    line = await BadLine(own_redis.socket).start()
    yield line
    await line.stop()


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
    own_redis: RedisServer,
    make_redis_tier: MakeRedisTier,
    make_entry: MakeEntry,
    clock: HandClock,
    make_guard: MakeGuard,
):
    guard, entry = make_guard(make_redis_tier(own_redis, HASTY_S), clock), make_entry()
    own_redis.pause()
    try:
        for _ in range(3):
            assert await guard.get(entry.key) is None
        assert guard.stats().errors == 3
        for _ in range(100):
            assert await guard.get(entry.key) is None
            assert not await guard.put(entry)
        assert guard.stats().errors == 3  # nobody was asked, so nobody waited
        assert guard.stats().skipped == 200
        clock.advance(1.1)
        for _ in range(100):
            assert await guard.get(entry.key) is None
        await until(lambda: guard.stats().errors > 3)
        assert guard.stats().errors == 4  # one went to look, and nobody waited for it
    finally:
        own_redis.resume()
    async with asyncio.timeout(60):
        while guard.stats().is_out:
            clock.advance(5)
            assert await guard.get(entry.key) is None
            await asyncio.sleep(0.01)
    await back(guard, entry)


async def back(guard: Guard, entry: Entry) -> None:
    """Ask until the guarded tier answers again, as callers do. Fails when it does not."""
    async with asyncio.timeout(60):
        while (found := await guard.get(entry.key)) is None or guard.stats().is_out:
            await guard.put(entry)
            await asyncio.sleep(0.01)
    assert found == entry


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
    make_entry: MakeEntry,
    clock: HandClock,
    make_redis_tier: MakeRedisTier,
    make_guard: MakeGuard,
    closing: AsyncExitStack,
):
    server = RedisServer("--maxmemory", "1mb", "--maxmemory-policy", "noeviction").start()
    closing.callback(server.stop)
    tier, entry = make_redis_tier(server), make_entry()
    server.command("CONFIG", "SET", "maxmemory", "0")
    await tier.put(entry)
    server.command("SET", "somebody else's", "x" * 1024**2)
    server.command("CONFIG", "SET", "maxmemory", "1mb")
    guard = make_guard(tier, clock)
    for number in range(10):
        assert not await guard.put(make_entry(f"What is {number}?"))
        assert await guard.get(entry.key) == entry
    assert guard.stats().errors == 3
    server.command("CONFIG", "SET", "maxmemory", "0")
    clock.advance(5)
    assert not await guard.put(make_entry("What now?"))  # it is only looked whether there is room
    await until(lambda: not guard.stats().is_out)
    assert await guard.put(make_entry("What now?"))


@pytest.mark.parametrize("rubbish", [b"hello", b"123", b"\x01" * 40, b"x" * 300_000, b"x" * (LARGEST + 1)])
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


async def test_a_value_of_any_size_under_our_key_is_thrown_away_without_being_fetched(
    own_redis: RedisServer, make_redis_tier: MakeRedisTier, make_entry: MakeEntry
):
    tier, entry = make_redis_tier(own_redis), make_entry()
    await tier.put(entry)
    own_redis.command("SETRANGE", only_name(own_redis), str(200 * 1024**2), "x")
    sent_before = sent_bytes(own_redis)
    assert await tier.get(entry.key) is None
    assert tier.invalid == 1
    assert sent_bytes(own_redis) - sent_before < 1024**2
    assert own_redis.command("DBSIZE") == b":0\r\n"


def sent_bytes(server: RedisServer) -> int:
    """How much the server has said since it started."""
    return int(server.command("INFO", "stats").split(b"total_net_output_bytes:")[1].split(b"\r\n")[0])


async def test_a_long_answer_comes_whole(own_redis: RedisServer, make_redis_tier: MakeRedisTier, make_entry: MakeEntry):
    tier, entry = make_redis_tier(own_redis), make_entry(answer=reply(os.urandom(600_000).hex()))
    assert await tier.put(entry)
    assert await tier.get(entry.key) == entry


async def test_an_answer_of_another_version_is_a_miss(
    own_redis: RedisServer, make_redis_tier: MakeRedisTier, make_entry: MakeEntry
):
    tier, entry = make_redis_tier(own_redis), make_entry()
    await tier.put(entry)
    own_redis.command("SETRANGE", only_name(own_redis), "0", bytes([VERSION + 1]))
    assert await tier.get(entry.key) is None
    assert tier.invalid == 1
    assert await tier.put(entry)
    assert await tier.get(entry.key) == entry


async def test_rubbish_that_may_not_be_deleted_is_a_miss_each_time(
    own_redis: RedisServer, make_redis_tier: MakeRedisTier, make_entry: MakeEntry
):
    tier, entry = make_redis_tier(own_redis), make_entry()
    await tier.put(entry)
    own_redis.command("SET", only_name(own_redis), "rubbish")
    own_redis.command("REPLICAOF", "127.0.0.1", "1")
    for _ in range(5):
        assert await tier.get(entry.key) is None
    assert tier.invalid == 5


@pytest.mark.parametrize("name", FAULTS)
async def test_whatever_is_wrong_with_redis_it_is_left_alone_and_used_again_when_it_is_well(
    name: str,
    own_redis: RedisServer,
    line: BadLine,
    make_redis_tier: MakeRedisTier,
    make_guard: MakeGuard,
    make_entry: MakeEntry,
    hasty: HastyClock,
    caplog: pytest.LogCaptureFixture,
):
    guard = make_guard(make_redis_tier(line, HASTY_S), hasty)
    entries = [make_entry(f"What is {number}?", reply(f"It is {number}.")) for number in range(20)]
    for entry in entries:
        await back(guard, entry)  # a busy machine may have been too slow for the first time
    caplog.clear()

    async def ask() -> None:
        for entry in entries:
            assert await guard.get(entry.key) in (None, entry)
            await guard.put(entry)

    with FAULTS[name](own_redis, line):
        async with asyncio.timeout(60):
            while not guard.stats().is_out:
                await ask()
        errors = guard.stats().errors
        await ask()
        assert guard.stats().errors <= errors + 2, "nobody is sent to what is known to be out, but one that looks"
        if name in STILL_READABLE:
            async with asyncio.timeout(60):
                for entry in entries:
                    while await guard.get(entry.key) != entry:
                        await asyncio.sleep(0.01)
    hasty.skipped_s += 5
    for entry in entries:
        await back(guard, entry)
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    for done in ("read", "written"):
        about = ["again, after" in line for line in said if f"be {done}" in line]
        assert about == [False, True] * (len(about) // 2), said  # once, and again where a busy machine is as slow
    assert said


async def test_no_reply_reaches_a_caller_it_is_not_for(
    line: BadLine, make_redis_tier: MakeRedisTier, make_entry: MakeEntry
):
    tier = make_redis_tier(line, HASTY_S)
    entries = [make_entry(f"What is {number}?", reply(f"It is {number}.")) for number in range(10)]
    for entry in entries:
        assert await tier.put(entry)
    late = itertools.cycle([0.0, 0.0, 1.5 * HASTY_S, 0.0, 0.9 * HASTY_S, 1.1 * HASTY_S, 0.0])
    line.late_s = lambda: next(late)
    outcomes = {"found": 0, "late": 0, "cancelled": 0}

    async def ask(number: int) -> None:
        entry = entries[number % len(entries)]
        try:
            if number % 5 == 4:
                asking = asyncio.ensure_future(tier.get(entry.key))
                await asyncio.wait({asking}, timeout=HASTY_S / 4)
                asking.cancel()  # a caller that hangs up
                found = await asking
            else:
                found = await tier.get(entry.key)
        except (TierUnavailable, TimeoutError, Busy):
            outcomes["late"] += 1
        except asyncio.CancelledError:
            outcomes["cancelled"] += 1
        else:
            assert found == entry
            outcomes["found"] += 1

    numbers = itertools.count()
    async with asyncio.timeout(60):
        while min(outcomes.values()) <= 10:
            await asyncio.gather(*(ask(next(numbers)) for _ in range(6)))
            await asyncio.sleep(0.01)  # a line that is silent turns callers away at once


async def test_answers_are_flushed_and_broken_off_while_they_are_asked_for(
    own_redis: RedisServer, line: BadLine, make_redis_tier: MakeRedisTier, make_entry: MakeEntry
):
    tier = make_redis_tier(line)
    entries = [make_entry(f"What is {number}?", reply(f"It is {number}.")) for number in range(10)]
    found = 0
    for round_ in range(60):
        if round_ % 3 == 0:
            own_redis.command("FLUSHALL")
        if round_ % 7 == 0:
            line.cut()
        await asyncio.gather(*(tier.put(entry) for entry in entries), return_exceptions=True)
        for entry, result in zip(
            entries, await asyncio.gather(*(tier.get(e.key) for e in entries), return_exceptions=True), strict=True
        ):
            assert result in (None, entry) or isinstance(result, TierUnavailable), result
            found += result == entry
    assert found > 300


async def test_what_is_packed_tight_is_not_unpacked_on_the_event_loop(
    own_redis: RedisServer, make_redis_tier: MakeRedisTier, make_entry: MakeEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    tier, entry = make_redis_tier(own_redis), make_entry(answer=reply("again and again " * 50_000))
    assert await tier.put(entry)
    threads: list[str] = []

    def noting(*arguments: Any) -> Entry:
        threads.append(threading.current_thread().name)
        return decode(*arguments)

    monkeypatch.setattr(redis_tier, "decode", noting)
    assert await tier.get(entry.key) == entry
    assert threads[-1] == "cache-redis-read"
