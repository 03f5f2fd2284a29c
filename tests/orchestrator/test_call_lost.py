"""What becomes of a request whose call was made by another process, and is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any

import pytest

from cache.inflight import Call, InFlight
from cache.inflight import Question as Asked
from orchestrator.answers import Answer
from orchestrator.core.errors import CallLost
from orchestrator.core.types import Caller, Chunk, Chunks, Done, Usage
from orchestrator.parts import Parts
from orchestrator.pipeline import answer
from tests.cache.conftest import until
from tests.fakes import FakeEngine
from tests.orchestrator.test_pipeline import question, read

LOST = CallLost("gone")
END = Chunk(done=Done(reason="stop", usage=Usage(prompt_tokens=7, completion_tokens=2)))


class Others:
    """Other processes, which tell so much of each call and then lose it; of the calls after these they have none."""

    def __init__(self, *told: list[Chunk | Exception]) -> None:
        self.told = list(told)
        self.asked: list[Asked] = []
        self.closed = 0

    async def claim(self, asked: Asked, call: Call) -> Chunks | None:
        self.asked.append(asked)
        if not self.told:
            return None
        chunks = self.told.pop(0)
        if chunks == [LOST]:
            raise LOST
        return self._tell(chunks)

    async def _tell(self, chunks: list[Chunk | Exception]) -> AsyncGenerator[Chunk, None]:
        try:
            for chunk in chunks:
                if isinstance(chunk, Exception):
                    raise chunk
                yield chunk
        finally:
            self.closed += 1

    def release(self, call: Call) -> None:
        pass

    async def drain(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


Ask = Callable[..., Any]


@pytest.fixture
def ask(parts: Parts, cast: dict[str, Caller]) -> Ask:
    async def ask(others: Others, **fields: Any) -> Answer:
        shared = replace(parts, inflight=InFlight(others))
        return await answer(question(**fields), cast["alice"], shared)

    return ask


async def test_what_another_process_tells_is_passed_on(
    ask: Ask, engine: FakeEngine, recorded: Callable[[int], Any]
) -> None:
    begun = await ask(Others([Chunk(text="fo"), Chunk(text="ur"), END]))
    assert await read(begun) == "four"
    assert begun.entry.tier == "collapsed"
    assert not engine.calls
    (record,) = await recorded(1)
    assert (record.outcome, record.completion_tokens) == ("done", 2)


@pytest.mark.parametrize("told", [[LOST], [Chunk(text="fi"), LOST]])
async def test_a_whole_answer_is_begun_again_wherever_it_is_lost(
    ask: Ask, engine: FakeEngine, recorded: Callable[[int], Any], told: list[Any]
) -> None:
    others = Others(told)
    begun = await ask(others)
    assert await read(begun) == "four"
    assert begun.entry.tier == "miss"
    assert engine.calls == 1
    assert [asked.is_again for asked in others.asked] == [False, False]
    (record,) = await recorded(1)
    assert (record.tier, record.outcome, record.completion_tokens) == ("miss", "done", 2)


async def test_a_streamed_answer_is_begun_again_before_its_first_chunk(ask: Ask, engine: FakeEngine) -> None:
    begun = await ask(Others([LOST]), stream=True)
    assert await read(begun) == "four"
    assert (begun.entry.tier, engine.calls) == ("miss", 1)


async def test_a_streamed_answer_that_has_begun_ends_with_an_error(
    ask: Ask, engine: FakeEngine, recorded: Callable[[int], Any]
) -> None:
    others = Others([Chunk(text="fi"), LOST])
    begun = await ask(others, stream=True)
    assert (await anext(begun.chunks)).text == "fi"
    with pytest.raises(CallLost):
        await read(begun)
    assert not engine.calls
    (record,) = await recorded(1)
    assert (record.outcome, record.status) == ("call_lost", 503)
    assert others.closed == 1


async def test_it_is_begun_again_twice_at_most(ask: Ask, engine: FakeEngine, recorded: Callable[[int], Any]) -> None:
    others = Others([LOST], [Chunk(text="fi"), LOST], [LOST])
    with pytest.raises(CallLost):
        await read(await ask(others))
    assert [asked.is_again for asked in others.asked] == [False, False, True]
    assert not engine.calls
    (record,) = await recorded(1)
    assert record.outcome == "call_lost"


async def test_who_joins_when_it_was_answered_meanwhile_looks_once_more_and_makes_no_call(
    ask: Ask, parts: Parts, engine: FakeEngine, recorded: Callable[[int], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await read(await ask(Others()))
    find, finds = parts.cache.find, 0

    async def twice_too_early(*asked: Any) -> Any:
        nonlocal finds
        finds += 1
        return None if finds <= 2 else await find(*asked)

    monkeypatch.setattr(parts.cache, "find", twice_too_early)
    begun = await ask(Others([LOST], [LOST]))
    assert await read(begun) == "four"
    assert (begun.entry.tier, engine.calls) == ("memory", 1)
    assert [record.tier for record in await recorded(2)] == ["miss", "memory"]


async def test_what_was_answered_meanwhile_comes_from_the_cache(
    ask: Ask, parts: Parts, engine: FakeEngine, recorded: Callable[[int], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await read(await ask(Others()))
    find, finds = parts.cache.find, 0

    async def too_early(*asked: Any) -> Any:
        nonlocal finds
        finds += 1
        return None if finds == 1 else await find(*asked)

    monkeypatch.setattr(parts.cache, "find", too_early)
    begun = await ask(Others([LOST]))
    assert await read(begun) == "four"
    assert (begun.entry.tier, engine.calls) == ("memory", 1)
    assert begun.hit is not None
    assert [record.tier for record in await recorded(2)] == ["miss", "memory"]


async def test_who_looked_before_the_answer_and_comes_after_it_makes_no_call_of_its_own(
    parts: Parts, cast: dict[str, Caller], engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, finds, answered = parts.cache.find, 0, asyncio.Event()

    async def slow_at_first(*asked: Any) -> Any:
        nonlocal finds
        finds += 1
        is_first, found = finds == 1, await find(*asked)
        if is_first:
            await answered.wait()
        return found

    monkeypatch.setattr(parts.cache, "find", slow_at_first)
    early = asyncio.create_task(answer(question(), cast["alice"], parts))
    await until(lambda: finds)
    assert await read(await answer(question(), cast["alice"], parts)) == "four"
    answered.set()
    begun = await early
    assert await read(begun) == "four"
    assert (begun.entry.tier, engine.calls) == ("memory", 1)


async def test_who_leads_after_a_loss_is_who_is_recorded_and_pays(
    ask: Ask, parts: Parts, cloud: FakeEngine, recorded: Callable[[int], Any]
) -> None:
    begun = await ask(Others([Chunk(text="fi"), LOST]), model="openai/big")
    assert not begun.entry.is_paid
    async for chunk in begun.chunks:
        if chunk.done:
            assert parts.ledger.written == 1
    (record,) = await recorded(1)
    assert (record.tier, record.is_paid, record.outcome) == ("miss", True, "done")
    assert cloud.calls == 1


async def test_a_paid_call_begun_again_is_recorded_though_its_caller_left(
    ask: Ask, cloud: FakeEngine, recorded: Callable[[int], Any]
) -> None:
    cloud.gate = asyncio.Event()
    begun = await ask(Others([LOST]), model="openai/big", stream=True)
    assert await anext(begun.chunks)
    await begun.chunks.aclose()
    (record,) = await recorded(1)
    assert (record.tier, record.is_paid, record.outcome) == ("miss", True, "cancelled")
    assert record.completion_tokens


async def test_all_who_shared_a_lost_call_share_the_next(
    parts: Parts, cast: dict[str, Caller], engine: FakeEngine, recorded: Callable[[int], Any]
) -> None:
    shared = replace(parts, inflight=InFlight(Others([Chunk(text="fi"), LOST])))
    begun = await asyncio.gather(*(answer(question(), cast["alice"], shared) for _ in range(20)))
    assert await asyncio.gather(*map(read, begun)) == ["four"] * 20
    assert engine.calls == 1
    assert sorted({record.tier for record in await recorded(20)}) in (
        ["collapsed", "miss"],
        ["collapsed", "memory", "miss"],
    )
