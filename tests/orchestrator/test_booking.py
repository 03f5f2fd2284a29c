"""Each place that is asked is charged for, whatever becomes of the call; scripted engines, everything else real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import httpx
import pytest

from orchestrator import failover, wiring
from orchestrator.answers import Answer
from orchestrator.catalogue import Catalogue
from orchestrator.core.budgets import Budget
from orchestrator.core.errors import (
    BudgetSpent,
    EngineError,
    EngineTimeout,
    EngineUnavailable,
    EngineUnreachable,
    LedgerUnavailable,
    PriceUnknown,
    RateLimited,
)
from orchestrator.core.permissions import EVERYBODY
from orchestrator.core.prices import Price
from orchestrator.core.types import Caller, Chunk, Done, Model, Usage
from orchestrator.ledger import bills
from orchestrator.ledger.estimate import UNCAPPED
from orchestrator.ledger.holds import Charged, Line, Reservation
from orchestrator.models import Charge, RequestRecord
from orchestrator.parts import Parts
from orchestrator.pipeline import answer
from orchestrator.registry.entries import DeploymentEntry, ModelEntry, Registry
from routing.health import FAILURES, FIRST_PAUSE_S
from tests.fakes import FakeEngine, SetClock
from tests.orchestrator.test_pipeline import question, read

HARD = Budget(id=1, name="all", period="month", each="tenant", amount=1_000_000)


@pytest.fixture
def groq() -> FakeEngine:
    return FakeEngine("groq", "groq/big", is_paid=True)


@pytest.fixture
def both(
    parts: Parts, cloud: FakeEngine, groq: FakeEngine, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> Parts:
    """`big` is openai's at 2 and 10, then groq's at ten times that; `openai/big` falls back to `tiny`."""
    for one, factor in ((cloud, 1), (groq, 10)):
        price = Price(input=Decimal(2 * factor), output=Decimal(10 * factor))
        one.model = replace(one.model, price=price, capabilities=frozenset({"completion"}))
    catalogue = Catalogue([cloud, groq, engine])
    first, second = (
        DeploymentEntry(provider=name, remote_name="big", rank=rank) for rank, name in enumerate(("openai", "groq"))
    )
    models = (
        ModelEntry(name="big", deployments=(first, second)),
        ModelEntry(name="hedged", deployments=(first, second), hedge_after_s=0.01),
        ModelEntry(name="openai/big", fallbacks=("tiny",)),
    )
    catalogue.apply(Registry(models=models))
    both = replace(parts, catalogue=catalogue)
    monkeypatch.setattr(wiring, "_parts", both)
    return both


@pytest.fixture
def begin(both: Parts, cast: dict[str, Caller]) -> Callable[..., Any]:
    async def begin(model: str = "big", budgets: tuple[Budget, ...] = (), **fields: Any) -> Answer:
        return await answer(question(model=model, **fields), replace(cast["alice"], budgets=budgets), both)

    return begin


Begin = Callable[..., Any]
Booked = tuple[RequestRecord, list[tuple[str, str, int, int, int | None]]]


async def booked(parts: Parts) -> Booked:
    """The record, and of each charge: the provider, how it ended, its tokens, what it cost."""
    async with asyncio.timeout(60):
        while not parts.ledger.written:
            await asyncio.sleep(0.01)
    await asyncio.to_thread(parts.ledger.close)
    record, charges = await parts.reads.run(
        60, lambda: (RequestRecord.objects.of(EVERYBODY).get(), list(Charge.objects.of(EVERYBODY).order_by("id")))
    )
    known = [charge.cost_microusd for charge in charges]
    assert record.cost_microusd == (None if None in known else sum(filter(None, known)))
    assert {charge.request_id for charge in charges} <= {record.request_id}
    return record, [
        (one.provider, one.outcome, one.prompt_tokens, one.completion_tokens, one.cost_microusd) for one in charges
    ]


async def leave(begun: Answer, once: Callable[[], bool]) -> None:
    """Hang up as soon as something is so."""
    reading = asyncio.ensure_future(anext(begun.chunks))
    async with asyncio.timeout(60):
        while not once():
            await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait({reading})
    await begun.chunks.aclose()


def scripted(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, *chunks: Chunk, then: Exception | None) -> list[int]:
    """Have it say this and then fail, or else wait for ever. What is returned grows with each call."""
    calls: list[int] = []

    async def chat(*_: object) -> AsyncIterator[Chunk]:
        calls.append(1)
        for chunk in chunks:
            yield chunk
        if then is None:
            await asyncio.Event().wait()
        raise then or AssertionError

    monkeypatch.setattr(engine, "chat", chat)
    return calls


async def test_an_answer_is_one_charge_on_disk_before_its_last_chunk(both: Parts, begin: Begin) -> None:
    begun = await begin()
    async for chunk in begun.chunks:
        if chunk.done:
            assert await both.reads.run(60, Charge.rows.count) == 1
    record, charges = await booked(both)
    assert charges == [("openai", "done", 7, 2, 34)]
    assert (record.prompt_tokens, record.completion_tokens, record.is_estimated) == (7, 2, False)


async def test_who_leaves_before_the_first_piece_is_charged_by_the_place_that_was_asked(
    both: Parts, begin: Begin, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = scripted(cloud, monkeypatch, then=None)
    await leave(await begin(), lambda: bool(calls))
    record, charges = await booked(both)
    assert charges == [("openai", "cancelled", 3, 0, 6)]
    assert (record.outcome, record.is_paid, record.is_estimated, record.prompt_tokens) == ("cancelled", True, True, 3)


async def test_who_leaves_during_a_second_attempt_is_charged_for_both(
    both: Parts, begin: Begin, cloud: FakeEngine, groq: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(cloud, monkeypatch, then=EngineTimeout("silent"))
    calls = scripted(groq, monkeypatch, then=None)
    await leave(await begin(), lambda: bool(calls))
    _, charges = await booked(both)
    assert charges == [("openai", "engine_timeout", 3, 0, 6), ("groq", "cancelled", 3, 0, 60)]


async def test_who_leaves_during_a_race_is_charged_for_both(
    both: Parts, begin: Begin, cloud: FakeEngine, groq: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(cloud, monkeypatch, Chunk(usage=Usage(prompt_tokens=50)), then=None)
    calls = scripted(groq, monkeypatch, then=None)
    await leave(await begin("hedged"), lambda: bool(calls))
    await failover.closed()
    _, charges = await booked(both)
    assert sorted(charges) == [("groq", "cancelled", 3, 0, 60), ("openai", "cancelled", 50, 0, 100)]


async def test_who_was_outraced_charges_as_well(
    both: Parts, begin: Begin, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(cloud, monkeypatch, then=None)
    await read(await begin("hedged"))
    await failover.closed()
    record, charges = await booked(both)
    assert sorted(charges) == [("groq", "done", 7, 2, 340), ("openai", "outraced", 3, 0, 6)]
    assert (record.provider, record.prompt_tokens, record.is_estimated) == ("groq", 7, False)


@pytest.mark.parametrize("leaves", [False, True])
async def test_who_is_refused_as_another_speaks_failed_and_was_not_outraced(
    both: Parts, begin: Begin, cloud: FakeEngine, groq: FakeEngine, monkeypatch: pytest.MonkeyPatch, *, leaves: bool
) -> None:
    speaks = asyncio.Event()

    async def refuse(*_: object) -> AsyncIterator[Chunk]:
        await speaks.wait()
        raise EngineUnavailable("HTTP 503")
        yield Chunk()

    async def speak(*_: object) -> AsyncIterator[Chunk]:
        speaks.set()
        if leaves:
            await asyncio.Event().wait()
        yield Chunk(text="four")
        yield Chunk(done=Done(reason="stop", usage=Usage(prompt_tokens=7, completion_tokens=1)))

    monkeypatch.setattr(cloud, "chat", refuse)
    monkeypatch.setattr(groq, "chat", speak)
    begun = await begin("hedged")
    if leaves:
        await leave(begun, speaks.is_set)
    else:
        assert await read(begun) == "four"
    await failover.closed()
    assert [(one.provider, one.outcome) for one in begun.entry.attempts] == [("openai", "engine_unavailable")]
    place = next(place for (provider, _), place in both.places._places.items() if provider == "openai")
    assert place.kind == "engine_unavailable"
    assert not place.breaker.is_quiet
    record, charges = await booked(both)
    assert [(provider, outcome) for provider, outcome, *_ in charges] == [("groq", "cancelled" if leaves else "done")]
    assert leaves or "openai" in record.route


@pytest.mark.parametrize(
    ("said", "error", "charged"),
    [
        ((), EngineTimeout("silent"), (3, 0, 6)),
        ((), EngineError("broke off"), (3, 0, 6)),
        ((Chunk(text="x" * 400),), EngineError("broke off"), (3, 100, 1_006)),
        ((Chunk(text="x" * 400),), RateLimited("too many"), (3, 100, 1_006)),
        ((Chunk(usage=Usage(prompt_tokens=40)),), EngineUnavailable("trouble"), (40, 0, 80)),
        ((Chunk(usage=Usage(completion_tokens=500, is_estimated=True)),), EngineError("torn call"), (3, 500, 5_006)),
        ((), ZeroDivisionError("surprise"), (3, 0, 6)),
    ],
)
async def test_what_fails_is_charged_for_what_it_made(
    both: Parts,
    begin: Begin,
    cloud: FakeEngine,
    groq: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
    said: tuple[Chunk, ...],
    error: Exception,
    charged: tuple[int, int, int],
) -> None:
    scripted(cloud, monkeypatch, *said, then=error)
    groq.error = EngineUnreachable("refused")
    groq.pieces = ()
    with pytest.raises(Exception, match=r"silent|broke|many|trouble|torn|internal|refused"):
        await read(await begin())
    record, ((provider, _, *booked_so),) = await booked(both)
    assert (provider, tuple(booked_so)) == ("openai", charged)
    assert record.is_estimated


@pytest.mark.parametrize(("has_made", "count"), [(False, 0), (True, 1), (None, 0)])
async def test_whether_anything_was_made_is_said_by_who_knows(
    both: Parts, begin: Begin, cloud: FakeEngine, has_made: bool | None, count: int
) -> None:
    cloud.pieces, cloud.error = (), EngineUnavailable("HTTP 503, or within an answer")
    cloud.error.has_made = has_made
    await read(await begin("openai/big"))
    record, charges = await booked(both)
    assert (record.model, record.is_paid, len(charges)) == ("tiny:latest", bool(count), count)


async def test_an_answer_for_nothing_after_one_that_failed_costs_what_that_did(
    both: Parts, begin: Begin, cloud: FakeEngine
) -> None:
    cloud.pieces, cloud.error = (), EngineTimeout("silent")
    begun = await begin("openai/big")
    assert await read(begun) == "four"
    record, charges = await booked(both)
    assert (record.model, record.is_paid, record.prompt_tokens) == ("tiny:latest", True, 7)
    assert charges == [("openai", "engine_timeout", 3, 0, 6)]
    assert begun.entry.tokens == 3 + 9


async def test_an_answer_that_is_too_long_is_charged(both: Parts, begin: Begin, cloud: FakeEngine) -> None:
    cloud.pieces = ["x" * 600_000, "y" * 600_000]
    with pytest.raises(EngineError, match="ORCHESTRATOR_MAX_ANSWER"):
        await read(await begin())
    _, ((_, _, _, tokens, _),) = await booked(both)
    assert tokens == 300_000


# Budgets: the ledger refuses, or is slow; what comes of that here.


async def test_a_place_that_a_budget_refuses_is_passed_over(
    both: Parts, begin: Begin, cloud: FakeEngine, groq: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Reservation] = []

    async def reserve(reservation: Reservation) -> None:
        asked.append(reservation)
        if reservation.call["provider"] == "groq":
            raise BudgetSpent("The budget 'all' has 1 USD left.", retry_after_s=60)

    monkeypatch.setattr(both.ledger, "reserve", reserve)
    cloud.pieces, cloud.error = (), EngineUnavailable("HTTP 503")
    with pytest.raises(EngineUnavailable, match="'all' has 1 USD left"):
        await read(await begin(budgets=(HARD,)))
    assert [one.call["provider"] for one in asked] == ["openai", "groq", *["openai"] * (len(asked) - 2)]
    assert groq.calls == 0
    assert "groq" not in dict(both.places.calls())
    with pytest.raises(BudgetSpent) as told:
        await read(await begin("groq/big", budgets=(HARD,)))
    assert told.value.retry_after_s == 60


async def test_without_a_price_another_is_asked_where_a_budget_is_to_hold(
    both: Parts, begin: Begin, cloud: FakeEngine, groq: FakeEngine
) -> None:
    cloud.model = replace(cloud.model, price=None)
    begun = await begin(budgets=(HARD,))
    await read(begun)
    assert (begun.entry.model, cloud.calls) == ("groq/big", 0)
    groq.model = replace(groq.model, price=None)
    with pytest.raises(PriceUnknown, match="Nobody answered"):
        await read(await begin(budgets=(HARD,), options={"seed": 1}))


@pytest.mark.parametrize("leaves", [True, False])
async def test_a_turn_that_is_not_used_for_want_of_money_is_given_back(
    both: Parts, begin: Begin, groq: FakeEngine, monkeypatch: pytest.MonkeyPatch, *, leaves: bool
) -> None:
    """A place that was out has one turn to show that it is back: it must not be lost to who never asked."""
    clock = SetClock()
    monkeypatch.setattr(both.places, "_clock", clock)
    groq.pieces, groq.error = (), EngineTimeout("silent")
    for number in range(int(FAILURES)):
        with pytest.raises(EngineTimeout):
            await read(await begin("groq/big", options={"seed": number}))
    clock.pass_(FIRST_PAUSE_S)
    groq.pieces, groq.error = ("back",), None
    waiting = asyncio.Event()

    async def reserve(reservation: Reservation) -> None:
        waiting.set()
        if not leaves:
            raise LedgerUnavailable("disk full")
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(both.ledger, "reserve", reserve)
        begun = await begin("groq/big", budgets=(HARD,))
        if leaves:
            await leave(begun, waiting.is_set)
        else:
            with pytest.raises(LedgerUnavailable):
                await read(begun)
    assert (begun.entry.charges, groq.calls) == ([], FAILURES)
    assert dict(both.places.calls())["groq"] == 0
    assert await read(await begin("groq/big")) == "back"


async def test_the_cap_that_is_reserved_is_sent_and_said_and_what_it_cuts_is_not_kept(
    both: Parts, begin: Begin, cloud: FakeEngine
) -> None:
    cloud.reason = "length"
    begun = await begin(budgets=(HARD,))
    await read(begun)
    assert [request.cap for request in cloud.asked] == [UNCAPPED]
    assert (begun.entry.cap, begun.entry.is_stored) == (UNCAPPED, False)
    await read(await begin(budgets=(HARD,), options={"num_predict": 9}))
    await read(await begin())
    assert [request.cap for request in cloud.asked] == [UNCAPPED, 9, None]
    cloud.reason = "stop"
    begun = await begin(budgets=(HARD,), options={"seed": 1})
    await read(begun)
    assert begun.entry.is_stored, "it ended by itself"


async def test_who_spoke_while_money_was_reserved_for_another_has_no_rival(
    both: Parts, begin: Begin, cloud: FakeEngine, groq: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserving = asyncio.Event()

    async def reserve(reservation: Reservation) -> None:
        if reservation.call["provider"] == "groq":
            reserving.set()
            for _ in range(20):  # the first says all meanwhile
                await asyncio.sleep(0)

    async def chat(request: object, model: Model) -> AsyncIterator[Chunk]:
        await reserving.wait()
        yield Chunk(text="four")
        yield Chunk(done=Done(reason="stop", usage=Usage(prompt_tokens=7, completion_tokens=1)))

    monkeypatch.setattr(both.ledger, "reserve", reserve)
    monkeypatch.setattr(cloud, "chat", chat)
    begun = await begin("hedged", budgets=(HARD,))
    assert await read(begun) == "four"
    assert groq.calls == 0
    free: list[Charged] = [one for one in begun.entry.charges if one.is_free]
    assert [one.row["provider"] for one in free] == ["groq"], "what was reserved for it is given back"
    _, charges = await booked(both)
    assert charges == [("openai", "done", 7, 1, 24)]


async def test_a_caller_is_told_of_the_cap_and_of_a_budget_that_is_spent(
    client: httpx.AsyncClient, both: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bills, "_lines", lambda entry, model: (Line(1, "all", "", date(2026, 11, 1), is_hard=True),))
    asked = {"model": "big", "messages": [{"role": "user", "content": "What?"}], "stream": False}
    answered = await client.post("/api/chat", json=asked)
    assert (answered.status_code, answered.headers["X-Orchestrator-Cap"]) == (200, str(UNCAPPED))
    capped = await client.post("/api/chat", json=asked | {"options": {"num_predict": 5}})
    assert "X-Orchestrator-Cap" not in capped.headers

    async def reserve(reservation: Reservation) -> None:
        raise BudgetSpent("The budget 'all' is spent.", retry_after_s=60)

    monkeypatch.setattr(both.ledger, "reserve", reserve)
    asked["messages"] = [{"role": "user", "content": "And now?"}]
    refused = await client.post("/v1/chat/completions", json=asked)
    error = refused.json()["error"]
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
    assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")
    assert "budget 'all' is spent" in error["message"]
    assert (await client.post("/api/chat", json=asked)).status_code == 429
    theirs = await client.post("/v1/messages", json=asked | {"max_tokens": 5})
    assert (theirs.status_code, theirs.json()["error"]["type"]) == (429, "rate_limit_error")


async def test_whom_no_budget_binds_does_not_hear_an_answer_that_anothers_budget_may_cut(
    both: Parts, begin: Begin, cloud: FakeEngine
) -> None:
    cloud.reason = "length"
    begun = [await begin(budgets=budgets) for budgets in ((HARD,), (), (HARD,), ())]
    await asyncio.gather(*map(read, begun))
    assert [one.entry.tier for one in begun] == ["miss", "miss", "collapsed", "collapsed"]
    assert sorted(request.cap or 0 for request in cloud.asked) == [0, UNCAPPED]
    begun = [await begin(budgets=budgets, options={"num_predict": 9, "seed": 1}) for budgets in ((HARD,), ())]
    await asyncio.gather(*map(read, begun))
    assert [one.entry.tier for one in begun] == ["miss", "collapsed"], "it set the cap itself"
