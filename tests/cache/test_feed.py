"""A purge on one machine is a purge on every machine, whatever becomes of Redis meanwhile."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from django.conf import settings

from cache import feed as feed_module
from cache import tiered
from cache.database import migrate
from cache.entries import Entry, Hit, Scope
from cache.feed import BadMessage, Feed, Message, decode, encode
from cache.generation import Generation
from cache.keys import key_to_keep, keys_for
from cache.purges import Place, Purge, PurgeLog
from cache.tiered import OTHER_MACHINES, TieredCache
from cache.tiers import sqlite as sqlite_tier
from cache.tiers.memory import MemoryTier
from cache.tiers.redis import RedisTier
from cache.tiers.sqlite import SQLiteTier
from orchestrator.core.clock import Clock
from orchestrator.core.redis_async import open_redis
from orchestrator.core.types import CacheControl
from tests.cache.conftest import ALICE, MODEL, PATIENT_S, question, redis_cache, reply, until
from tests.servers import RedisServer

HERS = Scope(tenant_id=ALICE.tenant_id)
STREAM = "orchestrator:purges"


class SkewedClock(Clock):
    """The true time and some seconds."""

    def __init__(self, ahead_s: float = 0.0) -> None:
        self.ahead_s = ahead_s

    def now(self) -> float:
        return super().now() + self.ahead_s


class Process:
    """One process of a machine: its tiers, its feed, its cache."""

    def __init__(self, machine: Machine, redis: RedisServer) -> None:
        clock = machine.clock
        self.memory = MemoryTier(clock, 1024**2)
        self.file = SQLiteTier(machine.file, clock, 64 * 1024**2)
        self.log = PurgeLog(self.file)
        self.generation = Generation(machine.folder / "generation")
        client = open_redis(redis.url, feed_module.TIMEOUT_S, 4)
        self.feed = Feed(client, machine.name, self.log, clock)
        tiers = (self.memory, RedisTier(redis_cache(redis, PATIENT_S), clock, PATIENT_S, redis.url), self.file)
        self.cache = TieredCache(tiers, clock, self.generation, self.log, self.feed)
        self.clock = clock

    def listens(self) -> Process:
        self.cache.listen()
        return self

    async def close(self) -> None:
        await self.cache.aclose()
        self.generation.close()

    def entry(self, text: str = "What is 2+2?") -> Entry:
        answer = reply()
        now = self.clock.now()
        return Entry(key_to_keep(keys_for(question(text), ALICE, MODEL), answer.done), answer, now, now + 3600)

    async def put(self, entry: Entry) -> None:
        assert await self.cache.put(entry, self.cache.generation())
        await until(lambda: self.file._pending == {})

    async def find(self, entry: Entry) -> Hit | None:
        return await self.cache.find((entry.key,), CacheControl(), None)

    async def near(self, entry: Entry) -> list[bool]:
        """Whether memory and file still have it, whatever the record of purges says."""
        return [await tier.get(entry.key) is not None for tier in (self.memory, self.file)]


class Machine:
    """A data directory of its own."""

    def __init__(self, folder: Path, name: str, clock: Clock) -> None:
        folder.mkdir()
        self.folder, self.name, self.clock = folder, name, clock
        self.file = folder / "cache.sqlite3"
        migrate(self.file)

    def rows(self, what: str = "*") -> list[tuple[object, ...]]:
        connection = sqlite3.connect(self.file)
        try:
            return connection.execute(f"SELECT {what} FROM cache_purge").fetchall()  # noqa: S608
        finally:
            connection.close()


Open = Callable[..., Process]


@pytest.fixture
def machines(tmp_path: Path, django_db_blocker: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Machine]]:
    monkeypatch.setattr(sqlite_tier, "READ_S", 10 * PATIENT_S)
    monkeypatch.setattr(feed_module, "TIMEOUT_S", 3.0)
    monkeypatch.setattr(feed_module, "CONFIRM_S", 10.0)
    monkeypatch.setattr(feed_module, "SILENT_S", 60.0)
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        yield [Machine(tmp_path / name, name, SkewedClock()) for name in ("a", "b", "c")]


@pytest.fixture
async def open_on(own_redis: RedisServer, closing: AsyncExitStack) -> Open:
    def make(machine: Machine, redis: RedisServer = own_redis) -> Process:
        process = Process(machine, redis)
        closing.push_async_callback(process.close)
        return process

    return make


@pytest.fixture
async def pair(machines: list[Machine], open_on: Open, own_redis: RedisServer) -> tuple[Process, Process]:
    """A process on each of two machines; both are known to each other."""
    one, other = open_on(machines[0]).listens(), open_on(machines[1]).listens()
    await known(own_redis, 2)
    return one, other


async def known(redis: RedisServer, count: int) -> None:
    await until(lambda: redis.command("HLEN", f"{STREAM}:heard") == b":%d\r\n" % count)


async def held_by_all(entry: Entry, *processes: Process) -> None:
    """Let every tier of every process hold `entry`."""
    for process in processes:
        await process.put(entry)


async def heard(process: Process, entry: Entry) -> None:
    """Wait until `process` no longer has `entry` in its own tiers."""
    async with asyncio.timeout(60):
        while any(await process.near(entry)):
            await asyncio.sleep(0.01)


def restart_empty(redis: RedisServer) -> None:
    redis.kill()
    redis.start()


async def test_a_purge_on_one_machine_empties_the_others(pair: tuple[Process, Process]) -> None:
    one, other = pair
    entry, kept = one.entry(), one.entry("What is 3+3?")
    await held_by_all(entry, one, other)
    before = other.generation.current()
    purged = await one.cache.purge(Scope(hash=entry.key.hash))
    assert purged.is_complete  # so the other has done it by now
    assert purged.counts == {"memory": 1, "redis": 1, "sqlite": 1}
    assert await other.near(entry) == [False, False]
    assert other.generation.current() > before
    assert await other.find(entry) is None
    await held_by_all(kept, other)
    assert await one.find(kept)
    assert await other.find(kept)


async def test_an_answer_that_the_other_machine_was_making_is_gone_a_moment_later(
    pair: tuple[Process, Process], machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiered, "_AGAIN_S", 300.0)
    one, other = pair
    machines[1].clock.ahead_s = 600  # type: ignore[attr-defined]  # so no time of one's purge covers it
    late = other.entry()
    await one.cache.purge(HERS)
    # As if it had been written just before the other heard.
    await other.cache._guards[1].put(late)
    assert await one.find(late)  # and copied to the near tiers
    assert await one.find(late)
    machines[0].clock.ahead_s = 300  # type: ignore[attr-defined]  # the moment is over
    await until(lambda: machines[0].rows("again_at") == [(None,)])
    assert await one.find(late) is None
    assert await one.near(late) == [False, False]
    assert await other.find(late) is None


async def test_a_machine_that_heard_late_has_its_answers_purged_everywhere(
    pair: tuple[Process, Process], machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = pair
    monkeypatch.setattr(feed_module, "_LATE_S", -1.0)  # whatever is heard is heard too late
    await one.cache.purge(HERS)
    for machine in machines[:2]:  # its own and the other's
        await until(lambda machine=machine: sorted(machine.rows("is_ours")) == [(0,), (1,)])
    await until(lambda: all(row == (None,) for machine in machines[:2] for row in machine.rows("again_at")))
    assert [len(machine.rows()) for machine in machines[:2]] == [2, 2]  # it was not repeated in its turn


async def test_the_later_of_two_clocks_counts(
    machines: list[Machine], open_on: Open, own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    for ahead_s in (-300.0, 300.0):
        machines[0].clock.ahead_s = ahead_s  # type: ignore[attr-defined]
        one, other = open_on(machines[0]).listens(), open_on(machines[1]).listens()
        await known(own_redis, 2)
        entry = other.entry()
        await held_by_all(entry, other)
        before = other.clock.now()
        assert (await one.cache.purge(HERS)).is_complete
        assert other.log.covers(entry.key, before)
        assert other.log.covers(entry.key, other.clock.now() + 200) == (ahead_s > 0)
        await one.close()
        await other.close()
        own_redis.command("FLUSHALL")
    assert "clock of a is ahead" in caplog.text


async def test_a_machine_that_was_away_hears_of_it_before_it_serves(
    machines: list[Machine], open_on: Open, own_redis: RedisServer
) -> None:
    one, other = open_on(machines[0]).listens(), open_on(machines[1]).listens()
    await known(own_redis, 2)
    entry = one.entry()
    await held_by_all(entry, one, other)
    await other.close()
    assert (await one.cache.purge(HERS)).is_complete  # nobody waits for who took leave
    back = open_on(machines[1]).listens()
    assert await back.find(entry) is None
    await until(lambda: back.log.covers(entry.key, entry.created_at))


async def test_a_machine_that_took_leave_trusts_its_file_only_after_it_heard(
    machines: list[Machine], open_on: Open, own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "_START_S", 0.05)
    one, other = open_on(machines[0]).listens(), open_on(machines[1]).listens()
    await known(own_redis, 2)
    entry = one.entry()
    await held_by_all(entry, other)
    await until(lambda: "b" in one.feed._others and "a" in other.feed._others)
    await other.close()
    await one.cache.purge(HERS)
    own_redis.kill()
    back = open_on(machines[1]).listens()
    await until(lambda: back.feed._is_out)
    assert await back.find(entry) is None
    assert (await back.near(entry))[1]
    own_redis.start()
    await until(lambda: back.feed.is_caught_up)


async def test_a_machine_alone_serves_from_its_file_though_redis_is_away(
    machines: list[Machine], open_on: Open, own_redis: RedisServer
) -> None:
    one = open_on(machines[0]).listens()
    await known(own_redis, 1)
    entry = one.entry()
    await one.put(entry)
    await one.close()
    own_redis.kill()
    back = open_on(machines[0]).listens()
    await until(lambda: back.feed._is_out)
    assert await back.find(entry)


async def test_what_is_purged_while_redis_is_away_is_said_and_arrives_later(
    pair: tuple[Process, Process], own_redis: RedisServer, machines: list[Machine], caplog: pytest.LogCaptureFixture
) -> None:
    one, other = pair
    entry = one.entry()
    await held_by_all(entry, one, other)
    own_redis.kill()
    purged = await one.cache.purge(HERS)
    assert "told once it can be reached" in purged.failed[OTHER_MACHINES]
    assert await one.find(entry) is None
    assert await other.find(entry)
    assert machines[0].rows("is_unsent") == [(1,)]
    await until(lambda: all(process.feed._is_out for process in pair))
    own_redis.start()
    await heard(other, entry)
    assert await other.find(entry) is None
    await until(lambda: machines[0].rows("is_unsent") == [(0,)])
    lines = [record.getMessage() for record in caplog.records if "other machines purge" in record.getMessage()]
    await until(lambda: "can be heard again" in caplog.text)
    assert sum("cannot be heard" in line for line in lines) == 2  # one for each machine


async def test_what_was_not_sent_is_sent_by_whoever_comes_next(
    machines: list[Machine], open_on: Open, own_redis: RedisServer
) -> None:
    other = open_on(machines[1]).listens()
    entry = other.entry()
    await other.put(entry)
    own_redis.kill()
    command = open_on(machines[0])  # as a command or the admin: it tells, it does not listen
    assert OTHER_MACHINES in (await command.cache.purge(HERS)).failed
    await command.close()
    own_redis.start()
    open_on(machines[0]).listens()
    await heard(other, entry)


async def test_a_machine_that_does_not_hear_is_named(
    pair: tuple[Process, Process], own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "CONFIRM_S", 1.0)
    one, other = pair
    assert other.feed._listening
    while not other.feed._listening.done():  # it hangs: no leave is taken
        other.feed._listening.cancel()
        await asyncio.wait({other.feed._listening}, timeout=0.1)
    purged = await one.cache.purge(HERS)
    assert purged.failed == {OTHER_MACHINES: "b has not said yet that it heard"}
    now = own_redis.command("TIME").split(b"\r\n")[2].decode()
    own_redis.command("HSET", f"{STREAM}:heard", "b", f"1-1 {int(now) - 100}")
    own_redis.command("HSET", f"{STREAM}:heard", "somebody", "nonsense")
    assert (await one.cache.purge(HERS)).failed[OTHER_MACHINES].startswith("b has been silent for 10")
    own_redis.command("HSET", f"{STREAM}:heard", "b", "1-1 1.0")  # since 1970
    assert (await one.cache.purge(HERS)).is_complete


async def test_a_deaf_machine_goes_on_serving_and_follows_when_it_hears_again(
    pair: tuple[Process, Process], own_redis: RedisServer
) -> None:
    one, other = pair
    entry = one.entry()
    await held_by_all(entry, one, other)
    own_redis.pause()
    purging = asyncio.create_task(one.cache.purge(HERS))
    await until(lambda: other.feed._is_out)
    assert await other.find(entry)
    own_redis.resume()
    await purging
    await heard(other, entry)
    assert await other.find(entry) is None


@pytest.mark.parametrize("lose", [lambda redis: redis.command("FLUSHALL"), restart_empty])
async def test_a_lost_stream_loses_no_purge(
    pair: tuple[Process, Process],
    machines: list[Machine],
    open_on: Open,
    own_redis: RedisServer,
    lose: Callable[[RedisServer], object],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """B and C are away; A and B know of purges that C never heard, and the stream they stood in is gone."""
    one, other = pair
    third = open_on(machines[2]).listens()
    await known(own_redis, 3)
    entry = third.entry()
    await third.put(entry)
    await third.close()
    await one.cache.purge(HERS)
    lose(own_redis)
    back = open_on(machines[2]).listens()
    await until(lambda: back.log.covers(entry.key, entry.created_at))
    assert await back.find(entry) is None
    await until(lambda: caplog.text.count("lost the purge feed") >= 2)
    fresh = one.entry("What is 4+4?")
    await held_by_all(fresh, one, other, back)
    await until(lambda: not any(process.feed._is_telling_again for process in (one, other, back)))
    assert (await other.cache.purge(HERS)).is_complete
    assert await one.near(fresh) == await back.near(fresh) == [False, False]


async def test_who_was_away_for_longer_than_the_stream_remembers_forgets_everything(
    machines: list[Machine],
    open_on: Open,
    monkeypatch: pytest.MonkeyPatch,
    own_redis: RedisServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(feed_module, "MOST_ENTRIES", 50)
    one, other = open_on(machines[0]).listens(), open_on(machines[1]).listens()
    await known(own_redis, 2)
    entry = other.entry()
    await other.put(entry)
    await other.close()
    for number in range(50):
        purges = [Purge(Scope(hash=f"{number} {more}"), one.clock.now()) for more in range(10)]
        last = await one.feed.tell(purges)
        await until(lambda last=last: one.feed._entry == last)
    assert int(own_redis.command("XLEN", STREAM)[1:-2]) < 300
    back = open_on(machines[1]).listens()
    assert await back.find(entry) is None
    await heard(back, entry)
    assert "More was purged than the feed remembers" in caplog.text
    assert all(row[0] is not None for row in machines[0].rows("uid"))  # nobody else was told to forget


async def test_a_machine_with_company_forgets_after_a_day_without_hearing(
    pair: tuple[Process, Process], own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, other = pair
    entry = other.entry()
    await other.put(entry)
    await until(lambda: "a" in other.feed._others)
    own_redis.kill()
    await until(lambda: other.feed._is_out)
    assert await other.find(entry)
    monkeypatch.setattr(feed_module, "FORGOTTEN_S", 0.0)
    await heard(other, entry)
    assert await other.find(entry) is None


async def test_hearing_it_twice_is_harmless_and_sweeps_once(
    pair: tuple[Process, Process], machines: list[Machine], open_on: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pair
    beside = open_on(machines[1]).listens()  # another process of the second machine
    await until(lambda: beside.feed.is_caught_up)
    swept: list[Scope] = []
    for process in (other, beside):

        async def counting(scope: Scope, process: Process = process) -> int:
            swept.append(scope)
            return 0

        monkeypatch.setattr(process.file, "purge", counting)
    told = Purge(HERS, one.clock.now())
    for _ in range(3):
        await one.feed.tell([told])
    last = await one.feed.tell([Purge(Scope(hash="last"), one.clock.now())])
    await until(lambda: other.feed._entry == beside.feed._entry == last)
    entry = other.entry()
    assert beside.log.covers(entry.key, told.at) or await beside.find(entry) is None
    await until(lambda: all(row == (None,) for row in machines[1].rows("again_at")))
    assert swept.count(HERS) == 2


async def test_what_somebody_else_wrote_is_passed_over(
    pair: tuple[Process, Process], own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = pair
    entry = other.entry()
    await other.put(entry)
    good = encode(Message("1", "a", 0.0, (None, None, None, None)))
    own_redis.command("XADD", STREAM, "*", "purge", good["purge"], "check", b"0" * 16)
    own_redis.command("XADD", STREAM, "*", "purge", good["purge"])
    own_redis.command("XADD", STREAM, "*", "nonsense", "x")
    assert (await one.cache.purge(Scope(hash="other"))).is_complete
    assert all(await other.near(entry))
    assert caplog.text.count("not ours") == 2  # once in each process


async def test_a_feed_of_the_wrong_type_is_no_more_than_a_redis_that_fails(
    machines: list[Machine], open_on: Open, own_redis: RedisServer
) -> None:
    own_redis.command("SET", STREAM, "nonsense")
    one = open_on(machines[0]).listens()
    await until(lambda: one.feed._is_out)
    assert OTHER_MACHINES in (await one.cache.purge(HERS)).failed
    own_redis.command("DEL", STREAM)
    await until(lambda: machines[0].rows("is_unsent") == [(0,)])


async def test_what_is_heard_while_the_file_is_locked_counts_at_once_and_is_written_down_later(
    pair: tuple[Process, Process], machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_tier, "_BUSY_S", 0.05)
    one, other = pair
    other.file._writing.close()  # opened again with the shorter wait
    other.file._writing._busy_s = 0.05
    entry = other.entry()
    await other.memory.put(entry)
    lock = sqlite3.connect(machines[1].file, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    assert (await one.cache.purge(HERS)).is_complete
    assert other.log.covers(entry.key, entry.created_at)
    assert await other.find(entry) is None
    assert machines[1].rows() == []
    lock.execute("ROLLBACK")
    lock.close()
    await until(lambda: len(machines[1].rows()) == 1)


async def test_closing_ends_every_task(pair: tuple[Process, Process], own_redis: RedisServer) -> None:
    one, other = pair
    await one.cache.purge(HERS)
    await one.close()
    own_redis.pause()
    await other.close()
    own_redis.resume()
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert left == []


def test_only_what_was_encoded_decodes() -> None:
    message = Message("1", "a", 1.5, (1, "", "tiny:latest", None), True)
    fields = {name.encode(): value for name, value in encode(message).items()}
    assert decode(fields) == message
    for body in (b"", b"\x93", msgspec.msgpack.encode(["1", "a", float("nan"), None, False])):
        check = feed_module._check(body)
        with pytest.raises(BadMessage):
            decode({b"purge": body, b"check": check})


def test_a_private_redis_needs_no_feed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from cache.assembly import open_cache

    monkeypatch.setattr(settings, "GENERATION_FILE", tmp_path / "generation")
    generation = Generation(settings.GENERATION_FILE)

    async def feeds(url: str) -> bool:
        monkeypatch.setattr(settings, "REDIS_URL", url)
        monkeypatch.setattr(settings, "REDIS_LOCATION", "unix:///nowhere.sock?db=0")
        before = asyncio.all_tasks()
        cache = open_cache(Clock(), generation)
        cache.listen()
        has_feed = cache._feed is not None
        assert (asyncio.all_tasks() != before) == has_feed
        await cache.aclose()
        return has_feed

    assert not asyncio.run(feeds(""))
    assert asyncio.run(feeds("unix:///nowhere.sock?db=0"))
    generation.close()


async def test_the_place_is_kept(machines: list[Machine], open_on: Open, own_redis: RedisServer) -> None:
    one = open_on(machines[0]).listens()
    await one.cache.purge(HERS)
    await until(lambda: one.feed._kept.entry != "")
    entry = await one.feed.tell([replace(Purge(HERS, 0.0), id="x")])
    await until(lambda: one.feed._kept == Place(entry))
    assert await one.file.place() == Place(entry)
