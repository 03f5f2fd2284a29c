"""POST /v1/responses, and what stands in for transcriptions."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from orchestrator.core.types import Chunk, Message, ToolCall
from tests.api.test_responses import events, kinds
from tests.contract.test_generate import scripted
from tests.fakes import FakeEngine

PATH = "/v1/responses"
HELLO = {"model": "tiny", "input": "hello"}
BIG = HELLO | {"model": "openai/big"}
CALL = ToolCall(id="call_1", name="f", arguments={"a": 1})
CALLED = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"a":1}'}

ECHOED: dict[str, Any] = {
    "object": "response",
    "status": "completed",
    "incomplete_details": None,
    "error": None,
    "model": "tiny",
    "instructions": None,
    "tools": [],
    "tool_choice": "auto",
    "truncation": "disabled",
    "parallel_tool_calls": True,
    "text": {"format": {"type": "text"}},
    "top_p": 1.0,
    "temperature": 1.0,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "top_logprobs": 0,
    "reasoning": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "store": False,
    "background": False,
    "service_tier": "default",
    "metadata": {},
    "previous_response_id": None,
    "safety_identifier": None,
    "prompt_cache_key": None,
}


@pytest.mark.parametrize(("field", "value"), ECHOED.items(), ids=ECHOED.keys())
async def test_an_answer_has_every_field_that_clients_read(client: httpx.AsyncClient, field: str, value: Any) -> None:
    answer = (await client.post(PATH, json=HELLO)).json()
    assert field in answer
    assert answer[field] == value


async def test_ids_moments_and_counts(client: httpx.AsyncClient) -> None:
    answer = (await client.post(PATH, json=HELLO)).json()
    assert re.fullmatch(r"resp_\w+", answer["id"])
    assert answer["completed_at"] >= answer["created_at"] > 1_700_000_000
    usage = answer["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (7, 2, 9)
    assert usage["input_tokens_details"]["cached_tokens"] == usage["output_tokens_details"]["reasoning_tokens"] == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("hi", Message(role="user", content="hi")),
        ([{"role": "user", "content": "hi"}], Message(role="user", content="hi")),
        ([{"type": "message", "role": "developer", "content": "hi"}], Message(role="system", content="hi")),
        (
            [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
            Message(role="user", content="hi"),
        ),
        ([CALLED], Message(role="assistant", tool_calls=(CALL,))),
        (
            [{"type": "function_call_output", "call_id": "c", "output": "4"}],
            Message(role="tool", content="4", tool_call_id="c"),
        ),
        (
            [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]}],
            Message(role="assistant", thinking="Hm"),
        ),
    ],
)
async def test_each_kind_of_input_is_a_message(
    client: httpx.AsyncClient, cloud: FakeEngine, given: Any, message: Message
) -> None:
    assert (await client.post(PATH, json=BIG | {"input": given})).status_code == 200
    assert cloud.asked[-1].messages == (message,)


async def test_instructions_are_the_system_message(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    await client.post(PATH, json=HELLO | {"instructions": "Be brief."})
    assert engine.asked[-1].messages[0] == Message(role="system", content="Be brief.")


@pytest.mark.parametrize("extra", [{"previous_response_id": "resp_1"}, {"store": True}, {"conversation": "conv_1"}])
async def test_nothing_is_stored_and_nothing_is_looked_up(client: httpx.AsyncClient, extra: dict[str, Any]) -> None:
    await client.post(PATH, json=HELLO)
    response = await client.post(PATH, json=HELLO | extra)
    assert response.headers["Cache-Status"].startswith("orchestrator; hit")


async def test_items_come_in_the_order_reasoning_message_calls(
    client: httpx.AsyncClient, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.pieces = ()
    scripted(cloud, monkeypatch, Chunk(thinking="Hm"), Chunk(tool_calls=(CALL,)))
    reasoning, call = (await client.post(PATH, json=BIG)).json()["output"]
    assert re.fullmatch(r"rs_\w+", reasoning["id"])
    assert (reasoning["summary"], reasoning["encrypted_content"]) == ([{"type": "summary_text", "text": "Hm"}], "Hm")
    assert re.fullmatch(r"fc_\w+", call["id"])
    assert call == CALLED | {"id": call["id"], "status": "completed"}


async def test_a_message_has_one_part_of_text(client: httpx.AsyncClient) -> None:
    (message,) = (await client.post(PATH, json=HELLO)).json()["output"]
    assert re.fullmatch(r"msg_\w+", message["id"])
    part = {"type": "output_text", "text": "four", "annotations": [], "logprobs": []}
    assert message == {
        "id": message["id"],
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [part],
    }


REASONING = ["output_item.added", "reasoning_summary_text.delta", "reasoning_summary_text.done", "output_item.done"]
MESSAGE = ["output_item.added", "content_part.added", "output_text.delta", "output_text.done", "content_part.done"]
MESSAGE += ["output_item.done"]
CALLING = ["output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"]


@pytest.mark.parametrize(
    ("chunks", "order"),
    [
        ((Chunk(text="Hi"),), MESSAGE),
        ((Chunk(thinking="Hm"), Chunk(text="Hi")), REASONING + MESSAGE),
        ((Chunk(tool_calls=(CALL,)),), CALLING),
        ((Chunk(thinking="Hm"), Chunk(tool_calls=(CALL, CALL))), REASONING + CALLING * 2),
    ],
)
async def test_the_events_of_each_item_come_in_openais_order_and_are_numbered(
    client: httpx.AsyncClient,
    cloud: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
    chunks: tuple[Chunk, ...],
    order: list[str],
) -> None:
    cloud.pieces = ()
    scripted(cloud, monkeypatch, *chunks)
    response = await client.post(PATH, json=BIG | {"stream": True})
    assert kinds(events(response)) == ["created", "in_progress", *order, "completed"]
    assert "[DONE]" not in response.text


async def test_the_first_two_events_have_the_response_as_it_is_then_and_the_last_has_the_usage(
    client: httpx.AsyncClient,
) -> None:
    created, progress, *_, completed = events(await client.post(PATH, json=HELLO | {"stream": True}))
    assert created["response"] == progress["response"]
    assert (created["response"]["status"], created["response"]["output"]) == ("in_progress", [])
    assert completed["response"]["usage"]["total_tokens"] == 9


async def test_an_event_says_where_its_piece_belongs(
    client: httpx.AsyncClient, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(cloud, monkeypatch, Chunk(thinking="Hm"))
    found = {event["type"].removeprefix("response."): event for event in events(await stream(client))}
    for kind in ("output_item.added", "output_item.done"):
        assert found[kind].keys() >= {"output_index", "item"}
    for kind, piece in (("output_text.delta", "delta"), ("output_text.done", "text")):
        assert found[kind].keys() >= {"item_id", "output_index", "content_index", piece, "logprobs"}
    for kind in ("content_part.added", "content_part.done"):
        assert found[kind].keys() >= {"item_id", "output_index", "content_index", "part"}
    for kind, piece in (("reasoning_summary_text.delta", "delta"), ("reasoning_summary_text.done", "text")):
        assert found[kind].keys() >= {"item_id", "output_index", "summary_index", piece}


async def stream(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post(PATH, json=BIG | {"stream": True})


async def test_transcriptions_are_not_there_and_that_is_said(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/audio/transcriptions", data={"model": "whisper"}, files={"file": b"RIFF"})
    assert response.status_code == 501
    assert "not supported yet" in response.json()["error"]["message"]
