"""What is said of answers corrects what the router expects, in every process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.utils import timezone

from orchestrator.choosing.trying import tried
from orchestrator.core.permissions import EVERYBODY
from orchestrator.core.prices import Price
from orchestrator.core.threads import WorkerThread
from orchestrator.core.types import Caller, Model
from orchestrator.models import AnswerOutcome, RequestRecord, RouteDecision, RouterState
from orchestrator.outcomes import learning, saying
from orchestrator.outcomes.learning import KEPT, forget, learn_due, learned, newest_state
from orchestrator.parts import Parts
from orchestrator.pipeline import answer
from orchestrator.registry.entries import DeploymentEntry, ModelEntry, Registry
from orchestrator.weighing.learned import LearnedWatch
from routing.predictor.state import learn
from routing.predictor.types import Outcome, State
from tests.fakes import FakeEngine
from tests.orchestrator.test_pipeline import question, read

Ask = Callable[..., Any]


@pytest.fixture
async def ask(parts: Parts, cast: dict[str, Caller], cloud: FakeEngine) -> Ask:
    """Ask `auto`; the id of the request, and who answered."""
    cloud.model = replace(cloud.model, price=Price(input=Decimal(1), output=Decimal(2)))
    parts.catalogue.apply(Registry(models=(ModelEntry(name="openai/big"),)))

    async def ask(text: str) -> tuple[str, str]:
        begun = await answer(question(text, model="auto", request_id=text), cast["alice"], parts)
        await read(begun)
        async with asyncio.timeout(60):
            while not await parts.reads.run(60, has_decision, text):
                await asyncio.sleep(0.01)
        return text, begun.entry.model

    return ask


def has_decision(request_id: str) -> bool:
    return bool(RouteDecision.objects.of(EVERYBODY).filter(request_id=request_id).exists())


def say(request_id: str, model: str, good: float, by: str = "somebody", kind: str = "feedback") -> None:
    record = RequestRecord.objects.of(EVERYBODY).filter(request_id=request_id).first()
    assert record is not None
    AnswerOutcome.rows.create(
        request_id=request_id, tenant_id=record.tenant_id, at=timezone.now(), model=model, kind=kind, good=good, by=by
    )


async def expected(parts: Parts, text: str, model: str, tenant_id: int = 0) -> float:
    """P(good) of a model for a question of a tenant's, as this process sees it."""
    router = parts.router
    offers = [one for one in await router.shelf.offers(parts.local, parts.catalogue) if one.model.name == model]
    (found,) = await router.p_good(text, await router.judged(text, parts.local), offers, tenant_id, [])
    return found


async def test_bad_answers_lower_what_is_expected_of_a_model(parts: Parts, ask: Ask) -> None:
    watch = LearnedWatch(parts.router, WorkerThread("learned"))
    asked = [await ask(f"How high is mountain number {number}?") for number in range(8)]
    name = asked[0][1]
    other = "openai/big" if name == "tiny:latest" else "tiny:latest"
    before, others = await expected(parts, asked[0][0], name), await expected(parts, asked[0][0], other)
    for request_id, model in asked:
        await parts.managing.run(60, say, request_id, model, 0.0)
    assert await parts.managing.run(30, learn_due) == len(asked)
    await watch.catch_up()
    after = await expected(parts, asked[0][0], name)
    assert after < before - 0.05
    if not any(model == other for _, model in asked):
        assert await expected(parts, asked[0][0], other) == others, "what one model does says nothing of another"
    said_of = await parts.managing.run(60, lambda: list(AnswerOutcome.objects.of(EVERYBODY)))
    assert {one.learned_in for one in said_of} == {1}
    assert await parts.managing.run(30, learn_due) == 0, "once"
    await parts.managing.run(60, forget)
    await watch.look()
    await watch.catch_up()
    assert await expected(parts, asked[0][0], name) == before
    await watch.aclose()


async def test_what_a_tenant_says_counts_for_its_own_questions(parts: Parts, cast: dict[str, Caller], ask: Ask) -> None:
    alice, text = cast["alice"], "How high is mountain number 0?"
    for request_id, model in [await ask(f"How high is mountain number {number}?") for number in range(8)]:
        await parts.managing.run(60, say, request_id, model, 0.0)
    await parts.managing.run(30, learn_due)
    watch = LearnedWatch(parts.router, WorkerThread("learned"))
    await watch.catch_up()
    told = await tried(question(text, model="auto"), alice, parts)
    found = {one["name"]: one["p_good"] for one in told["decision"]["candidates"]}
    own = {name: await expected(parts, text, name, alice.tenant_id) for name in found}
    assert found == own
    assert min([own[name] - await expected(parts, text, name) for name in own]) < 0
    await watch.aclose()


@pytest.mark.parametrize("is_listed", [False, True])
async def test_of_a_model_with_a_name_of_ours_is_learned_wherever_it_answered(
    parts: Parts, ask: Ask, engine: FakeEngine, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch, is_listed: bool
) -> None:
    async def nobody() -> list[Model]:
        return []

    place = DeploymentEntry(provider="openai", remote_name="big", input_price=Decimal(1), output_price=Decimal(2))
    parts.catalogue.apply(Registry(models=(ModelEntry(name="ours", deployments=(place,)),)))
    monkeypatch.setattr(engine, "models", nobody)
    monkeypatch.setattr(parts.catalogue, "known", lambda: [cloud.model] if is_listed else [])
    request_id, model = await ask("How high is the Eiger?")
    assert model == "openai/big"
    await parts.managing.run(60, say, request_id, model, 0.0)
    assert await parts.managing.run(30, learn_due) == 1
    (learned_of,) = (await parts.managing.run(60, learned))["models"]
    assert learned_of["model"] == "ours"


async def test_of_a_kept_answer_is_learned_as_of_the_one_that_it_is(
    parts: Parts, cast: dict[str, Caller], ask: Ask, recorded: Callable[[int], Any]
) -> None:
    text = "How high is the Eiger?"
    _, model = await ask(text)
    for request_id, who in (("again", "bob"), (text, "charlie"), ("theirs", "charlie")):
        await read(await answer(question(text, model="auto", request_id=request_id), cast[who], parts))
    records = {one.request_id: one for one in await recorded(4)}
    assert [(records[one].tier, records[one].saved_of) for one in ("again", "theirs")] == [("memory", text)] * 2
    assert not await parts.reads.run(60, has_decision, "again")

    def grant() -> None:
        """As if charlie had been given acme's answer, whose request has the same id as one of charlie's."""
        theirs = RequestRecord.objects.of(EVERYBODY).filter(request_id="theirs")
        theirs.update(granted_by_id=cast["alice"].tenant_id)

    await parts.managing.run(60, grant)
    for request_id in ("again", "theirs"):
        await parts.managing.run(60, partial(saying.say, EVERYBODY, request_id, 0.0, by="somebody"))
    assert await parts.managing.run(30, learn_due) == 1
    (learned_of,) = (await parts.managing.run(60, learned))["models"]
    assert learned_of["model"] == model


async def test_a_word_that_is_said_while_is_learned_is_learned_the_next_time(
    parts: Parts, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = await ask("How high is the Eiger?")
    second, _ = await ask("How high is the Jungfrau?")
    learned_of: list[list[float]] = []

    def slow(before: State, outcomes: Sequence[Outcome]) -> State:
        learned_of.append([one.good for one in outcomes])
        if len(learned_of) == 1:
            saying.say(EVERYBODY, first, 0.0, by="somebody")
        return learn(before, outcomes)

    monkeypatch.setattr("routing.predictor.state.learn", slow)
    for request_id in (first, second):
        await parts.managing.run(60, partial(saying.say, EVERYBODY, request_id, 1.0, by="somebody"))
    assert await parts.managing.run(30, learn_due) == 2
    said_of = await parts.managing.run(60, lambda: list(AnswerOutcome.objects.of(EVERYBODY).order_by("request_id")))
    assert [(one.good, one.learned_in) for one in said_of] == [(0.0, None), (1.0, 1)]
    assert await parts.managing.run(30, learn_due) == 1
    assert learned_of == [[1.0, 1.0], [0.0]]
    assert (await parts.managing.run(60, learned))["waiting"] == 0


async def test_what_is_forgotten_while_is_learned_stays_forgotten(
    parts: Parts, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_id, model = await ask("How high is the Eiger?")
    await parts.managing.run(60, say, request_id, model, 0.0)

    def slow(before: State, outcomes: Sequence[Outcome]) -> State:
        forget()
        monkeypatch.setattr("routing.predictor.state.learn", learn)
        return learn(before, outcomes)

    monkeypatch.setattr("routing.predictor.state.learn", slow)
    assert await parts.managing.run(30, learn_due) == 0
    assert (await parts.managing.run(60, learned))["models"] == []
    assert await parts.managing.run(30, learn_due) == 1, "it was said, and nobody forgot that"


async def test_what_cannot_be_learned_from_is_set_aside(parts: Parts, ask: Ask) -> None:
    request_id, model = await ask("Where is Bern?")
    await parts.managing.run(60, say, request_id, "a/stranger", 1.0)
    await parts.managing.run(60, say, request_id, model, 1.0, "another", "odd")

    def spoil() -> None:
        RouteDecision.objects.of(EVERYBODY).update(vector=b"made by other priors")

    assert await parts.managing.run(30, learn_due) == 0
    await parts.managing.run(60, spoil)
    await parts.managing.run(60, say, request_id, model, 1.0, "a third")
    assert await parts.managing.run(30, learn_due) == 0
    said_of = await parts.managing.run(60, lambda: [one.learned_in for one in AnswerOutcome.objects.of(EVERYBODY)])
    assert said_of == [0, 0, 0]
    assert await parts.managing.run(60, newest_state) == (0, None)


@pytest.mark.parametrize(
    "document",
    ["{", "[]", '{"decision": {"choices": [{}]}, "abilities": {"MODEL": 0}}', '{"abilities": {"MODEL": "much"}}'],
)
async def test_a_decision_that_cannot_be_read_keeps_nothing_from_being_learned(
    parts: Parts, ask: Ask, caplog: pytest.LogCaptureFixture, document: str
) -> None:
    odd, model = await ask("Where is Bern?")
    right, other = await ask("Where is Basel?")

    def spoil() -> None:
        decisions = RouteDecision.objects.of(EVERYBODY).filter(request_id=odd)
        decisions.update(document=document.replace("MODEL", model))

    await parts.managing.run(60, spoil)
    await parts.managing.run(60, say, odd, model, 1.0)
    await parts.managing.run(60, say, right, other, 1.0)
    assert await parts.managing.run(30, learn_due) == 1
    said_of = await parts.managing.run(60, lambda: list(AnswerOutcome.objects.of(EVERYBODY).order_by("pk")))
    assert [one.learned_in for one in said_of] == [0, 1]
    assert await parts.managing.run(30, learn_due) == 0
    told = [record.message for record in caplog.records if record.name == learning.__name__]
    assert [line.split(",")[0] for line in told] == ["Of 1 decisions nothing is learned"]


async def test_few_snapshots_are_kept_and_one_that_cannot_be_read_is_begun_anew(
    parts: Parts, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    request_id, model = await ask("Where is Basel?")
    for number in range(KEPT + 3):
        await parts.managing.run(60, say, request_id, model, 1.0, f"person {number}")
        assert await parts.managing.run(30, learn_due) == 1
    versions = await parts.managing.run(60, lambda: sorted(RouterState.objects.values_list("version", flat=True)))
    assert versions == list(range(4, KEPT + 4))

    def spoil() -> None:
        RouterState.objects.filter(version=KEPT + 3).update(state=b"\x00")

    await parts.managing.run(60, spoil)
    watch = LearnedWatch(parts.router, WorkerThread("learned"))
    await watch.catch_up()
    assert "what the router learned cannot be read, so what was read before holds" in caplog.text
    await parts.managing.run(60, say, request_id, model, 1.0, "somebody else")
    assert await parts.managing.run(30, learn_due) == 1
    assert "begins anew" in caplog.text
    assert (await parts.managing.run(60, newest_state))[0] == KEPT + 4
    await watch.aclose()


def test_a_batch_has_a_bound(monkeypatch: pytest.MonkeyPatch, db: None) -> None:
    monkeypatch.setattr(learning, "MOST", 0)
    assert learn_due() == 0
