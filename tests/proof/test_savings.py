"""What answers claim to have saved is what the provider's own account says, and who tampers with it is found."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from cache.tiers.memory import MemoryTier
from orchestrator.core.permissions import EVERYBODY
from orchestrator.core.prices import Price, Rates
from orchestrator.core.types import Usage
from orchestrator.models import Charge, PriceRow
from orchestrator.parts import Parts
from orchestrator.proof.savings import Proof, cost_of, prove, read_rates
from tests.fakes import FakeEngine
from tests.keys import issue_key
from tests.proof.conftest import Account, price
from tests.servers import RedisServer

Ask = Callable[..., Awaitable[Any]]
CHATS = ("/api/chat", "/v1/chat/completions", "/v1/messages")
WITHOUT_A_CALL = {"memory", "redis", "sqlite", "collapsed"}


def proven(**fields: Any) -> Proof:
    """Of yesterday and today: a test may run over midnight."""
    today = datetime.now(UTC).date()
    ledger = Path(connection.settings_dict["NAME"])
    return prove(ledger, **{"since": today - timedelta(days=1), "until": today + timedelta(days=1)} | fields)


def body_of(text: str, path: str, *, stream: bool = False, model: str = "openai/big") -> tuple[dict[str, Any], str]:
    if path == "/api/embed":
        return {"model": model, "input": text}, path
    asked = {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream, "temperature": 0}
    return asked | {"max_tokens": 5_000, "options": {"temperature": 0, "num_predict": 5_000}}, path


class Traffic:
    """Asks at random, and reckons from the provider's account what each answer without a call must have saved."""

    def __init__(
        self,
        ask: Ask,
        parts: Parts,
        cloud: FakeEngine,
        account: Account,
        memory: MemoryTier,
        redis_server: RedisServer,
        seed: int = 0,
    ) -> None:
        self.ask, self.parts, self.cloud, self.account = ask, parts, cloud, account
        self.memory, self.redis = memory, redis_server
        self.chance = random.Random(seed)
        self.asked = self.replayed = 0

    async def step(self, keys: list[str]) -> None:
        match self.chance.randrange(16):
            case 0:
                await self.charges_anew()
            case 1 | 2:
                self.memory.forget()
            case 3:
                self.redis.command("FLUSHALL")
                self.memory.forget()
            case 4 | 5:
                await self.at_once(keys)
            case _:
                await self.one(self.chance.choice(keys))

    async def charges_anew(self) -> None:
        """Another price, or none; and the provider begins or ends to tell what a call costs."""
        self.account.tells_cost = self.chance.random() < 0.3
        new = None
        if self.chance.random() < 0.8:
            new = await self.parts.managing.run(60, price, self.chance)
        self.cloud.model = replace(self.cloud.model, price=new)

    async def one(self, key: str) -> None:
        """Somebody asks, a few times."""
        path = self.chance.choice([*CHATS, "/api/embed"])
        body, path = body_of(f"What is {self.chance.randrange(4)}?", path, stream=self.chance.random() < 0.5)
        for _ in range(self.chance.randrange(1, 5)):
            self.asked += 1
            reply = await self.ask(body, path, authorization=f"Bearer {key}")
            assert reply.status == 200, reply.body
            self.replayed += reply.is_replayed

    async def at_once(self, keys: list[str]) -> None:
        """Several ask something new at the same time."""
        self.cloud.gate = asyncio.Event()
        key, text = self.chance.choice(keys), f"What is new about {self.asked}?"
        count = self.chance.randrange(2, 5)
        asking = []
        body, path = body_of(text, "/api/chat", stream=self.chance.random() < 0.5)
        for _ in range(count):
            self.asked += 1
            asking.append(asyncio.create_task(self.ask(body, path, authorization=f"Bearer {key}")))
        async with asyncio.timeout(60):
            while self.parts.inflight.listeners < count:
                await asyncio.sleep(0.001)
        self.cloud.gate.set()
        for reply in await asyncio.gather(*asking):
            assert reply.status == 200, reply.body
        self.cloud.gate = None


@pytest.mark.parametrize("seed", range(3))
async def test_every_claim_is_what_paid_for_its_answer_says(
    ask: Ask,
    parts: Parts,
    cloud: FakeEngine,
    account: Account,
    memory: MemoryTier,
    redis_server: RedisServer,
    recorded: Callable[[int], Any],
    seed: int,
) -> None:
    keys = [await parts.managing.run(60, issue_key, name, tenant) for name, tenant in (("a", "acme"), ("g", "globex"))]
    traffic = Traffic(ask, parts, cloud, account, memory, redis_server, seed)
    await traffic.charges_anew()
    for _ in range(120):
        await traffic.step(keys)
    records = await recorded(traffic.asked)
    charges = {one.request_id: one for one in await parts.managing.run(60, lambda: list(Charge.objects.of(EVERYBODY)))}
    assert {one.request_id: one.cost for one in account.served} == {
        request_id: one.cost_microusd for request_id, one in charges.items()
    }

    proof = await parts.managing.run(10, proven)
    assert not proof.differing, proof.differences
    hits = [record for record in records if record.tier in WITHOUT_A_CALL]
    assert {record.tier for record in hits} == WITHOUT_A_CALL
    assert traffic.replayed
    assert proof.answers == len(hits)
    assert proof.proven == proof.saved == sum(record.saved_microusd or 0 for record in hits) > 0
    assert proof.unknown == sum(record.saved_microusd is None for record in hits)

    served = {one.request_id: one for one in account.served}
    whose = {record.request_id: record.tenant_id for record in records}
    prices = await parts.managing.run(60, lambda: list(PriceRow.objects.all()))
    rates = {row.pk: row.rates for row in prices}
    used = {row.pk for row in prices if row.last_used_at is not None}
    named = {one.price_id for one in charges.values()} | {record.saved_price_id for record in hits}
    assert used == named - {None}
    for record in hits:
        paid = served[record.saved_of]
        assert whose[record.saved_of] == record.tenant_id
        if record.tier == "collapsed" or record.saved_price_id is None:
            assert record.saved_microusd == paid.cost, "what the call was charged"
        else:
            assert record.saved_microusd == by_hand(paid.usage, rates[record.saved_price_id])


def by_hand(usage: Usage, steps: list[dict[str, Any]]) -> int:
    """As an invoice would have it."""
    rates = steps[usage.prompt_tokens > 200_000]
    short = usage.cache_write_tokens - usage.cache_write_1h_tokens
    written = rates.get("cache_write") or rates["input"]
    lines = (
        (usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens, rates["input"]),
        (usage.cached_tokens, rates.get("cache_read") or rates["input"]),
        (short, written),
        (usage.cache_write_1h_tokens, rates.get("cache_write_1h") or written),
        (usage.completion_tokens, rates["output"]),
    )
    thousandths = sum(count * int(Decimal(rate) * 1000) for count, rate in lines)
    return -(-thousandths // 1000)


_tokens = st.integers(0, 2**40)
_rate = st.decimals(0, 10_000, places=6)
_rates = st.fixed_dictionaries(
    {"input": _rate, "output": _rate},
    optional=dict.fromkeys(("cache_read", "cache_write", "cache_write_1h"), st.none() | _rate),
)


@given(
    st.tuples(_tokens, _tokens, _tokens, _tokens, _tokens),
    _rates,
    st.dictionaries(st.integers(1, 2**40), _rates, max_size=3),
)
def test_it_reckons_by_fractions_what_the_product_does_by_decimals(
    counts: tuple[int, ...], rates: dict[str, Any], longer: dict[int, dict[str, Any]]
) -> None:
    steps = tuple(Rates(above=above, **longer[above]) for above in sorted(longer))
    names = ("prompt", "completion", "cached", "written", "for_an_hour")
    columns = (f"{name}_tokens" for name in ("prompt", "completion", "cached", "cache_write", "cache_write_1h"))
    usage = Usage(**dict(zip(columns, counts, strict=True)))  # type: ignore[arg-type]
    kept = [rates, *({"above": above, **one} for above, one in longer.items())]
    read = read_rates(json.dumps(kept, default=str))
    assert read is not None
    with localcontext() as context:
        context.prec = 60
        assert cost_of(dict(zip(names, counts, strict=True)), read) == Price(**rates, longer=steps).of(usage)


@pytest.mark.parametrize(
    "kept",
    [
        "",
        "[]",
        "{}",
        "[1]",
        '[{"input": "1"}]',
        '[{"input": "x", "output": "1"}]',
        '[{"input": "1", "output": "1", "above": 9}]',
    ],
)
def test_rates_that_cannot_be_read_are_none(kept: str) -> None:
    assert read_rates(kept) is None
