"""`auto` in two minds: the local model is tried first, and the cloud is asked where it is not sure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from orchestrator import cascade, failover
from orchestrator.answers import Answer
from orchestrator.catalogue import Catalogue
from orchestrator.choosing import auto
from orchestrator.choosing.explaining import explain
from orchestrator.core.breaker import Turn
from orchestrator.core.errors import (
    BadRequest,
    EngineTimeout,
    EngineUnavailable,
    OrchestratorError,
    ParameterRefused,
    TooMany,
)
from orchestrator.core.limits import Limit
from orchestrator.core.permissions import EVERYBODY
from orchestrator.core.prices import Price
from orchestrator.core.threads import WorkerThread
from orchestrator.core.types import CacheControl, Caller, Candidate, Chunk, Route
from orchestrator.models import AnswerOutcome, Attempt, RequestRecord
from orchestrator.outcomes.learning import learn_due
from orchestrator.parts import Parts
from orchestrator.pipeline import answer
from orchestrator.registry.entries import DeploymentEntry, ModelEntry, Registry
from orchestrator.weighing.learned import LearnedWatch
from routing.decision import Cascade, Choice, Decision, DecisionInputs
from tests.adaptation.pieces import text_of
from tests.fakes import FakeEngine
from tests.orchestrator.test_pipeline import question, read
from tests.outcomes.test_learning import expected

Ask = Callable[..., Any]
WORDS = tuple(f"word{number} " for number in range(40))


@pytest.fixture(autouse=True)
def _in_two_minds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is on offer: the local model first, on trial."""

    def decide(inputs: DecisionInputs) -> Decision:
        names = sorted((one.name for one in inputs.candidates), key=lambda name: "/" in name)
        choices = tuple(Choice(name, place, 0.5, (), "so it is") for place, name in enumerate(names))
        cascade = Cascade(names[0], names[1], "it is close") if len(names) > 1 else None
        return Decision(choices, 1.0, False, 0.0, 0.5, cascade, "in two minds")

    monkeypatch.setattr(auto, "decide", decide)


@pytest.fixture
async def ask(parts: Parts, cast: dict[str, Caller], engine: FakeEngine, cloud: FakeEngine) -> Ask:
    cloud.model = replace(cloud.model, price=Price(input=Decimal(1), output=Decimal(2)))
    parts.catalogue.apply(Registry(models=(ModelEntry(name="openai/big"),)))
    engine.pieces, engine.logprob = WORDS, -3.0
    cloud.pieces = ("by ", "the ", "cloud")

    async def ask(text: str = "What is 2+2?", **fields: Any) -> tuple[str, Answer]:
        begun = await answer(question(text, **{"model": "auto"} | fields), cast["alice"], parts)
        return await read(begun), begun

    return ask


async def rows(parts: Parts, table: Any) -> list[Any]:
    if parts.outcomes is not None:
        await parts.outcomes.aclose()
    return await parts.reads.run(60, lambda: list(table.objects.of(EVERYBODY).order_by("id")))


async def written(parts: Parts, count: int) -> None:
    """Wait for so many records, with their decisions."""
    async with asyncio.timeout(60):
        while len(await rows(parts, RequestRecord)) < count:
            await asyncio.sleep(0.01)


async def trial_of(parts: Parts, begun: Answer) -> dict[str, Any]:
    """What is told of the decision."""
    await written(parts, 1)
    found: dict[str, Any] = await parts.reads.run(60, lambda: explain(begun.entry.request.request_id, EVERYBODY))
    return found


@pytest.mark.parametrize("stream", [True, False])
async def test_who_is_not_sure_makes_way(ask: Ask, parts: Parts, engine: FakeEngine, stream: bool) -> None:
    said, begun = await ask(stream=stream)
    assert (said, begun.entry.model, begun.entry.provider) == ("by the cloud", "openai/big", "openai")
    assert begun.entry.route.startswith("auto: local is tried first (")
    assert begun.entry.route.endswith("; not_sure: tiny:latest")
    assert engine.asked[0].logprobs
    assert begun.entry.is_paid
    assert not parts.places.open()
    (said_of_it,) = await rows(parts, AnswerOutcome)
    trial = (await trial_of(parts, begun))["trial"]
    assert (said_of_it.model, said_of_it.kind, said_of_it.good) == ("tiny:latest", "escalation", trial["after"])
    assert "less sure of its words than usual" in said_of_it.note
    assert (trial["model"], trial["is_taken"]) == ("tiny:latest", False)
    assert 0 < trial["after"] < min(trial["before"], trial["floor"])
    (attempt,) = await rows(parts, Attempt)
    assert (attempt.model, attempt.outcome) == ("tiny:latest", "not_sure")


@pytest.mark.parametrize("stream", [True, False])
async def test_who_is_sure_answers(ask: Ask, parts: Parts, engine: FakeEngine, cloud: FakeEngine, stream: bool) -> None:
    engine.logprob = -0.01
    said, begun = await ask(stream=stream)
    assert (said, begun.entry.model, cloud.calls) == ("".join(WORDS), "tiny:latest", 0)
    assert not begun.entry.is_paid
    explained = await trial_of(parts, begun)
    trial = explained["trial"]
    assert (trial["model"], trial["is_taken"]) == ("tiny:latest", True)
    assert trial["after"] > max(trial["before"], trial["floor"])
    assert explained["decision"]["candidates"][0]["p_good"] == trial["before"]


async def test_that_models_are_not_sure_changes_nothing_that_is_expected_of_them(
    ask: Ask, parts: Parts, engine: FakeEngine
) -> None:
    before = await expected(parts, "What is 2+2?", "tiny:latest")
    engine.pieces = ("I'm sorry, ", *WORDS)
    for number in range(30):
        said, _ = await ask(f"What is 2+{number}?", stream=True, request_id=f"r{number}")
        assert said == "by the cloud"
    await written(parts, 30)
    assert [one.kind for one in await rows(parts, AnswerOutcome)] == ["escalation"] * 30
    assert await parts.managing.run(30, learn_due) == 0
    assert {one.learned_in for one in await rows(parts, AnswerOutcome)} == {0}
    watch = LearnedWatch(parts.router, WorkerThread("learned"))
    await watch.catch_up()
    assert await expected(parts, "What is 2+2?", "tiny:latest") == before
    await watch.aclose()


async def test_nobody_is_asked_beside_who_is_on_trial(
    ask: Ask, parts: Parts, engine: FakeEngine, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = parts.catalogue.places

    async def hedged(name: str) -> Route | None:
        route = await places(name)
        return route and replace(route, hedge_after_s=0.0)

    monkeypatch.setattr(parts.catalogue, "places", hedged)
    engine.logprob = -0.01
    assert (await ask())[0] == "".join(WORDS)
    assert cloud.calls == 0


OURS = ModelEntry(
    name="ours",
    deployments=(
        DeploymentEntry(provider="local", remote_name="tiny"),
        DeploymentEntry(provider="groq", remote_name="huge"),
    ),
)


@pytest.fixture
async def ask_ours(
    parts: Parts,
    cast: dict[str, Caller],
    engine: FakeEngine,
    cloud: FakeEngine,
    other: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> Ask:
    """`ours` in two places of one model, here and at a provider, before the cloud."""

    def decide(inputs: DecisionInputs) -> Decision:
        choices = tuple(Choice(name, at, 0.5, (), "so it is") for at, name in enumerate(("ours", "openai/big")))
        return Decision(choices, 1.0, False, 0.0, 0.5, Cascade("ours", "openai/big", "it is close"), "in two minds")

    monkeypatch.setattr(auto, "decide", decide)
    cloud.model = replace(cloud.model, price=Price(input=Decimal(1), output=Decimal(2)))
    for one in (engine, other):
        one.pieces, one.logprob = WORDS, -3.0
    cloud.pieces = ("by ", "the ", "cloud")

    async def ask(*, is_second_quicker: bool = True, rank: int = 0) -> tuple[str, Answer]:
        there = replace(OURS.deployments[1], rank=rank)
        ours = replace(OURS, deployments=(OURS.deployments[0], there))
        both = replace(parts, catalogue=Catalogue([cloud, other, engine]))
        both.catalogue.apply(Registry(models=(ours, ModelEntry(name="openai/big"))))
        if is_second_quicker:
            parts.places.place(Candidate(model=engine.model, stands_for=engine.model)).load.took(5.0)
        begun = await answer(question(model="auto"), cast["alice"], both)
        return await read(begun), begun

    return ask


@pytest.fixture
def other() -> FakeEngine:
    return FakeEngine("groq", "groq/huge")


@pytest.mark.parametrize("rank", [0, 1])
async def test_a_model_that_is_not_sure_makes_way_in_all_its_places(
    ask_ours: Ask, engine: FakeEngine, cloud: FakeEngine, other: FakeEngine, rank: int
) -> None:
    said, begun = await ask_ours(rank=rank)
    assert (said, begun.entry.model) == ("by the cloud", "openai/big")
    assert (engine.calls, other.calls, cloud.calls) == ((1, 0, 1) if rank else (0, 1, 1))
    assert begun.entry.route.endswith("; not_sure: " + ("tiny:latest" if rank else "groq/huge"))


async def test_the_place_that_is_asked_in_place_of_another_is_on_trial_too(
    ask_ours: Ask, engine: FakeEngine, cloud: FakeEngine, other: FakeEngine
) -> None:
    engine.pieces, engine.error = (), EngineUnavailable("HTTP 503")
    said, begun = await ask_ours(rank=1)
    assert (said, begun.entry.model) == ("by the cloud", "openai/big")
    assert (engine.calls, other.calls, cloud.calls) == (1, 1, 1)


async def test_a_place_that_is_sure_answers_for_its_model_and_was_tried(
    ask_ours: Ask, engine: FakeEngine, cloud: FakeEngine, other: FakeEngine
) -> None:
    other.logprob = -0.01
    said, begun = await ask_ours()
    assert (said, begun.entry.model) == ("".join(WORDS), "groq/huge")
    assert (engine.calls, other.calls, cloud.calls) == (0, 1, 0)
    assert other.asked[0].logprobs, "it was on trial"


async def test_another_place_of_a_model_that_was_silent_is_asked(
    ask_ours: Ask, engine: FakeEngine, cloud: FakeEngine, other: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cascade, "LONGEST_S", 0.5)
    engine.pieces, engine.gate, other.logprob = (), asyncio.Event(), -0.01
    said, begun = await ask_ours(rank=1)
    assert (said, begun.entry.model, cloud.calls) == ("".join(WORDS), "groq/huge", 0)


async def test_the_last_attempt_is_for_another_model_than_who_was_silent(
    ask_ours: Ask, engine: FakeEngine, cloud: FakeEngine, other: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cascade, "LONGEST_S", 0.5)
    monkeypatch.setattr(failover, "MOST_ATTEMPTS", 2)
    engine.pieces, engine.gate = (), asyncio.Event()
    said, begun = await ask_ours(is_second_quicker=False, rank=1)
    assert (said, begun.entry.model) == ("by the cloud", "openai/big")
    assert (engine.calls, other.calls, cloud.calls) == (1, 0, 1)


async def test_of_two_places_that_will_not_do_the_one_that_spoke_is_asked_again(
    ask_ours: Ask, engine: FakeEngine, cloud: FakeEngine, other: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cascade, "LONGEST_S", 0.5)
    engine.pieces, engine.gate = (), asyncio.Event()
    cloud.pieces, cloud.error = (), EngineUnavailable("HTTP 503")
    async with asyncio.timeout(60):
        said, begun = await ask_ours(is_second_quicker=False, rank=1)
    assert (said, begun.entry.model) == ("".join(WORDS), "groq/huge")
    assert (engine.calls, other.calls) == (1, 2)


async def test_who_was_silent_for_long_is_not_held_to_have_answered_badly(
    ask: Ask, parts: Parts, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cascade, "LONGEST_S", 0.05)
    engine.pieces, engine.gate = (), asyncio.Event()
    said, begun = await ask()
    assert (said, begun.entry.model) == ("by the cloud", "openai/big")
    assert not await rows(parts, AnswerOutcome)


@pytest.mark.parametrize(
    "error",
    [EngineUnavailable("HTTP 503"), ParameterRefused("'seed' is unsupported"), BadRequest("content_policy_violation")],
)
async def test_a_whole_answer_that_was_not_sure_is_better_than_none(
    ask: Ask, parts: Parts, engine: FakeEngine, cloud: FakeEngine, error: OrchestratorError
) -> None:
    engine.pieces = ("I cannot ", "say.")
    cloud.pieces, cloud.error = (), error
    said, begun = await ask()
    assert (said, begun.entry.model, begun.entry.status, engine.calls) == ("I cannot say.", "tiny:latest", 200, 1)
    assert not begun.entry.is_stored, "the next who asks may hear better"
    assert not await rows(parts, AnswerOutcome), "nobody did better"
    cloud.pieces, cloud.error = ("by the cloud",), None
    assert (await ask())[0] == "by the cloud"
    assert (await ask())[1].entry.tier == "memory"


@pytest.mark.parametrize("error", [ParameterRefused("'seed' is unsupported"), BadRequest("the picture is no picture")])
@pytest.mark.parametrize("stream", [True, False])
async def test_where_the_question_is_refused_who_was_given_up_is_asked_again(
    ask: Ask, engine: FakeEngine, cloud: FakeEngine, error: OrchestratorError, stream: bool
) -> None:
    cloud.pieces, cloud.error = (), error
    said, begun = await ask(stream=stream)
    assert (said, begun.entry.model) == ("".join(WORDS), "tiny:latest")
    assert (engine.calls, cloud.calls) == (2, 1)


async def test_a_long_answer_is_taken_whole_where_nobody_else_is_waited_for(
    ask: Ask, parts: Parts, engine: FakeEngine, cloud: FakeEngine
) -> None:
    """It takes longer to be heard than the call that made it takes to be closed."""
    engine.pieces, engine.logprob = ("over ", "and ", "over ") * 200, None
    parts.places.place(Candidate(model=cloud.model, stands_for=cloud.model)).rest(60.0, "HTTP 429")
    said, begun = await ask()
    assert (said, begun.entry.outcome) == ("".join(engine.pieces), "done")
    assert (engine.calls, cloud.calls) == (1, 0)


async def test_equal_questions_at_the_same_time_are_one_call_whoever_each_would_have_been_given(
    ask: Ask, engine: FakeEngine, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    firsts = ["tiny:latest", "openai/big"]

    def decide(inputs: DecisionInputs) -> Decision:
        first = firsts.pop(0)
        names = sorted((one.name for one in inputs.candidates), key=lambda name: name != first)
        choices = tuple(Choice(name, place, 0.5, (), "so it is") for place, name in enumerate(names))
        return Decision(choices, 0.5, True, 0.0, 0.5, None, "drawn")

    monkeypatch.setattr(auto, "decide", decide)
    engine.gate = cloud.gate = asyncio.Event()
    asking = [asyncio.create_task(ask()) for _ in range(2)]
    async with asyncio.timeout(60):
        while firsts:
            await asyncio.sleep(0.01)
        engine.gate.set()
        answers = await asyncio.gather(*asking)
    assert [said for said, _ in answers] == ["".join(WORDS)] * 2
    assert {(begun.entry.tier, begun.entry.model) for _, begun in answers} == {
        ("miss", "tiny:latest"),
        ("collapsed", "tiny:latest"),
    }
    assert (engine.calls, cloud.calls) == (1, 0)


@pytest.mark.parametrize("words", [("I cannot ", "say."), WORDS], ids=["whole", "given up"])
@pytest.mark.parametrize("stream", [True, False])
async def test_of_answers_that_will_not_do_the_one_of_who_was_to_do_better_is_taken(
    ask: Ask, engine: FakeEngine, cloud: FakeEngine, words: tuple[str, ...], stream: bool
) -> None:
    engine.pieces = words
    cloud.model = replace(cloud.model, takes=cloud.model.takes - {"format"})
    cloud.pieces = ("no ", "JSON either")
    said, begun = await ask(format="json", stream=stream)
    assert (said, begun.entry.model, engine.calls, cloud.calls) == ("no JSON either", "openai/big", 1, 1)


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.mark.parametrize(
    ("words", "reason", "is_right"),
    [
        (('{"n":', " 4}"), "stop", True),
        (('{"m":', " 4}"), "stop", False),
        (('{"n":', " 4"), "length", False),
    ],
)
async def test_of_whole_answers_that_will_not_do_the_one_in_the_form_that_was_asked_for_is_taken(
    ask: Ask, engine: FakeEngine, cloud: FakeEngine, words: tuple[str, ...], reason: str, is_right: bool
) -> None:
    engine.pieces, engine.reason = words, reason
    cloud.model = replace(cloud.model, takes=cloud.model.takes - {"format"})
    cloud.pieces = ("I think ", "it is four, ", "sorry.")
    said, begun = await ask(format=SCHEMA)
    one = ("".join(words), "tiny:latest") if is_right else ("I think it is four, sorry.", "openai/big")
    assert ((said, begun.entry.model), begun.entry.status) == (one, 200)
    assert (engine.calls, cloud.calls, begun.entry.is_stored) == (1, 1, False)


async def test_an_answer_that_is_taken_after_all_is_what_was_asked_for(
    ask: Ask, engine: FakeEngine, cloud: FakeEngine
) -> None:
    engine.model = replace(engine.model, takes=engine.model.takes - {"stop"})
    engine.pieces = ("I cannot ", "say.", " END and more")
    cloud.pieces, cloud.error = (), EngineUnavailable("HTTP 503")
    said, begun = await ask(options={"stop": ["END"]})
    assert (said, begun.entry.model) == ("I cannot say. ", "tiny:latest")


async def test_who_was_not_heard_to_the_end_is_asked_again_where_nobody_else_answers(
    ask: Ask, engine: FakeEngine, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failover, "MOST_ATTEMPTS", 2)
    cloud.pieces, cloud.error = (), EngineUnavailable("HTTP 503")
    said, begun = await ask()
    assert (said, begun.entry.model, begun.entry.status) == ("".join(WORDS), "tiny:latest", 200)
    assert engine.calls == 2


async def test_who_was_not_heard_to_the_end_is_asked_again_whoever_was_not_asked_at_all(
    parts: Parts, cast: dict[str, Caller], engine: FakeEngine, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failover, "MOST_ATTEMPTS", 2)
    engine.pieces, engine.logprob = WORDS, -3.0
    other = FakeEngine("groq", "groq/huge", is_paid=True)
    for one in (cloud, other):
        one.model = replace(one.model, price=Price(input=Decimal(1), output=Decimal(2)))
        one.pieces, one.error = (), EngineUnavailable("HTTP 503")
    three = replace(parts, catalogue=Catalogue([engine, cloud, other]))
    three.catalogue.apply(Registry(models=(ModelEntry(name="openai/big"), ModelEntry(name="groq/huge"))))
    begun = await answer(question(model="auto"), cast["alice"], three)
    assert (await read(begun), begun.entry.model, begun.entry.status) == ("".join(WORDS), "tiny:latest", 200)
    assert (engine.calls, cloud.calls + other.calls) == (2, 1)


async def test_the_likelihood_of_tokens_is_for_who_asked_for_it(
    parts: Parts, cast: dict[str, Caller], engine: FakeEngine
) -> None:
    engine.pieces, engine.logprob = WORDS, -0.01
    for wanted in (True, False):
        begun = await answer(question(f"{wanted}?", model="auto", logprobs=wanted), cast["alice"], parts)
        heard: list[Chunk] = [chunk async for chunk in begun.chunks]
        assert sum(len(chunk.logprobs) for chunk in heard) == (len(WORDS) if wanted else 0)


async def test_who_is_asked_again_untried_tells_no_likelihood_that_nobody_asked_for(
    parts: Parts, cast: dict[str, Caller], engine: FakeEngine, cloud: FakeEngine
) -> None:
    engine.pieces, engine.logprob = WORDS, -3.0
    cloud.model = replace(cloud.model, price=Price(input=Decimal(1), output=Decimal(2)))
    cloud.pieces, cloud.error = (), EngineUnavailable("HTTP 503")
    parts.catalogue.apply(Registry(models=(ModelEntry(name="openai/big"),)))
    for wanted in (True, False):
        begun = await answer(question(f"{wanted}?", model="auto", logprobs=wanted), cast["alice"], parts)
        heard: list[Chunk] = [chunk async for chunk in begun.chunks]
        assert text_of(heard) == "".join(WORDS)
        assert sum(len(chunk.logprobs) for chunk in heard) == (len(WORDS) if wanted else 0)
    assert engine.calls == 4


async def test_a_place_that_was_silent_is_not_taken_to_be_well(
    ask_ours: Ask, parts: Parts, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cascade, "LONGEST_S", 0.5)
    engine.pieces, engine.gate = (), asyncio.Event()
    place = parts.places.place(Candidate(model=engine.model, stands_for=engine.model))
    while not place.breaker.is_open:
        place.failed(Turn.CALL, "HTTP 503")
    place.breaker._retry_at = 0.0
    assert (await ask_ours(is_second_quicker=False, rank=1))[0] == "by the cloud"
    assert engine.calls == 1
    assert place.breaker.is_open
    assert place.breaker.turn() is Turn.PROBE, "the next one finds out"
    assert place.answered_at == float("-inf")
    assert place.load.first_s >= 0.2


async def test_asking_again_says_that_the_answer_did_not_help(ask: Ask, parts: Parts) -> None:
    _, first = await ask(request_id="first")
    await written(parts, 1)
    await ask(request_id="second", control=CacheControl(read=False))
    said = [one for one in await rows(parts, AnswerOutcome) if one.kind == "retry"]
    assert [(one.request_id, one.model, one.good) for one in said] == [("first", first.entry.model, 0.2)]


async def test_asking_again_says_nothing_of_who_gave_no_answer(
    ask: Ask, parts: Parts, engine: FakeEngine, cloud: FakeEngine
) -> None:
    for one in (engine, cloud):
        one.pieces, one.error = (), EngineTimeout("silent")
    with pytest.raises(EngineTimeout):
        await ask(request_id="first")
    await written(parts, 1)
    with pytest.raises(EngineTimeout):
        await ask(request_id="second", control=CacheControl(read=False))
    assert (await rows(parts, RequestRecord))[0].model, "it names who was expected to answer"
    assert not await rows(parts, AnswerOutcome)


def limited(model: str, caller: Caller, amount: int = 1) -> Caller:
    """The same, who may ask that model so often."""
    only = Limit(id=7, name="few", kind="requests", each="tenant", amount=amount, per_s=86_400, model=model)
    return replace(caller, limits=(only,))


async def test_limits_of_who_is_asked_next_count_too(
    ask: Ask, parts: Parts, cast: dict[str, Caller], engine: FakeEngine, cloud: FakeEngine
) -> None:
    alice = limited("openai/*", cast["alice"])
    said = []
    for text in ("one?", "two?"):
        begun = await answer(question(text, model="auto"), alice, parts)
        said.append((await read(begun), begun.entry.model))
    assert said[0] == ("by the cloud", "openai/big")
    assert said[1][1] == "tiny:latest", "its limit is reached, so who was not sure is heard after all"
    assert cloud.calls == 1


async def test_a_model_whose_limit_is_reached_is_passed_over(
    ask: Ask, parts: Parts, cast: dict[str, Caller], engine: FakeEngine
) -> None:
    alice = limited("tiny*", cast["alice"])
    models = []
    for text in ("one?", "two?"):
        begun = await answer(question(text, model="auto"), alice, parts)
        await read(begun)
        models.append((begun.entry.model, engine.calls))
    assert models == [("openai/big", 1), ("openai/big", 1)]
    none = replace(alice, limits=(*alice.limits, replace(alice.limits[0], id=8, model="openai/*", amount=0)))
    with pytest.raises(TooMany):
        await answer(question("three?", model="auto"), none, parts)
