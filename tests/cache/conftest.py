"""The cast, a clock that is set by hand, and the tiers, each on the real thing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from django_redis.cache import RedisCache

from cache.database import migrate
from cache.entries import Entry
from cache.generation import Generation
from cache.keys import key_to_keep, keys_for
from cache.tiers import sqlite as sqlite_tier
from cache.tiers.base import Tier
from cache.tiers.memory import MemoryTier
from cache.tiers.redis import RedisTier
from cache.tiers.sqlite import SQLiteTier
from orchestrator.core.clock import Clock
from orchestrator.core.types import Caller, ChatRequest, Done, Message, Model, Reply, Usage
from tests.faulty import BadLine
from tests.servers import RedisServer

ALICE = Caller(tenant_id=1, tenant="home", key_id=1, key_name="alice")
BOB = Caller(tenant_id=1, tenant="home", key_id=2, key_name="bob")
CHARLIE = Caller(tenant_id=2, tenant="elsewhere", key_id=3, key_name="charlie")
MODEL = Model(name="tiny:latest", digest="d" * 64, engine="llamacpp")

# Longer than in production: a test is about what happens, not about how busy the machine is.
PATIENT_S = 2.0


class HandClock(Clock):
    """Starts at the true time and moves when it is told to."""

    def __init__(self) -> None:
        self._now = time.time()
        self._monotonic = 1000.0

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._now += seconds
        self._monotonic += seconds

    def set_back(self, seconds: float) -> None:
        """As an operator does: the wall clock moves, time does not."""
        self._now -= seconds


def question(text: str = "What is 2+2?", **fields: object) -> ChatRequest:
    return ChatRequest(model="tiny", messages=(Message(role="user", content=text),), **fields)  # type: ignore[arg-type]


def reply(text: str = "four", *, reason: str = "stop", tokens: int = 1) -> Reply:
    done = Done(reason=reason, usage=Usage(prompt_tokens=5, completion_tokens=tokens))  # type: ignore[arg-type]
    return Reply(model=MODEL.name, text=text, done=done)


MakeEntry = Callable[..., Entry]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def make_entry(clock: HandClock) -> MakeEntry:
    def make(
        text: str = "What is 2+2?",
        answer: Reply | None = None,
        caller: Caller = ALICE,
        model: Model = MODEL,
        ttl_s: float = 3600,
        **fields: object,
    ) -> Entry:
        answer = answer or reply()
        key = key_to_keep(keys_for(question(text, **fields), caller, model), answer.done)
        return Entry(key, answer, clock.now(), clock.now() + ttl_s)

    return make


def redis_cache(server: RedisServer | BadLine, timeout_s: float = PATIENT_S) -> RedisCache:
    return RedisCache(
        server.url,
        {
            "KEY_PREFIX": "orchestrator",
            "OPTIONS": {
                "SERIALIZER": "cache.tiers.redis.Bytes",
                "PARSER_CLASS": "cache.tiers.redis.WholeReply",
                "CONNECTION_POOL_KWARGS": {"protocol": 2, "driver_info": None},
                "SOCKET_CONNECT_TIMEOUT": timeout_s,
                "SOCKET_TIMEOUT": timeout_s,
            },
        },
    )


@pytest.fixture
def cache_file(tmp_path: Path, django_db_blocker: object) -> Iterator[Path]:
    """A cache file of the test's own; not the test database, so that it can be damaged."""
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        path = tmp_path / "cache.sqlite3"
        migrate(path)
        yield path


@pytest.fixture
def generation(tmp_path: Path) -> Iterator[Generation]:
    generation = Generation(tmp_path / "generation")
    yield generation
    generation.close()


@pytest.fixture
async def closing() -> AsyncIterator[AsyncExitStack]:
    """What is pushed on it is closed after the test."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def make_redis_tier(closing: AsyncExitStack, clock: HandClock) -> Callable[..., RedisTier]:
    def make(server: RedisServer | BadLine, deadline_s: float = PATIENT_S) -> RedisTier:
        tier = RedisTier(redis_cache(server, deadline_s), clock, deadline_s, server.url)
        closing.push_async_callback(tier.aclose)
        return tier

    return make


@pytest.fixture
def make_sqlite_tier(
    closing: AsyncExitStack, clock: HandClock, cache_file: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., SQLiteTier]:
    monkeypatch.setattr(sqlite_tier, "READ_S", 10 * PATIENT_S)

    def make(limit: int = 64 * 1024**2) -> SQLiteTier:
        tier = SQLiteTier(cache_file, clock, limit)
        closing.push_async_callback(tier.aclose)
        return tier

    return make


@pytest.fixture
def memory_tier(clock: HandClock) -> MemoryTier:
    return MemoryTier(clock, 1024**2)


@pytest.fixture(params=["memory", "redis", "sqlite"])
def tier(request: pytest.FixtureRequest) -> Tier:
    """Each tier in turn: what they all must do."""
    if request.param == "memory":
        made: Tier = request.getfixturevalue("memory_tier")
    elif request.param == "redis":
        server = request.getfixturevalue("redis_server")
        server.command("FLUSHALL")
        made = request.getfixturevalue("make_redis_tier")(server)
    else:
        made = request.getfixturevalue("make_sqlite_tier")()
    return made


async def until(claim: Callable[[], object], deadline_s: float = 60.0) -> None:
    """Wait until `claim` is true, looking often. Fails after the deadline."""
    give_up = time.monotonic() + deadline_s
    while not claim():
        assert time.monotonic() < give_up, "it did not come true"
        await asyncio.sleep(0.01)
