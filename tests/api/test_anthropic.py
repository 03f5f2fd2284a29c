"""Anthropic's dialect, where its clients look."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.api.anthropic import MessageForm, error_event
from orchestrator.api.anthropic_schemas import CountBody, MessagesBody, estimate, to_count, to_request
from orchestrator.api.bounds import DEEPEST
from orchestrator.api.frames import typed_event
from orchestrator.api.replies import to_json
from orchestrator.api.stamps import HOLES
from orchestrator.core.errors import BadRequest, Busy, ContextTooLong, EngineError, EngineTimeout, RateLimited
from orchestrator.core.types import ChatRequest, Chunk, Done, Message, Reply, ToolCall, Usage
from orchestrator.parts import Parts
from tests.fakes import FakeEngine
from tests.keys import issue_key

SAID = [{"role": "user", "content": "hello"}]
HELLO = {"model": "tiny", "max_tokens": 50, "messages": SAID}
BIG = HELLO | {"model": "openai/big"}
PATH = "/v1/messages"
COUNT = "/v1/messages/count_tokens"
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
CALL = ToolCall(id="call_1", name="weather", arguments={"city": "Rome"})
WEATHER = {"name": "weather", "description": "The weather there.", "input_schema": {"type": "object"}}
WEATHER_ELSEWHERE = {
    "type": "function",
    "function": {"name": "weather", "description": "The weather there.", "parameters": {"type": "object"}},
}
USED_WEATHER = {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Rome"}}
NASTY = "one\ntwo\r\n\r\nevent: error\ndata: {}\n\n\u0085\u2028\u2029\x00\x1e é🎈"


def events(response: httpx.Response) -> list[dict[str, Any]]:
    """The events, each of them two lines whatever a reader takes for the end of one."""
    assert response.headers["Content-Type"] == "text/event-stream"
    return read_events(response.content)


def read_events(body: bytes) -> list[dict[str, Any]]:
    lines = body.decode().splitlines()  # parts at U+2028 and its like, too
    found = []
    for name, data, blank in zip(lines[::3], lines[1::3], lines[2::3], strict=True):
        assert blank == ""
        value = json.loads(data.removeprefix("data: "))
        assert name == f"event: {value['type']}"
        found.append(value)
    return found


def kinds(found: list[dict[str, Any]]) -> list[str]:
    return [value["type"] for value in found]


def asked(**fields: Any) -> ChatRequest:
    return to_request(MessagesBody.model_validate(HELLO | fields), {})


def conversation(*turns: Any, **fields: Any) -> tuple[Message, ...]:
    return asked(messages=[{"role": role, "content": content} for role, content in turns], **fields).messages


@pytest.fixture
def thinks_and_calls(cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """`openai/big` thinks, says something, and calls a tool."""
    chat = cloud.chat

    async def with_calls(request: Any, model: Any) -> AsyncIterator[Chunk]:
        yield Chunk(thinking="H")
        yield Chunk(thinking="m")
        async for chunk in chat(request, model):
            if chunk.done:
                yield Chunk(tool_calls=(CALL, CALL))
            yield chunk

    monkeypatch.setattr(cloud, "chat", with_calls)


async def test_a_whole_answer(client: httpx.AsyncClient) -> None:
    response = await client.post(PATH, json=HELLO, params={"beta": "true"}, headers={"anthropic-version": "2023-06-01"})
    assert response.headers["Content-Type"] == "application/json"
    value = response.json()
    assert re.fullmatch(r"msg_[0-9a-f]{24}", value.pop("id"))
    assert value == {
        "type": "message",
        "role": "assistant",
        "model": "tiny",
        "content": [{"type": "text", "text": "four"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": 2},
    }


async def test_a_stream_begins_with_the_message_and_ends_with_the_counts(client: httpx.AsyncClient) -> None:
    found = events(await client.post(PATH, json=HELLO | {"stream": True}))
    assert kinds(found) == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    start, opened, first, second, closed, delta, stop = found
    message = start["message"]
    assert re.fullmatch(r"msg_[0-9a-f]{24}", message.pop("id"))
    assert message == {
        "type": "message",
        "role": "assistant",
        "model": "tiny",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": estimate(asked()), "output_tokens": 0},
    }
    assert opened == {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    assert first == {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "fo"}}
    assert second["delta"] == {"type": "text_delta", "text": "ur"}
    assert closed == {"type": "content_block_stop", "index": 0}
    assert delta == {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"input_tokens": 7, "output_tokens": 2},
    }
    assert stop == {"type": "message_stop"}


@pytest.mark.usefixtures("thinks_and_calls")
async def test_thinking_text_and_each_call_are_blocks_with_a_rising_index(client: httpx.AsyncClient) -> None:
    found = events(await client.post(PATH, json=BIG | {"stream": True}))
    opened = [(value["index"], value["content_block"]) for value in found if value["type"] == "content_block_start"]
    called = {"type": "tool_use", "id": "call_1", "name": "weather", "input": {}}
    assert opened == [
        (0, {"type": "thinking", "thinking": "", "signature": ""}),
        (1, {"type": "text", "text": ""}),
        (2, called),
        (3, called),
    ]
    deltas = [(value["index"], value["delta"]) for value in found if value["type"] == "content_block_delta"]
    written = {"type": "input_json_delta", "partial_json": '{"city":"Rome"}'}
    assert deltas == [
        (0, {"type": "thinking_delta", "thinking": "H"}),
        (0, {"type": "thinking_delta", "thinking": "m"}),
        (1, {"type": "text_delta", "text": "fo"}),
        (1, {"type": "text_delta", "text": "ur"}),
        (2, written),
        (3, written),
    ]
    assert [value["index"] for value in found if value["type"] == "content_block_stop"] == [0, 1, 2, 3]
    assert found[-2]["delta"]["stop_reason"] == "tool_use"


@pytest.mark.usefixtures("thinks_and_calls")
async def test_a_whole_answer_has_the_same_blocks(client: httpx.AsyncClient) -> None:
    value = (await client.post(PATH, json=BIG)).json()
    assert value["content"] == [
        {"type": "thinking", "thinking": "Hm", "signature": ""},
        {"type": "text", "text": "four"},
        USED_WEATHER,
        USED_WEATHER,
    ]
    assert value["stop_reason"] == "tool_use"


@pytest.mark.parametrize(
    ("reason", "said"), [("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "refusal")]
)
async def test_why_an_answer_ended(client: httpx.AsyncClient, engine: FakeEngine, reason: str, said: str) -> None:
    engine.reason = reason
    assert (await client.post(PATH, json=HELLO)).json()["stop_reason"] == said
    assert events(await client.post(PATH, json=HELLO | {"stream": True}))[-2]["delta"]["stop_reason"] == said


@pytest.mark.parametrize("stream", [True, False])
async def test_a_stop_string_is_named_in_this_dialect_alone(
    client: httpx.AsyncClient, engine: FakeEngine, stream: bool
) -> None:
    engine.stop_string = "E\u2028ND"
    asked = HELLO | {"stop_sequences": [engine.stop_string]}
    for _ in range(2):  # from the engine, then from memory
        whole = (await client.post(PATH, json=asked)).json()
        assert (whole["stop_reason"], whole["stop_sequence"]) == ("stop_sequence", engine.stop_string)
        delta = events(await client.post(PATH, json=asked | {"stream": True}))[-2]["delta"]
        assert delta == {"stop_reason": "stop_sequence", "stop_sequence": engine.stop_string}
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], "stream": stream}
    options = {"stop": [engine.stop_string], "num_predict": HELLO["max_tokens"]}
    chat = await client.post("/api/chat", json=body | {"options": options})
    assert json.loads(chat.text.splitlines()[-1])["done_reason"] == "stop"
    completion = await client.post(
        "/v1/chat/completions", json=body | {"stop": options["stop"], "max_tokens": HELLO["max_tokens"]}
    )
    assert '"finish_reason":"stop"' in completion.text
    assert engine.calls == 1


async def test_an_answer_without_a_word_is_an_empty_list(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.pieces = ()
    assert (await client.post(PATH, json=HELLO)).json()["content"] == []
    found = events(await client.post(PATH, json=HELLO | {"stream": True}))
    assert kinds(found) == ["message_start", "message_delta", "message_stop"]


def test_text_after_a_call_is_a_block_of_its_own() -> None:
    form = MessageForm(HOLES, "tiny", 1)
    body = b"".join(
        frame
        for chunk in (Chunk(text="a"), Chunk(tool_calls=(CALL,), text="b"), Chunk(text="c"), Chunk())
        for frame in form.of_chunk(chunk)
    )
    opened = [value for value in read_events(body) if value["type"] == "content_block_start"]
    assert [(value["index"], value["content_block"]["type"]) for value in opened] == [
        (0, "text"),
        (1, "tool_use"),
        (2, "text"),
    ]


# Nothing a model says tears a frame


async def test_no_text_can_tear_a_frame(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.pieces = (NASTY, "\n\n", "data: [DONE]\n\n")
    found = events(await client.post(PATH, json=HELLO | {"stream": True}))
    told = [value["delta"]["text"] for value in found if value["type"] == "content_block_delta"]
    assert tuple(told) == engine.pieces
    assert (await client.post(PATH, json=HELLO)).json()["content"][0]["text"] == "".join(engine.pieces)


@given(st.text(st.characters(exclude_categories=()), min_size=1), st.text(st.characters(exclude_categories=())))
def test_whatever_is_said_arrives_but_for_half_surrogates(text: str, name: str) -> None:
    call = ToolCall(id="call_1", name="look", arguments={name: [text]})
    done = Done(reason="stop")
    form = MessageForm(HOLES, "tiny", 1)
    chunks = (Chunk(thinking=text), Chunk(text=text), Chunk(tool_calls=(call,)), Chunk(done=done))
    found = read_events(b"".join(frame for chunk in chunks for frame in form.of_chunk(chunk)))
    thinking, said, written = (value["delta"] for value in found if value["type"] == "content_block_delta")
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert thinking["thinking"] == said["text"] == whole
    assert list(json.loads(written["partial_json"]).values()) == [[whole]]
    reply = Reply(model="tiny", text=text, thinking=text, tool_calls=(call,), done=done)
    blocks = json.loads(to_json(MessageForm(HOLES, "tiny", 1).of_reply(reply)))["content"]
    assert blocks[0]["thinking"] == blocks[1]["text"] == whole
    assert list(blocks[2]["input"].values()) == [[whole]]


def test_an_error_cannot_tear_its_frame_either() -> None:
    (said,) = read_events(error_event("req_1", EngineError(NASTY)))
    assert said["error"]["message"] == NASTY
    assert typed_event("ping", {}) == b'event: ping\ndata: {"type":"ping"}\n\n'


# The question in our words


async def test_every_field_reaches_the_engine_in_our_words(client: httpx.AsyncClient, cloud: FakeEngine) -> None:
    body = {
        "model": "openai/big",
        "max_tokens": 5,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Look: "}, PNG]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "abc"},
                    {"type": "text", "text": "Wait."},
                    USED_WEATHER,
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "call_1", "content": "sunny"},
                    {"type": "text", "text": "And now?"},
                ],
            },
        ],
        "tools": [WEATHER | {"cache_control": {"type": "ephemeral"}}],
        "tool_choice": {"type": "auto"},
        "temperature": 1,
        "top_p": 0.5,
        "top_k": 3,
        "stop_sequences": ["END"],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "output_config": {"effort": "xhigh", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "metadata": {"user_id": "ignored"},
        "service_tier": "auto",
    }
    response = await client.post(PATH, json=body)
    assert response.status_code == 200, response.text
    (request,) = cloud.asked
    assert request.messages == (
        Message(role="system", content="Be brief."),
        Message(role="user", content="Look: ", images=("iVBORw0KGgo=",)),
        Message(role="assistant", content="Wait.", thinking="Hm.", tool_calls=(CALL,)),
        Message(role="tool", content="sunny", tool_name="weather", tool_call_id="call_1"),
        Message(role="user", content="And now?"),
    )
    assert request.tools == (WEATHER_ELSEWHERE,)
    assert request.options == {"num_predict": 5, "temperature": 1.0, "top_p": 0.5, "top_k": 3, "stop": ["END"]}
    assert (request.think, request.format) == ("high", {"type": "object"})
    assert (request.dialect, request.endpoint) == ("anthropic", PATH)


def test_a_form_may_be_asked_for_as_at_first() -> None:
    first, now = ({"type": "json_schema", "schema": {"title": title}} for title in ("first", "now"))
    assert asked(output_format=first).format == {"title": "first"}
    assert asked(output_format=first, output_config={"effort": "low"}).format == {"title": "first"}
    assert asked(output_format=first, output_config={"format": now}).format == {"title": "now"}


async def test_an_answer_has_its_id_where_clients_look_for_it(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    for stream in (False, True):
        for _ in range(2):
            response = await client.post(PATH, json=HELLO | {"stream": stream})
            assert response.headers["Request-Id"] == f"req_{response.headers['X-Request-Id'][:24]}"
    counted = await client.post(COUNT, json=HELLO)
    assert counted.headers["Request-Id"].startswith("req_")


async def test_a_question_that_is_too_long_is_told_so_in_the_words_that_clients_look_for(
    client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    for said, told in (
        ("the input length exceeds 8", "prompt is too long: the input length exceeds 8"),
        ("prompt is too long: 9 tokens > 8 maximum", "prompt is too long: 9 tokens > 8 maximum"),
    ):
        engine.error = ContextTooLong(said)
        assert refusal(await client.post(PATH, json=HELLO)) == (400, "invalid_request_error", told)


def test_only_what_was_set_is_an_option() -> None:
    assert asked().options == {"num_predict": 50}
    assert asked(stop_sequences=[], temperature=None).options == {"num_predict": 50}


def test_a_system_prompt_is_text_or_blocks_or_a_turn() -> None:
    blocks = [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]
    first = Message(role="system", content="Be brief.")
    assert conversation(("user", "hi"), system="Be brief.")[0] == first
    assert conversation(("user", "hi"), system=blocks)[0] == first
    assert conversation(("system", blocks), ("user", "hi"))[0] == first
    for nothing in ("", [], None):
        assert conversation(("user", "hi"), system=nothing) == (Message(role="user", content="hi"),)


def test_a_tools_answer_says_when_it_is_an_error() -> None:
    for content, said in (("no such city", "Error: no such city"), ("", "Error"), (None, "Error")):
        result = {"type": "tool_result", "tool_use_id": "call_1", "content": content, "is_error": True}
        assert conversation(("user", [result]))[0].content == said
    result = {"type": "tool_result", "tool_use_id": "call_1", "content": "fine", "is_error": False}
    assert conversation(("user", [result]))[0].content == "fine"


def test_pictures_of_a_tools_answer_go_with_the_words_that_follow() -> None:
    shot = {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "Done."}, PNG]}
    answered = Message(role="tool", content="Done.", tool_name="weather", tool_call_id="call_1")
    called = ("assistant", [USED_WEATHER])
    assert conversation(called, ("user", [shot]))[1:] == (answered, Message(role="user", images=("iVBORw0KGgo=",)))
    assert conversation(called, ("user", [shot, {"type": "text", "text": "So?"}, PNG]))[1:] == (
        answered,
        Message(role="user", content="So?", images=("iVBORw0KGgo=", "iVBORw0KGgo=")),
    )


@pytest.mark.parametrize(
    ("thinking", "effort", "think"),
    [
        (None, None, None),
        ("enabled", None, True),
        ("disabled", None, False),
        ("adaptive", None, None),
        (None, "low", "low"),
        ("enabled", "max", "max"),
        ("adaptive", "xhigh", "high"),
        ("disabled", "high", False),
    ],
)
def test_how_much_to_think(thinking: str | None, effort: str | None, think: object) -> None:
    fields: dict[str, Any] = {"output_config": {"effort": effort}}
    if thinking:
        fields["thinking"] = {"type": thinking, "budget_tokens": 2000}
    assert asked(**fields).think == think


@pytest.mark.parametrize("wish", [{"thinking": {"type": "enabled"}}, {"output_config": {"effort": "high"}}])
@pytest.mark.parametrize("model", ["tiny", "auto"])
async def test_a_model_that_cannot_think_is_asked_without(
    client: httpx.AsyncClient, engine: FakeEngine, wish: dict[str, Any], model: str
) -> None:
    response = await client.post(PATH, json=HELLO | wish | {"model": model})
    assert response.status_code == 200, response.text
    assert engine.asked[0].think is None


WORDS = ["type", "text", "image", "tool_use", "tool_result", "thinking", "source", "base64", "media_type", "image/png"]
WORDS += ["data", "id", "tool_use_id", "name", "input", "content", "is_error", "input_schema", "json_schema", "schema"]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS),
    lambda some: st.lists(some, max_size=4) | st.dictionaries(st.sampled_from(WORDS), some, max_size=4),
    max_leaves=12,
)
BLOCKS = ANYTHING | st.lists(
    st.dictionaries(st.sampled_from(WORDS), ANYTHING).flatmap(
        lambda block: st.sampled_from(WORDS).map(lambda kind: block | {"type": kind})
    )
)


@given(BLOCKS, st.sampled_from(["user", "assistant", "system"]), ANYTHING, ANYTHING)
def test_whatever_comes_is_read_or_refused(content: Any, role: str, tools: Any, config: Any) -> None:
    turns = [{"role": role, "content": content}]
    for fields in ({"messages": turns}, {"system": content}, {"tools": tools}, {"output_config": config}):
        with suppress(BadRequest, ValidationError):
            request = asked(**fields)
            assert estimate(request) > 0
            assert all(isinstance(message.content, str) for message in request.messages)


# One question, one answer, whatever the dialect

THERE = {
    "/api/chat": {"messages": SAID, "stream": False, "tools": [WEATHER_ELSEWHERE], "options": {"temperature": 0.5}},
    "/v1/chat/completions": {"messages": SAID, "tools": [WEATHER_ELSEWHERE], "temperature": 0.5},
    PATH: {"messages": SAID, "max_tokens": 9, "tools": [WEATHER], "temperature": 0.5},
}


@pytest.mark.usefixtures("thinks_and_calls")
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("first", [path for path in THERE if path != PATH])
async def test_what_another_dialect_asked_is_answered_from_its_cache(
    client: httpx.AsyncClient, cloud: FakeEngine, first: str, stream: bool
) -> None:
    await client.post(first, json=THERE[first] | {"model": "openai/big"})
    response = await client.post(PATH, json=THERE[PATH] | {"model": "openai/big", "stream": stream})
    assert response.headers["Cache-Status"] == "orchestrator; hit; detail=memory"
    assert cloud.calls == 1
    if not stream:
        value = response.json()
        assert [block["type"] for block in value["content"]] == ["thinking", "text", "tool_use", "tool_use"]
        assert (value["content"][2], value["stop_reason"]) == (USED_WEATHER, "tool_use")
        assert value["usage"] == {"input_tokens": 7, "output_tokens": 2}
        return
    found = events(response)
    blocks = [value["content_block"]["type"] for value in found if value["type"] == "content_block_start"]
    assert blocks == ["thinking", "text", "tool_use", "tool_use"]
    assert found[-2]["delta"]["stop_reason"] == "tool_use"
    assert found[-2]["usage"] == {"input_tokens": 7, "output_tokens": 2}


@pytest.mark.usefixtures("thinks_and_calls")
@pytest.mark.parametrize("stream", [True, False])
async def test_the_reverse_holds_too(client: httpx.AsyncClient, cloud: FakeEngine, stream: bool) -> None:
    await client.post(PATH, json=THERE[PATH] | {"model": "openai/big", "stream": stream})
    chat = await client.post("/api/chat", json=THERE["/api/chat"] | {"model": "openai/big"})
    completion = await client.post("/v1/chat/completions", json=THERE["/v1/chat/completions"] | {"model": "openai/big"})
    for response in (chat, completion):
        assert response.headers["Cache-Status"] == "orchestrator; hit; detail=memory"
    assert cloud.calls == 1
    message = chat.json()["message"]
    assert (message["thinking"], message["content"]) == ("Hm", "four")
    assert message["tool_calls"][0]["function"]["arguments"] == {"city": "Rome"}
    assert (chat.json()["prompt_eval_count"], chat.json()["eval_count"]) == (7, 2)
    (choice,) = completion.json()["choices"]
    assert choice["message"]["reasoning"] == "Hm"
    assert choice["finish_reason"] == "tool_calls"


async def test_an_answer_that_was_cut_is_not_given_to_who_allows_more(
    client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    engine.reason = "length"
    await client.post(PATH, json=HELLO | {"max_tokens": 2})
    engine.reason = "stop"
    assert (await client.post(PATH, json=HELLO)).json()["stop_reason"] == "end_turn"
    again = await client.post(PATH, json=HELLO | {"max_tokens": 2})
    assert again.headers["Cache-Status"].startswith("orchestrator; hit")
    assert engine.calls == 2


async def test_our_headers_are_there_and_steer(client: httpx.AsyncClient) -> None:
    for stream in (False, True):
        await client.post(PATH, json=HELLO)
        response = await client.post(PATH, json=HELLO | {"stream": stream}, headers={"X-Request-Id": "mine"})
        assert response.headers["Cache-Status"] == "orchestrator; hit; detail=memory"
        assert response.headers["X-Request-Id"] == "mine"
        assert response.headers["X-Orchestrator-Model"] == "tiny:latest"
        assert response.headers["X-Orchestrator-Route"] == "named"
        assert response.headers["Age"] == "0"
        assert "cache;dur=" in response.headers["Server-Timing"]
    fresh = await client.post(PATH, json=HELLO, headers={"Cache-Control": "no-cache"})
    assert "hit" not in fresh.headers["Cache-Status"]


async def test_it_is_recorded_under_its_own_dialect(client: httpx.AsyncClient, recorded: Callable[..., Any]) -> None:
    await client.post(PATH, json=HELLO)
    await client.post(COUNT, json=HELLO)
    await client.post(PATH, json=HELLO | {"max_tokens": 0})
    await client.post(PATH, json=HELLO | {"model": "nope", "thinking": {"type": "enabled"}})
    done, counted, refused, unknown = await recorded(4)
    assert (counted.endpoint, counted.outcome, counted.prompt_tokens, counted.completion_tokens) == (
        COUNT,
        "done",
        0,
        0,
    )
    assert (done.dialect, done.endpoint, done.outcome, done.tier) == ("anthropic", PATH, "done", "miss")
    assert (refused.dialect, refused.endpoint, refused.status) == ("anthropic", PATH, 400)
    assert (unknown.dialect, unknown.status) == ("anthropic", 404)


# Errors


def refusal(response: httpx.Response) -> tuple[int, str, str]:
    assert response.headers["Content-Type"] == "application/json"
    value = response.json()
    assert list(value) == ["type", "error", "request_id"]
    assert value["type"] == "error"
    assert list(value["error"]) == ["type", "message"]
    assert re.fullmatch(r"req_[0-9a-f]{24}", value["request_id"])
    return response.status_code, value["error"]["type"], value["error"]["message"]


def turn(*blocks: Any, role: str = "user") -> dict[str, Any]:
    return HELLO | {"messages": [{"role": role, "content": list(blocks)}]}


TEXT = {"type": "text", "text": "hi"}
RESULT = {"type": "tool_result", "tool_use_id": "call_1", "content": "sunny"}
BAD = {
    "no model": ({"max_tokens": 0}, "model is required"),
    "no max_tokens": ({"model": "tiny"}, "max_tokens is required and must be positive"),
    "max_tokens of 0": (HELLO | {"max_tokens": 0, "messages": []}, "max_tokens is required and must be positive"),
    "no messages": (HELLO | {"messages": None}, "messages is required"),
    "empty messages": (HELLO | {"messages": []}, "messages is required"),
    "wrong type": (
        HELLO | {"max_tokens": "5"},
        "json: cannot unmarshal string into Go struct field MessagesRequest.max_tokens of type int",
    ),
    "two spellings": (HELLO | {"MODEL": "x"}, 'duplicate name "MODEL" in a JSON object'),
    "role": (
        HELLO | {"messages": [{"role": "tool", "content": "x"}]},
        "messages.0.role: 'tool' is not known; it is one of user, assistant, system",
    ),
    "no content": (
        HELLO | {"messages": [*SAID, {"role": "user", "content": None}]},
        "messages.1.content is required: text, or a list of blocks",
    ),
    "no type": (
        turn({"text": "hi"}),
        "messages.0.content.0: a block of no type is not taken here (user blocks are text, image, tool_result)",
    ),
    "document": (
        turn(TEXT, {"type": "document", "source": {}}),
        (
            "messages.0.content.1: a block 'document' is not taken here; send its text in a text block "
            "(user blocks are text, image, tool_result)"
        ),
    ),
    "redacted": (
        turn({"type": "redacted_thinking", "data": "x"}, role="assistant"),
        (
            "messages.0.content.0: a block 'redacted_thinking' is not taken here; leave it out, since only Anthropic's "
            "models can read it (assistant blocks are text, thinking, tool_use)"
        ),
    ),
    "tool_use of a user": (
        turn(USED_WEATHER),
        "messages.0.content.0: a block 'tool_use' is not taken here (user blocks are text, image, tool_result)",
    ),
    "text without text": (turn({"type": "text"}), "messages.0.content.0: a text block needs `text`"),
    "input that is text": (
        turn(USED_WEATHER | {"input": "{}"}, role="assistant"),
        "messages.0.content.0: a tool_use block needs `id`, `name`, and an object as `input`",
    ),
    "result of nothing": (
        turn({"type": "tool_result"}),
        "messages.0.content.0: a tool_result block needs the `tool_use_id` of the call it answers",
    ),
    "result after text": (
        turn(TEXT, RESULT),
        "messages.0.content.1: tool_result blocks must come first in their message; move the others after them",
    ),
    "result of numbers": (
        turn(RESULT | {"content": [1]}),
        "messages.0.content.0.content must be text, or a list of text and image blocks",
    ),
    "result in a result": (
        turn(RESULT | {"content": [RESULT]}),
        "messages.0.content.0.content: a tool_result within a tool_result is not taken",
    ),
    "document in a result": (
        turn(RESULT | {"content": [{"type": "search_result"}]}),
        (
            "messages.0.content.0.content.0: a block 'search_result' is not taken here; send its text in a text block "
            "(user blocks are text, image, tool_result)"
        ),
    ),
    "picture elsewhere": (
        turn({"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}}),
        "messages.0.content.0.source: pictures are not fetched; send them as base64",
    ),
    "picture of no kind": (
        turn({"type": "image", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}}),
        "messages.0.content.0.source.media_type is one of image/jpeg, image/png, image/gif, image/webp",
    ),
    "picture that is none": (
        turn({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "a!"}}),
        "messages.0.content.0.source.data: illegal base64 data at input byte 1",
    ),
    "picture from nowhere": (
        turn({"type": "image", "source": {}}),
        "messages.0.content.0.source must be of type base64, with media_type and data",
    ),
    "tool of Anthropic's": (
        HELLO | {"tools": [WEATHER, {"type": "web_search_20250305", "name": "web_search"}]},
        (
            "tools.1: tools of type 'web_search_20250305' are Anthropic's own; "
            "describe yours with name, description and input_schema"
        ),
    ),
    "tool without a name": (
        HELLO | {"tools": [{"input_schema": {}}]},
        "tools.0: a tool needs a name, and an object as input_schema",
    ),
    "tool described by a number": (
        HELLO | {"tools": [WEATHER | {"description": 1}]},
        "tools.0.description must be text",
    ),
    "thinking": (
        HELLO | {"thinking": {"type": "loudly"}},
        "thinking.type is one of enabled, disabled, adaptive",
    ),
    "effort": (
        HELLO | {"output_config": {"effort": "none"}},
        "output_config.effort is one of low, medium, high, xhigh, max",
    ),
    "format": (
        HELLO | {"output_config": {"format": {"type": "json"}}},
        "output_config.format must be of type json_schema, with a schema",
    ),
    "format as at first": (
        HELLO | {"output_format": {"type": "json"}},
        "output_format must be of type json_schema, with a schema",
    ),
}


@pytest.mark.parametrize(("body", "said"), BAD.values(), ids=BAD.keys())
async def test_a_bad_request_says_what_to_do(
    client: httpx.AsyncClient, engine: FakeEngine, body: dict[str, Any], said: str
) -> None:
    assert refusal(await client.post(PATH, json=body)) == (400, "invalid_request_error", said)
    assert engine.calls == 0


@pytest.mark.parametrize("depth", [DEEPEST - 6, DEEPEST, 240, 1000])
@pytest.mark.parametrize("path", [PATH, COUNT])
async def test_what_is_nested_too_deeply_is_refused_and_no_fault(
    client: httpx.AsyncClient, path: str, depth: int
) -> None:
    deep = '{"a":' * depth + "{}" + "}" * depth
    call = f'{{"type":"tool_use","id":"call_1","name":"look","input":{deep}}}'
    for field in (
        f'"tools":[{{"name":"look","input_schema":{deep}}}],"messages":[{{"role":"user","content":"hi"}}]',
        f'"messages":[{{"role":"assistant","content":[{call}]}}]',
    ):
        body = f'{{"model":"openai/big","max_tokens":9,"stream":true,{field}}}'
        response = await client.post(path, content=body)
        if depth < DEEPEST:
            assert response.status_code == 200, response.text
        else:
            assert refusal(response)[:2] == (400, "invalid_request_error")


@pytest.mark.parametrize("path", [PATH, COUNT])
@pytest.mark.parametrize(("body", "said"), [(b"", "EOF"), (b'{"model"', "unexpected EOF"), (b"x", "invalid character")])
async def test_what_is_no_json_is_refused_first(client: httpx.AsyncClient, path: str, body: bytes, said: str) -> None:
    status, kind, message = refusal(await client.post(path, content=body))
    assert (status, kind) == (400, "invalid_request_error")
    assert message.startswith(said)


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (RateLimited("slower", retry_after_s=7), 429, "rate_limit_error"),
        (Busy("full"), 503, "overloaded_error"),
        (EngineTimeout("silent"), 504, "timeout_error"),
        (EngineError("gone"), 502, "api_error"),
        (RuntimeError("a fault"), 500, "api_error"),
    ],
)
async def test_each_error_has_its_type(
    client: httpx.AsyncClient, engine: FakeEngine, error: Exception, status: int, kind: str
) -> None:
    engine.pieces, engine.error = (), error
    for stream in (False, True):
        response = await client.post(PATH, json=HELLO | {"stream": stream})
        assert refusal(response)[:2] == (status, kind)
        assert response.headers.get("Retry-After") == ("7" if status == 429 else None)
    assert "a fault" not in response.text


@pytest.mark.parametrize("path", [PATH, COUNT])
async def test_an_unknown_model_is_not_found(client: httpx.AsyncClient, path: str) -> None:
    said = refusal(await client.post(path, json=HELLO | {"model": "nope"}))
    assert said == (404, "not_found_error", "model 'nope' not found")
    assert refusal(await client.post(path, json=HELLO | {"model": "../etc"}))[::2] == (400, "invalid model name")


@pytest.mark.parametrize("path", [PATH, COUNT])
async def test_without_a_key_where_one_is_needed(
    client: httpx.AsyncClient, parts: Parts, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(parts.identity, "_require_keys", True)
    assert refusal(await client.post(path, json=HELLO))[:2] == (401, "authentication_error")
    wrong = await client.post(path, json=HELLO, headers={"x-api-key": "sk-wrong"})
    assert refusal(wrong)[:2] == (401, "authentication_error")
    key = await asyncio.to_thread(issue_key, "alice", "acme")
    assert (await client.post(path, json=HELLO, headers={"x-api-key": key})).status_code == 200


async def test_what_is_refused_ahead_of_the_endpoint_has_the_shape_too(client: httpx.AsyncClient) -> None:
    wrong_verb = await client.get(PATH)
    assert refusal(wrong_verb) == (405, "invalid_request_error", "method not allowed")
    assert wrong_verb.headers["Allow"] == "POST"
    assert refusal(await client.get(f"{PATH}/batches")) == (404, "not_found_error", "page not found")
    foreign = await client.post(PATH, json=HELLO, headers={"Origin": "https://evil.example"})
    assert refusal(foreign)[:2] == (403, "permission_error")
    large = await client.post(PATH, content=b" ", headers={"Content-Length": "99999999999"})
    assert refusal(large)[:2] == (413, "request_too_large")
    assert (await client.get("/v1/nothing")).text == "404 page not found"


async def test_an_error_can_be_found_by_its_id(client: httpx.AsyncClient) -> None:
    ours = await client.post(PATH, json={})
    assert ours.json()["request_id"] == ours.headers["Request-Id"] == f"req_{ours.headers['X-Request-Id'][:24]}"
    first, second = [await client.post(PATH, json={}, headers={"X-Request-Id": "mine"}) for _ in range(2)]
    assert refusal(first)
    assert first.json()["request_id"] == second.json()["request_id"]
    assert first.headers["X-Request-Id"] == "mine"


async def test_what_breaks_off_ends_with_an_error_event(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.error = RateLimited("slower")
    response = await client.post(PATH, json=HELLO | {"stream": True})
    found = events(response)
    assert kinds(found)[-1] == "error"
    assert "message_stop" not in kinds(found)
    assert found[-1] == {
        "type": "error",
        "error": {"type": "rate_limit_error", "message": "slower"},
        "request_id": f"req_{response.headers['X-Request-Id'][:24]}",
    }


# Counting


def count(text: str, **fields: Any) -> int:
    body = CountBody.model_validate({"model": "tiny", "messages": [{"role": "user", "content": text}]} | fields)
    return estimate(to_count(body, {}))


async def test_a_local_model_that_is_loaded_counts_itself(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.counted = 33
    body = {"model": "tiny", "messages": SAID, "thinking": {"type": "enabled", "budget_tokens": 9}}
    assert (await client.post(COUNT, json=body)).json() == {"input_tokens": 33}
    for more in ({"model": "auto"}, {"model": "openai/big"}, {"tools": [WEATHER]}):
        assert (await client.post(COUNT, json=body | more)).json() == {"input_tokens": count("hello", **more)}
    for error in (EngineError("gone"), Busy("later"), BadRequest("the template refuses")):
        engine.error = error
        assert (await client.post(COUNT, json=body)).json() == {"input_tokens": count("hello")}
    assert (await client.post(COUNT, json=body | {"model": "nobody"})).status_code == 404


async def test_tokens_are_counted_without_asking_anybody(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    body = {"model": "tiny", "messages": SAID, "tool_choice": {"type": "auto"}}
    first, second = [await client.post(COUNT, json=body) for _ in range(2)]
    assert first.json() == second.json() == {"input_tokens": count("hello")}
    assert first.headers["X-Request-Id"]
    assert (await client.post(COUNT, json=body | {"model": "auto"})).json() == first.json()
    assert (await client.post(COUNT, json=body | {"model": "openai/big"})).json() == first.json()
    assert engine.calls == 0


@given(st.text(), st.text())
def test_more_text_never_has_fewer_tokens(text: str, more: str) -> None:
    assert 0 < count(text) <= count(text + more)
    assert count(text) <= count(text, system=more) <= count(text, system=more + text)
    assert count(text) < count(text, messages=[*SAID, {"role": "user", "content": text + "hello"}])


def test_tools_pictures_thinking_and_calls_count() -> None:
    plain = count("hello")
    assert count("hello", tools=[WEATHER]) > plain
    assert count("", messages=[{"role": "user", "content": [PNG]}]) > 1000
    said = [{"type": "thinking", "thinking": "Hm. " * 10}, USED_WEATHER]
    thought = [*SAID, {"role": "assistant", "content": said[:1]}]
    called = [*SAID, {"role": "assistant", "content": said}]
    assert plain < count("", messages=thought) < count("", messages=called)


@pytest.mark.parametrize(("fields", "said"), [({"model": ""}, "model is required"), ({"messages": []}, "messages is")])
def test_what_cannot_be_counted_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        count("hello", **fields)


def test_a_stream_says_an_estimate_before_it_says_the_count() -> None:
    form = MessageForm(HOLES, "tiny", 12)
    done = Chunk(done=Done(reason="stop", usage=Usage(prompt_tokens=9, completion_tokens=1)))
    start, delta, _ = read_events(b"".join(form.of_chunk(done)))
    assert start["message"]["usage"]["input_tokens"] == 12
    assert delta["usage"] == {"input_tokens": 9, "output_tokens": 1}
