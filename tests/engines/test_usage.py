"""What providers tell of what is to be paid: caches, thoughts, tiers, their names of calls, and calls half told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.core.clock import Clock
from orchestrator.core.errors import EngineError, EngineTimeout, EngineUnavailable, KeyRefused, OrchestratorError
from orchestrator.core.extras import asked_in
from orchestrator.core.presets import OPENAI
from orchestrator.core.types import ChatRequest, Chunk, Message, Usage
from orchestrator.engines.cloud import CloudEngine, Deadlines
from orchestrator.engines.wires import openai_vectors
from orchestrator.engines.wires.anthropic import Anthropic
from orchestrator.engines.wires.base import Ask, Wire
from orchestrator.engines.wires.gemini import Gemini
from orchestrator.engines.wires.openai import Mistral, OpenAI
from orchestrator.engines.wires.openrouter import OpenRouter
from orchestrator.wiring import connect
from tests.engines.deadlines import DEADLINES, deadlines_for
from tests.provider import Provider
from tests.speeches import AnthropicSpeech, GeminiSpeech, OpenAISpeech, Speech, sse


def told(wire: Wire, *events: Mapping[str, Any]) -> Usage:
    """What is known after these."""
    answer = wire.answer()
    answer.read(b"".join(map(sse, events)).split(b"\n"))
    assert answer.trouble is None
    return answer.so_far()


def openai(usage: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    choices = [] if usage else [{"index": 0, "delta": {"content": "four"}}]
    return {"id": "chatcmpl-1", "choices": choices, "usage": usage, **fields}


@pytest.mark.parametrize("wire", [OpenAI(), Mistral(), OpenRouter()])
def test_openais_protocol_names_the_call_and_counts_thoughts_and_its_cache(wire: Wire) -> None:
    counts = {
        "prompt_tokens": 90,
        "completion_tokens": 50,
        "total_tokens": 140,
        "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 20},
        "completion_tokens_details": {"reasoning_tokens": 40},
    }
    assert told(wire, openai()) == Usage(ref="chatcmpl-1", completion_tokens=1, is_estimated=True)
    assert told(wire, openai(), openai(counts)) == Usage(
        prompt_tokens=90,
        completion_tokens=50,
        cached_tokens=60,
        cache_write_tokens=20,
        reasoning_tokens=40,
        ref="chatcmpl-1",
    )


@pytest.mark.parametrize(("total", "completion"), [(140, 50), (180, 90), (None, 50), (181, 50)])
def test_thoughts_come_on_top_where_the_total_says_so(total: int | None, completion: int) -> None:
    counts = {"prompt_tokens": 90, "completion_tokens": 50, "total_tokens": total}
    usage = told(OpenAI(), openai(counts | {"completion_tokens_details": {"reasoning_tokens": 40}}))
    assert (usage.completion_tokens, usage.reasoning_tokens) == (completion, 40)


@pytest.mark.parametrize(
    ("tier", "extras"),
    [("default", ()), ("auto", ()), ("on_demand", ()), (None, ()), (5, ()), ("flex", ("service_tier flex",))],
)
def test_another_tier_is_told(tier: object, extras: tuple[str, ...]) -> None:
    counts = {"prompt_tokens": 90, "completion_tokens": 50}
    assert told(OpenAI(), openai(service_tier=tier), openai(counts)).extras == extras
    assert told(OpenAI(), openai(), openai(counts, service_tier=tier)).extras == extras


@pytest.mark.parametrize("name", ["\n", "", None, 5, "\ud800"])
def test_a_name_that_cannot_be_written_down_is_none(name: object) -> None:
    answer = OpenAI().answer()
    answer.read([b"data: " + json.dumps(openai(id=name)).encode()])
    assert answer.usage.ref == ""
    answer.read([b"data: " + json.dumps(openai(id="x" * 500)).encode()])
    assert answer.usage.ref == "x" * 128


def anthropic(**usage: Any) -> dict[str, Any]:
    return {"type": "message_start", "message": {"id": "msg_1", "usage": {"input_tokens": 5} | usage}}


def test_anthropic_tells_what_it_keeps_for_an_hour_and_what_else_is_paid_for() -> None:
    kept = {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 40}
    cache = {"cache_creation_input_tokens": 60, "cache_read_input_tokens": 300, "cache_creation": kept}
    assert told(Anthropic(), anthropic(**cache, output_tokens=1, service_tier="standard")) == Usage(
        prompt_tokens=365, cached_tokens=300, cache_write_tokens=60, cache_write_1h_tokens=40, ref="msg_1"
    )
    searched = {"output_tokens": 9, "server_tool_use": {"web_search_requests": 2}}
    later = {"type": "message_delta", "delta": {}, "usage": searched}
    usage = told(Anthropic(), anthropic(**cache, service_tier="priority"), later)
    assert (usage.completion_tokens, usage.cache_write_1h_tokens, usage.extras) == (9, 40, ("web search",))
    assert told(Anthropic(), anthropic(service_tier="priority")).extras == ("service_tier priority",)
    assert told(Anthropic(), anthropic(cache_creation="much", server_tool_use=5)).prompt_tokens == 5


def test_gemini_names_the_call_and_tells_its_thoughts() -> None:
    counts = {"promptTokenCount": 3, "candidatesTokenCount": 2, "thoughtsTokenCount": 40, "cachedContentTokenCount": 1}
    assert told(Gemini(), {"responseId": "r1", "usageMetadata": counts}) == Usage(
        prompt_tokens=3, completion_tokens=42, cached_tokens=1, reasoning_tokens=40, ref="r1"
    )


CALL = [("write", {"text": "x" * 4_000})]


@pytest.mark.parametrize("speech", [OpenAISpeech(), AnthropicSpeech()], ids=lambda speech: speech.name)
def test_a_call_that_is_being_written_is_counted_though_nothing_is_passed_on(speech: Speech) -> None:
    wire: Wire = OpenAI() if speech.name == "openai" else Anthropic()
    answer = wire.answer()
    frames = speech.answer((), calls=CALL)
    place = next(place for place, frame in enumerate(frames) if b"xxxx" in frame)
    for frame in frames[: place + 1]:
        assert answer.read(frame.split(b"\n")) == []
    assert (answer.writes, answer.about) == (True, 1_003)
    usage = answer.so_far()
    assert (usage.completion_tokens, usage.is_estimated) == (1_003, True)


def test_moonshot_tells_what_it_cached_beside_the_counts_and_at_first_within_the_choice() -> None:
    counts = {"prompt_tokens": 10_000, "completion_tokens": 10, "total_tokens": 10_010, "cached_tokens": 9_900}
    within = {"id": "cmpl-1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": counts}]}
    for events in ([within], [openai(counts)], [within, openai(counts)]):
        usage = told(OpenAI(), *events)
        assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (10_000, 10, 9_900)
        assert not usage.is_estimated


def test_geminis_pieces_hold_many_tokens() -> None:
    answer = Gemini().answer()
    answer.read(b"".join(GeminiSpeech().answer(["x" * 4_000], usage=None)).split(b"\n"))
    assert answer.about == 1_000


@pytest.mark.parametrize(
    ("body", "extras"),
    [
        ({}, ()),
        ({"provider": {"sort": "price"}, "service_tier": "default"}, ()),
        ({"service_tier": "priority"}, ("service_tier",)),
        ({"plugins": [{"id": "web"}], "web_search_options": {}}, ("plugins", "web_search_options")),
        ({"serviceTier": "priority", "cached_content": "x"}, ("cachedContent", "service_tier")),
        ({"serviceTier": "STANDARD"}, ()),
    ],
)
def test_what_is_sent_along_and_charged_for_by_itself_is_known(body: dict[str, Any], extras: tuple[str, ...]) -> None:
    assert asked_in(body) == extras


class InParts(OpenAI):
    """Vectors for one text a call; the text is the model that is asked for it."""

    def embeddings(self, request: ChatRequest, name: str) -> Sequence[Ask]:
        """One for each."""
        return [
            Ask(path="embeddings", body=openai_vectors.to_wire(replace(request, inputs=(text,)), text))
            for text in request.inputs or ()
        ]


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = await Provider().start()
    yield provider
    await provider.stop()


async def heard(
    provider: Provider, wire: Wire, deadlines: Deadlines = DEADLINES, **fields: Any
) -> tuple[list[Chunk], OrchestratorError | None]:
    """All that is said of a question, and how it failed."""
    connection = connect(provider.address, "sk-test", deadlines, wire)
    engine = CloudEngine("openai", connection, deadlines, Clock(), 200_000, wire, OPENAI)
    model = await engine.find(f"openai/{fields.pop('name', 'embed')}")
    assert model
    chunks: list[Chunk] = []
    try:
        async with aclosing(engine.chat(ChatRequest(model=model.name, **fields), model)) as said:
            async for chunk in said:
                chunks.append(chunk)  # noqa: PERF401  # those before an error count
    except OrchestratorError as error:
        return chunks, error
    finally:
        await engine.aclose()
    return chunks, None


async def test_vectors_that_come_in_several_calls_cost_all_of_them(provider: Provider) -> None:
    chunks, error = await heard(provider, InParts(), inputs=("embed", "embed", "embed"))
    assert error is None
    assert chunks[-1].done
    usage = chunks[-1].done.usage
    assert (usage.prompt_tokens, usage.is_estimated, usage.cost_microusd) == (12, False, None)


@pytest.mark.parametrize(
    ("inputs", "kind", "has_made", "tokens"),
    [
        (("embed", "embed", "embed-503"), EngineUnavailable, True, 8),
        (("embed-503", "embed"), EngineUnavailable, False, 0),
        (("embed-401",), KeyRefused, False, None),
        (("embed", "embed-silent"), EngineTimeout, None, 4 + 19),
    ],
)
async def test_where_a_later_call_fails_the_earlier_ones_were_made(
    provider: Provider, inputs: tuple[str, ...], kind: type[Exception], has_made: bool | None, tokens: int | None
) -> None:
    first_token_s = 3 if "embed-silent" in inputs else DEADLINES.first_token_s  # the call before it needs time, too
    chunks, error = await heard(provider, InParts(), replace(DEADLINES, first_token_s=first_token_s), inputs=inputs)
    assert type(error) is kind
    assert error.has_made is has_made
    said = [chunk.usage.prompt_tokens for chunk in chunks if chunk.usage]
    assert (said[-1] if said else None) == tokens


@pytest.mark.parametrize(
    ("behaviour", "has_made"),
    [
        *((status, False) for status in ("400", "401", "402", "403", "404", "409", "413", "429", "500", "503")),
        ("no_address", False),
        ("error_first", True),
        ("error_inside", True),
        ("truncated", True),
        ("bad_tools", True),
        ("html", None),
        ("silent", None),
        ("closes", None),
    ],
)
async def test_whether_anything_was_made_is_told_by_the_status(
    provider: Provider, behaviour: str, has_made: bool | None
) -> None:
    asked = (Message(role="user", content="hi"),)
    _, error = await heard(provider, OpenAI(), deadlines_for(behaviour), name=behaviour, messages=asked)
    assert error
    assert error.has_made is has_made


async def test_nobody_there_made_nothing(provider: Provider) -> None:
    await provider.stop()
    _, error = await heard(provider, OpenAI(), name="good", messages=(Message(role="user", content="hi"),))
    assert error
    assert error.has_made is False


async def test_a_call_that_breaks_off_in_its_arguments_leaves_their_count(provider: Provider) -> None:
    chunks, error = await heard(provider, OpenAI(), name="torn_call", messages=(Message(role="user", content="hi"),))
    assert isinstance(error, EngineError)
    assert not any(chunk.text or chunk.tool_calls for chunk in chunks)
    assert chunks[-1].usage
    assert chunks[-1].usage.completion_tokens >= 2_000
