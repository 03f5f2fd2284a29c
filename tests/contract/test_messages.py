"""POST /v1/messages."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from orchestrator.core.errors import Busy, EngineError, RateLimited
from orchestrator.core.types import Chunk, Message, ToolCall
from tests.api.test_anthropic import PNG, events, kinds, refusal
from tests.contract.test_generate import scripted
from tests.fakes import FakeEngine

PATH = "/v1/messages"
HELLO = {"model": "tiny", "max_tokens": 50, "messages": [{"role": "user", "content": "hello"}]}
BIG = HELLO | {"model": "openai/big"}
STREAM = {"stream": True}
CALL = ToolCall(id="call_1", name="f", arguments={"a": 1})
USE = {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}}
TOOL = {"name": "f", "description": "It does.", "input_schema": {"type": "object"}}


def turns(role: str, *blocks: Any) -> dict[str, Any]:
    return BIG | {"messages": [{"role": role, "content": list(blocks)}]}


@pytest.mark.parametrize(
    "headers", [{"x-api-key": "any"}, {"anthropic-version": "2099-01-01"}, {"anthropic-beta": "a,b"}, {}]
)
async def test_anthropics_headers_and_beta_are_accepted_and_change_nothing(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    response = await client.post(f"{PATH}?beta=true", json=HELLO, headers=headers)
    assert (response.status_code, response.json()["content"]) == (200, [{"type": "text", "text": "four"}])


@pytest.mark.parametrize(
    ("field", "value", "options"),
    [
        ("temperature", 0.5, {"temperature": 0.5}),
        ("top_p", 0.5, {"top_p": 0.5}),
        ("top_k", 5, {"top_k": 5}),
        ("stop_sequences", ["a"], {"stop": ["a"]}),
        ("max_tokens", 7, {"num_predict": 7}),
        ("tool_choice", {"type": "any"}, {}),
        ("metadata", {"user_id": "u"}, {}),
    ],
)
async def test_each_field_is_an_option_or_ignored(
    client: httpx.AsyncClient, engine: FakeEngine, field: str, value: Any, options: dict[str, Any]
) -> None:
    assert (await client.post(PATH, json=HELLO | {field: value})).status_code == 200
    assert engine.asked[-1].options == {"num_predict": 50, **options}


@pytest.mark.parametrize("given", ["Be brief.", [{"type": "text", "text": "Be brief."}]])
async def test_system_is_text_or_blocks(client: httpx.AsyncClient, engine: FakeEngine, given: Any) -> None:
    await client.post(PATH, json=HELLO | {"system": given})
    assert engine.asked[-1].messages[0] == Message(role="system", content="Be brief.")


@pytest.mark.parametrize(
    ("role", "block", "message"),
    [
        ("user", {"type": "text", "text": "hi"}, Message(role="user", content="hi")),
        ("user", PNG, Message(role="user", images=("iVBORw0KGgo=",))),
        ("assistant", USE, Message(role="assistant", tool_calls=(CALL,))),
        (
            "user",
            {"type": "tool_result", "tool_use_id": "call_1", "content": "4"},
            Message(role="tool", content="4", tool_call_id="call_1"),
        ),
        ("assistant", {"type": "thinking", "thinking": "Hm"}, Message(role="assistant", thinking="Hm")),
    ],
)
async def test_each_kind_of_block_is_taken(
    client: httpx.AsyncClient, cloud: FakeEngine, role: str, block: Any, message: Message
) -> None:
    assert (await client.post(PATH, json=turns(role, block))).status_code == 200
    assert cloud.asked[-1].messages == (message,)


async def test_tools_are_functions(client: httpx.AsyncClient, cloud: FakeEngine) -> None:
    for kind in ({}, {"type": "custom"}):
        assert (await client.post(PATH, json=BIG | {"tools": [TOOL | kind]})).status_code == 200
        function = {"name": "f", "description": "It does.", "parameters": {"type": "object"}}
        assert cloud.asked[0].tools == ({"type": "function", "function": function},)


@pytest.mark.parametrize(
    ("fields", "think"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, True),
        ({"thinking": {"type": "disabled"}}, False),
        ({"output_config": {"effort": "low"}}, "low"),
        ({"output_config": {"effort": "xhigh"}}, "high"),
    ],
)
async def test_thinking_and_effort_are_ways_to_think(
    client: httpx.AsyncClient, cloud: FakeEngine, fields: dict[str, Any], think: object
) -> None:
    assert (await client.post(PATH, json=BIG | fields)).status_code == 200
    assert cloud.asked[-1].think == think


async def test_thinking_asked_of_a_model_that_cannot_is_dropped_without_a_word(
    client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    assert (await client.post(PATH, json=HELLO | {"thinking": {"type": "enabled"}})).status_code == 200
    assert engine.asked[-1].think is None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "unexpected EOF"),
        ({}, "model is required"),
        ({"max_tokens": 0}, "model is required"),
        ({"model": "tiny"}, "max_tokens is required and must be positive"),
        ({"model": "tiny", "max_tokens": -1}, "max_tokens is required and must be positive"),
        ({"model": "tiny", "max_tokens": 1}, "messages is required"),
        ({"model": "tiny", "max_tokens": 1, "messages": []}, "messages is required"),
        ({"model": "nobody", "max_tokens": 1}, "messages is required"),
    ],
)
async def test_of_several_mistakes_the_first_in_ollamas_order_is_told(
    client: httpx.AsyncClient, body: Any, said: str
) -> None:
    response = await client.post(PATH, **({"content": body} if isinstance(body, bytes) else {"json": body}))
    assert refusal(response) == (400, "invalid_request_error", said)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(RateLimited("x"), "rate_limit_error"), (Busy("x"), "overloaded_error"), (EngineError("x"), "api_error")],
)
async def test_each_status_has_its_type(
    client: httpx.AsyncClient, engine: FakeEngine, fault: Exception, kind: str
) -> None:
    engine.pieces, engine.error = (), fault
    assert refusal(await client.post(PATH, json=HELLO))[1:] == (kind, "x")


async def test_an_unknown_model_is_not_found(client: httpx.AsyncClient) -> None:
    said = refusal(await client.post(PATH, json=HELLO | {"model": "nobody"}))
    assert said == (404, "not_found_error", "model 'nobody' not found")


async def test_an_answer_has_its_blocks_in_the_order_thinking_text_calls(
    client: httpx.AsyncClient, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(cloud, monkeypatch, Chunk(thinking="Hm"), Chunk(tool_calls=(CALL,)))
    value = (await client.post(PATH, json=BIG)).json()
    assert re.fullmatch(r"msg_[0-9a-f]{24}", value["id"])
    assert (value["type"], value["role"], value["model"]) == ("message", "assistant", "openai/big")
    assert [block["type"] for block in value["content"]] == ["thinking", "text", "tool_use"]
    assert (value["content"][0]["thinking"], value["content"][1:]) == ("Hm", [{"type": "text", "text": "four"}, USE])
    assert value["usage"] == {"input_tokens": 7, "output_tokens": 2}


@pytest.mark.parametrize(
    ("reason", "calls", "said"),
    [("stop", 0, "end_turn"), ("length", 0, "max_tokens"), ("stop", 1, "tool_use"), ("length", 1, "tool_use")],
)
@pytest.mark.parametrize("is_streamed", [True, False])
async def test_why_it_stopped(
    client: httpx.AsyncClient,
    cloud: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
    reason: str,
    calls: int,
    said: str,
    is_streamed: bool,
) -> None:
    cloud.reason = reason
    scripted(cloud, monkeypatch, *[Chunk(tool_calls=(CALL,))] * calls)
    response = await client.post(PATH, json=BIG | {"stream": is_streamed})
    end = events(response)[-2]["delta"] if is_streamed else response.json()
    assert end["stop_reason"] == said


async def test_the_events_of_a_stream_come_in_anthropics_order(
    client: httpx.AsyncClient, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(cloud, monkeypatch, Chunk(thinking="Hm"), Chunk(text="Hi"), Chunk(tool_calls=(CALL,)))
    cloud.pieces = ()
    response = await client.post(PATH, json=BIG | STREAM)
    block = ["content_block_start", "content_block_delta", "content_block_stop"]
    found = events(response)
    assert kinds(found) == ["message_start", *block * 3, "message_delta", "message_stop"]
    assert [event["index"] for event in found[1:-2]] == [0] * 3 + [1] * 3 + [2] * 3
    assert (found[0]["message"]["content"], found[0]["message"]["usage"]["output_tokens"]) == ([], 0)
    assert found[0]["message"]["usage"]["input_tokens"] > 0, "an estimate"
    started, deltas = [event["content_block"] for event in found[1:-2:3]], [event["delta"] for event in found[2:-2:3]]
    assert [(one["type"], one.get("thinking"), one.get("text"), one.get("input")) for one in started] == [
        ("thinking", "", None, None),
        ("text", None, "", None),
        ("tool_use", None, None, {}),
    ]
    assert deltas == [
        {"type": "thinking_delta", "thinking": "Hm"},
        {"type": "text_delta", "text": "Hi"},
        {"type": "input_json_delta", "partial_json": '{"a":1}'},
    ]
    assert found[-2]["usage"] == {"input_tokens": 7, "output_tokens": 0}
    assert "[DONE]" not in response.text
    assert "ping" not in kinds(found)
