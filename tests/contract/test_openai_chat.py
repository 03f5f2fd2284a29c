"""POST /v1/chat/completions, and the errors of /v1."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import httpx
import pytest

from orchestrator.core.errors import Busy, EngineError
from orchestrator.core.types import Chunk, Message, ToolCall
from tests.api.test_openai import events
from tests.contract.facts import HELLO
from tests.contract.test_generate import HE, scripted
from tests.fakes import FakeEngine

PATH = "/v1/chat/completions"
BIG = HELLO | {"model": "openai/big"}
STREAM = {"stream": True}
CALL = ToolCall(id="call_ab12cd34", name="f", arguments={"a": 1})
CALLED = {"id": "call_ab12cd34", "index": 0, "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
PNG = "iVBORw0KGgo="


def choice(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    (one,) = response.json()["choices"]
    return dict(one)


def error(response: httpx.Response) -> tuple[int, str, str]:
    assert response.headers["Content-Type"] == "application/json"
    (key, value) = next(iter(response.json().items()))
    assert (key, list(value)) == ("error", ["message", "type", "param", "code"])
    assert value["param"] is value["code"] is None
    return response.status_code, value["type"], value["message"]


def saying(content: Any) -> dict[str, Any]:
    return BIG | {"messages": [{"role": "user", "content": content}]}


def picture(url: Any) -> dict[str, Any]:
    return saying([{"type": "image_url", "image_url": url}])


BAD, NOT_FOUND = (400, "invalid_request_error"), (404, "not_found_error")
NO_URLS = "image URLs are not currently supported, please use base64 encoded data instead"
ERRORS: list[tuple[str, Any, tuple[int, str], str]] = [
    *((path, b"", BAD, "EOF") for path in (PATH, "/v1/completions", "/v1/embeddings", "/v1/responses")),
    *((path, b"{", BAD, "unexpected EOF") for path in (PATH, "/v1/completions", "/v1/embeddings", "/v1/responses")),
    (PATH, HELLO | {"model": ""}, BAD, "model is required"),
    ("/v1/responses", {"input": "hello"}, BAD, "model is required"),
    ("/v1/completions", {"prompt": "hello"}, NOT_FOUND, "model '' not found"),
    ("/v1/embeddings", {"input": "hello"}, NOT_FOUND, "model '' not found"),
    (PATH, HELLO | {"model": "nobody"}, NOT_FOUND, "model 'nobody' not found"),
    (PATH, HELLO | {"model": "a b"}, BAD, "invalid model name"),
    (PATH, HELLO | {"messages": []}, BAD, "[] is too short - 'messages'"),
    (PATH, saying(None), BAD, "invalid message content type: <nil>"),
    (PATH, picture("data:text/html;base64,AAAA"), BAD, "invalid image input"),
    (PATH, picture("data:image/gif;base64,AAAA"), BAD, "invalid image input"),
    (PATH, picture("AAAA"), BAD, "invalid image input"),
    (PATH, picture("https://x.example/a.png"), BAD, NO_URLS),
    (PATH, picture({"url": "http://x.example/a.png"}), BAD, NO_URLS),
    (PATH, HELLO | {"top_logprobs": 21, "logprobs": True}, BAD, "top_logprobs must be between 0 and 20"),
    (
        PATH,
        HELLO | {"tools": [{"type": "function", "function": {"name": "f"}}]},
        BAD,
        "registry.ollama.ai/library/tiny:latest does not support tools",
    ),
    (PATH, HELLO | {"reasoning_effort": "high"}, BAD, '"tiny" does not support thinking'),
]


@pytest.mark.parametrize(("path", "body", "kind", "said"), ERRORS)
async def test_each_mistake_has_openais_shape_and_ollamas_words(
    client: httpx.AsyncClient, path: str, body: Any, kind: tuple[int, str], said: str
) -> None:
    response = await client.post(path, **({"content": body} if isinstance(body, bytes) else {"json": body}))
    assert error(response) == (*kind, said)


@pytest.mark.parametrize("fault", [Busy("full"), EngineError("gone")])
async def test_what_is_not_the_callers_mistake_is_an_api_error(
    client: httpx.AsyncClient, engine: FakeEngine, fault: Exception
) -> None:
    engine.pieces, engine.error = (), fault
    assert error(await client.post(PATH, json=HELLO))[1:] == ("api_error", str(fault))


@pytest.mark.parametrize(
    ("effort", "think"),
    [
        ("none", False),
        ("minimal", "low"),
        ("low", "low"),
        ("medium", "medium"),
        ("high", "high"),
        ("max", "max"),
        ("xhigh", "max"),
        ("ultra", "max"),
    ],
)
@pytest.mark.parametrize("form", ["reasoning_effort", "reasoning"])
async def test_each_effort_is_a_way_to_think(
    client: httpx.AsyncClient, cloud: FakeEngine, form: str, effort: str, think: object
) -> None:
    asked = {form: {"effort": effort} if form == "reasoning" else effort}
    assert (await client.post(PATH, json=BIG | asked)).status_code == 200
    assert cloud.asked[-1].think == think


async def test_another_effort_is_refused(client: httpx.AsyncClient) -> None:
    status, _, said = error(await client.post(PATH, json=BIG | {"reasoning_effort": "loud"}))
    assert (status, said[:26]) == (400, "invalid reasoning value: '")


SCHEMA = {"type": "object"}


@pytest.mark.parametrize(
    ("field", "value", "option", "taken"),
    [
        ("max_tokens", 5, "num_predict", 5),
        ("max_completion_tokens", 5, "num_predict", 5),
        ("seed", 7, "seed", 7),
        ("stop", "a", "stop", ["a"]),
        ("stop", ["a", "b"], "stop", ["a", "b"]),
        ("temperature", 0.5, "temperature", 0.5),
        ("top_p", 0.5, "top_p", 0.5),
        ("frequency_penalty", 0.5, "frequency_penalty", 0.5),
        ("presence_penalty", 0.5, "presence_penalty", 0.5),
    ],
)
async def test_each_field_is_an_option(
    client: httpx.AsyncClient, engine: FakeEngine, field: str, value: Any, option: str, taken: Any
) -> None:
    assert (await client.post(PATH, json=HELLO | {field: value})).status_code == 200
    assert engine.asked[-1].options == {option: taken}


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, "json"),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}, SCHEMA),
    ],
)
async def test_a_response_format_is_a_format(
    client: httpx.AsyncClient, engine: FakeEngine, given: Any, taken: Any
) -> None:
    assert (await client.post(PATH, json=HELLO | {"response_format": given})).status_code == 200
    assert engine.asked[-1].format == taken


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tool_choice", "required"),
        ("n", 3),
        ("logit_bias", {"1": 5}),
        ("user", "u"),
        ("parallel_tool_calls", False),
        ("store", True),
        ("metadata", {"a": "b"}),
    ],
)
async def test_a_field_that_has_no_counterpart_changes_nothing(
    client: httpx.AsyncClient, field: str, value: Any
) -> None:
    await client.post(PATH, json=HELLO)
    response = await client.post(PATH, json=HELLO | {field: value})
    assert response.headers["Cache-Status"].startswith("orchestrator; hit")


@pytest.mark.parametrize("kind", ["image/jpeg", "image/jpg", "image/png", "image/webp", ""])
@pytest.mark.parametrize("is_object", [True, False])
async def test_a_picture_is_a_data_uri(
    client: httpx.AsyncClient, cloud: FakeEngine, kind: str, is_object: bool
) -> None:
    url = f"data:{kind};base64,{PNG}"
    parts = [{"type": "text", "text": "Look: "}, {"type": "image_url", "image_url": {"url": url} if is_object else url}]
    assert (await client.post(PATH, json=saying(parts))).status_code == 200
    assert cloud.asked[-1].messages == (Message(role="user", content="Look: ", images=(PNG,)),)


@pytest.mark.parametrize("more", [{"name": "f"}, {"tool_call_id": "call_ab12cd34"}])
async def test_a_tools_answer_finds_its_tools_name(
    client: httpx.AsyncClient, cloud: FakeEngine, more: dict[str, str]
) -> None:
    turns = [{"role": "assistant", "content": None, "tool_calls": [CALLED]}, {"role": "tool", "content": "4", **more}]
    assert (await client.post(PATH, json=BIG | {"messages": turns})).status_code == 200
    called, answered = cloud.asked[-1].messages
    assert (called.tool_calls, answered.tool_name) == ((CALL,), "f")


async def test_a_whole_answer_has_openais_keys(client: httpx.AsyncClient) -> None:
    value = (await client.post(PATH, json=HELLO)).json()
    assert list(value) == ["id", "object", "created", "model", "system_fingerprint", "choices", "usage"]
    assert value["id"].startswith("chatcmpl-")
    assert value["created"] > 1_700_000_000
    assert (value["object"], value["model"], value["system_fingerprint"]) == ("chat.completion", "tiny", "fp_ollama")
    assert value["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


async def test_reasoning_and_calls_are_there_only_when_there_are_any(
    client: httpx.AsyncClient, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(choice(await client.post(PATH, json=HELLO))["message"]) == ["role", "content"]
    scripted(cloud, monkeypatch, Chunk(thinking="Hm"), Chunk(tool_calls=(CALL,)))
    cloud.pieces = ()
    message = choice(await client.post(PATH, json=BIG))["message"]
    assert message == {"role": "assistant", "content": "", "reasoning": "Hm", "tool_calls": [CALLED]}


@pytest.mark.parametrize(
    ("reason", "calls", "said"),
    [("stop", False, "stop"), ("length", False, "length"), ("stop", True, "tool_calls"), ("length", True, "length")],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_calls_take_the_place_of_stop_only(
    client: httpx.AsyncClient,
    cloud: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
    reason: str,
    calls: bool,
    said: str,
    stream: bool,
) -> None:
    cloud.reason = reason
    scripted(cloud, monkeypatch, *[Chunk(tool_calls=(CALL,))] * calls)
    response = await client.post(PATH, json=BIG | {"stream": stream})
    end = events(response)[-2]["choices"][0] if stream else choice(response)
    assert end["finish_reason"] == said


async def test_logprobs_are_there_only_when_they_are_asked_for(
    client: httpx.AsyncClient, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(cloud, monkeypatch, Chunk(text="He", logprobs=(replace(HE, top=()),)))
    assert "logprobs" not in choice(await client.post(PATH, json=BIG))
    told = choice(await client.post(PATH, json=BIG | {"logprobs": True}))["logprobs"]
    assert told == {"content": [{"token": "He", "logprob": -0.1, "bytes": [72, 101]}]}


async def test_a_stream_has_one_id_one_moment_and_names_the_role_once(client: httpx.AsyncClient) -> None:
    *chunks, done = events(await client.post(PATH, json=HELLO | STREAM))
    assert done == "[DONE]"
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    assert re.fullmatch(r"chatcmpl-\w+", chunks[0]["id"])
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas == [{"role": "assistant", "content": "fo"}, {"content": "ur"}, {}]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, "stop"]
    assert not any("usage" in chunk for chunk in chunks)


async def test_reasoning_comes_before_text_and_calls_come_whole(
    client: httpx.AsyncClient, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(cloud, monkeypatch, Chunk(thinking="Hm", text="Hi"), Chunk(tool_calls=(CALL,)))
    deltas = [chunk["choices"][0]["delta"] for chunk in events(await client.post(PATH, json=BIG | STREAM))[:3]]
    assert deltas == [
        {"role": "assistant", "content": "", "reasoning": "Hm"},
        {"content": "Hi"},
        {"content": "", "tool_calls": [CALLED]},
    ]


async def test_usage_is_a_last_chunk_without_choices_when_it_is_asked_for(client: httpx.AsyncClient) -> None:
    body = HELLO | STREAM | {"stream_options": {"include_usage": True}}
    *chunks, usage, done = events(await client.post(PATH, json=body))
    assert done == "[DONE]"
    assert usage["choices"] == []
    assert usage["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    assert not any("usage" in chunk for chunk in chunks)
