"""The Redis of a running product gets into every kind of trouble; callers notice nothing but misses."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

from tests.drills.base import Drill, Run, running
from tests.drills.load import Asked, Load, ask, nobody_is_wrong
from tests.drills.provider import ScriptedProvider
from tests.drills.question import Question
from tests.faulty import FAULTS, BadLine, line_beside
from tests.product import Product
from tests.servers import RedisServer

CALLERS = 4
CALM_S = (2.0, 6.0)  # short form, long form
SETTLES_S = 1.0  # after which a fault costs nothing more
FAULTY_S = (1.5, 3.0)
SHORT = ("killed", "stopped", "full", "flushed", "very_late")
PAIRS = (
    ("full", "rather_late"),
    ("flushed", "now_and_then_late"),
    ("read_only", "trickling"),
    ("busy_with_a_script", "swallowing"),
    ("out_of_connections", "very_late"),
)
# The aims are 0.025 s, and 5 s. A verdict must hold on a busy machine too; the figures are printed.
MOST_ADDED_S = 0.25
NORMAL_WITHIN_S = (60.0, 15.0)  # short form, long form
Trouble = Callable[[RedisServer, BadLine], AbstractContextManager[None]]


@contextmanager
def flushed(server: RedisServer, line: BadLine) -> Iterator[None]:
    """Emptied, again and again while it is asked."""
    flushing = asyncio.get_running_loop().create_task(_flush(server))
    try:
        yield
    finally:
        flushing.cancel()


async def _flush(server: RedisServer) -> None:
    while True:
        with contextlib.suppress(OSError):  # it may be in other trouble as well
            await asyncio.to_thread(server.command, "FLUSHALL")
        await asyncio.sleep(0.1)


TROUBLES: dict[str, Trouble] = {**FAULTS, "flushed": flushed}


async def run(run: Run) -> None:
    """One trouble after the other, under steady load."""
    server = RedisServer(takes_debug=True).start()
    try:
        with (
            line_beside(server) as line,
            ScriptedProvider() as provider,
            running(
                run,
                provider,
                REDIS_URL=line.url,
                ORCHESTRATOR_WEB_WORKERS=2,
                ORCHESTRATOR_CACHE_MEMORY=0,  # so that every lookup goes to Redis
            ) as product,
        ):
            async with Load(run, product.base_url, CALLERS) as load:
                await _trouble(run, load, server, line, product)
    finally:
        server.stop()


async def _trouble(run: Run, load: Load, server: RedisServer, line: BadLine, product: Product) -> None:
    base_url = product.base_url
    await _until_normal(run, base_url, "start")
    calm_since = time.monotonic()
    await asyncio.sleep(CALM_S[run.is_long])
    calm_s = run.timed("calm", [one.took_s for one in load.between(calm_since, time.monotonic())])
    names: Sequence[tuple[str, ...]] = [(name,) for name in (TROUBLES if run.is_long else SHORT)]
    for each in (*names, *(PAIRS if run.is_long else ())):
        name = "+".join(each)
        with ExitStack() as troubles:
            for one in each:
                troubles.enter_context(TROUBLES[one](server, line))
            began = time.monotonic()
            await asyncio.sleep(SETTLES_S + FAULTY_S[run.is_long])
            over = time.monotonic()
        run.counts["troubles"] += 1
        if "flushed" not in each:  # which is no trouble but that it makes calls necessary
            during = run.timed(name, [one.took_s for one in load.between(began + SETTLES_S, over)])
            added_s = run.figures[f"{name}_added_p99_s"] = round(max(0.0, during - calm_s), 4)
            run.in_time(added_s, MOST_ADDED_S, f"{name}: added at p99")
        await _until_normal(run, base_url, name)
    failed = [one for one in load.asked if not one.heard.is_right(one.question)]
    run.expect(not failed, f"{len(failed)} of {len(load.asked)} without a right answer: {failed[:1]}")
    nobody_is_wrong(run, load.asked)
    lines = [line for line in product.logs().splitlines() if "Cache tier redis" in line]
    run.counts["log lines about Redis"] = len(lines)


async def _until_normal(run: Run, base_url: str, name: str) -> None:
    """Wait until a fresh answer is kept in Redis and found there."""
    began = time.monotonic()
    asked: list[Asked] = []
    while time.monotonic() - began < NORMAL_WITHIN_S[run.is_long]:
        question = Question(name=f"after-{name}-{len(asked)}")
        asked += [await ask(base_url, question), await ask(base_url, question)]
        if asked[-1].tier == "redis":
            break
        await asyncio.sleep(0.05)
    took_s = run.figures[f"{name}_normal_after_s"] = round(time.monotonic() - began, 2)
    run.expect(asked[-1].tier == "redis", f"{name}: Redis is not in use again after {took_s:g} s")
    nobody_is_wrong(run, asked)


DRILL = Drill("redis", "Redis impaired: callers notice nothing but misses", run, long_within_s=600)
