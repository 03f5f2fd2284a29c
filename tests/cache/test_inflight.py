"""A question asked by many at once is asked once, and nobody's leaving hurts the others."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace

import pytest
import uvloop

from cache import inflight
from cache.inflight import InFlight, Question
from orchestrator.core.errors import CallLost, EngineError
from orchestrator.core.types import Chunk, Done
from tests.cache.conftest import until

DONE = Chunk(done=Done(reason="stop"))
ASKED = Question("a" * 64, is_current=lambda: True)


class Source:
    """An engine whose every chunk is let out by the test."""

    def __init__(self, *chunks: Chunk, error: Exception | None = None, is_open: bool = True) -> None:
        self.chunks = chunks
        self.error = error
        self.gate = asyncio.Event()
        if is_open:
            self.gate.set()
        self.passes = 0  # chunks that are given though the gate is closed
        self.starts = 0
        self.given = 0
        self.closed = 0

    async def __call__(self) -> AsyncIterator[Chunk]:
        self.starts += 1
        try:
            for chunk in self.chunks:
                if self.given >= self.passes:
                    await self.gate.wait()
                self.given += 1
                yield chunk
            if self.error:
                raise self.error
        finally:
            self.closed += 1


def words(count: int, size: int = 3) -> tuple[Chunk, ...]:
    return (*(Chunk(text=str(number % 10) * size) for number in range(count)), DONE)


@pytest.fixture
def calls() -> InFlight:
    return InFlight()


async def heard(chunks: AsyncIterator[Chunk]) -> list[Chunk]:
    return [chunk async for chunk in chunks]


async def leave(chunks: AsyncIterator[Chunk]) -> None:
    await chunks.aclose()  # type: ignore[attr-defined]


async def test_many_who_ask_at_once_share_one_call(calls: InFlight):
    source = Source(*words(10))
    joined = [await calls.join("q", source) for _ in range(100)]
    assert [leads for _, leads in joined] == [True] + [False] * 99
    results = await asyncio.gather(*(heard(chunks) for chunks, _ in joined))
    assert all(result == list(words(10)) for result in results)
    assert source.starts == source.closed == 1
    assert len(calls) == 0


async def test_other_questions_are_other_calls(calls: InFlight):
    one, other = Source(*words(1)), Source(*words(2))
    first, _ = await calls.join("one", one)
    chunks, leads = await calls.join("other", other)
    assert leads
    assert await heard(chunks) == list(words(2))
    assert await heard(first) == list(words(1))


async def test_who_comes_late_hears_everything_from_the_start(calls: InFlight):
    source = Source(*words(5))
    first, _ = await calls.join("q", source)
    assert [await anext(first) for _ in range(3)] == list(words(5)[:3])
    late, leads = await calls.join("q", source)
    assert not leads
    assert await heard(late) == list(words(5))
    assert await heard(first) == list(words(5)[3:])


async def test_after_the_end_the_next_one_starts_a_new_call(calls: InFlight):
    source = Source(*words(1))
    await heard((await calls.join("q", source))[0])
    chunks, leads = await calls.join("q", source)
    assert leads
    await heard(chunks)
    assert source.starts == 2


async def test_who_comes_with_a_question_just_after_its_answer_is_told_to_look_again(calls: InFlight):
    source = Source(*words(3))
    chunks, _ = await calls.join("q", source, ASKED)
    assert await heard(chunks) == list(words(3))
    late, leads = await calls.join("q", source, ASKED)
    assert not leads
    with pytest.raises(CallLost, match="just been answered"):
        await heard(late)
    chunks, leads = await calls.join("q", source, replace(ASKED, is_again=True))  # it looked, and there was nothing
    assert leads
    await heard(chunks)
    assert source.starts == 2


async def test_what_failed_or_was_left_is_not_taken_for_answered(calls: InFlight):
    failing = Source(Chunk(text="a"), error=EngineError("it broke"))
    chunks, _ = await calls.join("q", failing, ASKED)
    with pytest.raises(EngineError):
        await heard(chunks)
    chunks, _ = await calls.join("q", Source(*words(3), is_open=False), ASKED)
    await leave(chunks)
    chunks, leads = await calls.join("q", Source(*words(2)), ASKED)
    assert leads
    assert await heard(chunks) == list(words(2))


async def test_only_so_many_answered_calls_are_remembered(calls: InFlight, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inflight, "_MOST_ANSWERED", 2)
    leading = []
    for key in ("one", "two", "three", "one", "three"):
        chunks, leads = await calls.join(key, Source(*words(1)), ASKED)
        leading.append(leads)
        with suppress(CallLost):
            await heard(chunks)
    assert leading == [True, True, True, True, False]


async def test_that_a_call_was_answered_is_soon_forgotten(calls: InFlight, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inflight, "ANSWERED_S", 0.0)
    for _ in range(2):
        chunks, leads = await calls.join("q", Source(*words(1)), ASKED)
        assert leads
        assert await heard(chunks) == list(words(1))
        await asyncio.sleep(0.002)


async def test_the_leader_leaving_hurts_nobody(calls: InFlight):
    source = Source(*words(5), is_open=False)
    leader, _ = await calls.join("q", source)
    follower, _ = await calls.join("q", source)
    await leave(leader)
    source.gate.set()
    assert await heard(follower) == list(words(5))
    assert source.closed == 1


async def test_a_cancelled_leader_hurts_nobody(calls: InFlight):
    source = Source(*words(5), is_open=False)

    async def lead() -> None:
        chunks, _ = await calls.join("q", source)
        try:
            await heard(chunks)
        finally:
            await leave(chunks)

    leader = asyncio.create_task(lead())
    await until(lambda: source.starts)
    follower, leads = await calls.join("q", source)
    assert not leads
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    source.gate.set()
    assert await heard(follower) == list(words(5))


async def test_when_the_last_one_leaves_the_source_is_closed_before_leaving_is_over(calls: InFlight):
    source = Source(*words(5), is_open=False)
    joined = [(await calls.join("q", source))[0] for _ in range(3)]
    await until(lambda: source.starts)
    for chunks in joined:
        assert source.closed == 0
        await leave(chunks)
    assert source.closed == 1
    assert len(calls) == 0


async def test_who_joins_while_the_last_one_leaves_gets_a_call_of_its_own(calls: InFlight):
    slow_to_close = asyncio.Event()

    async def clinging() -> AsyncIterator[Chunk]:
        try:
            yield Chunk(text="a")
            await asyncio.Event().wait()
        finally:
            await slow_to_close.wait()

    chunks, _ = await calls.join("q", clinging)
    await anext(chunks)
    leaving = asyncio.create_task(leave(chunks))
    await until(lambda: len(calls) == 0)
    source = Source(*words(1))
    other, leads = await calls.join("q", source)
    assert leads
    slow_to_close.set()
    await leaving
    assert await heard(other) == list(words(1))


async def test_a_call_left_before_it_began_is_never_begun(calls: InFlight):
    source = Source(*words(1))
    chunks, _ = await calls.join("q", source)
    await leave(chunks)
    assert source.starts == source.closed
    assert len(calls) == 0


async def test_an_error_reaches_everybody_and_is_the_same(calls: InFlight):
    error = EngineError("broken")
    source = Source(Chunk(text="a"), error=error)
    joined = [(await calls.join("q", source))[0] for _ in range(3)]
    for chunks in joined:
        assert (await anext(chunks)).text == "a"
        with pytest.raises(EngineError) as raised:
            await anext(chunks)
        assert raised.value is error
        with pytest.raises(StopAsyncIteration):
            await anext(chunks)


async def test_an_error_at_the_start_reaches_everybody(calls: InFlight):
    def start() -> AsyncIterator[Chunk]:
        raise EngineError("no such thing")

    joined = [(await calls.join("q", start))[0] for _ in range(2)]
    for chunks in joined:
        with pytest.raises(EngineError, match="no such thing"):
            await anext(chunks)
    assert len(calls) == 0


async def test_the_source_is_read_only_so_far_ahead_of_the_fastest_listener(calls: InFlight):
    source = Source(*words(10_000))
    fast, _ = await calls.join("q", source)
    slow, _ = await calls.join("q", source)
    for _ in range(100):
        await anext(fast)
    await until(lambda: source.given >= 100)
    for _ in range(50):
        await asyncio.sleep(0)
    assert source.given <= 100 + 256 + 1
    for _ in range(1000):
        await anext(fast)
    assert source.given > 1000
    await leave(fast)
    for _ in range(50):
        await asyncio.sleep(0)
    assert await anext(slow) == words(1)[0]
    await leave(slow)


async def test_large_chunks_count_by_their_bytes(calls: InFlight):
    source = Source(*words(100, size=100_000))
    chunks, _ = await calls.join("q", source)
    await anext(chunks)
    for _ in range(50):
        await asyncio.sleep(0)
    assert source.given <= 5
    await leave(chunks)


class Stubborn(Source):
    """Does not notice that it was cancelled, as a wait can lose a cancellation that comes with its result."""

    async def __anext__(self):
        while True:
            try:
                return await super().__anext__()
            except asyncio.CancelledError:
                continue


async def test_a_source_that_misses_its_cancellation_stops_for_want_of_listeners(calls: InFlight):
    source = Stubborn(*words(100_000))
    chunks, _ = await calls.join("q", source)
    await anext(chunks)
    await leave(chunks)
    await until(lambda: source.closed)
    assert source.given < 1_000


async def test_listeners_hear_of_a_call_that_somebody_cancelled(calls: InFlight):
    source = Source(*words(1), is_open=False)
    chunks, _ = await calls.join("q", source)
    await until(lambda: source.starts)
    (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "call in flight"]
    task.cancel()
    with pytest.raises(EngineError, match="given up"):
        await heard(chunks)


async def test_nothing_is_left_of_calls_that_ended_however_they_ended(calls: InFlight):
    tasks_before = len(asyncio.all_tasks())
    kept = []
    for number in range(50):
        source = Source(*words(20), error=EngineError("x") if number % 3 == 0 else None)
        joined = [(await calls.join(number, source))[0] for _ in range(3)]
        kept += [weakref.ref(source), *map(weakref.ref, joined)]
        for place, chunks in enumerate(joined):
            for _ in range(place * 3):
                await anext(chunks)
            if number % 2:
                await leave(chunks)
            else:
                await asyncio.gather(heard(chunks), return_exceptions=True)
    del source, joined, chunks
    await until(lambda: len(asyncio.all_tasks()) == tasks_before and len(calls) == 0)
    gc.collect()
    assert not [reference for reference in kept if reference() is not None]


def test_it_works_on_uvloop():
    async def run() -> list[list[Chunk]]:
        calls, source = InFlight(), Source(*words(500))
        joined = [(await calls.join("q", source))[0] for _ in range(5)]
        await anext(joined[0])
        await leave(joined[0])
        return list(await asyncio.gather(*map(heard, joined[1:])))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(run()) == [list(words(500))] * 4
