"""OpenAI's dialect, where its clients look."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from orchestrator.core.errors import ContextTooLong, EngineError
from orchestrator.core.types import Chunk, Done, Message, ToolCall, Usage
from tests.fakes import FakeEngine

HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}
PATH = "/v1/chat/completions"


def events(response: httpx.Response) -> list[Any]:
    assert response.headers["Content-Type"] == "text/event-stream"
    frames = response.text.split("\n\n")
    assert frames.pop() == ""
    assert all(frame.startswith("data: ") for frame in frames)
    return [frame[6:] if frame == "data: [DONE]" else json.loads(frame[6:]) for frame in frames]


async def test_a_whole_answer(client: httpx.AsyncClient) -> None:
    response = await client.post(PATH, json=HELLO)
    assert response.headers["Content-Type"] == "application/json"
    value = response.json()
    assert list(value) == ["id", "object", "created", "model", "system_fingerprint", "choices", "usage"]
    assert value["object"] == "chat.completion"
    assert value["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "four"}, "finish_reason": "stop"}
    ]
    assert value["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


async def test_a_stream_names_the_role_once_and_ends_with_done(client: httpx.AsyncClient) -> None:
    first, second, last, done = events(await client.post(PATH, json=HELLO | {"stream": True}))
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "fo"}
    assert second["choices"][0]["delta"] == {"content": "ur"}
    assert second["choices"][0]["finish_reason"] is None
    assert last["choices"][0] == {"index": 0, "delta": {}, "finish_reason": "stop"}
    assert done == "[DONE]"
    assert len({chunk["id"] for chunk in (first, second, last)}) == 1
    assert "usage" not in last


async def test_usage_comes_in_a_chunk_of_its_own_when_asked_for(client: httpx.AsyncClient) -> None:
    body = HELLO | {"stream": True, "stream_options": {"include_usage": True}}
    *_, last, usage, _ = events(await client.post(PATH, json=body))
    assert "usage" not in last
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] == 9


async def test_what_breaks_off_ends_with_an_error_and_without_done(
    client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    engine.error = EngineError("gone")
    *_, last = events(await client.post(PATH, json=HELLO | {"stream": True}))
    assert last == {"error": {"message": "gone", "type": "api_error", "param": None, "code": None}}


async def test_thinking_and_tool_calls(
    client: httpx.AsyncClient, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = cloud.chat

    async def with_calls(request: Any, model: Any) -> Any:
        yield Chunk(thinking="Hm")
        yield Chunk(tool_calls=(ToolCall(id="call_1", name="weather", arguments={"city": "Rome"}),))
        async for chunk in chat(request, model):
            yield chunk

    monkeypatch.setattr(cloud, "chat", with_calls)
    call = {
        "id": "call_1",
        "index": 0,
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city":"Rome"}'},
    }
    frames = events(await client.post(PATH, json=HELLO | {"model": "openai/big", "stream": True}))
    assert frames[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "reasoning": "Hm"}
    assert frames[1]["choices"][0]["delta"] == {"content": "", "tool_calls": [call]}
    assert frames[-2]["choices"][0]["finish_reason"] == "tool_calls"
    (choice,) = (await client.post(PATH, json=HELLO | {"model": "openai/big"})).json()["choices"]
    assert choice["message"] == {"role": "assistant", "content": "four", "reasoning": "Hm", "tool_calls": [call]}
    assert choice["finish_reason"] == "tool_calls"


async def test_calls_that_come_one_by_one_are_told_apart_by_their_index(
    client: httpx.AsyncClient, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = cloud.chat
    calls = [ToolCall(id=f"call_{at}", name=f"f{at}", arguments={"at": at}) for at in range(4)]

    async def with_calls(request: Any, model: Any) -> Any:
        yield Chunk(tool_calls=(calls[0],))
        yield Chunk(tool_calls=(calls[1], calls[2]))
        yield Chunk(tool_calls=(calls[3],))
        async for chunk in chat(request, model):
            yield chunk

    monkeypatch.setattr(cloud, "chat", with_calls)
    for _ in range(2):  # as it is made, and out of the cache
        state: ChatCompletionStreamState[Any] = ChatCompletionStreamState()
        response = await client.post(PATH, json=HELLO | {"model": "openai/big", "stream": True})
        for frame in events(response)[:-1]:
            state.handle_chunk(ChatCompletionChunk.model_validate(frame))
        whole = state.get_final_completion().choices[0].message.tool_calls or []
        assert [(one.id, one.function.name, one.function.arguments) for one in whole] == [
            (call.id, call.name, f'{{"at":{at}}}') for at, call in enumerate(calls)
        ]


async def test_parts_of_a_turn_are_paragraphs_and_those_of_a_models_own_are_one_text(
    client: httpx.AsyncClient, cloud: FakeEngine
) -> None:
    parts = [{"type": "text", "text": text} for text in ("the end of a file", "Explain it.")]
    said = [{"type": "text", "text": "It "}, {"type": "refusal", "refusal": "cannot be."}]
    turns = [{"role": "user", "content": parts}, {"role": "assistant", "content": said}]
    response = await client.post(PATH, json={"model": "openai/big", "messages": turns})
    assert response.status_code == 200, response.text
    assert [turn.content for turn in cloud.asked[0].messages] == ["the end of a file\n\nExplain it.", "It cannot be."]


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
async def test_what_was_thought_before_is_read_by_either_name(
    client: httpx.AsyncClient, cloud: FakeEngine, name: str
) -> None:
    turns = [{"role": "assistant", "content": "four", name: "Hm"}, {"role": "user", "content": "Why?"}]
    response = await client.post(PATH, json={"model": "openai/big", "messages": turns})
    assert response.status_code == 200, response.text
    assert cloud.asked[0].messages[0].thinking == "Hm"


async def test_a_question_that_is_too_long_has_the_code_that_clients_look_for(
    client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    engine.error = ContextTooLong("It has 9 tokens, 8 fit.")
    response = await client.post(PATH, json=HELLO)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "context_length_exceeded")


async def test_what_a_provider_read_from_its_cache_and_thought_unseen_is_told(
    client: httpx.AsyncClient, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = Usage(prompt_tokens=9, completion_tokens=5, cached_tokens=7, reasoning_tokens=3)

    async def told(request: Any, model: Any) -> Any:
        yield Chunk(text="four")
        yield Chunk(done=Done(reason="stop", usage=usage))

    assert "prompt_tokens_details" not in (await client.post(PATH, json=HELLO)).json()["usage"]
    monkeypatch.setattr(cloud, "chat", told)
    said = (await client.post(PATH, json=HELLO | {"model": "openai/big"})).json()["usage"]
    assert said["prompt_tokens_details"] == {"cached_tokens": 7}
    assert said["completion_tokens_details"] == {"reasoning_tokens": 3}


async def test_every_field_reaches_the_engine_in_our_words(client: httpx.AsyncClient, cloud: FakeEngine) -> None:
    body = {
        "model": "openai/big",
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Look: "},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "call_9", "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}}
                ],
            },
            {"role": "tool", "content": "a cat", "tool_call_id": "call_9"},
        ],
        "max_completion_tokens": 5,
        "temperature": 1,
        "stop": "END",
        "seed": 3,
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
        "reasoning_effort": "xhigh",
        "user": "ignored",
    }
    response = await client.post(PATH, json=body)
    assert response.status_code == 200, response.text
    (asked,) = cloud.asked
    assert asked.messages == (
        Message(role="system", content="Be brief."),
        Message(role="user", content="Look: ", images=("iVBORw0KGgo=",)),
        Message(role="assistant", tool_calls=(ToolCall(id="call_9", name="look", arguments={"a": 1}),)),
        Message(role="tool", content="a cat", tool_name="look", tool_call_id="call_9"),
    )
    assert asked.options == {"num_predict": 5, "temperature": 1.0, "stop": ["END"], "seed": 3}
    assert (asked.format, asked.think) == ({"type": "object"}, "max")


@pytest.mark.parametrize(
    ("body", "status", "kind", "said"),
    [
        (HELLO | {"model": ""}, 400, "invalid_request_error", "model is required"),
        (HELLO | {"model": "nope"}, 404, "not_found_error", "model 'nope' not found"),
        (HELLO | {"messages": []}, 400, "invalid_request_error", "[] is too short - 'messages'"),
        (
            HELLO | {"messages": [{"role": "user", "content": None}]},
            400,
            "invalid_request_error",
            "invalid message content type: <nil>",
        ),
        (
            HELLO
            | {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": "https://x.example/a.png"}]}
                ]
            },
            400,
            "invalid_request_error",
            "image URLs are not currently supported, please use base64 encoded data instead",
        ),
        (
            HELLO
            | {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "data:text/html,x"}]}]},
            400,
            "invalid_request_error",
            "invalid image input",
        ),
        (
            HELLO | {"reasoning_effort": "loud"},
            400,
            "invalid_request_error",
            "invalid reasoning value: 'loud' (must be one of none, minimal, low, medium, high, max, xhigh, ultra)",
        ),
        (
            HELLO | {"max_tokens": "5"},
            400,
            "invalid_request_error",
            "json: cannot unmarshal string into Go struct field ChatCompletionRequest.max_tokens of type int",
        ),
    ],
)
async def test_errors_have_openais_shape(
    client: httpx.AsyncClient, body: Any, status: int, kind: str, said: str
) -> None:
    response = await client.post(PATH, json=body)
    assert response.status_code == status
    assert response.json() == {"error": {"message": said, "type": kind, "param": None, "code": None}}


async def test_models_are_listed_and_found_even_with_a_slash(client: httpx.AsyncClient) -> None:
    listing = (await client.get("/v1/models")).json()
    assert listing["object"] == "list"
    assert [(model["id"], model["owned_by"]) for model in listing["data"]] == [
        ("auto:latest", "library"),
        ("openai/big", "openai"),
        ("tiny:latest", "library"),
    ]
    assert (await client.get("/v1/models/tiny")).json()["id"] == "tiny"
    assert (await client.get("/v1/models/openai/big")).json()["id"] == "openai/big"
    assert (await client.get("/v1/models/auto")).json()["id"] == "auto"
    unknown = await client.get("/v1/models/nope")
    assert (unknown.status_code, unknown.json()["error"]["type"]) == (404, "not_found_error")


async def test_an_empty_body_is_eof(client: httpx.AsyncClient) -> None:
    for body in (b"", b"  "):
        response = await client.post(PATH, content=body)
        assert (response.status_code, response.json()["error"]["message"]) == (400, "EOF")
