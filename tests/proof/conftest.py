"""All tiers on the real thing, a provider that keeps its own account, and the ledger's file to look into."""

from __future__ import annotations

import random
import struct
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

import pytest

from cache.purges import PurgeLog
from cache.tiered import TieredCache
from cache.tiers import sqlite as sqlite_tier
from cache.tiers.memory import MemoryTier
from cache.tiers.redis import RedisTier
from cache.tiers.sqlite import SQLiteTier
from orchestrator import wiring
from orchestrator.core.clock import Clock
from orchestrator.core.prices import Price, Rates
from orchestrator.core.types import ChatRequest, Chunk, Done, Model, Usage
from orchestrator.parts import Parts
from orchestrator.pricing.rows import numbered
from tests.cache.conftest import PATIENT_S, cache_file, redis_cache  # noqa: F401  # a fixture
from tests.fakes import FakeEngine
from tests.orchestrator.test_replay import ask, front  # noqa: F401  # fixtures
from tests.servers import RedisServer


@dataclass
class Served:
    """A call as the provider has it in its books."""

    request_id: str
    usage: Usage
    cost: int | None


@dataclass
class Account:
    """What the provider of `openai/big` will tell of its calls, and has told."""

    chance: random.Random = field(default_factory=lambda: random.Random(7))
    served: list[Served] = field(default_factory=list)
    tells_cost: bool = False

    def usage(self) -> Usage:
        """Counts of a call, some of the question's tokens from the provider's own cache, some written to it."""
        prompt = self.chance.randrange(1, 400_000)
        cached = self.chance.randrange(prompt + 1)
        written = self.chance.randrange(prompt - cached + 1)
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=self.chance.randrange(1, 4_000),
            cached_tokens=cached,
            cache_write_tokens=written,
            cache_write_1h_tokens=self.chance.randrange(written + 1),
            cost_microusd=self.chance.randrange(10**6) if self.tells_cost else None,
        )


def price(chance: random.Random) -> Price:
    """A price with rates for everything, kept as a row."""

    def rate() -> Decimal:
        return Decimal(chance.randrange(1, 30_000)) / 1000

    some = {name: rate() for name in ("cache_read", "cache_write", "cache_write_1h") if chance.random() < 0.5}
    long = Rates(above=200_000, input=rate(), output=rate(), cache_read=rate())
    new = Price(input=rate(), output=rate(), longer=(long,), source="operator", **some)
    return numbered([("openai", "big", new)])[0]


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.fixture
def cloud(cloud: FakeEngine, account: Account, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """It chats and makes vectors, and writes down each call that it answered."""

    async def chat(request: ChatRequest, model: Model) -> AsyncGenerator[Chunk, None]:
        cloud.calls += 1
        usage = account.usage()
        if cloud.gate:
            await cloud.gate.wait()
        if request.inputs is not None:
            yield Chunk(vectors=tuple(struct.pack("<2f", 0.6, 0.8) for _ in request.inputs))
        else:
            yield Chunk(text="four")
        cost = usage.cost_microusd
        if cost is None and model.price is not None:
            cost = model.price.of(usage)
        account.served.append(Served(request.request_id, usage, cost))
        yield Chunk(done=Done(reason="stop", usage=usage))

    monkeypatch.setattr(cloud, "chat", chat)
    cloud.model = replace(cloud.model, capabilities=cloud.model.capabilities | {"embedding"})
    return cloud


@pytest.fixture
def memory() -> MemoryTier:
    return MemoryTier(Clock(), 10 * 1024**2)


@pytest.fixture
async def parts(
    cache_file: Path,  # noqa: F811
    parts: Parts,
    memory: MemoryTier,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Parts:
    """With Redis and SQLite behind memory."""
    monkeypatch.setattr(sqlite_tier, "READ_S", PATIENT_S)
    redis_server.command("FLUSHALL")
    redis = RedisTier(redis_cache(redis_server), parts.clock, PATIENT_S, redis_server.url)
    file = SQLiteTier(cache_file, parts.clock, 64 * 1024**2)
    cache = TieredCache((memory, redis, file), parts.clock, parts.generation, PurgeLog(file))
    made = replace(parts, cache=cache)
    monkeypatch.setattr(wiring, "_parts", made)  # who made the others closes them, and these
    return made
