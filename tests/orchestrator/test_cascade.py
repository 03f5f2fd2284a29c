"""A local answer is held until it is known whether it will do."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from random import Random

import pytest

from orchestrator import cascade
from orchestrator.cascade import NotSure, Silent, Trial
from orchestrator.core.clock import Clock
from orchestrator.core.types import Chunk, TokenLogprob, ToolCall, Usage
from routing.confidence import MOST_KEPT, Confidence, Seen, Usual, confidence, mean_of
from tests.adaptation.pieces import Spoken, text_of

SURE, UNSURE = -0.05, -3.0


def tokens(count: int, logprob: float, text: str = "word ") -> list[Chunk]:
    return [Chunk(text=f"{text}{at} ", logprobs=(TokenLogprob(token=text, logprob=logprob),)) for at in range(count)]


def trial(*, is_streamed: bool = True, before: float = 0.6, floor: float = 0.5) -> Trial:
    return Trial(1, "tiny", before, floor, Usual(), Clock(), is_streamed, heard.append)


heard: list[Confidence] = []


@pytest.fixture(autouse=True)
def _nothing_heard() -> None:
    heard.clear()


async def read(trial: Trial, spoken: Spoken) -> list[Chunk]:
    return [chunk async for chunk in trial.step(spoken.chunks())]


@pytest.mark.parametrize("is_streamed", [True, False])
async def test_who_is_sure_is_passed_on_whole(is_streamed: bool) -> None:
    spoken = Spoken(*tokens(40, SURE))
    said = await read(trial(is_streamed=is_streamed), spoken)
    assert text_of(said) == "".join(one.text for one in spoken.pieces)
    assert said[-1].done is not None
    assert heard[-1].after > heard[-1].before


async def test_of_a_stream_the_beginning_decides() -> None:
    spoken = Spoken(*tokens(40, SURE))
    stream = trial().step(spoken.chunks())
    await anext(stream)
    assert spoken.heard == cascade.TOKENS
    await stream.aclose()
    assert spoken.is_closed


@pytest.mark.parametrize("is_streamed", [True, False])
async def test_who_begins_unsure_is_not_heard_to_the_end(is_streamed: bool) -> None:
    spoken = Spoken(*tokens(40, UNSURE))
    with pytest.raises(NotSure, match=r"less sure of its words than usual.*0\.50 is wanted") as raised:
        await read(trial(is_streamed=is_streamed), spoken)
    assert spoken.heard == cascade.TOKENS
    assert spoken.is_closed
    assert not raised.value.kept


async def test_a_whole_answer_that_gets_unsure_is_kept_and_not_taken() -> None:
    spoken = Spoken(*tokens(cascade.TOKENS, SURE), *tokens(60, UNSURE))
    with pytest.raises(NotSure) as raised:
        await read(trial(is_streamed=False), spoken)
    assert text_of(raised.value.kept) == "".join(one.text for one in spoken.pieces)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("I'm sorry, but I can't help with that.", "it says that it cannot"),
        ("As an AI language model, I cannot know.", "it says that it cannot"),
        ("", "it says nothing"),
        ("It is what it is and " * 8, "over and over"),
    ],
)
async def test_what_an_answer_looks_like_counts(said: str, why: str) -> None:
    with pytest.raises(NotSure, match=why):
        await read(trial(is_streamed=False), Spoken(said))


@pytest.mark.parametrize("is_streamed", [True, False])
async def test_a_call_of_a_function_needs_no_words(is_streamed: bool) -> None:
    call = ToolCall(id="1", name="weather", arguments={})
    said = await read(trial(is_streamed=is_streamed), Spoken(Chunk(tool_calls=(call,))))
    assert [one.name for chunk in said for one in chunk.tool_calls] == ["weather"]


async def test_why_an_answer_would_not_do_is_told_without_a_word_of_it() -> None:
    with pytest.raises(NotSure, match="the same 3 words over and over") as raised:
        await read(trial(), Spoken("private private secret " * 9))
    assert "private" not in str(raised.value)
    assert "private" not in str(heard[-1])


async def test_a_short_answer_is_judged_when_it_is_whole() -> None:
    assert text_of(await read(trial(), Spoken(*tokens(3, SURE)))) == "word 0 word 1 word 2 "


async def test_whoever_did_not_ask_for_the_likelihood_of_tokens_is_told_all_else() -> None:
    told = await read(trial(), Spoken(*tokens(5, SURE)))
    assert sum(len(chunk.logprobs) for chunk in told) == 5
    untold = [chunk async for chunk in cascade.untold(Spoken(*tokens(5, SURE)).chunks())]
    assert not any(chunk.logprobs for chunk in untold)
    assert untold == [replace(chunk, logprobs=()) for chunk in told]


class Slow:
    """Says some, then waits for leave to go on."""

    def __init__(self, first: Sequence[Chunk]) -> None:
        self.first, self.leave, self.is_closed = first, asyncio.Event(), False

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        try:
            for chunk in self.first:
                yield chunk
            await self.leave.wait()
            async for chunk in Spoken(*tokens(30, SURE)).chunks():
                yield chunk
        finally:
            self.is_closed = True


@pytest.mark.parametrize("first", [(), (Chunk(usage=Usage(prompt_tokens=7)),)])
async def test_nobody_is_held_up_for_long(first: Sequence[Chunk], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cascade, "LONGEST_S", 0.02)
    silent = Slow(first)
    with pytest.raises(Silent, match="had said nothing after"):
        await asyncio.wait_for(anext(trial().step(silent.chunks())), 60)
    assert silent.is_closed
    monkeypatch.setattr(cascade, "LONGEST_S", 2.0)
    slow = Slow(tokens(4, SURE))
    stream = trial().step(slow.chunks())
    assert (await anext(stream)).text == "word 0 "  # by what came it will do
    slow.leave.set()
    rest = [chunk async for chunk in stream]
    assert len(rest) == 3 + 30 + 1  # nothing was lost while it was waited for


async def test_a_caller_who_leaves_closes_everything() -> None:
    slow = Slow(tokens(4, SURE))
    task = asyncio.create_task(anext(trial().step(slow.chunks())))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert slow.is_closed


def test_likelihood_is_held_against_what_is_usual_for_the_model() -> None:
    usual = Usual()
    for _ in range(200):
        usual.saw(1, "unsure by nature", [UNSURE, UNSURE + 0.4])
        usual.saw(1, "sure by nature", [SURE, SURE])
    seen = Seen("so it is", [-1.0] * 30)
    shy, bold = (confidence(0.5, seen, usual.of(1, name)) for name in ("unsure by nature", "sure by nature"))
    assert shy.after > 0.5 > bold.after
    assert math.isclose(confidence(0.5, Seen("so it is"), usual.of(1, "new")).after, 0.5)


def test_nothing_an_engine_says_breaks_it() -> None:
    usual = Usual()
    usual.saw(1, "m", [float("-inf"), -1e300, 0.0])
    usual.saw(1, "m", [])
    mean, spread = usual.of(1, "m")
    assert math.isfinite(mean)
    assert spread > 0
    assert mean_of([float("-inf")]) == -20
    for before in (0.0, 1.0):
        assert 0 <= confidence(before, Seen("x" * 9999, [float("-inf")]), (mean, spread)).after <= 1
    for number in range(2 * MOST_KEPT):
        usual.saw(number, "m", [-1.0])
    assert len(usual._known) == MOST_KEPT


async def take(one: Trial, logprob: float) -> bool:
    """Whether an answer whose every token is that likely is taken."""
    try:
        await read(one, Spoken(*tokens(60, logprob)))
    except NotSure:
        return False
    return True


@pytest.mark.parametrize("is_streamed", [True, False])
async def test_what_is_usual_does_not_rise_by_what_was_not_taken(is_streamed: bool) -> None:
    one, chance = trial(is_streamed=is_streamed, before=0.5), Random(0)
    taken = [await take(one, min(chance.gauss(-1.0, 0.3), 0.0)) for _ in range(600)]
    assert all(40 <= sum(taken[begin : begin + 100]) <= 60 for begin in range(100, 600, 100))  # once it is known
    usually, _ = one.usual.of(1, "tiny")
    assert usually == pytest.approx(-1.0, abs=0.15)


async def test_how_sure_answers_of_one_tenant_are_says_nothing_of_another_s() -> None:
    usual = Usual()
    for _ in range(200):
        await take(replace(trial(), usual=usual), SURE)
    ordinary = replace(trial(), usual=usual, tenant=2)
    assert await take(ordinary, -0.5)
    assert not await take(replace(ordinary, tenant=1), -0.5)


async def test_of_an_answer_its_beginning_is_learned_once() -> None:
    one = trial(is_streamed=False, before=0.9)
    await read(one, Spoken(*tokens(cascade.TOKENS, SURE), *tokens(60, -1.0)))
    expected = Usual()
    expected.saw(1, "tiny", [SURE] * cascade.TOKENS)
    assert one.usual.of(1, "tiny") == expected.of(1, "tiny")
