"""What is asked once a caller has their answer: nobody waits for it, and it is charged under its own purpose."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Any
from unittest.mock import AsyncMock

import pytest
from django.db import connections

from orchestrator import wiring
from orchestrator.admission.pace import Pace
from orchestrator.afterwards.beginning import after, is_drawn
from orchestrator.afterwards.judge import grade
from orchestrator.afterwards.shadow import likeness
from orchestrator.choosing.ruled import ruled
from orchestrator.core import background
from orchestrator.core.background import MOST_WAITING, Background
from orchestrator.core.errors import (
    BadRequest,
    EngineTimeout,
    EngineUnavailable,
    KeyRefused,
    ModelNotFound,
    OrchestratorError,
)
from orchestrator.core.permissions import EVERYBODY
from orchestrator.core.prices import Price
from orchestrator.core.threads import WorkerThread
from orchestrator.core.types import Caller, ChatRequest, Chunk, Done, Message, Model, Reply, ToolCall, Usage
from orchestrator.ledger.holds import Charged
from orchestrator.models import AnswerOutcome, Charge, RequestRecord, ShadowRun, UnreadGrades
from orchestrator.outcomes.judges import LONGEST_S, Judges, Unread, unread_grades
from orchestrator.parts import Parts
from orchestrator.pipeline import answer
from orchestrator.registry.entries import DeploymentEntry, ModelEntry, Registry
from routing.rules.compiled import RuleSet, compile_rules
from routing.rules.document import Document
from tests.fakes import FakeEngine, SetClock
from tests.orchestrator.test_pipeline import question, read

Publish = Callable[..., None]
NUMBERS = itertools.count()
SHADOWED = {"name": "beside", "then": {"shadow": {"model": "openai/big", "share": 1.0}}}
JUDGED = {"judge": {"model": "openai/big", "share": 1.0}}


class Rules:
    """Holds what was published; there is nothing to catch up with."""

    def __init__(self, rules: RuleSet) -> None:
        self._rules = rules

    async def catch_up(self) -> None:
        """Nothing."""

    def rules(self) -> RuleSet:
        """What requests go by."""
        return self._rules


@pytest.fixture
async def priced(parts: Parts, engine: FakeEngine, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Parts:
    monkeypatch.setattr(Pace, "is_open", True)  # however late a busy machine makes it
    engine.pieces, cloud.pieces = ("a local ", "answer"), ("a cloud ", "answer")
    cloud.model = replace(cloud.model, price=Price(input=Decimal(1), output=Decimal(2)))
    parts.catalogue.apply(Registry(models=(ModelEntry(name="openai/big"),)))
    return parts


def with_rules(parts: Parts, *rules: Any, auto: Any = None) -> Parts:
    document = Document.model_validate({"rules": list(rules), "auto": auto or {}})
    return replace(parts, rules=Rules(compile_rules(document, 1)))  # type: ignore[arg-type]


async def asked(parts: Parts, caller: Caller, **fields: Any) -> str:
    begun = await answer(question(**fields), caller, parts)
    said = await read(begun)
    assert parts.afterwards is not None
    assert parts.outcomes is not None
    await parts.afterwards.idle()
    await parts.outcomes.aclose()
    return said


async def rows(parts: Parts, table: Any) -> list[Any]:
    return await parts.reads.run(60, lambda: list(table.objects.of(EVERYBODY).order_by("id")))


async def charged(parts: Parts, purpose: str) -> list[tuple[str, int | None]]:
    """What was charged for a purpose, once something was."""
    async with asyncio.timeout(60):
        while not (found := [one for one in await rows(parts, Charge) if one.purpose == purpose]):
            await asyncio.sleep(0.01)
    return [(one.model, one.cost_microusd) for one in found]


async def test_another_model_is_asked_the_same_beside(
    priced: Parts, cast: dict[str, Caller], cloud: FakeEngine
) -> None:
    parts = with_rules(priced, SHADOWED)
    assert await asked(parts, cast["alice"], model="tiny") == "a local answer"
    (run,) = await rows(parts, ShadowRun)
    assert (run.rule, run.model, run.shadow, run.failed) == ("beside", "tiny:latest", "openai/big", "")
    assert (run.cost_microusd, run.shadow_cost_microusd) == (0, 7 * 1 + 2 * 2)
    assert [message.content for message in cloud.asked[0].messages] == ["What is 2+2?"]
    assert await charged(parts, "shadow") == [("openai/big", 11)]
    assert await asked(parts, cast["alice"], model="tiny") == "a local answer"
    assert cloud.calls == 1, "what comes from cache is no new answer"


@pytest.mark.parametrize(
    ("model", "name", "is_same"),
    [
        ("tiny", "tiny", True),
        ("tiny", "TINY:latest", True),
        ("openai/big", "openai/big", True),
        ("openai/big", "Large", True),
        ("openai/big", "smart", True),
        ("smart", "openai/big", True),
        ("tiny", "smart", False),
    ],
)
async def test_who_answered_is_not_asked_beside_whatever_it_is_called(
    priced: Parts, cast: dict[str, Caller], engine: FakeEngine, cloud: FakeEngine, model: str, name: str, is_same: bool
) -> None:
    place = DeploymentEntry(provider="openai", remote_name="big")
    models = (ModelEntry(name="openai/big", aliases=("Large",)), ModelEntry(name="smart", deployments=(place,)))
    priced.catalogue.apply(Registry(models=models))
    parts = with_rules(priced, {"name": "beside", "then": {"shadow": {"model": name, "share": 1.0}}})
    await asked(parts, cast["alice"], model=model)
    assert engine.calls + cloud.calls == 1 + (not is_same)
    assert len(await rows(parts, ShadowRun)) == (not is_same)


async def test_a_shadow_is_compared_with_the_answer_and_not_with_what_came_before_it(
    priced: Parts, cast: dict[str, Caller], engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time begins when it is asked, and what others cost that were asked in vain is nobody's answer."""
    parts = with_rules(priced, SHADOWED)
    entry = (begun := await answer(question(model="tiny"), cast["alice"], priced)).entry
    await read(begun)
    entry.first_s, entry.engine_first_s, entry.total_s = 5.0, 1.0, 7.0
    row = {"cost_microusd": 900, "prompt_tokens": 1, "completion_tokens": 1}
    entry.charges.append(Charged(hold="in vain", row=row))
    entry.is_paid = True
    said = await ruled(entry.request, cast["alice"], parts)
    reply = Reply(model="tiny:latest", text="a local answer", done=Done(reason="stop"))
    assert parts.afterwards is not None
    after(said, entry, parts, reply)
    await parts.afterwards.idle()
    (run,) = await rows(parts, ShadowRun)
    assert (run.took_us, run.cost_microusd) == (3_000_000, 0)


async def test_a_shadow_that_fails_is_seen_by_nobody(priced: Parts, cast: dict[str, Caller], cloud: FakeEngine) -> None:
    cloud.pieces, cloud.error = (), EngineUnavailable("HTTP 503")
    parts = with_rules(priced, SHADOWED)
    assert await asked(parts, cast["alice"], model="tiny") == "a local answer"
    (run,) = await rows(parts, ShadowRun)
    assert (run.failed, run.shadow_cost_microusd, run.likeness) == ("engine_unavailable", None, None)


@pytest.mark.parametrize(
    ("error", "has_made", "outcomes"),
    [
        (EngineUnavailable("HTTP 503"), None, []),
        (KeyRefused("HTTP 401"), None, []),
        (ModelNotFound("HTTP 404"), None, []),
        (BadRequest("HTTP 400"), None, []),
        (EngineUnavailable("within an answer"), True, ["engine_unavailable"]),
        (EngineTimeout("silent"), None, ["engine_timeout"]),
        (ZeroDivisionError("surprise"), None, ["error"]),
    ],
)
async def test_a_shadow_that_was_refused_is_not_charged(
    priced: Parts,
    cast: dict[str, Caller],
    cloud: FakeEngine,
    error: Exception,
    has_made: bool | None,
    outcomes: list[str],
) -> None:
    cloud.pieces, cloud.error = (), error
    if isinstance(error, OrchestratorError):
        error.has_made = has_made
    parts = with_rules(priced, SHADOWED)
    assert await asked(parts, cast["alice"], model="tiny") == "a local answer"
    assert cloud.calls == 1
    await asyncio.to_thread(parts.ledger.close)
    assert [one.outcome for one in await rows(parts, Charge)] == outcomes


async def test_a_key_that_is_not_for_the_shadow_has_none(
    priced: Parts, cast: dict[str, Caller], cloud: FakeEngine
) -> None:
    parts = with_rules(priced, SHADOWED)
    await asked(parts, replace(cast["alice"], model_patterns=("tiny*",)), model="tiny")
    assert cloud.calls == 0
    (run,) = await rows(parts, ShadowRun)
    assert run.failed == "forbidden"


@pytest.mark.parametrize(("says", "good"), [("8", 0.8), ("10/10", 1.0), ("Grade: 0", 0.0), ("It is fine.", None)])
async def test_a_judge_says_how_good_what_the_router_chose_was(
    priced: Parts, cast: dict[str, Caller], cloud: FakeEngine, says: str, good: float | None
) -> None:
    cloud.pieces = (says,)
    parts = with_rules(priced, auto=JUDGED | {"explore": 0, "aim": {"share": 0.0}})
    await asked(parts, cast["alice"], model="auto")
    outcomes = await rows(parts, AnswerOutcome)
    kept = [] if good is None else [("judge", "openai/big", good)]
    assert [(one.kind, one.by, one.good) for one in outcomes] == kept
    question = cloud.asked[-1]
    assert "<answer>\n" in question.messages[-1].content
    assert question.options["num_predict"] == 64
    assert [model for model, _ in await charged(parts, "judge")] == ["openai/big"]


async def test_a_judge_without_a_grade_is_counted_said_once_and_left_alone_for_a_while(
    priced: Parts, cast: dict[str, Caller], cloud: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """It is charged each time, so it is not asked for nothing for ever."""
    clock = SetClock()
    cloud.pieces = ("Let me think about",)
    parts = with_rules(replace(priced, judges=Judges(clock)), auto=JUDGED | {"explore": 0, "aim": {"share": 0.0}})
    for number in range(6):
        await asked(parts, cast["alice"], model="auto", text=f"What is 2+{number}?")
    assert cloud.calls == 3
    assert caplog.text.count("answered 3 times without a grade") == 1
    assert [(one.judge, one.count) for one in await rows(parts, UnreadGrades)] == [("openai/big", 3)]
    assert await rows(parts, AnswerOutcome) == []
    for number, pause_s in enumerate((60, 120, 240)):
        clock.pass_(pause_s - 1)
        await asked(parts, cast["alice"], model="auto", text=f"{number} too soon")
        assert cloud.calls == 3 + number
        clock.pass_(1)
        await asked(parts, cast["alice"], model="auto", text=f"{number} again")
        await asked(parts, cast["alice"], model="auto", text=f"{number} and again")
        assert cloud.calls == 4 + number, "once, and then not for twice as long"
    assert caplog.text.count("without a grade") == 1
    cloud.pieces = ("9",)
    clock.pass_(480)
    for number in range(2):
        await asked(parts, cast["alice"], model="auto", text=f"good {number}")
    assert cloud.calls == 8, "it gives grades again"
    found = await parts.reads.run(60, unread_grades, EVERYBODY, date(1971, 1, 1))
    assert found == [Unread("openai/big", 6)]


def test_the_pause_of_a_judge_has_an_end() -> None:
    clock = SetClock()
    judges = Judges(clock)
    for _ in range(100):
        judges.unread("openai/big")
    clock.pass_(LONGEST_S)
    assert judges.may_ask("openai/big")


async def test_a_shadow_takes_no_place_at_a_provider_that_is_full(
    priced: Parts, cast: dict[str, Caller], cloud: FakeEngine
) -> None:
    cloud.gate = asyncio.Event()
    priced.places.most_calls = {"openai": 1}
    begun = await answer(question(model="openai/big"), cast["alice"], priced)
    reading = asyncio.create_task(read(begun))
    async with asyncio.timeout(60):
        while not cloud.calls:
            await asyncio.sleep(0.01)
    parts = with_rules(priced, SHADOWED)
    assert await asked(parts, cast["alice"], model="tiny") == "a local answer"
    assert [run.failed for run in await rows(parts, ShadowRun)] == ["busy"]
    cloud.gate.set()
    assert await reading == "a cloud answer"
    assert cloud.calls == 1


async def test_a_shadow_gives_way_to_whoever_waits_for_an_answer(
    priced: Parts, cast: dict[str, Caller], cloud: FakeEngine
) -> None:
    cloud.gate = asyncio.Event()
    priced.places.most_calls = {"openai": 1}
    parts = with_rules(priced, SHADOWED)
    await read(await answer(question(model="tiny"), cast["alice"], parts))
    async with asyncio.timeout(60):
        while not cloud.calls:
            await asyncio.sleep(0.01)
        reading = asyncio.create_task(read(await answer(question(model="openai/big"), cast["alice"], priced)))
        while cloud.calls < 2:
            await asyncio.sleep(0.01)
        cloud.gate.set()
        assert await reading == "a cloud answer"
        assert parts.afterwards is not None
        await parts.afterwards.idle()
    assert [run.failed for run in await rows(parts, ShadowRun)] == ["busy"]
    assert dict(parts.places.calls())["openai"] == 0
    assert cloud.closed == 2


async def test_a_shadow_is_compared_as_it_would_have_been_answered(
    priced: Parts, cast: dict[str, Caller], cloud: FakeEngine
) -> None:
    cloud.model = replace(cloud.model, takes=cloud.model.takes - {"stop"})
    cloud.pieces = ("a local ", "answer END and", " more")
    parts = with_rules(priced, SHADOWED)
    await asked(parts, cast["alice"], model="tiny", options={"stop": ["END"]})
    (run,) = await rows(parts, ShadowRun)
    assert (run.failed, run.likeness) == ("", 1.0)


async def test_what_was_asked_beside_is_no_part_of_what_a_request_cost(priced: Parts, cast: dict[str, Caller]) -> None:
    parts = with_rules(priced, SHADOWED)
    await asked(parts, cast["alice"], model="tiny")
    await charged(parts, "shadow")
    records = await rows(parts, RequestRecord)
    assert [one.cost_microusd for one in records] == [0]


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("7", 0.7),
        ("7/10", 0.7),
        (" 10 ", 1.0),
        ("I say 3.", 0.3),
        ("3 or 4", None),
        ("17", None),
        ("", None),
        ("seven", None),
    ],
)
def test_a_grade_is_one_number(said: str, found: float | None) -> None:
    assert grade(said) == found


def reply(*calls: ToolCall, text: str = "") -> Reply:
    return Reply(model="tiny", text=text, tool_calls=calls, done=Done(reason="stop"))


def call(name: str, **arguments: Any) -> ToolCall:
    return ToolCall(id=f"call_{next(NUMBERS)}", name=name, arguments=arguments)


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        ([call("delete", path="x")], [call("read", path="y")], 0.0),
        ([call("read", path="x")], [call("read", path="y")], 0.0),
        ([call("read", path="x", at=1)], [call("read", at=1, path="x")], 1.0),
        ([call("read", path="x"), call("read", path="y")], [call("read", path="y"), call("read", path="x")], 1.0),
        ([call("read", path="x")] * 2, [call("read", path="x")], 0.5),
        ([call("read", path="x")], [], 0.0),
    ],
)
async def test_calls_are_alike_where_they_ask_for_the_same(
    parts: Parts, one: list[ToolCall], other: list[ToolCall], found: float
) -> None:
    assert await likeness(reply(*one), reply(*other, text="I look it up."), parts) == found
    assert await likeness(reply(*other), reply(*one), parts) == found


@pytest.mark.parametrize("beside", [SHADOWED, {"name": "nothing", "then": {}}])
async def test_a_judge_is_shown_which_functions_are_called(
    priced: Parts,
    cast: dict[str, Caller],
    engine: FakeEngine,
    cloud: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
    beside: dict[str, Any],
) -> None:
    async def calling(request: ChatRequest, model: Model) -> AsyncGenerator[Chunk, None]:
        yield Chunk(tool_calls=(call("weather", town="Genf"),))
        yield Chunk(done=Done(reason="stop", usage=Usage(prompt_tokens=7, completion_tokens=2)))

    monkeypatch.setattr(engine, "chat", calling)
    engine.model = replace(engine.model, capabilities=engine.model.capabilities | {"tools"})
    cloud.pieces = ("8",)
    parts = with_rules(priced, beside, auto=JUDGED | {"explore": 0, "aim": {"share": 0.0}})
    earlier = (
        Message(role="user", content="Weather in Bern and Genf?"),
        Message(role="assistant", tool_calls=(call("weather", town="Bern"),)),
        Message(role="tool", tool_name="weather", content="sunny"),
    )
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    await read(await answer(replace(question(model="auto"), messages=earlier, tools=(tool,)), cast["alice"], parts))
    assert parts.afterwards is not None
    await parts.afterwards.idle()
    shown = [asked.messages[-1].content for asked in cloud.asked if not asked.tools]
    assert len(shown) == (2 if beside is SHADOWED else 1)
    said, answered = shown[0].split("</conversation>")
    assert '{"name": "weather", "arguments": {"town": "Bern"}}' in said
    assert '{"name": "weather", "arguments": {"town": "Genf"}}' in answered
    assert [run.likeness for run in await rows(parts, ShadowRun)] == [0.0] * (beside is SHADOWED)


def test_a_share_is_a_share_and_the_same_again() -> None:
    class One:
        class request:  # noqa: N801
            request_id = ""

    def drawn(number: int, share: float) -> bool:
        One.request.request_id = f"r{number}"
        return is_drawn(One, share, "shadow")  # type: ignore[arg-type]

    found = [drawn(number, 0.25) for number in range(4000)]
    assert 900 < sum(found) < 1100
    assert found == [drawn(number, 0.25) for number in range(4000)]
    assert all(drawn(number, 1.0) for number in range(100))


async def test_there_is_never_too_much_of_it(caplog: pytest.LogCaptureFixture) -> None:
    beside, leave = Background(), asyncio.Event()

    async def work() -> None:
        await leave.wait()
        raise ValueError("odd")

    begun = [beside.begin(work) for _ in range(MOST_WAITING + 3)]
    assert begun.count(False) == beside.left_out == 3
    leave.set()
    await beside.idle()
    assert "failed" in caplog.text
    assert beside.begin(work)
    await beside.aclose()


async def test_what_waits_too_long_for_its_turn_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "LONGEST_WAIT_S", 0.05)
    beside, leave = Background(), asyncio.Event()
    done: list[int] = []

    async def work(number: int) -> None:
        await leave.wait()
        done.append(number)

    for number in range(5):
        assert beside.begin(partial(work, number))
    async with asyncio.timeout(60):
        while beside.left_out < 3:
            await asyncio.sleep(0.01)
        leave.set()
        await beside.idle()
        assert done == [0, 1], "what had its turn has its time"
        assert beside.begin(partial(work, 5))
        await beside.idle()
    assert done == [0, 1, 5]


async def nothing() -> None:
    """Is done at once."""


@pytest.mark.parametrize("is_in_time", [True, False])
async def test_what_is_asked_beside_may_end_before_what_it_needs_is_closed(
    priced: Parts, cast: dict[str, Caller], cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch, is_in_time: bool
) -> None:
    cloud.gate = asyncio.Event()
    parts = with_rules(priced, SHADOWED)
    await read(await answer(question(model="tiny"), cast["alice"], parts))
    assert parts.afterwards is not None
    async with asyncio.timeout(60):
        while not cloud.calls:
            await asyncio.sleep(0.01)
        if not is_in_time:
            monkeypatch.setattr(background, "LEAVE_S", 0.05)
        shut: list[str] = []
        monkeypatch.setattr(parts.catalogue, "aclose", AsyncMock(side_effect=lambda: shut.append("catalogue")))
        closing = asyncio.create_task(wiring.close())
        while parts.afterwards.begin(nothing):
            await asyncio.sleep(0.01)
        assert shut == []
        if is_in_time:
            cloud.gate.set()
        await closing
    reads = WorkerThread("reads")
    runs = await reads.run(60, lambda: list(ShadowRun.objects.of(EVERYBODY)))
    reads.close(connections.close_all)
    assert [(run.failed, run.shadow) for run in runs] == [("", "openai/big")] * is_in_time
    assert cloud.closed == 1


@pytest.mark.parametrize("beside", [SHADOWED, {"name": "nothing", "then": {}}])
async def test_what_has_to_stay_here_is_neither_shadowed_nor_judged_elsewhere(
    priced: Parts, cast: dict[str, Caller], cloud: FakeEngine, beside: dict[str, Any]
) -> None:
    here = {"name": "here", "then": {"local_only": True}}
    parts = with_rules(priced, here, beside, auto=JUDGED)
    assert await asked(parts, cast["alice"], model="auto") == "a local answer"
    assert cloud.calls == 0
    assert [run.failed for run in await rows(parts, ShadowRun)] == ["forbidden_by_rule"] * (beside is SHADOWED)
