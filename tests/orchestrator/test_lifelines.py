"""An answer under way ends with the key it is given to, and with its time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.utils import timezone

from orchestrator.core.errors import KeyEnded, KeysUnavailable, OrchestratorError, ScopeEnded, StreamTooLong
from orchestrator.core.limits import Limit
from orchestrator.core.permissions import EVERYBODY
from orchestrator.core.tasks import end
from orchestrator.core.types import Caller, ChatRequest, Chunk, Chunks, Done, Message
from orchestrator.lifelines import A_TURN, AN_END, KEYS_AT_ONCE, Lifelines
from orchestrator.models import ApiKey, RequestRecord, Tenant
from orchestrator.parts import Parts
from orchestrator.pipeline import answer
from tests.fakes import FakeEngine, SetClock
from tests.keys import issue_key

ASKED = ChatRequest(model="tiny", messages=(Message(role="user", content="hello"),), stream=True, address="10.0.0.1")
ALICE = Caller(tenant_id=1, tenant="acme", key_id=7)


async def caller_of(parts: Parts, name: str = "web", **scopes: Any) -> Caller:
    key = await parts.reads.run(60, lambda: issue_key(name, "acme", **scopes))
    return await parts.identity.caller("", key, ASKED.address)


async def begun(parts: Parts, engine: FakeEngine, caller: Caller) -> Chunks:
    """An answer whose pieces were heard, but for the last."""
    engine.gate = asyncio.Event()
    chunks = (await answer(ASKED, caller, parts)).chunks
    assert [(await anext(chunks)).text for _ in engine.pieces] == list(engine.pieces)
    return chunks


def sql(statement: str) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute(statement)


CAUSES: dict[str, Callable[[], Awaitable[object]]] = {
    "revoked": lambda: ApiKey.objects.of(EVERYBODY).aupdate(revoked_at=timezone.now()),
    "expired": lambda: ApiKey.objects.of(EVERYBODY).aupdate(expires_at=timezone.now()),
    "suspended": lambda: Tenant.objects.aupdate(suspended_at=timezone.now()),
    "revoked on another machine": lambda: sync_to_async(sql)("UPDATE orchestrator_apikey SET revoked_at = created_at"),
    "not for the model": lambda: ApiKey.objects.of(EVERYBODY).aupdate(model_patterns=["openai/*"]),
    "not for chat": lambda: ApiKey.objects.of(EVERYBODY).aupdate(families=["embed"]),
    "not for the dialect": lambda: ApiKey.objects.of(EVERYBODY).aupdate(dialects=["openai"]),
    "not from there": lambda: ApiKey.objects.of(EVERYBODY).aupdate(networks=["192.168.0.0/16"]),
}


@pytest.mark.parametrize("cause", CAUSES)
async def test_who_waits_for_the_next_piece_hears_that_the_key_has_ended(
    parts: Parts,
    engine: FakeEngine,
    cause: str,
    recorded: Callable[[int], Awaitable[list[RequestRecord]]],
) -> None:
    chunks = await begun(parts, engine, await caller_of(parts))
    waiting = asyncio.ensure_future(anext(chunks))
    await CAUSES[cause]()
    with pytest.raises((KeyEnded, ScopeEnded)) as told:
        await asyncio.wait_for(waiting, 60)
    assert told.type is (ScopeEnded if cause.startswith("not ") else KeyEnded)
    assert engine.closed == 1, "nobody is left who listens"
    (record,) = await recorded(1)
    assert (record.outcome, record.status, record.error) == ("key_ended", told.value.status, str(told.value))
    with pytest.raises(type(told.value)):
        await anext(chunks)
    await chunks.aclose()
    assert len(parts.lifelines) == 0


async def test_who_is_sending_a_piece_hears_of_it_with_the_next_and_the_model_is_let_go_before(
    parts: Parts, engine: FakeEngine
) -> None:
    chunks = await begun(parts, engine, await caller_of(parts))
    await CAUSES["revoked"]()
    async with asyncio.timeout(60):
        while not engine.closed:
            await asyncio.sleep(0.01)
    me = asyncio.current_task()
    assert me is not None
    assert me.cancelling() == 0
    with pytest.raises(KeyEnded):
        await anext(chunks)
    await chunks.aclose()


async def test_a_shared_call_goes_on_for_those_whose_keys_hold(parts: Parts, engine: FakeEngine) -> None:
    alice, bob = await caller_of(parts, "alice"), await caller_of(parts, "bob")
    hers, his = await begun(parts, engine, alice), (await answer(ASKED, bob, parts)).chunks
    waiting = asyncio.ensure_future(anext(hers))
    await ApiKey.objects.of(EVERYBODY).filter(name="alice").aupdate(revoked_at=timezone.now())
    with pytest.raises(KeyEnded):
        await asyncio.wait_for(waiting, 60)
    assert engine.gate is not None
    engine.gate.set()
    said = [chunk async for chunk in his]
    assert "".join(chunk.text for chunk in said) == "four"
    assert said[-1].done
    assert engine.calls == 1


async def test_what_is_complete_is_not_ended(parts: Parts, engine: FakeEngine) -> None:
    chunks = await begun(parts, engine, await caller_of(parts))
    assert engine.gate is not None
    engine.gate.set()
    assert (await anext(chunks)).done
    assert len(parts.lifelines) == 0
    await chunks.aclose()


async def nothing() -> AsyncIterator[Chunk]:
    await asyncio.Event().wait()
    yield Chunk()


def lines(clock: SetClock, holding: Mapping[int | None, Caller] | Exception) -> Lifelines:
    async def look(keys: Collection[int | None]) -> Mapping[int | None, Caller]:
        if isinstance(holding, Exception):
            raise holding
        return holding

    return Lifelines(clock, lambda: 1, look)


def ignore(error: OrchestratorError) -> None:
    pass


async def test_an_answer_takes_as_long_as_the_shortest_limit_about_it_allows() -> None:
    clock = SetClock()
    limits = (
        Limit(id=1, name="all", kind="stream_s", each="key", amount=300),
        Limit(id=2, name="tiny", kind="stream_s", each="key", amount=60, model="tiny*"),
        Limit(id=3, name="other", kind="stream_s", each="key", amount=1, model="other"),
        Limit(id=4, name="rate", kind="requests", each="key", amount=1, per_s=1),
    )
    caller = replace(ALICE, limits=limits)
    one = lines(clock, {7: caller})
    told: list[OrchestratorError] = []
    chunks = one.tied(nothing(), caller, ASKED, "tiny:latest", told.append)  # type: ignore[arg-type]
    waiting = asyncio.ensure_future(anext(chunks))
    clock.pass_(59)
    await asyncio.sleep(0.6)  # twice as long as it takes to look
    assert not waiting.done()
    clock.pass_(1)
    with pytest.raises(StreamTooLong, match=r"60 s .*tiny"):
        await asyncio.wait_for(waiting, 60)
    assert [type(error) for error in told] == [StreamTooLong]
    await one.aclose()


async def test_a_key_ends_at_its_moment() -> None:
    clock = SetClock()
    caller = replace(ALICE, expires_at=clock.now() + 5)
    one = lines(clock, {7: caller})
    chunks = one.tied(nothing(), caller, ASKED, "tiny:latest", ignore)  # type: ignore[arg-type]
    waiting = asyncio.ensure_future(anext(chunks))
    await asyncio.sleep(0)
    clock.pass_(5)
    with pytest.raises(KeyEnded, match="expired"):
        await asyncio.wait_for(waiting, 60)
    await one.aclose()


@pytest.mark.parametrize("keys", [1, 3000])
@pytest.mark.parametrize("how", ["their key", "their time"])
async def test_of_thousands_so_many_end_in_one_turn_of_the_loop(keys: int, how: str) -> None:
    """And so many keys are read at once: others want to be served meanwhile."""
    clock, read, turn = SetClock(), [], 0
    until = None if how == "their key" else clock.now()
    ended: Counter[int] = Counter()

    async def look(some: Collection[int | None]) -> Mapping[int | None, Caller]:
        read.append(list(some))
        return {} if how == "their key" else {key: replace(ALICE, key_id=key, expires_at=until) for key in some}

    async def count_turns() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    def cut(error: OrchestratorError) -> None:
        ended[turn] += 1

    lifelines = Lifelines(clock, lambda: 1, look)
    held = []
    for number in range(3000):
        caller = replace(ALICE, key_id=number % keys, expires_at=until)
        held.append(lifelines.tied(nothing(), caller, ASKED, "tiny:latest", cut))
    counting = asyncio.create_task(count_turns())
    async with asyncio.timeout(60):
        while len(lifelines):
            await asyncio.sleep(0)
    await end([counting])
    await lifelines.aclose()
    assert ended.total() == 3000
    assert max(ended.values()) <= A_TURN // AN_END
    assert max(map(len, read)) <= KEYS_AT_ONCE
    if how == "their key":
        assert sorted(key for some in read for key in some if key is not None) == list(range(keys))


async def test_what_ends_while_keys_are_read_is_not_ended_again() -> None:
    reading, read = asyncio.Event(), asyncio.Event()

    async def look(some: Collection[int | None]) -> Mapping[int | None, Caller]:
        reading.set()
        await read.wait()
        return {}

    async def complete() -> AsyncIterator[Chunk]:
        yield Chunk(done=Done(reason="stop"))

    told: list[OrchestratorError] = []
    lifelines = Lifelines(SetClock(), lambda: 1, look)
    one = lifelines.tied(complete(), ALICE, ASKED, "tiny:latest", told.append)
    await reading.wait()
    assert (await anext(one)).done
    read.set()
    await asyncio.sleep(0)
    with pytest.raises(StopAsyncIteration):
        await anext(one)
    await lifelines.aclose()
    assert told == []


async def test_while_keys_cannot_be_read_answers_go_on(caplog: pytest.LogCaptureFixture) -> None:
    one = lines(SetClock(), KeysUnavailable())
    chunks = one.tied(nothing(), ALICE, ASKED, "tiny:latest", ignore)  # type: ignore[arg-type]
    waiting = asyncio.ensure_future(anext(chunks))
    async with asyncio.timeout(60):
        while "cannot be looked at" not in caplog.text:
            await asyncio.sleep(0.01)
    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await one.aclose()


async def test_who_is_cancelled_by_others_as_well_stays_cancelled() -> None:
    one = lines(SetClock(), {})
    chunks = one.tied(nothing(), ALICE, ASKED, "tiny:latest", ignore)  # type: ignore[arg-type]
    waiting = asyncio.ensure_future(anext(chunks))
    await asyncio.sleep(0)
    chunks.end_by_key(None)  # type: ignore[attr-defined]
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await one.aclose()


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions", "/v1/messages"])
async def test_a_whole_answer_is_refused_then(
    client: httpx.AsyncClient, parts: Parts, engine: FakeEngine, path: str
) -> None:
    key = await parts.reads.run(60, lambda: issue_key("web", "acme"))
    engine.gate = asyncio.Event()
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 9, "stream": False}
    asking = asyncio.create_task(client.post(path, json=body, headers={"x-api-key": key}))
    async with asyncio.timeout(60):
        while not engine.calls:
            await asyncio.sleep(0.01)
    await CAUSES["revoked"]()
    response = await asyncio.wait_for(asking, 60)
    assert response.status_code == 401
    assert "revoked" in response.text
    assert engine.closed == 1
