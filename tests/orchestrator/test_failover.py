"""Places are asked in turn until one speaks; what it says is told to its health, its record and its caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings

from orchestrator import failover, vitals, wiring
from orchestrator.answers import Answer
from orchestrator.catalogue import Catalogue
from orchestrator.core.errors import (
    BadRequest,
    Busy,
    ContextTooLong,
    EngineError,
    EngineRefused,
    EngineTimeout,
    EngineUnavailable,
    EngineUnreachable,
    GenerationFailed,
    LedgerUnavailable,
    ModelNotFound,
    NoneAvailable,
    OrchestratorError,
    ParameterRefused,
    RateLimited,
)
from orchestrator.core.limits import Limit
from orchestrator.core.permissions import EVERYBODY
from orchestrator.core.prices import Price
from orchestrator.core.types import Caller, ChatRequest, Chunk, Done, Usage
from orchestrator.identity.keys import default_caller
from orchestrator.models import Attempt, RequestRecord
from orchestrator.parts import Parts
from orchestrator.pipeline import answer
from orchestrator.registry.entries import DeploymentEntry, ModelEntry, Registry
from routing.health import FAILURES, FIRST_PAUSE_S
from tests.fakes import FakeEngine, SetClock
from tests.orchestrator.test_pipeline import question, read

Ask = Callable[..., Any]


@pytest.fixture
def groq() -> FakeEngine:
    return FakeEngine("groq", "groq/big", is_paid=True)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def both(
    parts: Parts,
    cloud: FakeEngine,
    groq: FakeEngine,
    engine: FakeEngine,
    clock: SetClock,
    monkeypatch: pytest.MonkeyPatch,
) -> Parts:
    """`big` is openai's, then groq's; `wide` either's; `openai/big` falls back to `tiny`."""
    groq.pieces = ("fo", "ur ", "too")
    catalogue = Catalogue([cloud, groq, engine])
    first, second = (DeploymentEntry(provider=name, remote_name="big", rank=rank) for rank, name in enumerate(NAMES))
    catalogue.apply(
        Registry(
            models=(
                ModelEntry(name="big", aliases=("Large",), deployments=(first, second)),
                ModelEntry(name="wide", deployments=(first, replace(second, rank=0)), balance="weight"),
                ModelEntry(name="hedged", deployments=(first, second), hedge_after_s=0.02),
                ModelEntry(name="openai/big", fallbacks=("tiny", "gone/away")),
            )
        )
    )
    parts.places._clock = clock
    both = replace(parts, catalogue=catalogue)
    monkeypatch.setattr(wiring, "_parts", both)
    return both


NAMES = ("openai", "groq")


@pytest.fixture
def ask(both: Parts, cast: dict[str, Caller]) -> Ask:
    async def ask(text: str = "What is 2+2?", who: str = "alice", **fields: Any) -> tuple[str, Answer]:
        begun = await answer(question(text, **{"model": "big"} | fields), cast[who], both)
        return await read(begun), begun

    return ask


def fails(engine: FakeEngine, error: Exception | None, *pieces: str) -> None:
    engine.pieces, engine.error = pieces, error


async def written(parts: Parts, requests: int, attempts: int) -> tuple[list[RequestRecord], list[Attempt]]:
    async with asyncio.timeout(60):
        while True:
            rows = await parts.reads.run(
                60,
                lambda: (
                    list(RequestRecord.objects.of(EVERYBODY).order_by("id")),
                    list(Attempt.objects.of(EVERYBODY).order_by("id")),
                ),
            )
            if len(rows[0]) >= requests and len(rows[1]) >= attempts:
                return rows
            await asyncio.sleep(0.01)


async def test_the_first_place_answers_and_no_other_is_asked(ask: Ask, groq: FakeEngine) -> None:
    said, begun = await ask()
    assert (said, begun.entry.model, begun.entry.provider, groq.calls) == ("four", "openai/big", "openai", 0)


@pytest.mark.parametrize("name", ["big", "BIG", "big:latest", "large"])
async def test_a_registered_model_has_its_names(ask: Ask, name: str) -> None:
    assert (await ask(model=name))[1].entry.model == "openai/big"


@pytest.mark.parametrize(
    "error",
    [
        EngineUnreachable("refused"),
        EngineUnavailable("HTTP 503"),
        EngineTimeout("silent"),
        EngineError("not JSON"),
        RateLimited("slow down", retry_after_s=7),
        ModelNotFound("no such model there"),
        ContextTooLong("too long"),
        ParameterRefused("temperature is not taken"),
        GenerationFailed("could not read what its model wrote"),
        Busy("queue full"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_after_these_the_next_place_is_asked_once(
    both: Parts, ask: Ask, cloud: FakeEngine, groq: FakeEngine, error: OrchestratorError
) -> None:
    fails(cloud, error)
    said, begun = await ask()
    assert (said, cloud.calls, groq.calls) == ("four too", 1, 1)
    assert (begun.entry.model, begun.entry.provider, begun.entry.status) == ("groq/big", "groq", 200)
    assert begun.entry.route == f"named; {error.kind}: openai/big"
    page, _ = await vitals.page(both, settings.RUN_DIR, "")
    calls = {line for line in page.decode().splitlines() if line.startswith("orchestrator_provider_calls_total")}
    assert calls == {
        f'orchestrator_provider_calls_total{{outcome="{error.kind}",provider="openai"}} 1.0',
        'orchestrator_provider_calls_total{outcome="done",provider="groq"} 1.0',
    }
    (record,), (attempt,) = await written(both, 1, 1)
    assert (record.model, record.provider, record.outcome) == ("groq/big", "groq", "done")
    assert (attempt.request_id, attempt.provider, attempt.model) == (record.request_id, "openai", "openai/big")
    assert (attempt.outcome, attempt.error) == (error.kind, str(error))


async def test_what_is_wrong_with_the_question_is_nobodys_fault(ask: Ask, cloud: FakeEngine, groq: FakeEngine) -> None:
    fails(cloud, BadRequest("temperature is too high"))
    with pytest.raises(BadRequest, match="temperature"):
        await ask()
    assert groq.calls == 0


async def test_after_the_first_piece_the_error_is_visible_and_nothing_is_kept(
    both: Parts, ask: Ask, cloud: FakeEngine, groq: FakeEngine
) -> None:
    fails(cloud, EngineError("broke off"), "fo")
    for _ in range(2):
        with pytest.raises(EngineError, match="broke off"):
            await ask()
    assert (cloud.calls, groq.calls) == (2, 0)
    assert all(held.entries == 0 for held in (await both.cache.holding_here()).values())


async def test_when_nobody_answers_each_is_named(ask: Ask, cloud: FakeEngine, groq: FakeEngine) -> None:
    fails(cloud, RateLimited("slow down", retry_after_s=30))
    fails(groq, EngineTimeout("silent"))
    with pytest.raises(RateLimited) as told:
        await ask()
    assert str(told.value) == "Nobody answered. openai/big: slow down | groq/big: silent"
    assert told.value.retry_after_s == 30


async def test_an_answer_of_any_deployment_is_the_models(ask: Ask, cloud: FakeEngine, groq: FakeEngine) -> None:
    fails(cloud, EngineUnavailable("HTTP 503"))
    await ask()
    cloud.error, cloud.pieces = None, ("four",)
    said, begun = await ask()
    assert (said, begun.entry.tier, begun.entry.model, groq.calls) == ("four too", "memory", "groq/big", 1)


async def test_an_answer_of_a_fallback_is_not_the_asked_models(ask: Ask, cloud: FakeEngine, engine: FakeEngine) -> None:
    fails(cloud, EngineTimeout("silent"))
    engine.pieces = ("4",)
    said, begun = await ask(model="openai/big")
    assert (said, begun.entry.model, engine.calls) == ("4", "tiny:latest", 1)
    cloud.error, cloud.pieces = None, ("four",)
    said, begun = await ask(model="openai/big")
    assert (said, begun.entry.tier, begun.entry.model) == ("four", "miss", "openai/big")
    assert (await ask(model="tiny"))[1].entry.tier == "memory"  # it is that model's own


async def test_a_place_that_keeps_failing_is_not_asked_until_a_pause_is_over(
    both: Parts, ask: Ask, cloud: FakeEngine, groq: FakeEngine, clock: SetClock
) -> None:
    fails(cloud, EngineTimeout("silent"))
    for number in range(int(FAILURES) + 5):
        assert (await ask(f"question {number}"))[0] == "four too"
    assert cloud.calls == FAILURES
    assert [one.model for one in both.places.open()] == ["openai/big"]
    clock.pass_(FIRST_PAUSE_S)
    cloud.error, cloud.pieces = None, ("four",)
    assert (await ask("and now?"))[0] == "four"
    assert not both.places.open()


async def test_exactly_one_finds_out_whether_it_is_back(
    both: Parts, ask: Ask, cloud: FakeEngine, groq: FakeEngine, clock: SetClock
) -> None:
    fails(cloud, EngineTimeout("silent"))
    for number in range(int(FAILURES)):
        await ask(f"question {number}")
    clock.pass_(FIRST_PAUSE_S)
    cloud.calls, cloud.error, cloud.gate = 0, None, asyncio.Event()
    waiting = [asyncio.create_task(ask(f"at once {number}")) for number in range(50)]
    async with asyncio.timeout(60):
        while sum(task.done() for task in waiting) < 49:
            await asyncio.sleep(0.01)
    assert (cloud.calls, groq.calls) == (1, FAILURES + 49)
    cloud.gate.set()
    await asyncio.gather(*waiting)


async def test_a_single_place_has_a_breaker_too(both: Parts, ask: Ask, groq: FakeEngine, clock: SetClock) -> None:
    fails(groq, EngineTimeout("silent"))
    for number in range(int(FAILURES)):
        with pytest.raises(EngineTimeout):
            await ask(f"question {number}", model="groq/big")
    with pytest.raises(NoneAvailable, match=r"kept failing \(engine_timeout\)") as told:
        await ask("one more", model="groq/big")
    assert (told.value.status, told.value.retry_after_s, groq.calls) == (503, FIRST_PAUSE_S, FAILURES)


async def test_an_answer_that_was_too_slow_counts_against_it(
    both: Parts, ask: Ask, cloud: FakeEngine, groq: FakeEngine
) -> None:
    both.places.slow_after_s = {"openai": -1.0}  # everything is too slow
    for number in range(int(FAILURES)):
        assert (await ask(f"question {number}"))[0] == "four"  # it is passed on all the same
    assert (await ask("one more"))[0] == "four too"


async def test_who_asked_for_a_pause_is_left_alone_until_it_is_over(
    ask: Ask, cloud: FakeEngine, groq: FakeEngine, clock: SetClock
) -> None:
    fails(cloud, RateLimited("slow down", retry_after_s=20))
    for number in range(3):
        assert (await ask(f"question {number}"))[0] == "four too"
    assert cloud.calls == 1
    groq.error, groq.pieces = EngineTimeout("silent"), ()
    with pytest.raises(EngineTimeout, match="openai/big wants fewer requests for now") as told:
        await ask("nobody is left")
    assert told.value.retry_after_s == 20
    clock.pass_(21)
    cloud.error, cloud.pieces = None, ("four",)
    assert (await ask("later"))[0] == "four"


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses that take no time, in the order they were made."""
    pauses: list[float] = []

    def pause_s(repetition: int, wanted_s: float | None, rng: object) -> float:
        pauses.append(wanted_s or 0.0)
        return 0.0

    monkeypatch.setattr("orchestrator.failover.pause_s", pause_s)
    return pauses


async def test_one_place_is_asked_again_where_nothing_of_an_answer_was_made(
    ask: Ask, groq: FakeEngine, at_once: list[float]
) -> None:
    fails(groq, EngineUnavailable("HTTP 503", retry_after_s=1))
    with pytest.raises(EngineUnavailable):
        await ask(model="groq/big")
    assert (groq.calls, at_once) == (3, [1, 1])


@pytest.mark.parametrize("error", [EngineTimeout("silent"), EngineError("not JSON"), ModelNotFound("unknown")])
async def test_what_may_have_been_paid_for_is_not_asked_again(
    ask: Ask, groq: FakeEngine, at_once: list[float], error: OrchestratorError
) -> None:
    fails(groq, error)
    with pytest.raises(type(error)):
        await ask(model="groq/big")
    assert groq.calls == 1


async def test_a_tenth_is_asked_again_at_most(
    both: Parts, ask: Ask, groq: FakeEngine, at_once: list[float], clock: SetClock
) -> None:
    fails(groq, EngineUnreachable("refused"))
    for number in range(100):
        with pytest.raises(OrchestratorError):
            await ask(f"question {number}", model="groq/big")
        clock.pass_(100)  # so that the breaker is never what stops it
    assert 100 < groq.calls <= 100 + 3 + 10


async def test_what_costs_money_is_not_asked_while_it_cannot_be_written_down(
    both: Parts, ask: Ask, cloud: FakeEngine, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def must_be_writable() -> None:
        raise LedgerUnavailable("The ledger cannot be written.")

    monkeypatch.setattr(both.ledger, "must_be_writable", must_be_writable)
    with pytest.raises(LedgerUnavailable):
        await ask()
    assert (await ask(model="openai/big"))[1].entry.model == "tiny:latest"  # which is free
    assert cloud.calls == 0


async def test_weights_share_out_and_who_is_down_comes_last(
    both: Parts, ask: Ask, cloud: FakeEngine, groq: FakeEngine, clock: SetClock
) -> None:
    for number in range(40):
        await ask(f"question {number}", model="wide")
    assert cloud.calls > 8
    assert groq.calls > 8
    both.places.down = frozenset({"groq"})
    clock.pass_(61)  # it answered, but that is long ago
    before = groq.calls
    for number in range(20):
        _, begun = await ask(f"another {number}", model="wide")
        assert begun.entry.route == "named; down: groq/big"
    assert groq.calls == before


async def test_a_second_place_is_asked_when_the_first_is_silent_and_the_loser_is_closed(
    both: Parts, ask: Ask, cloud: FakeEngine, groq: FakeEngine
) -> None:
    cloud.pieces, cloud.gate = (), asyncio.Event()
    said, begun = await ask(model="hedged")
    assert (said, begun.entry.model) == ("four too", "groq/big")
    assert (cloud.calls, cloud.closed, groq.calls) == (1, 1, 1)
    assert dict(both.places.calls()) == {"openai": 0, "groq": 0}
    assert not both.places.open()


async def test_no_second_place_is_asked_when_the_first_speaks_in_time(ask: Ask, groq: FakeEngine) -> None:
    assert (await ask(model="hedged"))[0] == "four"
    assert groq.calls == 0


async def test_when_the_caller_leaves_everything_under_way_is_closed(
    both: Parts, cast: dict[str, Caller], cloud: FakeEngine, groq: FakeEngine
) -> None:
    for one in (cloud, groq):
        one.pieces, one.gate = (), asyncio.Event()
    begun = await answer(question(model="hedged"), cast["alice"], both)
    async with aclosing(begun.chunks) as chunks:
        waiting = asyncio.ensure_future(anext(chunks))
        async with asyncio.timeout(60):
            while not groq.calls:
                await asyncio.sleep(0.005)
        waiting.cancel()
        await asyncio.wait({waiting})
    async with asyncio.timeout(60):
        while len(both.inflight):
            await asyncio.sleep(0.005)
    assert (cloud.closed, groq.closed) == (1, 1)
    assert dict(both.places.calls()) == {"openai": 0, "groq": 0}
    assert not both.places.open()


async def test_whoever_shares_a_call_is_told_who_answered(
    both: Parts, cast: dict[str, Caller], cloud: FakeEngine, groq: FakeEngine
) -> None:
    fails(cloud, EngineUnavailable("HTTP 503"))
    groq.gate = asyncio.Event()
    begun = [await answer(question(model="big"), cast[who], both) for who in ("alice", "bob")]
    reading = [asyncio.create_task(read(one)) for one in begun]
    async with asyncio.timeout(60):
        while not groq.calls:
            await asyncio.sleep(0.005)
    groq.gate.set()
    assert await asyncio.gather(*reading) == ["four too"] * 2
    assert {(one.entry.tier, one.entry.model) for one in begun} == {("miss", "groq/big"), ("collapsed", "groq/big")}
    assert groq.calls == 1


async def test_a_provider_that_is_full_is_passed_over(
    both: Parts, ask: Ask, cloud: FakeEngine, groq: FakeEngine
) -> None:
    both.places.most_calls = {"openai": 1}
    cloud.gate = asyncio.Event()
    first = asyncio.create_task(ask("one"))
    async with asyncio.timeout(60):
        while not cloud.calls:
            await asyncio.sleep(0.005)
    assert (await ask("two"))[1].entry.model == "groq/big"
    cloud.gate.set()
    assert (await first)[1].entry.model == "openai/big"


async def test_a_place_that_cannot_do_what_is_asked_is_not_asked(
    both: Parts, ask: Ask, cloud: FakeEngine, groq: FakeEngine
) -> None:
    cloud.model = replace(cloud.model, capabilities=frozenset({"completion"}))
    tool = {"type": "function", "function": {"name": "weather", "parameters": {}}}
    said, begun = await ask(tools=(tool,))
    assert (said, begun.entry.model, cloud.calls) == ("four too", "groq/big", 0)


async def test_what_only_the_next_place_leaves_out_is_told(
    both: Parts, ask: Ask, cloud: FakeEngine, groq: FakeEngine
) -> None:
    groq.model = replace(groq.model, takes=groq.model.takes - {"seed"})
    assert (await ask(options={"seed": 1}))[1].entry.unsupported == ()
    fails(cloud, EngineUnavailable("HTTP 503"))
    _, begun = await ask("again", options={"seed": 1})
    assert (begun.entry.model, begun.entry.unsupported) == ("groq/big", ("seed",))
    assert groq.asked[-1].options == {}


async def test_what_a_question_was_counted_as_is_no_answer_yet(
    both: Parts, ask: Ask, cloud: FakeEngine, groq: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def chat(*_: object) -> AsyncIterator[Chunk]:
        yield Chunk(usage=Usage(prompt_tokens=1000))
        raise EngineError("broke off")

    monkeypatch.setattr(cloud, "chat", chat)
    said, begun = await ask()
    assert (said, begun.entry.model, begun.entry.usage.prompt_tokens) == ("four too", "groq/big", 7)


async def test_who_answers_is_not_blamed_for_the_time_that_others_took(
    both: Parts, ask: Ask, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def chat(*_: object) -> AsyncIterator[Chunk]:
        await asyncio.sleep(0.2)
        raise EngineTimeout("silent")
        yield Chunk()

    monkeypatch.setattr(cloud, "chat", chat)
    _, begun = await ask()
    (record,), _ = await written(both, 1, 1)
    assert record.first_us - record.engine_first_us >= 200_000
    assert begun.entry.first_s is not None
    assert begun.entry.engine_first_s is not None
    assert begun.entry.first_s - begun.entry.engine_first_s >= 0.2


def spent(engine: FakeEngine, input: int = 2, output: int = 10) -> None:
    engine.model = replace(engine.model, price=Price(input=Decimal(input), output=Decimal(output)))


async def test_what_was_refused_costs_nothing_and_a_free_answer_is_free(
    both: Parts, ask: Ask, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(cloud, EngineUnreachable("refused"))
    _, begun = await ask(model="openai/big")
    assert (begun.entry.model, begun.entry.is_paid, begun.entry.cost_microusd) == ("tiny:latest", False, 0)


async def test_what_may_have_been_worked_on_is_paid_for_though_another_answers(
    both: Parts, ask: Ask, cloud: FakeEngine, groq: FakeEngine
) -> None:
    spent(groq)
    fails(cloud, EngineTimeout("silent"))
    assert (await ask("unknown"))[1].entry.cost_microusd is None  # nobody knows openai's price
    spent(cloud, 1000)
    _, begun = await ask("What is 2+2?")
    question_tokens, answer = 3, 7 * 2 + 3 * 10
    assert begun.entry.cost_microusd == question_tokens * 1000 + answer
    assert begun.entry.is_paid


@pytest.mark.parametrize(
    ("error", "told", "tokens"),
    [
        (EngineTimeout("silent"), None, 3),
        (EngineError("broke off"), Usage(prompt_tokens=40, completion_tokens=5), 45),
        (EngineUnreachable("refused"), None, 0),
    ],
)
@pytest.mark.parametrize("is_answered", [True, False])
async def test_what_charges_and_does_not_answer_counts_against_token_limits(
    both: Parts,
    cast: dict[str, Caller],
    cloud: FakeEngine,
    groq: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
    error: OrchestratorError,
    told: Usage | None,
    tokens: int,
    is_answered: bool,
) -> None:
    async def chat(*_: object) -> AsyncIterator[Chunk]:
        if told:
            yield Chunk(usage=told)
        raise error

    monkeypatch.setattr(cloud, "chat", chat)
    if not is_answered:
        fails(groq, EngineUnreachable("refused"))
    amount = 10_000
    of_tokens = Limit(id=1, name="all", kind="tokens", each="tenant", amount=amount, per_s=31 * 86_400)
    who = replace(cast["alice"], limits=(of_tokens,))
    with suppress(EngineError):
        await read(await answer(question("What is 2+2?", model="big"), who, both))
    standing = await both.limiter.charge(who, "openai/big", "")
    answered = 10 if is_answered else 0
    assert standing.now.startswith(f'"all";r={amount - tokens - answered};')


async def test_a_price_of_nobody_who_answered_is_told_by_attempt(ask: Ask, groq: FakeEngine, both: Parts) -> None:
    spent(groq, 1000)
    fails(groq, EngineTimeout("silent"))
    with pytest.raises(EngineTimeout):
        await ask(model="groq/big")
    ((record,), _) = await written(both, 1, 1)
    assert (record.is_paid, record.cost_microusd) == (True, 3000)


async def test_a_hit_names_who_answered_and_where(ask: Ask, cloud: FakeEngine) -> None:
    fails(cloud, EngineUnavailable("HTTP 503"))
    await ask()
    cloud.error = None
    _, begun = await ask()
    assert (begun.entry.tier, begun.entry.model, begun.entry.provider) == ("memory", "groq/big", "groq")


async def test_a_rule_of_the_providers_closes_nothing_and_its_words_are_not_said_to_others(
    both: Parts, ask: Ask, groq: FakeEngine
) -> None:
    fails(groq, EngineRefused("groq refused this to us (HTTP 403): flagged: my diary"))
    for number in range(10):
        with pytest.raises(EngineRefused):
            await ask(f"question {number}", model="groq/big")
    fails(groq, EngineTimeout("silent about my diary"))
    for number in range(int(FAILURES)):
        with pytest.raises(EngineTimeout):
            await ask(f"another {number}", who="alice", model="groq/big")
    with pytest.raises(NoneAvailable) as told:
        await ask(who="charlie", model="groq/big")
    assert "diary" not in str(told.value)
    assert both.places.open()[0].why == "silent about my diary"  # an operator sees it


async def test_what_a_model_writes_wrongly_closes_nothing_and_is_an_error_of_the_provider(
    ask: Ask, groq: FakeEngine
) -> None:
    fails(groq, GenerationFailed("groq could not read what its model wrote"))
    for number in range(10):
        with pytest.raises(GenerationFailed) as told:
            await ask(f"question {number}", model="groq/big")
        assert told.value.status == 502
    assert groq.calls == 10


async def test_a_parameter_that_nobody_takes_is_the_callers_and_closes_nothing(
    both: Parts, ask: Ask, cloud: FakeEngine, groq: FakeEngine
) -> None:
    fails(cloud, ParameterRefused("openai refused the request: Unsupported parameter: 'seed'"))
    fails(groq, EngineUnavailable("HTTP 503", retry_after_s=60))
    with pytest.raises(ParameterRefused, match=r"Nobody answered\. openai/big: .*'seed' \| groq/big: HTTP 503") as told:
        await ask()
    assert told.value.status == 400
    fails(groq, ParameterRefused("groq refused the request: property 'seed' is unsupported"))
    for number in range(10):
        with pytest.raises(ParameterRefused, match=r"'seed' \| groq/big: groq refused"):
            await ask(f"question {number}")
    assert (cloud.calls, groq.calls, both.places.open()) == (11, 11, [])


async def test_a_parameter_that_the_second_does_not_take_leaves_the_status_to_the_first(
    ask: Ask, cloud: FakeEngine, groq: FakeEngine
) -> None:
    fails(cloud, EngineTimeout("silent"))
    fails(groq, ParameterRefused("property 'seed' is unsupported"))
    with pytest.raises(EngineTimeout, match=r"silent \| groq/big: property 'seed' is unsupported"):
        await ask()


async def test_where_there_is_one_place_a_parameter_is_refused_as_it_says(
    both: Parts, ask: Ask, groq: FakeEngine
) -> None:
    error = ParameterRefused("groq refused the request: property 'seed' is unsupported")
    fails(groq, error)
    with pytest.raises(ParameterRefused) as told:
        await ask(model="groq/big")
    assert told.value is error
    ((record,), attempts) = await written(both, 1, 0)
    assert (record.status, record.outcome, attempts) == (400, "bad_request", [])


async def test_vectors_of_another_model_are_no_fallback(both: Parts, cloud: FakeEngine, engine: FakeEngine) -> None:
    able = frozenset({"embedding"})
    cloud.model, engine.model = replace(cloud.model, capabilities=able), replace(engine.model, capabilities=able)
    fails(cloud, EngineTimeout("silent"))
    caller = await asyncio.to_thread(default_caller)
    with pytest.raises(EngineTimeout):
        await read(await answer(ChatRequest(model="openai/big", inputs=("one",)), caller, both))
    assert engine.calls == 0


async def test_a_place_that_is_changed_meanwhile_is_passed_over_and_never_stuck(
    both: Parts, ask: Ask, cloud: FakeEngine, groq: FakeEngine, clock: SetClock
) -> None:
    fails(groq, EngineTimeout("silent"))
    for number in range(int(FAILURES)):
        with pytest.raises(EngineTimeout):
            await ask(f"question {number}", model="groq/big")
    clock.pass_(FIRST_PAUSE_S)
    groq.is_retired = True  # type: ignore[attr-defined]  # as an engine of the registry is
    with pytest.raises(NoneAvailable, match="changed meanwhile"):
        await ask(model="groq/big")
    groq.is_retired = False  # type: ignore[attr-defined]
    groq.error, groq.pieces = None, ("back",)
    assert (await ask(model="groq/big"))[0] == "back"
    assert dict(both.places.calls())["groq"] == 0


async def test_a_place_that_is_silent_now_and_then_loses_its_turn_at_being_first(
    both: Parts, ask: Ask, cloud: FakeEngine, groq: FakeEngine
) -> None:
    catalogue = both.catalogue
    fast = replace(catalogue.registry.models[1], balance="latency")
    catalogue.apply(replace(catalogue.registry, models=(fast,)))
    fails(cloud, EngineTimeout("silent"))
    await ask("one", model="wide")
    calls = cloud.calls
    for number in range(20):
        await ask(f"question {number}", model="wide")
    assert cloud.calls == calls


async def test_a_slow_probe_lets_the_next_one_try_while_it_still_answers(
    both: Parts, ask: Ask, groq: FakeEngine, clock: SetClock
) -> None:
    fails(groq, EngineTimeout("silent"))
    for number in range(int(FAILURES)):
        with pytest.raises(EngineTimeout):
            await ask(f"question {number}", model="groq/big")
    clock.pass_(FIRST_PAUSE_S)
    both.places.slow_after_s = {"groq": -1.0}
    groq.error, groq.pieces, groq.gate = None, ("slow",), asyncio.Event()
    slow = asyncio.create_task(ask("the probe", model="groq/big"))
    async with asyncio.timeout(60):
        while groq.calls <= FAILURES:
            await asyncio.sleep(0.005)
    clock.pass_(60)
    groq.gate.set()
    both.places.slow_after_s = {}
    assert (await ask("the next", model="groq/big"))[0] == "slow"
    await slow
    assert not both.places.open()


async def test_callers_who_leave_while_two_race_leave_nothing_behind(
    both: Parts, cast: dict[str, Caller], cloud: FakeEngine, groq: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def chat(*_: object) -> AsyncIterator[Chunk]:
        try:
            await asyncio.sleep(0.021)  # just when the other is asked
            yield Chunk(text="one")
            yield Chunk(done=Done(reason="stop"))
        finally:
            await asyncio.sleep(0.005)  # closing takes a moment

    for one in (cloud, groq):
        monkeypatch.setattr(one, "chat", chat)

    async def leaves(number: int) -> None:
        begun = await answer(question(f"{number}", model="hedged"), cast["alice"], both)
        async with aclosing(begun.chunks) as chunks:
            reading = asyncio.ensure_future(anext(chunks))
            await asyncio.wait({reading}, timeout=0.018 + 0.0005 * (number % 20))
            reading.cancel()
            await asyncio.wait({reading})

    await asyncio.gather(*(leaves(number) for number in range(200)))
    async with asyncio.timeout(60):
        while len(both.inflight) or any(calls for _, calls in both.places.calls()):
            await asyncio.sleep(0.01)
    await failover.closed()


async def test_an_answer_that_is_not_the_json_asked_for_is_not_taken_where_another_is(
    both: Parts, ask: Ask, cloud: FakeEngine, groq: FakeEngine
) -> None:
    cloud.pieces, groq.pieces = ("I ", "cannot."), ('```json\n{"a"', ": 1,}\n```")
    said, begun = await ask(format="json")
    assert (said, begun.entry.model) == ('{"a": 1}', "groq/big")
    assert begun.entry.route == "named; wrong_form: openai/big"
    _, attempts = await written(both, 1, 1)
    assert [(one.provider, one.outcome) for one in attempts] == [("openai", "wrong_form")]
    assert not both.places.open()
    said, again = await ask(format="json")
    assert (said, again.hit is not None) == ('{"a": 1}', True)


async def test_nobody_did_better_so_it_is_taken_after_all(ask: Ask, cloud: FakeEngine, groq: FakeEngine) -> None:
    cloud.pieces, groq.pieces = ("I ", "cannot."), ("Nor ", "I.")
    said, begun = await ask(format="json")
    assert (said, begun.entry.model, begun.entry.status) == ("I cannot.", "openai/big", 200)
    assert (cloud.calls, groq.calls) == (1, 1)
    assert len(begun.entry.charges) == 2


async def test_an_answer_in_another_form_is_better_than_that_the_question_is_refused(
    both: Parts, ask: Ask, cloud: FakeEngine, groq: FakeEngine
) -> None:
    cloud.pieces = ("I ", "cannot.")
    fails(groq, BadRequest("content_policy_violation"))
    said, begun = await ask(format="json")
    assert (said, begun.entry.model, begun.entry.status) == ("I cannot.", "openai/big", 200)
    _, attempts = await written(both, 1, 2)
    assert [(one.provider, one.outcome) for one in attempts] == [("openai", "wrong_form"), ("groq", "bad_request")]
    assert not both.places.open()


async def test_a_model_that_is_asked_alone_says_what_it_says(ask: Ask, groq: FakeEngine) -> None:
    groq.pieces = ("No.",)
    said, begun = await ask(model="groq/big", format="json")
    assert (said, begun.entry.status) == ("No.", 200)


async def test_who_listens_hears_each_piece_as_it_comes(ask: Ask, cloud: FakeEngine) -> None:
    cloud.pieces = ("{", '"a": 1,}')
    said, _ = await ask(format="json", stream=True)
    assert said == '{"a": 1,}'


@pytest.mark.parametrize("pieces", [("I ", "cannot."), ("{", '"a": 1,}'), ("[1", "]")])
async def test_what_was_streamed_is_kept_only_where_it_is_the_json_asked_for(
    ask: Ask, cloud: FakeEngine, groq: FakeEngine, pieces: tuple[str, ...]
) -> None:
    schema = {"type": "object", "required": ["a"]}
    cloud.pieces = pieces
    said, begun = await ask(format=schema, stream=True)
    assert (said, begun.entry.is_stored) == ("".join(pieces), False)
    cloud.pieces = ("{", '"a": 2}')
    said, begun = await ask(format=schema, stream=True)
    assert (said, begun.entry.is_stored) == ('{"a": 2}', True)
    said, begun = await ask(format=schema)
    assert (said, begun.entry.tier, groq.calls) == ('{"a": 2}', "memory", 0)


async def test_a_stream_that_a_limit_cut_is_kept_for_that_limit(ask: Ask, cloud: FakeEngine) -> None:
    cloud.pieces, cloud.reason = ("{", '"a": '), "length"
    cut = {"format": "json", "options": {"num_predict": 2}}
    await ask(**cut, stream=True)
    said, begun = await ask(**cut)
    assert (said, begun.entry.tier) == ('{"a": ', "memory")


@pytest.mark.parametrize(("field", "values"), [("top_k", (1, 2)), ("seed", (3, 3))])
async def test_who_would_be_asked_otherwise_in_its_place_shares_no_call(
    ask: Ask, cloud: FakeEngine, groq: FakeEngine, field: str, values: tuple[int, int]
) -> None:
    cloud.model = replace(cloud.model, takes=cloud.model.takes - {"top_k"})
    fails(cloud, EngineUnavailable("HTTP 503"))
    groq.gate = asyncio.Event()
    asking = [asyncio.create_task(ask(options={field: value})) for value in values]
    async with asyncio.timeout(60):
        while groq.calls < len(set(values)):
            await asyncio.sleep(0.005)
    groq.gate.set()
    await asyncio.gather(*asking)
    assert [one.options for one in groq.asked] == [{field: value} for value in dict.fromkeys(values)]


@pytest.mark.parametrize("is_stream_first", [True, False])
async def test_who_asks_for_the_whole_does_not_hear_a_stream_that_nobody_checks(
    ask: Ask, cloud: FakeEngine, groq: FakeEngine, is_stream_first: bool
) -> None:
    cloud.pieces, groq.pieces = ("I ", "cannot."), ("{", '"a": 1}')
    cloud.gate = asyncio.Event()
    asking = []
    for number, is_streamed in enumerate((is_stream_first, not is_stream_first, True, False), 1):
        asking.append(asyncio.create_task(ask(format="json", stream=is_streamed)))
        async with asyncio.timeout(60):
            while cloud.calls < min(number, 2):
                await asyncio.sleep(0.005)
    cloud.gate.set()
    answers = {begun.entry.request.stream: said for said, begun in await asyncio.gather(*asking)}
    assert answers == {True: "I cannot.", False: '{"a": 1}'}
    assert cloud.calls == 2
