"""One thread, and a bound on what waits for it."""

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from orchestrator.core.errors import Busy
from orchestrator.core.threads import WorkerThread, worked_s


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What holds up the thread until it is set; a test that fails leaves no thread behind."""
    gate = threading.Event()
    yield gate
    gate.set()


async def hold(thread: WorkerThread, gate: threading.Event) -> "asyncio.Task[bool]":
    """Keep the thread at work until the gate opens."""
    began = threading.Event()

    def work() -> bool:
        began.set()
        return gate.wait(30)

    task = asyncio.create_task(thread.run(30, work))
    assert await asyncio.to_thread(began.wait, 10)
    return task


async def test_it_returns_and_raises_what_the_function_does(gate: threading.Event):
    thread = WorkerThread("test")
    assert await thread.run(10, int, "7") == 7
    with pytest.raises(ValueError, match="invalid literal"):
        await thread.run(10, int, "seven")
    thread.close()


async def test_an_iterator_that_is_at_its_end_ends_no_caller():
    thread = WorkerThread("test")
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(thread.run(10, next, iter(())), 60)
    assert await thread.run(10, int) == 0
    thread.close()


async def test_calls_that_were_given_up_count_until_the_thread_has_passed_them(gate: threading.Event):
    thread = WorkerThread("test", most_waiting=5)
    held = await hold(thread, gate)
    for _ in range(4):
        with pytest.raises(TimeoutError):
            await thread.run(0.001, int)
    for _ in range(20):
        with pytest.raises(Busy, match="5 calls"):
            await thread.run(0.001, int)
    gate.set()
    assert await held
    assert await thread.run(10, int) == 0  # behind all the others, so their places are free again
    assert [await thread.run(10, int) for _ in range(20)] == [0] * 20
    thread.close()


async def test_a_call_whose_turn_does_not_come_says_who_is_at_fault(gate: threading.Event):
    thread = WorkerThread("test")
    is_over = threading.Event()
    brief = [asyncio.create_task(thread.run(30, is_over.wait, 0.05)) for _ in range(200)]
    await asyncio.sleep(0)
    with pytest.raises(Busy, match="no time"):
        await thread.run(2.0, int)
    is_over.set()
    await asyncio.gather(*brief)
    held = await hold(thread, gate)
    with pytest.raises(TimeoutError):
        await thread.run(0.05, int)
    gate.set()
    await held
    thread.close()


async def test_how_long_it_took_is_what_the_thread_took():
    thread = WorkerThread("test")
    before = asyncio.create_task(thread.run(30, time.sleep, 0.1))
    await asyncio.sleep(0)
    late = asyncio.create_task(timed(thread))
    await asyncio.sleep(0.02)
    time.sleep(0.3)  # noqa: ASYNC251  # the event loop is busy
    await before
    assert await late < 0.3
    thread.close()


async def timed(thread: WorkerThread) -> float:
    await thread.run(30, int)
    took = worked_s.get()
    assert took is not None
    return took


async def test_a_result_that_is_there_is_no_timeout_however_late_the_loop_comes():
    thread = WorkerThread("test")
    next_began = threading.Event()
    call = asyncio.create_task(thread.run(0.05, int, "7"))
    behind = asyncio.create_task(thread.run(30, next_began.set))
    await asyncio.sleep(0)
    assert next_began.wait(30)  # the event loop is busy
    time.sleep(0.1)  # noqa: ASYNC251
    assert await call == 7
    await behind
    thread.close()


async def test_a_call_that_was_given_up_before_it_began_is_not_made(gate: threading.Event):
    thread = WorkerThread("test")
    held = await hold(thread, gate)
    done: list[str] = []
    with pytest.raises(TimeoutError):
        await thread.run(0.001, done.append, "too late")
    left = asyncio.create_task(thread.run(30, done.append, "nobody listens"))
    await asyncio.sleep(0)
    left.cancel()
    kept = asyncio.create_task(thread.run(30, done.append, "wanted"))
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(held, kept)
    thread.close()
    assert done == ["wanted"]


async def test_a_call_that_was_given_up_after_it_began_runs_to_its_end_and_counts_until_then(gate: threading.Event):
    thread = WorkerThread("test", most_waiting=1)
    held = await hold(thread, gate)
    held.cancel()
    with pytest.raises(asyncio.CancelledError):
        await held
    with pytest.raises(Busy):
        await thread.run(10, int)
    gate.set()
    thread.close()


async def test_who_has_the_result_may_call_again_at_once():
    thread = WorkerThread("test", most_waiting=1)
    for _ in range(500):
        await thread.run(10, int)
        with pytest.raises(ValueError, match="invalid literal"):
            await thread.run(10, int, "x")
    thread.close()


def test_closing_does_what_waits_and_then_the_last():
    thread, done = WorkerThread("test"), list[str]()

    async def run() -> None:
        await thread.run(10, done.append, "first")

    asyncio.run(run())
    thread.close(lambda: done.append("last"))
    assert done == ["first", "last"]
