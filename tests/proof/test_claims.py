"""What one answer without a call claims, and when it claims nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from cache.inflight import InFlight
from cache.tiers.memory import MemoryTier
from orchestrator.answers import Answer
from orchestrator.core.errors import EngineError
from orchestrator.core.prices import Price
from orchestrator.core.types import Caller, ChatRequest, Chunk, Done, MadeBy, Message, Model, Usage
from orchestrator.ledger.bills import price_of
from orchestrator.ledger.savings import Saving, of_hit, of_shared, signed
from orchestrator.parts import Parts
from orchestrator.pipeline import answer
from orchestrator.replay import ReplayFront
from tests.fakes import FakeEngine
from tests.orchestrator.test_call_lost import Others
from tests.proof.conftest import Account, price

PRICE = Price(input=Decimal(2), output=Decimal(3), cache_read=Decimal(1), number=9)
PAID = Model(name="openai/big", digest="d" * 64, engine="openai", is_paid=True, price=PRICE)
UNPRICED = replace(PAID, price=None)
LOCAL = Model(name="tiny:latest", digest="d" * 64, engine="llamacpp")
USAGE = Usage(prompt_tokens=100, completion_tokens=10, cached_tokens=40)
SEARCHED = replace(USAGE, extras=("web search",), cost_microusd=7)
BY_PRICE = 60 * 2 + 40 * 1 + 10 * 3


def kept(maker: MadeBy | None, usage: Usage = USAGE) -> Done:
    return Done(reason="stop", usage=usage, made_by=maker)


def maker(model: Model = PAID, told: Usage = USAGE, charged: Usage | None = None) -> MadeBy | None:
    usage = charged or told
    cost = usage.cost_microusd
    if cost is None and model.price is not None:
        cost = model.price.of(usage)
    return signed(kept(None, told), "r1", usage, {"cost_microusd": cost} if model.is_paid else None).made_by


@pytest.mark.parametrize(
    ("done", "model", "claim"),
    [
        pytest.param(kept(maker()), PAID, Saving(BY_PRICE, "price", "r1", 9), id="by the price of now"),
        pytest.param(kept(maker(UNPRICED)), PAID, Saving(BY_PRICE, "price", "r1", 9), id="though there was none then"),
        pytest.param(kept(maker()), UNPRICED, Saving(BY_PRICE, "charge", "r1"), id="no price now: as charged"),
        pytest.param(
            kept(maker(told=replace(USAGE, cost_microusd=5))),
            replace(PAID, price=replace(PRICE, number=None)),
            Saving(5, "charge", "r1"),
            id="a price that is not kept yet: as charged",
        ),
        pytest.param(
            kept(maker(told=replace(USAGE, cost_microusd=5))), UNPRICED, Saving(5, "charge", "r1"), id="as it was told"
        ),
        pytest.param(kept(maker(UNPRICED)), UNPRICED, Saving(None, "unknown", "r1"), id="never a price"),
        pytest.param(kept(None), PAID, Saving(None, "unknown"), id="kept before makers were noted"),
        pytest.param(kept(None), LOCAL, Saving(0, "free"), id="a local model's, kept before that"),
        pytest.param(
            kept(maker(told=SEARCHED), SEARCHED),
            PAID,
            Saving(7, "charge", "r1"),
            id="more than tokens was charged for: as charged",
        ),
        pytest.param(
            kept(maker()),
            replace(PAID, extras=("service tier flex",)),
            Saving(BY_PRICE, "charge", "r1"),
            id="or is now",
        ),
        pytest.param(kept(maker(LOCAL)), PAID, Saving(0, "free", "r1"), id="nothing paid for it"),
        pytest.param(kept(maker()), LOCAL, Saving(0, "free", "r1"), id="nothing would be paid now"),
        pytest.param(
            kept(maker(told=Usage(), charged=USAGE), Usage()),
            PAID,
            Saving(BY_PRICE, "price", "r1", 9),
            id="by what was charged, where the answer tells no counts",
        ),
    ],
)
def test_a_hit_claims_a_call_of_now_with_the_tokens_of_then(done: Done, model: Model, claim: Saving) -> None:
    assert of_hit(done, model, price_of(model)) == claim


def test_a_claim_knows_when_its_price_ends() -> None:
    assert of_hit(kept(maker()), PAID, replace(PRICE, until=7.0)).until == 7.0


@pytest.mark.parametrize(
    ("done", "model", "claim"),
    [
        pytest.param(kept(maker()), UNPRICED, Saving(BY_PRICE, "charge", "r1"), id="what the leader was charged"),
        pytest.param(kept(maker(UNPRICED)), PAID, Saving(None, "unknown", "r1"), id="which nobody knows"),
        pytest.param(kept(maker(LOCAL)), PAID, Saving(0, "free", "r1"), id="a local model answered"),
        pytest.param(kept(None), PAID, Saving(None, "unknown"), id="a process that notes no makers"),
        pytest.param(kept(None), LOCAL, Saving(0, "free"), id="and a local model"),
    ],
)
def test_who_shares_a_call_claims_its_charge(done: Done, model: Model, claim: Saving) -> None:
    assert of_shared(done, model) == claim


async def asked(parts: Parts, caller: Caller, text: str = "What?", **fields: Any) -> Answer:
    request = ChatRequest(model="openai/big", messages=(Message(role="user", content=text),), **fields)
    begun = await answer(request, caller, parts)
    async with aclosing(begun.chunks) as chunks:
        async for _ in chunks:
            pass
    return begun


async def test_a_reader_of_anothers_answer_saves_and_the_owner_paid(
    parts: Parts, cloud: FakeEngine, cast: dict[str, Caller], recorded: Callable[[int], Any]
) -> None:
    cloud.model = replace(cloud.model, price=PRICE)
    owner = cast["alice"]
    reader = replace(cast["charlie"], reads_from=((owner.tenant_id, owner.tenant),))
    await asked(parts, owner, request_id="paid")
    await asked(parts, reader, request_id="read")
    paid, read = await recorded(2)
    assert (read.tenant_id, read.granted_by_id) == (reader.tenant_id, owner.tenant_id)
    assert (read.saved_of, read.saved_microusd, read.saved_price_id) == ("paid", paid.cost_microusd, 9)
    assert (paid.saved_microusd, paid.saved_why, paid.saved_of) == (None, None, None)


async def test_an_answer_whose_tokens_nobody_counted_is_marked_when_it_is_given_again(
    parts: Parts,
    cloud: FakeEngine,
    account: Account,
    cast: dict[str, Caller],
    recorded: Callable[[int], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cloud.model = replace(cloud.model, price=PRICE)
    guess = Usage(prompt_tokens=9, completion_tokens=4, is_estimated=True)
    monkeypatch.setattr(account, "usage", lambda: guess)
    for _ in range(2):
        await asked(parts, cast["alice"])
    _, again = await recorded(2)
    assert (again.tier, again.is_estimated, again.saved_microusd) == ("memory", True, 30)


async def test_who_hangs_up_on_a_kept_answer_claims_nothing(
    parts: Parts, cloud: FakeEngine, cast: dict[str, Caller], recorded: Callable[[int], Any]
) -> None:
    cloud.model = replace(cloud.model, price=PRICE)
    await asked(parts, cast["alice"])
    request = ChatRequest(model="openai/big", messages=(Message(role="user", content="What?"),), stream=True)
    begun = await answer(request, cast["alice"], parts)
    await anext(begun.chunks)
    await begun.chunks.aclose()
    _, left = await recorded(2)
    assert (left.tier, left.outcome, left.saved_microusd, left.saved_why) == ("memory", "cancelled", None, None)


async def test_a_shared_call_that_breaks_saved_nobody_anything(
    parts: Parts,
    cloud: FakeEngine,
    cast: dict[str, Caller],
    recorded: Callable[[int], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cloud.gate = asyncio.Event()

    async def breaks(*_: Any) -> Any:
        yield Chunk(text="fo")
        await cloud.gate.wait()  # type: ignore[union-attr]  # set above
        raise EngineError("broken off")

    monkeypatch.setattr(cloud, "chat", breaks)
    asking = [asyncio.create_task(asked(parts, cast["alice"])) for _ in range(3)]
    async with asyncio.timeout(60):
        while parts.inflight.listeners < 3:
            await asyncio.sleep(0)
    cloud.gate.set()
    await asyncio.gather(*asking, return_exceptions=True)
    records = await recorded(3)
    assert sorted(record.tier for record in records) == ["collapsed", "collapsed", "miss"]
    assert {(record.saved_microusd, record.saved_why) for record in records} == {(None, None)}


async def test_who_follows_another_processs_call_claims_its_charge(
    parts: Parts, cloud: FakeEngine, cast: dict[str, Caller], recorded: Callable[[int], Any]
) -> None:
    done = kept(MadeBy(request_id="theirs", is_paid=True, cost_microusd=123))
    shared = replace(parts, inflight=InFlight(Others([Chunk(text="four"), Chunk(done=done)])))
    await asked(shared, cast["alice"])
    (record,) = await recorded(1)
    assert (record.tier, record.saved_why, record.saved_of, record.saved_microusd) == (
        "collapsed",
        "charge",
        "theirs",
        123,
    )


async def test_an_answer_that_comes_back_from_a_slower_tier_knows_who_paid(
    parts: Parts, cloud: FakeEngine, memory: MemoryTier, cast: dict[str, Caller], recorded: Callable[[int], Any]
) -> None:
    cloud.model = replace(cloud.model, price=PRICE)
    await asked(parts, cast["alice"], request_id="paid")
    memory.forget()
    await asked(parts, cast["alice"])
    await asked(parts, cast["alice"])
    paid, *others = await recorded(3)
    assert [record.tier for record in others] == ["redis", "memory"]
    assert {(record.saved_of, record.saved_microusd) for record in others} == {("paid", paid.cost_microusd)}


async def test_what_is_replayed_claims_by_the_price_in_force(
    ask: Callable[..., Awaitable[Any]],
    front: ReplayFront,
    parts: Parts,
    cloud: FakeEngine,
    account: Account,
    recorded: Callable[[int], Any],
) -> None:
    chance = random.Random(1)
    body = {"model": "openai/big", "messages": [{"role": "user", "content": "What?"}], "stream": False}
    prices = [await parts.managing.run(60, price, chance) for _ in range(2)]
    replayed = []
    for one in prices:
        cloud.model = replace(cloud.model, price=one)
        front._models_at = front._looked_at = -10.0  # as if a while had gone by
        replayed += [(await ask(body)).is_replayed for _ in range(3)]
    assert replayed == [False, False, True, False, True, True]
    _, *again = sorted(await recorded(6), key=lambda record: record.at)
    (paid,) = account.served
    assert [record.saved_price_id for record in again] == [prices[0].number] * 2 + [prices[1].number] * 3
    assert [record.saved_microusd for record in again] == [prices[0].of(paid.usage)] * 2 + [
        prices[1].of(paid.usage)
    ] * 3


async def test_what_is_replayed_claims_no_price_that_has_ended(
    ask: Callable[..., Awaitable[Any]], parts: Parts, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.model = replace(cloud.model, price=PRICE)
    body: dict[str, Any] = {"model": "openai/big", "messages": [{"role": "user", "content": "What?"}], "stream": False}
    for until, is_replayed in ((parts.clock.now() + 3600, True), (parts.clock.now() - 1, False)):
        monkeypatch.setattr("orchestrator.kept.of_hit", lambda *of, until=until: of_hit(*of)._replace(until=until))
        body["messages"][0]["content"] += "?"
        assert [(await ask(body)).is_replayed for _ in range(3)] == [False, False, is_replayed]


async def test_stats_tell_what_was_saved(
    client: Any, parts: Parts, cloud: FakeEngine, account: Account, recorded: Callable[[int], Any]
) -> None:
    account.tells_cost = True
    body = {"model": "openai/big", "messages": [{"role": "user", "content": "What?"}], "stream": False}
    for _ in range(3):
        await client.post("/api/chat", json=body)
    await recorded(3)
    saved = (await client.get("/api/stats")).json()["saved"]
    cost = account.served[0].cost
    assert saved == {
        "microusd": 2 * cost,  # type: ignore[operator]  # it is told
        "unknown": 0,
        "by_tier": {"memory": 2 * cost, "redis": 0, "sqlite": 0, "semantic": 0, "collapsed": 0},  # type: ignore[operator]
    }
    parts.metrics.hand_over()
    page = (await client.get("/metrics")).text
    assert f'orchestrator_saved_microdollars_total{{tier="memory"}} {float(2 * cost)}' in page  # type: ignore[operator]
