"""The story of a request, with a fake engine and everything else real."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest

from cache.entries import Scope
from orchestrator.answers import Answer
from orchestrator.core.errors import (
    BadRequest,
    EngineError,
    LedgerUnavailable,
    ModelNotFound,
    OnlyIfCached,
    OrchestratorError,
    Unsupported,
)
from orchestrator.core.types import CacheControl, Caller, ChatRequest, Message
from orchestrator.ledger.stages import read as read_stages
from orchestrator.parts import Parts
from orchestrator.pipeline import answer
from orchestrator.unasked import load
from tests.fakes import FakeEngine

Ask = Callable[..., Any]


def question(text: str = "What is 2+2?", model: str = "tiny", **fields: Any) -> ChatRequest:
    return ChatRequest(model=model, messages=(Message(role="user", content=text),), endpoint="/api/chat", **fields)


@pytest.fixture
def ask(parts: Parts, cast: dict[str, Caller]) -> Ask:
    async def ask(text: str = "What is 2+2?", who: str = "alice", **fields: Any) -> tuple[str, Answer]:
        begun = await answer(question(text, **fields), cast[who], parts)
        return await read(begun), begun

    return ask


async def read(begun: Answer) -> str:
    async with aclosing(begun.chunks) as chunks:
        return "".join([chunk.text async for chunk in chunks])


async def test_a_repeated_question_is_answered_from_memory(ask: Ask, engine: FakeEngine) -> None:
    await ask()
    reply, begun = await ask()
    assert reply == "four"
    assert begun.entry.tier == "memory"
    assert begun.hit is not None
    assert engine.calls == 1


async def test_those_who_share_a_tenant_share_answers_and_others_never_see_them(ask: Ask, engine: FakeEngine) -> None:
    await ask(who="alice")
    assert (await ask(who="bob"))[1].entry.tier == "memory"
    assert (await ask(who="charlie"))[1].entry.tier == "miss"
    assert engine.calls == 2


async def test_a_namespace_parts_answers(ask: Ask, engine: FakeEngine) -> None:
    await ask()
    assert (await ask(namespace="support"))[1].entry.tier == "miss"
    assert (await ask(namespace="support"))[1].entry.tier == "memory"


async def test_an_answer_serves_every_cap_it_stays_within(ask: Ask, engine: FakeEngine) -> None:
    await ask()
    assert (await ask(options={"num_predict": 2}))[1].entry.tier == "memory"
    assert (await ask(options={"num_predict": 1}))[1].entry.tier == "miss"


async def test_an_answer_that_was_cut_serves_only_its_own_cap(ask: Ask, engine: FakeEngine) -> None:
    engine.reason = "length"
    _, begun = await ask(options={"num_predict": 2})
    assert begun.entry.outcome == "cut"
    assert (await ask(options={"num_predict": 2}))[1].entry.tier == "memory"
    assert (await ask(options={"num_predict": 3}))[1].entry.tier == "miss"
    assert (await ask())[1].entry.tier == "miss"


@pytest.mark.parametrize("reason", ["stop", "length"])
async def test_records_name_the_key_that_their_answer_is_kept_under(
    ask: Ask, parts: Parts, engine: FakeEngine, reason: str
) -> None:
    """By that it is purged from a request's page."""
    engine.reason, engine.gate = reason, asyncio.Event()
    both = [asyncio.create_task(ask(options={"num_predict": 2})) for _ in range(2)]
    async with asyncio.timeout(60):
        while parts.inflight.listeners < 2:
            await asyncio.sleep(0)
    engine.gate.set()
    (_, led), (_, followed) = await asyncio.gather(*both)
    _, found = await ask(options={"num_predict": 2})
    assert (led.entry.tier, followed.entry.tier, found.entry.tier) == ("miss", "collapsed", "memory")
    assert found.hit is not None
    assert {one.entry.cache_key for one in (led, followed, found)} == {found.hit.entry.key.hash}


async def test_no_cache_asks_again_and_keeps_the_new_answer(ask: Ask, engine: FakeEngine) -> None:
    await ask()
    engine.pieces = ("five",)
    reply, begun = await ask(control=CacheControl(read=False))
    assert (reply, begun.entry.tier) == ("five", "bypass")
    assert (await ask())[0] == "five"


async def test_no_store_leaves_no_trace_in_the_cache(ask: Ask, parts: Parts) -> None:
    await ask(control=CacheControl(read=False, write=False))
    held = await parts.cache.holding(Scope())
    assert held["memory"] is not None
    assert held["memory"].entries == 0


async def test_only_if_cached_never_calls_an_engine(ask: Ask, engine: FakeEngine) -> None:
    with pytest.raises(OnlyIfCached):
        await ask(control=CacheControl(only_if_cached=True))
    assert engine.calls == 0


async def test_equal_questions_in_flight_share_one_call(
    ask: Ask, parts: Parts, engine: FakeEngine, recorded: Callable[[int], Any]
) -> None:
    engine.gate = asyncio.Event()
    asking = [asyncio.create_task(ask(stream=n % 2 == 0)) for n in range(50)]
    async with asyncio.timeout(60):
        while not engine.calls:
            await asyncio.sleep(0)
    engine.gate.set()
    answers = await asyncio.gather(*asking)
    assert {reply for reply, _ in answers} == {"four"}
    assert engine.calls == 1
    assert sorted({begun.entry.tier for _, begun in answers}) == ["collapsed", "miss"]
    assert len(await recorded(50)) == 50


async def test_the_leaders_hang_up_hurts_nobody(
    ask: Ask, parts: Parts, cast: dict[str, Caller], engine: FakeEngine, recorded: Callable[[int], Any]
) -> None:
    engine.gate = asyncio.Event()
    leader = await answer(question(), cast["alice"], parts)
    await anext(leader.chunks)
    follower = await answer(question(), cast["bob"], parts)
    await leader.chunks.aclose()
    engine.gate.set()
    assert await read(follower) == "four"
    outcomes = {record.tier: record.outcome for record in await recorded(2)}
    assert outcomes == {"miss": "cancelled", "collapsed": "done"}


async def test_when_the_last_caller_hangs_up_the_engine_stops_and_nothing_is_kept(
    ask: Ask, parts: Parts, cast: dict[str, Caller], engine: FakeEngine, recorded: Callable[[int], Any]
) -> None:
    engine.gate = asyncio.Event()
    begun = await answer(question(), cast["alice"], parts)
    await anext(begun.chunks)
    await begun.chunks.aclose()
    async with asyncio.timeout(60):
        while not engine.closed:
            await asyncio.sleep(0)
    (record,) = await recorded(1)
    assert record.outcome == "cancelled"
    assert record.completion_tokens > 0
    engine.gate.set()
    assert (await ask())[1].entry.tier == "miss"


async def test_a_failure_midway_reaches_the_caller_and_nothing_partial_is_kept(
    ask: Ask, engine: FakeEngine, recorded: Callable[[int], Any]
) -> None:
    engine.error = EngineError("it broke")
    with pytest.raises(EngineError, match="it broke"):
        await ask()
    engine.error = None
    assert (await ask())[1].entry.tier == "miss"
    first, second = await recorded(2)
    assert (first.outcome, first.status, first.error) == ("engine_error", 502, "it broke")
    assert second.outcome == "done"


async def test_a_purge_also_catches_the_answer_that_is_being_made(
    ask: Ask, parts: Parts, cast: dict[str, Caller], engine: FakeEngine
) -> None:
    engine.gate = asyncio.Event()
    asking = asyncio.create_task(ask())
    async with asyncio.timeout(60):
        while not engine.calls:
            await asyncio.sleep(0)
    await parts.cache.purge(Scope(model="tiny:latest"))
    engine.gate.set()
    await asking
    assert (await ask())[1].entry.tier == "miss"


async def test_auto_prefers_what_runs_here(ask: Ask, engine: FakeEngine, cloud: FakeEngine) -> None:
    _, begun = await ask(model="auto")
    assert begun.entry.model == "tiny:latest"
    assert begun.entry.route.startswith("auto: ")
    assert cloud.calls == 0


async def test_a_call_that_costs_money_is_on_disk_before_its_last_chunk(
    parts: Parts, cast: dict[str, Caller], cloud: FakeEngine
) -> None:
    begun = await answer(question(model="openai/big"), cast["alice"], parts)
    async for chunk in begun.chunks:
        if chunk.done:
            assert parts.ledger.written == 1
    assert begun.entry.row()["cost_microusd"] is None, "an unknown price must not pass for nothing"


async def test_while_the_ledger_cannot_be_written_paid_calls_are_refused_and_free_ones_go_on(
    ask: Ask, parts: Parts, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts.ledger, "_failure", "disk full")
    with pytest.raises(LedgerUnavailable, match="disk full"):
        await ask(model="openai/big")
    assert cloud.calls == 0
    assert (await ask())[0] == "four"


@pytest.mark.parametrize(
    ("fields", "error", "said"),
    [
        ({"model": "nothing"}, ModelNotFound, "model 'nothing' not found"),
        ({"model": "../etc"}, BadRequest, "invalid model name"),
        ({"think": True}, Unsupported, '"tiny" does not support thinking'),
        (
            {"tools": ({"type": "function"},)},
            Unsupported,
            "registry.ollama.ai/library/tiny:latest does not support tools",
        ),
    ],
)
async def test_what_cannot_be_done_is_said_and_recorded(
    ask: Ask, recorded: Callable[[int], Any], fields: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=f"^{said}$"):
        await ask(**fields)
    (record,) = await recorded(1)
    assert record.error == said


async def test_a_record_says_who_asked_and_what_it_took(ask: Ask, recorded: Callable[[int], Any]) -> None:
    await ask(stream=True, request_id="abc", tags=("nightly", "ci"))
    await ask(who="charlie")
    first, second = await recorded(2)
    assert (first.request_id, first.tenant.name, first.streamed) == ("abc", "acme", True)
    assert (first.asked_model, first.model, first.tier, first.outcome) == ("tiny", "tiny:latest", "miss", "done")
    assert (first.prompt_tokens, first.completion_tokens, first.tags) == (7, 2, "nightly,ci")
    assert 0 < first.first_us <= first.total_us
    assert second.tenant.name == "globex"


async def test_a_paid_call_is_recorded_though_its_caller_left_and_it_then_failed(
    parts: Parts, cast: dict[str, Caller], cloud: FakeEngine, recorded: Callable[[int], Any]
) -> None:
    cloud.gate, cloud.error = asyncio.Event(), EngineError("it broke")
    leader = await answer(question(model="openai/big"), cast["alice"], parts)
    await anext(leader.chunks)
    follower = await answer(question(model="openai/big", stream=True), cast["bob"], parts)
    await anext(follower.chunks)
    await leader.chunks.aclose()
    cloud.gate.set()
    with pytest.raises(EngineError):
        await read(follower)
    records = {record.tier: record for record in await recorded(2)}
    assert (records["miss"].outcome, records["miss"].is_paid, records["miss"].error) == ("cancelled", True, "it broke")
    assert (records["collapsed"].outcome, records["collapsed"].is_paid) == ("engine_error", False)


async def test_an_answer_without_end_is_one_error_and_one_record(
    ask: Ask, cloud: FakeEngine, recorded: Callable[[int], Any]
) -> None:
    cloud.pieces = ["x" * 600_000, "y" * 600_000]
    with pytest.raises(EngineError, match="ORCHESTRATOR_MAX_ANSWER"):
        await ask(model="openai/big")
    (record,) = await recorded(1)
    assert (record.outcome, record.is_paid, record.model) == ("engine_error", True, "openai/big")
    assert cloud.closed == 1


async def test_a_fault_of_ours_is_one_record_for_each_caller(
    parts: Parts, cast: dict[str, Caller], cloud: FakeEngine, recorded: Callable[[int], Any]
) -> None:
    cloud.gate, cloud.error = asyncio.Event(), ZeroDivisionError("surprise")
    begun = [await answer(question(model="openai/big"), cast[who], parts) for who in ("alice", "bob")]
    reading = [asyncio.create_task(read(one)) for one in begun]
    cloud.gate.set()
    results = await asyncio.gather(*reading, return_exceptions=True)
    assert all(isinstance(result, OrchestratorError) and "surprise" not in str(result) for result in results)
    assert [(record.status, record.outcome) for record in await recorded(2)] == [(500, "error")] * 2


async def test_a_hang_up_while_the_model_loads_is_recorded(
    parts: Parts,
    cast: dict[str, Caller],
    engine: FakeEngine,
    recorded: Callable[[int], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def slowly(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(engine, "load", slowly)
    loading = asyncio.create_task(load(question(), cast["alice"], parts))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    (record,) = await recorded(1)
    assert record.outcome == "cancelled"


async def test_who_asks_after_a_purge_does_not_join_who_asked_before(
    parts: Parts, cast: dict[str, Caller], engine: FakeEngine
) -> None:
    engine.gate = asyncio.Event()
    before = await answer(question(), cast["alice"], parts)
    await parts.cache.purge(Scope())
    after = await answer(question(), cast["bob"], parts)
    engine.gate.set()
    assert await read(before) == await read(after) == "four"
    assert engine.calls == 2
    assert after.entry.tier == "miss"


async def test_an_answer_nobody_counted_serves_no_cap(ask: Ask, engine: FakeEngine) -> None:
    engine.is_counting = False
    await ask()
    assert (await ask(options={"num_predict": 10_000}))[1].entry.tier == "miss"


async def test_closing_an_answer_that_was_read_to_its_end_adds_no_record(
    parts: Parts, cast: dict[str, Caller], engine: FakeEngine, recorded: Callable[[int], Any]
) -> None:
    for who in ("alice", "bob"):
        begun = await answer(question(), cast[who], parts)
        async for chunk in begun.chunks:
            if chunk.done:
                break
        await begun.chunks.aclose()
    await asyncio.to_thread(parts.ledger.close)
    assert [record.outcome for record in await recorded(2)] == ["done", "done"]


async def test_auto_does_not_ask_providers_while_something_is_local(
    ask: Ask, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent() -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(cloud, "models", silent)
    async with asyncio.timeout(5):
        assert (await ask(model="auto"))[0] == "four"


async def test_a_record_says_how_long_each_stage_took(ask: Ask, parts: Parts, recorded: Any) -> None:
    await ask()
    await ask()
    asked, repeated = await recorded(2)
    stages = read_stages(asked.stages)
    names = [stage.name for stage in stages]
    tiers = [tier for tier in await parts.cache.holding_here() if tier in names]
    assert names == ["route", "limits", *tiers, "cache"]
    assert "memory" in tiers
    assert stages[-1].begin_us + stages[-1].took_us <= asked.first_us
    assert repeated.stages is None, "there is nothing to tell apart"
