"""What has to end ends, also when it does not hear of it at first; and what waits for it is patient in its own time."""

import asyncio
import subprocess
import sys
import threading
import time

import pytest

from orchestrator.core.daemons import DaemonThreads
from orchestrator.core.tasks import Stoppable, end, in_time
from tests.product import until


async def test_a_cancellation_that_gets_lost_is_said_again() -> None:
    heard = 0

    async def deaf() -> None:
        nonlocal heard
        while heard < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                heard += 1

    async def at_once() -> None:
        await asyncio.Event().wait()

    async def broken() -> None:
        raise ValueError("of its own")

    tasks = [asyncio.create_task(one()) for one in (deaf, at_once, broken)]
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await end(tasks)
    assert heard == 3
    assert all(task.done() for task in tasks)
    assert isinstance(tasks[2].exception(), ValueError)


def test_what_runs_in_a_thread_is_ended_from_another_and_nothing_begins_after_it() -> None:
    under_way, was_told = threading.Event(), threading.Event()

    async def for_ever() -> str:
        under_way.set()
        try:
            await asyncio.Event().wait()
        finally:
            was_told.set()
        return "never"

    stoppable, came = Stoppable(), ["nothing yet"]
    thread = threading.Thread(target=lambda: came.append(str(stoppable.run(for_ever()))))
    thread.start()
    assert under_way.wait(10)
    stoppable.stop()
    thread.join(10)
    assert (was_told.is_set(), came[1:]) == (True, ["None"])
    assert stoppable.run(for_ever()) is None


def test_what_comes_to_its_end_by_itself_is_returned() -> None:
    async def four() -> int:
        return 4

    stoppable = Stoppable()
    assert stoppable.run(four()) == 4
    stoppable.stop()


def test_a_resolver_that_is_dead_holds_up_neither_what_runs_nor_the_end_of_the_process() -> None:
    code = """
import asyncio, socket, threading, time
from orchestrator.core.tasks import Stoppable

socket.getaddrinfo = lambda *_: time.sleep(3600)

async def look_up():
    try:
        async with asyncio.timeout(0.05):
            await asyncio.get_running_loop().getaddrinfo("dead.test", 80)
    except TimeoutError:
        return "given up"

stoppable = Stoppable()
print([stoppable.run(look_up()) for _ in range(70)].count("given up"), threading.active_count())
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert (run.stdout, run.stderr) == ("70 65\n", ""), "so many threads are stuck, and no more"


def test_threads_that_nobody_waits_for_do_what_was_not_given_up_meanwhile() -> None:
    threads, may_end, done = DaemonThreads("test", 2), threading.Event(), []
    stuck = [threads.submit(may_end.wait, 60) for _ in range(2)]
    until(lambda: all(one.running() for one in stuck), "both threads to be at work")
    given_up = [threads.submit(done.append, number) for number in range(100)]
    assert all(one.cancel() for one in given_up)
    waiting = threads.submit(done.append, "waited")
    failing = threads.submit(int, "no number")
    assert len(threads._waiting) == 2
    threads.shutdown()
    may_end.set()
    with pytest.raises(ValueError, match="no number"):
        failing.result(60)
    assert (waiting.result(60), [one.result(60) for one in stuck], done) == (None, [True, True], ["waited"])


async def test_only_time_in_which_the_loop_turns_counts() -> None:
    done, never = (asyncio.get_running_loop().create_future() for _ in range(2))

    def busy() -> None:
        time.sleep(0.2)
        asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_soon, done.set_result, None)

    asyncio.get_running_loop().call_soon(busy)
    assert await in_time(done, 0.1)
    assert not await in_time(never, 0.01)
