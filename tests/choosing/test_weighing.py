"""What is known before a model is chosen: vectors in time, few of many models, what budgets have left."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from django.db import connection

from orchestrator.core.budgets import EVER, Budget
from orchestrator.core.permissions import EVERYBODY
from orchestrator.core.prices import Price
from orchestrator.core.threads import WorkerThread
from orchestrator.core.types import Caller, ChatRequest, Chunk, Done, Model
from orchestrator.ledger.decisions import Decided, insert, rows_of
from orchestrator.ledger.retention import prune
from orchestrator.models import BudgetPeriod, RouteDecision, Tenant
from orchestrator.weighing import meaning
from orchestrator.weighing.left import BudgetsLeft
from orchestrator.weighing.meaning import Meanings
from orchestrator.weighing.offers import FEW, MOST_CANDIDATES, Offer, allowed, offer_of, offers_of, shortlist
from routing.rules.verdict import Verdict
from tests.fakes import SetClock

VECTOR = np.linspace(-1, 1, 384, dtype="<f4").tobytes()


class Embedding:
    """A model host that has nothing but a model for vectors."""

    name = "llamacpp"

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.loads = self.asked = 0

    async def find(self, name: str) -> Model:
        return Model(name=name, digest="d" * 64, engine=self.name, capabilities=frozenset({"embedding"}))

    async def load(self, model: Model, keep_alive_s: float | None = None) -> int:
        self.loads += 1
        await self.gate.wait()
        return 1

    async def chat(self, request: ChatRequest, model: Model) -> AsyncGenerator[Chunk, None]:
        self.asked += 1
        await self.gate.wait()
        yield Chunk(vectors=(VECTOR,), done=Done(reason="stop"))


async def test_the_first_question_does_not_wait_for_the_model_and_the_next_has_its_vector() -> None:
    local, meanings = Embedding(), Meanings(SetClock())
    local.gate.clear()
    early = [await meanings.of("a question", local) for _ in range(3)]  # type: ignore[arg-type]
    assert [one.why_not for one in early] == ["all-minilm is being loaded"] * 3
    local.gate.set()
    async with asyncio.timeout(60):
        while (found := await meanings.of("a question", local)).vector is None:  # type: ignore[arg-type]
            await asyncio.sleep(0.001)
    assert (found.vector, local.loads) == (VECTOR, 1)


async def test_a_vector_that_takes_too_long_is_gone_without(monkeypatch: pytest.MonkeyPatch) -> None:
    local, meanings = Embedding(), Meanings(SetClock())
    async with asyncio.timeout(60):
        while (await meanings.of("a question", local)).vector is None:  # type: ignore[arg-type]
            await asyncio.sleep(0.001)
    monkeypatch.setattr(meaning, "DEADLINE_S", 0.001)
    local.gate.clear()
    assert (await meanings.of("a question", local)).vector is None  # type: ignore[arg-type]


def cloud(name: str, dollars: str | None) -> Model:
    price = None if dollars is None else Price(input=Decimal(dollars), output=Decimal(dollars))
    return Model(name=name, digest="d" * 64, engine="openai", is_paid=True, price=price)


def names(offers: list[Offer]) -> list[str]:
    return [one.model.name for one in offers]


def offers(models: list[Model], places_of: dict[str, tuple[str, ...]] | None = None) -> list[Offer]:
    return offers_of(models, "llamacpp", lambda name: (places_of or {}).get(name, ()))


def test_a_place_is_not_weighed_beside_its_model_unless_one_of_them_is_here() -> None:
    local = Model(name="tiny:latest", digest="d" * 64, engine="llamacpp")
    models = [local, cloud("smart", "1"), cloud("x/7b", "1"), cloud("x/8b", "1")]
    placed = {"x/7b": ("smart",), "tiny:latest": ("smart",), "x/8b": ("gone",)}
    caller, found = Caller(tenant_id=1, tenant="acme"), offers(models, placed)
    assert names(allowed(found, caller, Verdict(), ())) == ["tiny:latest", "smart", "x/8b"]
    for by_rule, own in ((("smart",), ()), ((), ("smart",))):
        assert names(allowed(found, caller, Verdict(never=by_rule), own)) == ["x/8b"]
    scoped = replace(caller, model_patterns=("x/*",))
    assert names(allowed(found, scoped, Verdict(), ())) == ["x/7b", "x/8b"], (
        "who may not ask the model may ask its place"
    )
    able = replace(models[2], context_length=128_000, capabilities=frozenset({"completion", "tools"}))
    for own, is_left_out in (
        ({"context_length": 8_192}, False),
        ({"capabilities": frozenset({"completion"})}, False),
        ({"context_length": 128_000}, True),
        ({"context_length": 0}, True),
    ):
        beside = offers([replace(able, name="smart", **own), able], {"x/7b": ("smart",)})  # type: ignore[arg-type]
        assert (len(allowed(beside, caller, Verdict(), ())) == 1) is is_left_out, own
    each_other = offers(models, {"x/7b": ("x/8b",), "x/8b": ("x/7b",)})
    assert len(allowed(each_other, caller, Verdict(), ())) == len(models)


def test_of_hundreds_those_are_weighed_that_none_beats_in_both() -> None:
    local = Model(name="tiny:latest", digest="d" * 64, engine="llamacpp")
    sizes = {"7b": "1", "70b": "3", "405b": "9"}
    models = [
        local,
        *(cloud(f"x/{size}-{at}", str(Decimal(price) + at)) for size, price in sizes.items() for at in range(100)),
    ]
    few = shortlist(offers(models), (), 100, 100)
    assert names(few) == ["tiny:latest", "x/7b-0", "x/70b-0", "x/405b-0"]
    seen = shortlist(offers(models), {"x/70b-50"}, 100, 100)
    assert "x/70b-50" in names(seen), "what was seen may be better than it looks"
    assert len(shortlist(offers(models), set(names(offers(models))), 1, 1)) <= MOST_CANDIDATES


def test_a_price_that_nobody_knows_is_a_last_resort() -> None:
    priced = [offer_of(cloud(f"x/{at}", "1"), "llamacpp") for at in range(FEW)]
    unpriced = offer_of(cloud("x/unknown-405b", None), "llamacpp")
    assert unpriced not in shortlist([*priced, unpriced], (), 1, 1)
    assert unpriced in shortlist([priced[0], unpriced], (), 1, 1)
    here_too = replace(offer_of(cloud("x/here", None), "llamacpp"), is_local=True)
    assert shortlist([here_too], (), 1, 1) == [here_too], "each is on the list once"


@pytest.fixture
def reads() -> Any:
    """A thread for the database, which counts what it is asked."""

    class Counting(WorkerThread):
        asked = 0

        async def run(self, *args: Any, **kwargs: Any) -> Any:
            self.asked += 1
            return await super().run(*args, **kwargs)

    thread = Counting("reads")
    yield thread
    thread.close()


@pytest.mark.django_db(transaction=True)
async def test_what_is_left_of_budgets_is_looked_up_once_a_second(reads: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.weighing.left.DEADLINE_S", 20.0)
    clock, budget = SetClock(), Budget(id=1, name="all", period="total", each="all", amount=100)
    other = Budget(id=2, name="other", period="day", each="tenant", amount=9)
    alice = Caller(tenant_id=1, tenant="acme", budgets=(budget, other))
    spend = BudgetPeriod(budget_id=1, under="", begins=EVER, spent_microusd=50, reserved_microusd=25)
    await reads.run(60, spend.save)
    left = BudgetsLeft(clock)
    assert await asyncio.gather(*(left.of(alice, reads) for _ in range(50))) == [0.25] * 50
    assert (await left.of(alice, reads), reads.asked) == (0.25, 2)
    clock.pass_(2)
    assert (await left.of(alice, reads), reads.asked) == (0.25, 3)
    assert await left.of(Caller(tenant_id=1, tenant="acme"), reads) == 1.0


async def test_what_nobody_can_tell_in_time_is_not_known() -> None:
    budget = Budget(id=1, name="all", period="total", each="all", amount=100)
    thread = WorkerThread("reads", most_waiting=0)
    assert await BudgetsLeft(SetClock()).of(Caller(tenant_id=1, tenant="acme", budgets=(budget,)), thread) is None


@pytest.mark.django_db
def test_a_decision_is_a_row_with_its_vector_and_goes_with_its_record(caplog: pytest.LogCaptureFixture) -> None:
    tenant, old = Tenant.objects.create(name="acme"), datetime.now(UTC) - timedelta(days=3)
    vectors = [None, bytes(range(256)) + b"\x00" * 128, b"\xff" * 384]

    def of(vector: bytes | None, at: datetime) -> Decided:
        return Decided(request_id="r", tenant_id=tenant.pk, at=at, document=lambda _: {"facts": {}}, vector=vector)

    def wrong(_: int) -> dict[str, Any]:
        raise ValueError("no")

    unwritable = Decided(request_id="w", tenant_id=tenant.pk, at=old, document=wrong)
    with connection.cursor() as cursor:
        rows = [*(of(vector, old) for vector in vectors), of(None, datetime.now(UTC)), unwritable]
        insert(rows_of(rows), cursor)
    assert "request w cannot be written" in caplog.text
    rows = RouteDecision.objects.of(EVERYBODY).order_by("id")
    assert [row.vector if row.vector is None else bytes(row.vector) for row in rows] == [*vectors, None]
    prune(1)
    assert RouteDecision.objects.of(EVERYBODY).count() == 1


def test_who_never_chooses_has_no_numbers_in_memory() -> None:
    said = "import django; django.setup(); import orchestrator.asgi, sys; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
