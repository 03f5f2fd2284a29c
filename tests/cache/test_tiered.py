"""Tiers asked in turn, filled together and purged together; none of their troubles reaches a request."""

from __future__ import annotations

import asyncio
import fcntl
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from cache.entries import CacheKey, Entry, Hit, Holding, Scope
from cache.generation import Generation
from cache.keys import keys_for
from cache.purges import PurgeLog
from cache.tiered import TieredCache
from cache.tiers import sqlite as sqlite_tier
from cache.tiers.base import Tier, TierUnavailable
from cache.tiers.memory import MemoryTier
from cache.tiers.off import OffTier
from cache.tiers.redis import RedisTier
from cache.tiers.sqlite import SQLiteTier
from orchestrator.core.errors import Busy
from orchestrator.core.types import CacheControl
from tests.cache.conftest import ALICE, BOB, CHARLIE, MODEL, HandClock, MakeEntry, question, reply, until
from tests.servers import RedisServer

ANY = CacheControl()


class Fault(OffTier):
    """A tier that raises, or never answers."""

    deadline_s: float | None = 0.05

    def __init__(self, error: Exception | None) -> None:
        super().__init__("faulty")
        self.error = error
        self.calls = 0

    async def get(self, key: CacheKey) -> Entry | None:
        self.calls += 1
        if self.error is None:
            await asyncio.Event().wait()
        else:
            raise self.error
        return None

    async def put(self, entry: Entry) -> bool:
        return await self.get(entry.key) is not None


class House:
    """Two processes' caches over one Redis, one cache file and one generation file."""

    def __init__(self, clock: HandClock, redis: RedisServer, file: SQLiteTier, make: Callable[[], TieredCache]) -> None:
        self.clock = clock
        self.redis = redis
        self.file = file
        self.open = make
        self.one = make()
        self.other = make()


@pytest.fixture
async def house(
    own_redis: RedisServer,
    make_redis_tier: Callable[..., RedisTier],
    make_sqlite_tier: Callable[..., SQLiteTier],
    clock: HandClock,
    generation: Generation,
    closing: AsyncExitStack,
) -> House:
    def make() -> TieredCache:
        file = make_sqlite_tier()
        cache = TieredCache(
            (MemoryTier(clock, 1024**2), make_redis_tier(own_redis), file), clock, generation, PurgeLog(file)
        )
        closing.push_async_callback(cache.aclose)
        return cache

    return House(clock, own_redis, make_sqlite_tier(), make)


def plain(tiers: Sequence[Tier], clock: HandClock, generation: Generation) -> TieredCache:
    return TieredCache(tiers, clock, generation, PurgeLog(None))


async def find(cache: TieredCache, entry: Entry, control: CacheControl = ANY) -> Hit | None:
    return await cache.find((entry.key,), control, None)


async def store(cache: TieredCache, entry: Entry) -> bool:
    return await cache.put(entry, since=cache.generation())


async def test_the_nearest_tier_that_has_it_answers(house: House, make_entry: MakeEntry):
    entry = make_entry()
    assert await find(house.one, entry) is None
    assert await store(house.one, entry)
    house.clock.advance(7)
    assert await find(house.one, entry) == Hit(entry, "memory", 7.0)
    assert await find(house.other, entry) == Hit(entry, "redis", 7.0)


async def test_a_find_is_copied_to_the_nearer_tiers(house: House, make_entry: MakeEntry, cache_file: Path):
    entry = make_entry()
    await store(house.one, entry)
    await until(lambda: sqlite3_rows(cache_file) == 1)
    house.redis.command("FLUSHALL")
    found = await find(house.other, entry)
    assert found
    assert found.tier == "sqlite"
    found = await find(house.other, entry)
    assert found
    assert found.tier == "memory"
    await until(lambda: house.redis.command("DBSIZE") == b":1\r\n")


async def test_alice_and_bob_share_and_charlie_never_sees_it(house: House, make_entry: MakeEntry):
    await store(house.one, make_entry(caller=ALICE))
    for cache in (house.one, house.other):
        assert await cache.find(keys_for(question(), BOB, MODEL), ANY, None)
        assert await cache.find(keys_for(question(), CHARLIE, MODEL), ANY, None) is None


async def test_no_cache_finds_nothing(house: House, make_entry: MakeEntry):
    entry = make_entry()
    await store(house.one, entry)
    assert await find(house.one, entry, CacheControl(read=False)) is None


async def test_max_age_turns_away_what_is_older(house: House, make_entry: MakeEntry):
    entry = make_entry()
    await store(house.one, entry)
    house.clock.advance(60)
    assert await find(house.one, entry, CacheControl(max_age_s=60))
    assert await find(house.one, entry, CacheControl(max_age_s=59)) is None


async def test_an_answer_serves_every_cap_it_stays_within(house: House, make_entry: MakeEntry):
    await store(house.one, make_entry(answer=reply(tokens=10)))

    async def found(cap: int) -> bool:
        keys = keys_for(question(options={"num_predict": cap}), ALICE, MODEL)
        return bool(await house.one.find(keys, ANY, cap))

    assert [await found(cap) for cap in (9, 10, 11)] == [False, True, True]


async def test_an_answer_that_was_cut_serves_its_own_cap_only(house: House, make_entry: MakeEntry):
    await store(house.one, make_entry(answer=reply(reason="length", tokens=10), options={"num_predict": 10}))
    for cap, expected in ((10, True), (9, False), (11, False)):
        keys = keys_for(question(options={"num_predict": cap}), ALICE, MODEL)
        for cache in (house.one, house.other):
            assert bool(await cache.find(keys, ANY, cap)) == expected
    assert await house.one.find(keys_for(question(), ALICE, MODEL), ANY, None) is None


@pytest.mark.parametrize("error", [RuntimeError("a bug"), TimeoutError(), None])
async def test_a_tier_that_fails_or_hangs_is_passed_by(
    clock: HandClock,
    generation: Generation,
    make_entry: MakeEntry,
    make_sqlite_tier: Callable[..., SQLiteTier],
    error: Exception | None,
):
    faulty = Fault(error)
    cache = plain((faulty, make_sqlite_tier()), clock, generation)
    entry = make_entry()
    assert await store(cache, entry)
    found = await find(cache, entry)
    assert found
    assert found.tier == "sqlite"
    for _ in range(20):
        assert await find(cache, entry)
    assert cache.stats()["faulty"].is_out
    await cache.aclose()


async def test_having_had_no_turn_says_nothing_of_a_tier(
    clock: HandClock, generation: Generation, make_entry: MakeEntry
):
    """Neither that it is back, while it is out, nor that what went wrong is forgiven."""
    tier, entry = Fault(TierUnavailable("gone")), make_entry()
    cache = plain((tier,), clock, generation)

    async def look(error: Exception, times: int) -> bool:
        tier.error = error
        for _ in range(times):
            clock.advance(10)
            await find(cache, entry)
            await asyncio.sleep(0.01)
        return cache.stats()["faulty"].is_out

    assert not await look(TierUnavailable("gone"), 2)
    assert not await look(Busy("no turn"), 200)
    assert await look(TierUnavailable("gone"), 1), "two failures were not forgiven for no answer at all"
    assert await look(Busy("no turn"), 5), "nothing has shown that it is back"
    errors = cache.stats()["faulty"].errors
    assert await look(TierUnavailable("gone"), 1)
    assert cache.stats()["faulty"].errors == errors + 1, "it is still looked for"
    await cache.aclose()


async def test_nor_that_it_does_not_answer(clock: HandClock, generation: Generation, monkeypatch: pytest.MonkeyPatch):
    async def busy(_: object) -> None:
        raise Busy("no turn")

    tier = MemoryTier(clock, 1024)
    monkeypatch.setattr(tier, "get", busy)
    assert await plain((tier,), clock, generation).answering() == {"memory": True}


async def test_one_line_is_logged_when_a_tier_goes_out_and_one_when_it_is_back(
    house: House, make_entry: MakeEntry, caplog: pytest.LogCaptureFixture
):
    entry = make_entry()
    house.redis.kill()
    for number in range(50):
        await find(house.one, make_entry(f"What is {number}?"))
    house.redis.start()
    house.clock.advance(5)
    assert await find(house.one, entry) is None
    await until(lambda: not house.one.stats()["redis"].is_out)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert "redis cannot be read" in lines[0]
    assert "redis can be read again" in lines[1]


async def test_a_cancelled_lookup_leaves_the_tier_usable(
    clock: HandClock, generation: Generation, make_entry: MakeEntry
):
    faulty = Fault(None)
    cache = plain((faulty,), clock, generation)
    for _ in range(10):
        lookup = asyncio.create_task(find(cache, make_entry()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        lookup.cancel()
        with pytest.raises(asyncio.CancelledError):
            await lookup
    assert not cache.stats()["faulty"].is_out


async def test_hits_and_misses_are_counted_by_tier(house: House, make_entry: MakeEntry):
    entry = make_entry()
    await find(house.one, entry)
    await store(house.one, entry)
    await find(house.one, entry)
    await find(house.other, entry)
    one, other = house.one.stats(), house.other.stats()
    assert [(one[name].hits, one[name].misses) for name in ("memory", "redis", "sqlite")] == [(1, 1), (0, 1), (0, 1)]
    assert [(other[name].hits, other[name].misses) for name in ("memory", "redis", "sqlite")] == [
        (0, 1),
        (1, 0),
        (0, 0),
    ]


async def test_a_purge_reaches_every_tier_and_every_process(house: House, make_entry: MakeEntry):
    hers, theirs = make_entry(), make_entry(caller=CHARLIE)
    for entry in (hers, theirs):
        await store(house.one, entry)
        await find(house.other, entry)
        async with asyncio.timeout(60):
            while await house.file.get(entry.key) is None:  # it is written a little later
                await asyncio.sleep(0.01)
    purged = await house.other.purge(Scope(tenant_id=ALICE.tenant_id))
    assert purged.is_complete
    assert purged.counts == {"memory": 1, "redis": 1, "sqlite": 1}
    for cache in (house.one, house.other, house.open()):
        assert await find(cache, hers) is None
        assert await find(cache, theirs)


async def test_what_was_asked_before_a_purge_is_not_kept_after_it(house: House, make_entry: MakeEntry):
    entry, since = make_entry(), house.one.generation()
    await house.other.purge(Scope(model=MODEL.name))
    assert not await house.one.put(entry, since)
    assert await find(house.one, entry) is None
    assert await find(house.other, entry) is None


async def test_a_purge_that_waits_for_the_generation_file_holds_up_nobody_else(
    house: House, make_entry: MakeEntry, tmp_path: Path
):
    entry = make_entry()
    await store(house.one, entry)
    with (tmp_path / "generation").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        purging = asyncio.create_task(house.one.purge(Scope(tenant_id=ALICE.tenant_id)))
        await asyncio.sleep(0.01)
        assert await find(house.one, entry)  # nothing is purged yet
    purged = await purging
    assert purged.is_complete
    assert await find(house.one, entry) is None
    assert await find(house.other, entry) is None


async def test_what_was_purged_while_redis_was_out_does_not_come_back_with_it(house: House, make_entry: MakeEntry):
    entry = make_entry()
    await store(house.one, entry)
    house.redis.pause()
    purging = asyncio.create_task(house.one.purge(Scope(tenant_id=ALICE.tenant_id)))
    purged = await purging
    house.redis.resume()
    assert "redis" in purged.failed
    assert purged.counts["sqlite"] == 1
    house.clock.advance(10)
    assert await find(house.one, entry) is None
    assert await find(house.other, entry) is None
    assert await find(house.open(), entry) is None  # as after a restart
    newer = make_entry()
    assert await store(house.one, newer)
    assert await find(house.open(), newer)


async def test_what_was_purged_while_the_file_was_locked_does_not_come_back_either(
    house: House, make_entry: MakeEntry, cache_file: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sqlite_tier, "_BUSY_S", 0.05)
    cache, entry = house.open(), make_entry()
    await store(cache, entry)
    await until(lambda: sqlite3_rows(cache_file) == 1)
    lock = sqlite3.connect(cache_file, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    purged = await cache.purge(Scope())
    assert {"record", "sqlite"} <= set(purged.failed)
    assert not purged.is_complete
    assert await find(cache, entry) is None
    lock.execute("ROLLBACK")
    lock.close()
    assert await find(cache, entry) is None


async def test_while_the_record_of_purges_cannot_be_read_nothing_far_is_trusted(
    house: House, make_entry: MakeEntry, cache_file: Path, caplog: pytest.LogCaptureFixture
):
    entry, near = make_entry(), make_entry("near")
    await store(house.one, entry)
    folder = cache_file.parent
    aside = folder.rename(folder.with_name("elsewhere"))
    restarted = house.open()
    assert await find(restarted, entry) is None
    assert await store(restarted, near)
    assert await find(restarted, near)
    assert caplog.text.count("record of purges cannot be read") == 1
    aside.rename(folder)
    house.clock.advance(5)
    assert await find(restarted, entry)
    assert "can be read again" in caplog.text


async def test_an_answer_of_the_same_instant_as_a_purge_is_covered(house: House, make_entry: MakeEntry):
    for _ in range(50):
        house.clock.advance(0.0123457)
        entry = make_entry()
        await house.one.purge(Scope(tenant_id=ALICE.tenant_id))
        log = PurgeLog(house.file)
        await log.load(house.clock.now())
        assert log.covers(entry.key, entry.created_at)
        assert not log.covers(entry.key, entry.created_at + 0.00001)


def sqlite3_rows(path: Path) -> int:
    connection = sqlite3.connect(path)
    (count,) = connection.execute("SELECT count(*) FROM cache_cacheentry").fetchone()
    connection.close()
    return int(count)


async def test_no_answer_from_before_a_purge_is_found_after_it_however_they_race(house: House, make_entry: MakeEntry):
    """Many writers and readers in two processes, and a purge in the midst of them."""
    keys = [make_entry(f"What is {number}?").key for number in range(10)]
    is_over = False

    async def work(cache: TieredCache) -> None:
        number = 0
        while not is_over:
            number += 1
            since = cache.generation()
            key = keys[number % len(keys)]
            await cache.find((key,), ANY, None)
            now = house.clock.now()
            answer = reply(str(since))
            await asyncio.sleep(0)  # the model thinks
            await cache.put(Entry(key, answer, now, now + 3600), since)

    workers = [asyncio.create_task(work(cache)) for cache in (house.one, house.other) for _ in range(4)]
    for _ in range(10):
        await asyncio.sleep(0.02)
        house.clock.advance(0.001)
        began_under = house.one.generation()
        purged = await house.one.purge(Scope(tenant_id=ALICE.tenant_id))
        house.clock.advance(0.001)
        assert purged.is_complete
        for cache in (house.one, house.other):
            for key in keys:
                if hit := await cache.find((key,), ANY, None):
                    assert int(hit.entry.reply.text) > began_under
    is_over = True
    await asyncio.gather(*workers)


async def test_it_tells_what_each_tier_holds_and_which_cannot_say(
    house: House, make_entry: MakeEntry, cache_file: Path
):
    await store(house.one, make_entry())
    await until(lambda: sqlite3_rows(cache_file) == 1)
    held = await house.one.holding(Scope(tenant_id=ALICE.tenant_id))
    assert {tier: holding and holding.entries for tier, holding in held.items()} == {
        "memory": 1,
        "redis": 1,
        "sqlite": 1,
    }
    house.redis.kill()
    held = await house.one.holding(Scope())
    assert held["redis"] is None
    assert held["memory"] == Holding(1, held["memory"].bytes if held["memory"] else 0)


async def test_off_is_a_tier_that_never_finds_anything(clock: HandClock, generation: Generation, make_entry: MakeEntry):
    cache = plain((OffTier("memory"),), clock, generation)
    assert not await store(cache, make_entry())
    assert await find(cache, make_entry()) is None
    assert (await cache.purge(Scope())).counts == {"memory": 0}
    assert await cache.holding(Scope()) == {"memory": Holding(0, 0)}
    await cache.aclose()


async def test_whether_a_tier_answers_is_found_out_by_asking(
    own_redis: RedisServer,
    make_redis_tier: Callable[..., RedisTier],
    clock: HandClock,
    generation: Generation,
    closing: AsyncExitStack,
) -> None:
    tiers = (MemoryTier(clock, 1024**2), make_redis_tier(own_redis), OffTier("sqlite"))
    cache = TieredCache(tiers, clock, generation, PurgeLog(None))
    closing.push_async_callback(cache.aclose)
    assert await cache.answering() == {"memory": True, "redis": True, "sqlite": None}
    own_redis.kill()
    assert await cache.answering() == {"memory": True, "redis": False, "sqlite": None}


async def test_a_purge_goes_on_when_its_caller_hangs_up(house: House, make_entry: MakeEntry) -> None:
    entry = make_entry()
    await house.one.put(entry, house.one.generation())
    assert await house.other.find([entry.key], ANY, None) is not None
    purging = asyncio.create_task(house.one.purge(Scope()))
    await asyncio.sleep(0)
    purging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await purging
    await house.one.aclose()
    assert await house.other.find([entry.key], ANY, None) is None
