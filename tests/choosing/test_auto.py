"""Whom `auto` asks, and what becomes of the answer, with fake engines and everything else real."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from cache.entries import Scope
from orchestrator import calls
from orchestrator.checks.machine import router_knows_models
from orchestrator.choosing.auto import names_of
from orchestrator.choosing.explaining import explain
from orchestrator.choosing.ways import joined
from orchestrator.core.budgets import EVER
from orchestrator.core.errors import EngineUnreachable
from orchestrator.core.permissions import EVERYBODY
from orchestrator.core.prices import Price
from orchestrator.core.types import Candidate, Model, Route
from orchestrator.models import Budget, BudgetPeriod, RequestRecord
from orchestrator.parts import Parts
from orchestrator.registry.entries import DeploymentEntry, ModelEntry, Registry
from orchestrator.weighing import left
from orchestrator.weighing import router as weighing
from routing.predictor import priors
from routing.predictor.predict import Predictor
from routing.predictor.types import State
from tests.choosing.asked import AUTO, BIG, Make, Publish, admin, decisions
from tests.fakes import FakeEngine


@pytest.mark.usefixtures("two_sides")
async def test_the_slider_says_who_is_asked(
    client: httpx.AsyncClient, publish: Publish, engine: FakeEngine, cloud: FakeEngine
) -> None:
    said = []
    for share in (0.0, 1.0):
        await publish(aim={"share": share}, explore=0.0)
        answer = await client.post("/api/chat", json=AUTO)
        said.append((answer.headers["X-Orchestrator-Model"], answer.headers["X-Orchestrator-Route"].split(" (")[0]))
    assert said[0] == ("tiny:latest", "auto: local is good enough")
    assert said[1][0] == "openai/big-70b"
    assert (engine.calls, cloud.calls) == (1, 1)


@pytest.mark.parametrize(
    ("then", "own", "is_tried"), [({}, {}, True), ({"cascade": False}, {}, False), ({}, {"cascade": False}, False)]
)
@pytest.mark.usefixtures("two_sides")
async def test_in_two_minds_a_local_answer_is_tried_first_where_that_is_allowed(
    client: httpx.AsyncClient,
    publish: Publish,
    parts: Parts,
    engine: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
    then: dict[str, Any],
    own: dict[str, Any],
    is_tried: bool,
) -> None:
    tried = await client.post("/api/admin/v1/decide", json=AUTO, headers=await admin(parts))
    monkeypatch.setattr(parts.router, "threshold", lambda *_: tried.json()["decision"]["gain"])  # on the line
    engine.logprob = -5.0
    await publish({"then": then}, explore=0.0, **own)
    answer = await client.post("/api/chat", json=AUTO)
    assert answer.headers["X-Orchestrator-Model"] == "openai/big-70b"
    assert engine.calls == is_tried
    assert ("local is tried first" in answer.headers["X-Orchestrator-Route"]) == is_tried


@pytest.mark.usefixtures("two_sides")
async def test_where_the_first_does_not_answer_the_next_does(
    client: httpx.AsyncClient, publish: Publish, engine: FakeEngine, cloud: FakeEngine
) -> None:
    await publish(aim={"share": 0.0}, explore=0.0)
    engine.pieces, engine.error = (), EngineUnreachable("nobody there")
    answer = await client.post("/api/chat", json=AUTO)
    assert answer.headers["X-Orchestrator-Model"] == "openai/big-70b"


@pytest.mark.usefixtures("two_sides")
async def test_where_nobody_who_is_paid_may_be_asked_who_is_free_answers(
    client: httpx.AsyncClient, publish: Publish, parts: Parts, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"7b": 1, "30b": 2, "70b": 3, "405b": 4}
    models = {
        (name := f"openai/big-{size}"): replace(
            cloud.model, name=name, price=Price(input=Decimal(at), output=Decimal(at))
        )
        for size, at in sizes.items()
    }

    async def find(name: str) -> Model | None:
        return models.get(name)

    monkeypatch.setattr(parts.catalogue, "known", lambda: [*models.values()])
    monkeypatch.setattr(cloud, "find", find)

    def budget() -> None:
        row = Budget.objects.create(name="all", period="total", each="all", amount_microusd=100)
        BudgetPeriod.objects.create(budget_id=row.pk, under="", begins=EVER, spent_microusd=100)

    await parts.managing.run(60, budget)
    await publish(aim={"share": 1.0}, explore=0.0)
    answer = await client.post("/api/chat", json=AUTO)
    assert (answer.status_code, answer.headers.get("X-Orchestrator-Model")) == (200, "tiny:latest")
    assert cloud.calls == 0


@pytest.mark.usefixtures("two_sides")
async def test_of_a_choice_too_generate_brings_the_context(
    client: httpx.AsyncClient, publish: Publish, cloud: FakeEngine
) -> None:
    await publish(aim={"share": 1.0}, explore=0.0)
    cloud.model = replace(cloud.model, takes=cloud.model.takes | {"endpoint"})
    chat = AUTO | {"stream": False}
    generate = {"model": "auto", "prompt": chat["messages"][-1]["content"], "stream": False}
    await client.post("/api/chat", json=chat)
    said = [await client.post("/api/generate", json=generate) for _ in range(2)]
    assert [answer.json()["context"] for answer in said] == [[1, 2, 3]] * 2
    assert [answer.headers["Cache-Status"].split("; ")[1] for answer in said] == ["fwd=miss", "hit"]


@pytest.mark.usefixtures("two_sides")
async def test_a_choice_is_kept_and_says_who_answered_and_what_it_saved(
    client: httpx.AsyncClient,
    publish: Publish,
    parts: Parts,
    cloud: FakeEngine,
    recorded: Callable[[int], Awaitable[list[RequestRecord]]],
) -> None:
    await publish(aim={"share": 1.0}, explore=0.0)
    answers = [await client.post("/api/chat", json=AUTO) for _ in range(3)]
    assert {answer.headers["X-Orchestrator-Model"] for answer in answers} == {"openai/big-70b"}
    assert [answer.headers["Cache-Status"].split("; ")[1] for answer in answers] == ["fwd=miss", "hit", "hit"]
    assert cloud.calls == 1
    records = await recorded(3)
    assert [record.saved_why for record in records] == [None, "charge", "charge"]
    assert records[1].saved_microusd == records[0].cost_microusd == 11
    await parts.cache.purge(Scope(model="openai/big-70b"))
    again = await client.post("/api/chat", json=AUTO)
    assert "miss" in again.headers["Cache-Status"], "its answers are purged, whatever it was asked as"


@pytest.mark.parametrize("change", [{"edition": "2026-01-02"}, {"digest": "e" * 64}])
@pytest.mark.usefixtures("two_sides")
async def test_a_choice_is_asked_anew_once_who_answered_is_another_or_told_another_date(
    client: httpx.AsyncClient, publish: Publish, engine: FakeEngine, change: dict[str, str]
) -> None:
    await publish(aim={"share": 0.0}, explore=0.0)
    engine.model = replace(engine.model, edition="2026-01-01")
    said = [await client.post("/api/chat", json=AUTO) for _ in range(2)]
    engine.model = replace(engine.model, **change)
    async with asyncio.timeout(60):
        while engine.calls == 1:  # what is answered again as bytes learns of it within two seconds
            said.append(await client.post("/api/chat", json=AUTO))
            await asyncio.sleep(0.05)
    again = await client.post("/api/chat", json=AUTO)
    assert {answer.headers["X-Orchestrator-Model"] for answer in said} == {"tiny:latest"}
    assert "hit" in said[1].headers["Cache-Status"]
    assert ("hit" in again.headers["Cache-Status"], engine.calls) == (True, 2), "and kept as that"


OURS = ModelEntry(name="ours", deployments=(DeploymentEntry(provider="openai", remote_name="big"),))


async def test_a_choice_of_a_registered_model_is_asked_anew_once_its_places_are_others(
    client: httpx.AsyncClient, publish: Publish, parts: Parts, cloud: FakeEngine
) -> None:
    await publish(aim={"share": 1.0}, explore=0.0, never=["tiny*"])
    cloud.model = replace(cloud.model, digest="c" * 64, price=Price(input=Decimal(1), output=Decimal(2)))
    parts.catalogue.apply(Registry(models=(OURS,)))
    said = [await client.post("/api/chat", json=AUTO) for _ in range(2)]
    assert [answer.headers["Cache-Status"].split("; ")[1] for answer in said] == ["fwd=miss", "hit"]
    assert {answer.headers["X-Orchestrator-Model"] for answer in said} == {"openai/big"}
    two = replace(OURS, deployments=(*OURS.deployments, DeploymentEntry(provider="local", remote_name="tiny", rank=1)))
    parts.catalogue.apply(Registry(models=(two,)))
    async with asyncio.timeout(60):
        while cloud.calls == 1:
            await client.post("/api/chat", json=AUTO)
            await asyncio.sleep(0.05)


async def test_a_choice_that_was_kept_without_who_answered_is_asked_anew(
    client: httpx.AsyncClient, publish: Publish, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(aim={"share": 0.0}, explore=0.0)
    with monkeypatch.context() as patch:
        patch.setattr(calls, "mark_of", lambda _: ())
        await client.post("/api/chat", json=AUTO)
    said = [await client.post("/api/chat", json=AUTO) for _ in range(2)]
    assert [answer.headers["Cache-Status"].split("; ")[1] for answer in said] == ["fwd=miss", "hit"]
    assert engine.calls == 2


def test_a_place_of_several_models_answers_for_the_one_that_is_asked_first() -> None:
    big, small, own, other = (
        Model(name=name, digest="", engine="openai") for name in ("openai/big", "openai/small", "own", "other")
    )
    routes = {
        one.name: Route(
            model=one, reason="", candidates=tuple(Candidate(model=place, stands_for=one) for place in places)
        )
        for one, places in ((own, (big, small)), (other, (big,)), (small, (small,)))
    }
    for in_turn, name in ((("own", "other", "openai/small"), "own"), (("other", "openai/small", "own"), "other")):
        assert names_of(in_turn, routes) == {"openai/big": name}
        first = joined([routes[one] for one in in_turn]).candidates
        assert {one.model.name: one.stands_for.name for one in first}["openai/big"] == name


@pytest.mark.usefixtures("two_sides")
async def test_who_may_be_given_another_model_shares_neither_answer_nor_call(
    client: httpx.AsyncClient, publish: Publish, key: Make, engine: FakeEngine, cloud: FakeEngine
) -> None:
    await publish(aim={"share": 1.0}, explore=0.0)
    wide = await client.post("/api/chat", json=AUTO, headers=await key())
    narrow = await client.post("/api/chat", json=AUTO, headers=await key(model_patterns=["auto", "tiny"]))
    assert wide.headers["X-Orchestrator-Model"] == "openai/big-70b"
    assert (narrow.headers["X-Orchestrator-Model"], "miss" in narrow.headers["Cache-Status"]) == ("tiny:latest", True)
    await publish({"then": {"local_only": True}}, aim={"share": 1.0}, explore=0.0)
    local = await client.post("/api/chat", json=AUTO, headers=await key())
    assert local.headers["X-Orchestrator-Model"] == "tiny:latest"


@pytest.mark.usefixtures("two_sides")
async def test_who_leaves_the_choice_to_us_shares_a_call_and_says_who_makes_it(
    client: httpx.AsyncClient, publish: Publish, parts: Parts, engine: FakeEngine, cloud: FakeEngine
) -> None:
    await publish(aim={"share": 0.5}, explore=0.2)  # some draw another
    engine.gate = cloud.gate = asyncio.Event()
    asking = [asyncio.create_task(client.post("/api/chat", json=AUTO)) for _ in range(20)]
    async with asyncio.timeout(60):
        while parts.inflight.listeners < len(asking):
            await asyncio.sleep(0.01)
    engine.gate.set()
    answers = await asyncio.gather(*asking)
    assert engine.calls + cloud.calls == 1
    assert len({answer.headers["X-Orchestrator-Model"] for answer in answers}) == 1


@pytest.mark.usefixtures("two_sides")
async def test_what_a_model_cannot_do_it_is_not_chosen_for(
    client: httpx.AsyncClient, publish: Publish, engine: FakeEngine, cloud: FakeEngine
) -> None:
    await publish(aim={"share": 0.0}, explore=0.0)
    tools = AUTO | {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]}
    assert (await client.post("/api/chat", json=tools)).headers["X-Orchestrator-Model"] == "openai/big-70b"
    engine.model = replace(engine.model, context_length=20)
    long = AUTO | {"messages": [{"role": "user", "content": "a word " * 100}]}
    await publish(aim={"share": 0.0}, explore=0.0)
    assert (await client.post("/api/chat", json=long)).status_code == 200
    assert (engine.calls, cloud.calls) == (0, 2)


@pytest.fixture
def four_sizes(parts: Parts, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Beside `tiny` models of a provider, the larger the better and the dearer; of all of them the smallest thinks."""
    models = {}
    for at, size in enumerate(("7b", "30b", "70b", "405b")):
        price = Price(input=Decimal(at + 1), output=Decimal(at + 1))
        able = cloud.model.capabilities - ({"thinking"} if at else set())
        models[f"openai/big-{size}"] = replace(cloud.model, name=f"openai/big-{size}", price=price, capabilities=able)

    async def find(name: str) -> Model | None:
        return models.get(name)

    monkeypatch.setattr(parts.catalogue, "known", lambda: [*models.values()])
    monkeypatch.setattr(cloud, "find", find)
    return [*models]


async def test_who_would_be_refused_what_is_asked_is_not_chosen_for_it(
    client: httpx.AsyncClient,
    publish: Publish,
    parts: Parts,
    four_sizes: list[str],
    engine: FakeEngine,
    cloud: FakeEngine,
) -> None:
    await publish(aim={"share": 1.0}, explore=0.0)
    answer = await client.post("/api/chat", json=AUTO | {"think": True})
    assert (answer.status_code, answer.headers.get("X-Orchestrator-Model")) == (200, four_sizes[0])
    assert (engine.calls, cloud.calls, cloud.asked[0].think) == (0, 1, True)
    await decisions(parts, 1)
    told = await parts.reads.run(60, lambda: explain(answer.headers["X-Request-Id"], EVERYBODY))
    bars = {one["name"]: one["why"] for one in told["decision"]["candidates"] if one["place"] is None}
    assert bars == {name: f'Not asked: "{name}" does not support thinking' for name in ("tiny:latest", *four_sizes[1:])}


async def test_where_each_would_be_refused_what_is_asked_it_says_so(
    client: httpx.AsyncClient, publish: Publish, engine: FakeEngine
) -> None:
    await publish(explore=0.0, never=["openai/*"])
    answer = await client.post("/api/chat", json=AUTO | {"think": True})
    assert answer.status_code == 400
    assert '"tiny:latest" does not support thinking' in answer.json()["error"]
    answer = await client.post("/api/generate", json={"model": "auto", "prompt": "a", "suffix": "b", "stream": False})
    assert (answer.status_code, "does not support insert" in answer.json()["error"]) == (400, True)
    raw = {"model": "auto", "prompt": "a", "raw": True, "system": "b", "stream": False}
    answer = await client.post("/api/generate", json=raw)
    assert (answer.status_code, engine.calls) == (400, 0)


async def test_a_budget_that_is_nearly_spent_is_a_fact(
    client: httpx.AsyncClient,
    publish: Publish,
    parts: Parts,
    key: Make,
    cloud: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(left, "DEADLINE_S", 20.0)
    cloud.model = replace(cloud.model, price=Price(input=Decimal(1), output=Decimal(2)))
    headers = await key()

    def budget() -> None:
        row = Budget.objects.create(name="all", period="total", each="all", amount_microusd=100)
        BudgetPeriod.objects.create(budget_id=row.pk, under="", begins=EVER, spent_microusd=90)

    await parts.managing.run(60, budget)
    await publish({"when": [{"fact": "budget_left", "op": "below", "value": 0.2}], "then": {"use": ["tiny"]}})
    answer = await client.post("/api/chat", json=BIG, headers=headers)
    assert answer.headers["X-Orchestrator-Model"] == "tiny:latest"
    assert cloud.calls == 0


@pytest.mark.usefixtures("two_sides")
async def test_no_fault_of_what_looks_at_a_question_ends_it(
    client: httpx.AsyncClient, publish: Publish, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("routing.analysis.analyse.analyse", fail)
    monkeypatch.setattr("routing.predictor.predict.Predictor.place", fail)
    await publish({"when": [{"fact": "complexity", "op": "at_least", "value": 0.5}], "then": {"forbid": "too hard"}})
    answer = await client.post("/api/chat", json=AUTO)
    assert answer.status_code == 200
    notes = orjson.loads((await decisions(parts, 1))[0].document)["notes"]
    assert [note.split(":")[0] for note in notes if "ZeroDivisionError" in note] == [
        "The question could not be analysed",
        "The question could not be analysed",
        "By the models' names and prices alone",
    ]


@pytest.fixture
def broken_priors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What ships is damaged, and was not read before."""
    damaged = tmp_path / "priors.npz"
    damaged.write_bytes(b"PK not really")
    monkeypatch.setattr(priors, "FILE", damaged)
    priors.shipped.cache_clear()
    yield
    priors.shipped.cache_clear()


@pytest.mark.usefixtures("two_sides", "broken_priors")
async def test_without_what_ships_auto_goes_by_names_and_prices_and_says_so_once(
    client: httpx.AsyncClient, parts: Parts, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    monkeypatch.setattr(weighing, "_without_outcomes", lambda: (made.append(1), Predictor(State()))[1])
    with caplog.at_level(logging.WARNING, "orchestrator.weighing"):
        for text in ("one", "two", "three"):
            asked = AUTO | {"messages": [{"role": "user", "content": text}]}
            assert (await client.post("/api/chat", json=asked)).status_code == 200
    records = [record for record in caplog.records if record.name.startswith("orchestrator.weighing")]
    assert [record.exc_info for record in records] == [None]
    assert "models are chosen by their names and prices" in caplog.text
    assert len(made) == 1, "it is not read anew for each request"
    notes = [note for one in await decisions(parts, 3) for note in orjson.loads(one.document)["notes"]]
    assert notes.count("By the models' names and prices alone: Unusable.") == 3
    (told,) = router_knows_models()
    assert "cannot be read" in told.msg


def test_with_what_ships_the_doctor_is_content() -> None:
    assert list(router_knows_models()) == []


async def test_a_key_for_auto_and_no_model_is_told_so(client: httpx.AsyncClient, parts: Parts, key: Any) -> None:
    answer = await client.post("/api/chat", json=AUTO, headers=await key(model_patterns=["auto"]))
    assert answer.status_code == 404
    assert "may ask for 'auto' and for no model there is" in answer.json()["error"]
