"""A question asked of several processes at once is asked once; what becomes of one process hurts no other for long."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from cache import sharing
from cache.inflight import InFlight, Question
from cache.keys import keys_for
from cache.sharing import Sharing
from cache.wire import Alive, End, News, No, seal, unseal
from orchestrator.core.clock import Clock
from orchestrator.core.errors import CallLost, EngineError, RateLimited
from orchestrator.core.redis_async import open_redis
from orchestrator.core.types import Chunk
from tests.cache.conftest import ALICE, BOB, CHARLIE, MODEL, PATIENT_S, question, until
from tests.cache.test_inflight import Source, heard, leave, words
from tests.servers import RedisServer

QUESTION = Question("a" * 64, is_current=lambda: True)
AGAIN = Question("a" * 64, is_current=lambda: True, is_again=True)


class Process:
    """What a process has for sharing, without the process."""

    def __init__(self, server: RedisServer, deadline_s: float = PATIENT_S, tick_s: float = 0.2) -> None:
        self.sharing = Sharing(open_redis(server.url, PATIENT_S), Clock(), deadline_s, tick_s)
        self.calls = InFlight(self.sharing)

    async def ask(
        self, source: Source, asked: Question = QUESTION, key: object = "q"
    ) -> tuple[AsyncIterator[Chunk], bool]:
        return await self.calls.join(key, source, asked)  # type: ignore[arg-type, return-value]

    async def die(self) -> None:
        """As if killed: its connections are closed, and it says nothing more."""
        for task in list(self.sharing._tasks):
            task.cancel()
        self.sharing._line._is_closed = True
        await self.sharing._redis.aclose()
        await self.sharing._redis.connection_pool.disconnect()

    def hang(self) -> None:
        """As if stopped: its connections stay open, and it says nothing more."""
        self.sharing._received = lambda data: None  # type: ignore[method-assign]
        self.sharing._line._is_closed = True


MakeProcess = Callable[..., "asyncio.Future[Process]"]


@pytest.fixture
async def start(closing: AsyncExitStack) -> Callable[..., object]:
    async def start(server: RedisServer, **options: float) -> Process:
        process = Process(server, **options)
        closing.push_async_callback(process.sharing.aclose)
        async with asyncio.timeout(60):
            await process.sharing.is_listening.wait()
        return process

    return start


@pytest.fixture
async def three(own_redis: RedisServer, start: MakeProcess) -> list[Process]:
    return [await start(own_redis) for _ in range(3)]


def keys_in(server: RedisServer) -> int:
    return int(server.command("DBSIZE").strip(b":\r\n"))


async def test_processes_share_one_call(three: list[Process]) -> None:
    source = Source(*words(50), is_open=False)
    joined = await asyncio.gather(*(process.ask(source) for process in three for _ in range(20)))
    assert sum(leads for _, leads in joined) == 1
    source.gate.set()
    results = await asyncio.gather(*(heard(chunks) for chunks, _ in joined))
    assert all(result == list(words(50)) for result in results)
    assert source.starts == source.closed == 1


async def test_who_follows_hears_everything_from_the_start_and_as_it_comes(three: list[Process]) -> None:
    source = Source(*words(5), is_open=False)
    source.passes = 3
    leader, _ = await three[0].ask(source)
    first = [await anext(leader) for _ in range(3)]
    follower, leads = await three[1].ask(source)
    assert not leads
    assert [await anext(follower) for _ in range(3)] == first
    source.gate.set()
    assert first + await heard(follower) == first + await heard(leader) == list(words(5))


async def test_an_error_reaches_every_process_as_what_it_is(three: list[Process]) -> None:
    source = Source(Chunk(text="a"), error=RateLimited("slow down", retry_after_s=7.0), is_open=False)
    joined = [(await process.ask(source))[0] for process in three]
    source.gate.set()
    for chunks in joined:
        assert (await anext(chunks)).text == "a"
        with pytest.raises(RateLimited, match="slow down") as raised:
            await anext(chunks)
        assert raised.value.retry_after_s == 7.0


async def test_a_fault_of_ours_is_not_told_in_detail(three: list[Process]) -> None:
    source = Source(Chunk(text="a"), error=ZeroDivisionError("secret"), is_open=False)
    joined = [(await process.ask(source))[0] for process in three[:2]]
    source.gate.set()
    with pytest.raises(ZeroDivisionError):
        await heard(joined[0])
    with pytest.raises(EngineError, match="its log has more"):
        await heard(joined[1])


async def test_tenants_never_share(three: list[Process]) -> None:
    hashes = {who.key_name: keys_for(question(), who, MODEL)[-1].hash for who in (ALICE, BOB, CHARLIE)}
    source = Source(*words(2), is_open=False)
    joined = [
        await process.ask(source, Question(hashes[who], lambda: True), hashes[who])
        for process, who in zip(three, ("alice", "bob", "charlie"), strict=True)
    ]
    assert [leads for _, leads in joined] == [True, False, True]
    await until(lambda: source.starts == 2)
    source.gate.set()
    await asyncio.gather(*(heard(chunks) for chunks, _ in joined))


async def test_the_leaders_callers_leave_and_the_followers_hear_it_to_the_end(three: list[Process]) -> None:
    source = Source(*words(5), is_open=False)
    joined = [(await process.ask(source))[0] for process in three]
    await leave(joined[0])
    source.gate.set()
    assert await asyncio.gather(*map(heard, joined[1:])) == [list(words(5))] * 2
    assert source.starts == source.closed == 1


async def test_when_the_last_one_leaves_wherever_the_source_is_closed(three: list[Process]) -> None:
    source = Source(*words(5), is_open=False)
    joined = [(await process.ask(source))[0] for process in three]
    await until(lambda: source.starts)
    for chunks in joined:
        assert not source.closed
        await leave(chunks)
    await until(lambda: source.closed)
    await until(lambda: not any(len(process.calls) for process in three))


async def test_a_follower_that_reads_nothing_stops_the_source(three: list[Process]) -> None:
    source = Source(*words(300, size=10_000), is_open=False)
    leader, _ = await three[0].ask(source)
    follower, _ = await three[1].ask(source)
    await leave(leader)
    source.gate.set()
    for _ in range(3):
        assert await anext(follower)
    given = -1
    while given != source.given:  # until it stands still for as long as signs of life are exchanged twice
        given = source.given
        await asyncio.sleep(2 * three[0].sharing.tick_s)
    assert given < 120, "a window, what the follower's process reads ahead, and what the leader's does"
    assert len(await heard(follower)) == 301 - 3


async def test_a_large_chunk_passes(three: list[Process]) -> None:
    chunks = (Chunk(text="x" * 2_000_000), *words(3))
    source = Source(*chunks, is_open=False)
    joined = [(await process.ask(source))[0] for process in three]
    source.gate.set()
    assert await asyncio.gather(*map(heard, joined)) == [list(chunks)] * 3


async def test_what_was_just_answered_is_looked_for_in_the_cache_first(three: list[Process]) -> None:
    source = Source(*words(2))
    await heard((await three[0].ask(source))[0])
    for process in three:
        chunks, leads = await process.ask(source)
        assert not leads
        with pytest.raises(CallLost):
            await anext(chunks)
    chunks, leads = await three[1].ask(source, AGAIN)
    assert leads, "the cache did not have it"
    assert await heard(chunks) == list(words(2))


async def test_what_failed_is_asked_anew(three: list[Process]) -> None:
    failing = Source(error=EngineError("broken"))
    with pytest.raises(EngineError):
        await heard((await three[0].ask(failing))[0])
    source = Source(*words(2))
    chunks, _ = await three[1].ask(source)
    assert await heard(chunks) == list(words(2))


async def test_who_asks_after_a_purge_does_not_follow_who_asked_before(three: list[Process]) -> None:
    generation = 1
    source, fresh = Source(*words(2), is_open=False), Source(*words(3), is_open=False)
    before, _ = await three[0].ask(source, Question("a" * 64, lambda: generation == 1))
    early, _ = await three[2].ask(source, Question("a" * 64, lambda: generation == 1))
    generation = 2
    after, leads = await three[1].ask(fresh, Question("a" * 64, lambda: generation == 2))
    assert leads
    late, leads = await three[0].ask(fresh, Question("a" * 64, lambda: generation == 2), "later")
    assert not leads
    fresh.gate.set()
    assert await heard(after) == await heard(late) == list(words(3))
    source.gate.set()
    assert await heard(before) == await heard(early) == list(words(2))


async def test_a_process_that_is_killed_is_noticed_and_one_of_the_others_begins_again(three: list[Process]) -> None:
    source, second = Source(*words(2), is_open=False), Source(*words(3), is_open=False)
    lost = await three[0].ask(source)
    following = [(await process.ask(second))[0] for process in three[1:]]
    await three[0].die()
    for chunks in following:
        with pytest.raises(CallLost):
            await anext(chunks)
    joined = await asyncio.gather(*(process.ask(second, AGAIN) for process in three[1:]))
    assert sorted(leads for _, leads in joined) == [False, True]
    second.gate.set()
    assert [await heard(chunks) for chunks, _ in joined] == [list(words(3))] * 2
    assert second.starts == 1
    await leave(lost[0])


async def test_a_process_that_was_killed_before_leaves_a_claim_that_is_taken_over(three: list[Process]) -> None:
    source, second = Source(*words(2), is_open=False), Source(*words(3), is_open=False)
    lost = await three[0].ask(source)
    await three[0].die()
    joined = await asyncio.gather(*(process.ask(second) for process in three[1:]))
    assert sorted(leads for _, leads in joined) == [False, True]
    second.gate.set()
    assert [await heard(chunks) for chunks, _ in joined] == [list(words(3))] * 2
    await leave(lost[0])


async def test_a_process_that_hangs_is_given_up(own_redis: RedisServer, three: list[Process]) -> None:
    source, second = Source(*words(2), is_open=False), Source(*words(3), is_open=False)
    lost = await three[0].ask(source)
    follower, _ = await three[1].ask(second)
    three[0].hang()
    with pytest.raises(CallLost):
        await anext(follower)
    asked = three[0].sharing.inbox
    subscribed = own_redis.command("PUBSUB", "NUMSUB", asked)
    assert subscribed.endswith(b":1\r\n"), "it seems alive"
    again, leads = await three[1].ask(second, AGAIN)
    assert leads
    chunks, leads = await three[2].ask(second)
    assert not leads
    second.gate.set()
    assert await heard(again) == list(words(3))
    assert await heard(chunks) == list(words(3))
    await leave(lost[0])


async def test_a_follower_that_is_killed_or_hangs_holds_nothing_up(three: list[Process]) -> None:
    for stop in (Process.die, Process.hang):
        source = Source(*words(2), is_open=False)
        leader, _ = await three[0].ask(source)
        one = three.pop()
        follower, _ = await one.ask(source)
        await leave(leader)
        assert not source.closed
        if stop is Process.die:
            await one.die()
        else:
            one.hang()
        await until(lambda source=source: source.closed)
        await leave(follower)


async def test_a_process_that_ends_says_so(three: list[Process]) -> None:
    source = Source(*words(2), is_open=False)
    leader, _ = await three[0].ask(source)
    follower, _ = await three[1].ask(source)
    await three[0].calls.aclose()
    with pytest.raises(CallLost, match="has ended"):
        await anext(follower)
    await leave(leader)
    chunks, leads = await three[1].ask(Source(*words(1)))
    assert leads
    await leave(chunks)


async def test_a_hang_up_while_the_claim_is_asked_for_leaves_nothing(
    own_redis: RedisServer, start: MakeProcess
) -> None:
    one, other = await start(own_redis), await start(own_redis)
    source = Source(*words(2))
    own_redis.pause()
    asking = asyncio.create_task(one.ask(source))
    await until(lambda: len(one.calls))
    listening, leads = await one.ask(source)
    assert not leads
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    with pytest.raises(CallLost):
        await anext(listening)
    assert not len(one.calls)
    own_redis.resume()
    chunks, leads = await other.ask(source)
    assert leads
    assert await heard(chunks) == list(words(2))
    await until(lambda: not one.sharing._claims and not other.sharing._claims)


async def test_without_redis_each_process_shares_within_itself(
    own_redis: RedisServer, start: MakeProcess, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    one = await start(own_redis, deadline_s=0.05)
    own_redis.pause()
    for number in range(5):
        source = Source(*words(2), is_open=False)
        joined = await asyncio.gather(*(one.ask(source, Question(f"{number}", lambda: True), number) for _ in range(3)))
        assert sum(leads for _, leads in joined) == 1
        source.gate.set()
        assert await asyncio.gather(*(heard(chunks) for chunks, _ in joined)) == [list(words(2))] * 3
    assert one.sharing._breaker.is_open
    own_redis.resume()

    async def is_claimed() -> bool:
        await leave((await one.ask(Source(*words(1)), AGAIN))[0])
        return not one.sharing._breaker.is_open

    async with asyncio.timeout(60):
        while not await is_claimed():
            await asyncio.sleep(0.05)
    said = [record.message for record in caplog.records if "Calls in flight" in record.message]
    assert len(said) == 2, said


async def test_redis_killed_in_the_middle_loses_followers_but_no_leader(
    own_redis: RedisServer, three: list[Process]
) -> None:
    source = Source(*words(4), is_open=False)
    leader, _ = await three[0].ask(source)
    follower, _ = await three[1].ask(source)
    own_redis.kill()
    with pytest.raises(CallLost):
        await anext(follower)
    source.gate.set()
    assert await heard(leader) == list(words(4))
    own_redis.start()
    await until(lambda: all(process.sharing.is_listening.is_set() for process in three))
    source = Source(*words(3), is_open=False)

    async def shared() -> bool:
        joined = [await process.ask(source, AGAIN) for process in three]
        for chunks, _ in joined:
            await leave(chunks)
        return sum(leads for _, leads in joined) == 1

    async with asyncio.timeout(60):
        while not await shared():
            await asyncio.sleep(0.05)


async def test_a_redis_that_is_back_in_time_costs_nothing(own_redis: RedisServer, start: MakeProcess) -> None:
    one, other = await start(own_redis, tick_s=1.0), await start(own_redis, tick_s=1.0)
    source = Source(*words(40, size=10_000), is_open=False)
    leader, _ = await one.ask(source)
    follower, _ = await other.ask(source)
    for disturb in (
        lambda: own_redis.command("CLIENT", "KILL", "TYPE", "pubsub"),
        lambda: (own_redis.kill(), own_redis.start()),
        lambda: own_redis.command("FLUSHALL"),
    ):
        disturb()
        source.gate.set()
        assert await anext(follower)
        source.gate.clear()
    source.gate.set()
    assert len(await heard(follower)) == 41 - 3
    await heard(leader)
    assert source.starts == 1


async def test_a_full_redis_lets_everybody_ask(own_redis: RedisServer, three: list[Process]) -> None:
    own_redis.command("CONFIG", "SET", "maxmemory", "1")
    source = Source(*words(2))
    joined = [await process.ask(source) for process in three]
    assert [await heard(chunks) for chunks, _ in joined] == [list(words(2))] * 3


async def test_forged_messages_change_nothing(own_redis: RedisServer, three: list[Process]) -> None:
    source = Source(*words(2), is_open=False)
    leader, _ = await three[0].ask(source)
    follower, _ = await three[1].ask(source)
    (follow,) = three[1].sharing._follows.values()
    inbox = three[1].sharing.inbox
    forged = [
        News(follow.number, 0, [Chunk(text="forged")]),
        End(follow.number, 0),
        No(follow.number, "forged"),
        Alive(follow.number, 99),
    ]
    for message in forged:
        for data in (b"", b"x" * 200, seal("another inbox", message), b"\0" * 16 + seal(inbox, message)[16:]):
            own_redis.command("PUBLISH", inbox, data)
    source.gate.set()
    assert await heard(follower) == await heard(leader) == list(words(2))


async def test_a_message_that_comes_twice_or_not_at_all_changes_nothing(three: list[Process]) -> None:
    source = Source(*words(200), is_open=False)
    leader, _ = await three[0].ask(source)
    follower, _ = await three[1].ask(source)
    received, chance = three[1].sharing._received, random.Random(5)

    def unreliably(data: bytes) -> None:
        for _ in range(chance.choice((0, 1, 2))):
            received(data)

    three[1].sharing._received = unreliably  # type: ignore[method-assign]
    source.gate.set()
    assert await heard(follower) == list(words(200))
    assert await heard(leader) == list(words(200))


@pytest.mark.parametrize("error", [None, EngineError("broken")])
async def test_an_end_that_gets_lost_is_told_again(three: list[Process], error: EngineError | None) -> None:
    chunks = (Chunk(text="a"),) if error else words(2)
    source = Source(*chunks, error=error, is_open=False)
    joined = [(await process.ask(source))[0] for process in three[:2]]
    received, inbox, lost = three[1].sharing._received, three[1].sharing.inbox, []

    def without_the_first_end(data: bytes) -> None:
        if isinstance(unseal(inbox, data), End) and not lost:
            lost.append(data)
        else:
            received(data)

    three[1].sharing._received = without_the_first_end  # type: ignore[method-assign]
    source.gate.set()
    async with asyncio.timeout(60):
        for told in joined:
            assert [await anext(told) for _ in chunks] == list(chunks)
            with pytest.raises(EngineError if error else StopAsyncIteration, match="broken" if error else None):
                await anext(told)
    assert len(lost) == 1 or not error, "an answer that is whole needs no end to be told"


async def test_redis_that_stands_still_for_a_moment_leaves_nobody_waiting(
    own_redis: RedisServer, start: MakeProcess
) -> None:
    two = [await start(own_redis, deadline_s=0.05) for _ in range(2)]
    for number in range(5):
        source = Source(Chunk(text="a"), error=EngineError("broken"), is_open=False)
        joined = [(await process.ask(source, Question(str(number), lambda: True), number))[0] for process in two]
        own_redis.command("CLIENT", "PAUSE", "300", "WRITE")
        source.gate.set()
        async with asyncio.timeout(60):
            assert (await asyncio.gather(*map(heard, joined), return_exceptions=True))[0].__class__ is EngineError
        await asyncio.sleep(0.4)


async def test_a_redis_that_answers_too_slowly_is_done_without(
    own_redis: RedisServer, start: MakeProcess, caplog: pytest.LogCaptureFixture
) -> None:
    """It answers each time, after more than half the deadline; on a busy machine it may be asked later than that."""
    (process,) = [await start(own_redis, deadline_s=2.0)]
    for number in range(12):
        if process.sharing._breaker.is_open:
            break
        while keys_in(own_redis):  # what was claimed before is let go of by itself
            await asyncio.sleep(0.01)
        own_redis.command("CLIENT", "PAUSE", "1300", "WRITE")
        source = Source(*words(2))
        chunks, leads = await process.ask(source, Question(f"{number}", lambda: True), number)
        assert leads
        await heard(chunks)
    assert "Redis is slow" in caplog.text
    assert process.sharing._breaker.is_open


async def test_one_follower_too_many_makes_its_own_call(three: list[Process], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "MOST_RELAYS", 1)
    source = Source(*words(2), is_open=False)
    joined = [await process.ask(source) for process in three]
    assert [leads for _, leads in joined] == [True, False, True]
    source.gate.set()
    assert [await heard(chunks) for chunks, _ in joined] == [list(words(2))] * 3


async def test_a_question_that_is_not_to_be_shared_stays_alone(three: list[Process]) -> None:
    source = Source(*words(2), is_open=False)
    joined = [await process.calls.join("alone", source) for process in three]
    assert [leads for _, leads in joined] == [True] * 3
    source.gate.set()
    for chunks, _ in joined:
        await heard(chunks)


async def test_nothing_is_left_of_calls_that_ended(own_redis: RedisServer, three: list[Process]) -> None:
    tasks_before = len(asyncio.all_tasks())
    for number in range(30):
        source = Source(*words(5), error=EngineError("x") if number % 3 == 0 else None, is_open=False)
        joined = [await process.ask(source, Question(str(number), lambda: True), number) for process in three]
        source.gate.set()
        for place, (chunks, _) in enumerate(joined):
            for _ in range(place):
                await anext(chunks)
            if number % 2:
                await leave(chunks)
            else:
                await asyncio.gather(heard(chunks), return_exceptions=True)
    for process in three:
        await until(lambda process=process: not process.sharing._claims and not process.sharing._relays)
        assert not process.sharing._follows
        assert not process.sharing._numbers_of
        assert not len(process.calls)
    await until(lambda: len(asyncio.all_tasks()) <= tasks_before)
    own = [name for name in own_redis.command("KEYS", "*").split(b"\r\n") if name.startswith(b"orchestrator:")]
    for name in own:
        assert own_redis.command("GET", name).endswith(b"answered\r\n")
        assert 0 < int(own_redis.command("TTL", name).strip(b":\r\n")) <= sharing.ANSWERED_S


@pytest.mark.parametrize(
    ("location", "url", "workers", "is_shared"),
    [
        ("", "", 4, False),
        ("unix:///private", "", 1, False),
        ("unix:///private", "", 2, True),
        ("redis://there", "redis://there", 1, True),
    ],
)
async def test_it_is_there_where_somebody_could_share(
    settings: object, location: str, url: str, workers: int, is_shared: bool
) -> None:
    settings.REDIS_LOCATION, settings.REDIS_URL, settings.WEB_WORKERS = location, url, workers  # type: ignore[attr-defined]
    opened = sharing.open_sharing(Clock())
    assert (opened is not None) == is_shared
    await InFlight(opened).aclose()
