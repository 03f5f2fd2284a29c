"""Callers under limits, and limiters that share a Redis, each as one web worker has it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from orchestrator.core.clock import Clock
from orchestrator.core.errors import TooMany
from orchestrator.core.limits import Limit
from orchestrator.core.redis_async import Line, open_redis, socket_s
from orchestrator.core.types import Caller
from orchestrator.limits.limiter import Limiter
from tests.faulty import BadLine, line_beside
from tests.servers import RedisServer

PATIENT_S = 20.0  # longer than in production: a test is about what happens, not about how busy the machine is
ALICE = Caller(tenant_id=1, tenant="home", key_id=1, key_name="alice", team_id=7)
MODEL = "tiny:latest"
HERE = "127.0.0.1"
DAY_S = 86400


def limit(kind: str = "requests", amount: int = 10, per_s: int = DAY_S, **fields: object) -> Limit:
    """A limit; of a rate it is so slow that nothing drains while a test runs."""
    fields = {"id": 1, "name": f"{kind}-{amount}", "each": "key", **fields}
    return Limit(kind=kind, amount=amount, per_s=0 if kind == "concurrent" else per_s, **fields)  # type: ignore[arg-type]


def under(*limits: Limit, caller: Caller = ALICE) -> Caller:
    return replace(caller, limits=limits)


class Ahead(Clock):
    """The machine's clock, that can be put forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def now(self) -> float:
        return time.time() + self.ahead_s

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s


@pytest.fixture
def clock() -> Ahead:
    return Ahead()


@pytest.fixture
async def closing() -> AsyncIterator[AsyncExitStack]:
    """What is pushed on it is closed after the test."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def line(own_redis: RedisServer) -> Iterator[BadLine]:
    """A way to a Redis of the test's own that can be cut."""
    with line_beside(own_redis) as line:
        yield line


Make = Callable[..., Limiter]


@pytest.fixture
def make(closing: AsyncExitStack, clock: Ahead) -> Make:
    """A function that makes a limiter, as each web worker has one; without a server there is no Redis."""

    def make(server: RedisServer | BadLine | None = None, workers: int = 2, timeout_s: float = PATIENT_S) -> Limiter:
        line = server and Line(open_redis(server.url, socket_s(timeout_s), most_connections=2), timeout_s)
        limiter = Limiter(line, clock, workers)
        closing.push_async_callback(limiter.aclose)
        return limiter

    return make


@pytest.fixture
def redis(redis_server: RedisServer) -> RedisServer:
    """The tests' Redis, empty."""
    redis_server.command("FLUSHALL")
    return redis_server


async def spend(limiter: Limiter, caller: Caller, most: int = 1000) -> int:
    """Ask until it is too many; return how often it was not."""
    for passed in range(most):
        try:
            await limiter.charge(caller, MODEL, HERE)
        except TooMany:
            return passed
    return most


async def until(claim: Callable[[], object], deadline_s: float = 60.0) -> None:
    """Wait until `claim` is true, looking often. Fails after the deadline."""
    give_up = time.monotonic() + deadline_s
    while not claim():
        assert time.monotonic() < give_up, "it did not come true"
        await asyncio.sleep(0.01)
