"""OpenAI's newer dialect, where its clients look."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.api.openai import read_effort
from orchestrator.api.responses import ResponseForm
from orchestrator.api.responses_schemas import ITEMS, PARTS, ResponsesBody, echo, read_tools, to_request
from orchestrator.core.errors import BadRequest, EngineError, RateLimited
from orchestrator.core.types import ChatRequest, Chunk, Done, Message, Reply, TokenLogprob, ToolCall, Usage
from tests.fakes import FakeEngine

HELLO = {"model": "tiny", "input": "hello"}
BIG = HELLO | {"model": "openai/big"}
PATH = "/v1/responses"
NASTY = '"}\n\ndata: [DONE]\n\nevent: error\r\n\u0085\u2028\u2029\x00 é🎈'
CALL = ToolCall(id="call_1", name="weather", arguments={"city": "Rome"})
CALLED = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city":"Rome"}'}
WEATHER = {"type": "function", "name": "weather", "description": "There.", "parameters": {"type": "object"}}
WEATHER_IN_CHAT = {
    "type": "function",
    "function": {"name": "weather", "description": "There.", "parameters": {"type": "object"}},
}
PNG = "data:image/png;base64,iVBORw0KGgo="
LOGPROB = TokenLogprob(token="four", logprob=-0.5, bytes=(102,), top=(TokenLogprob(token="f", logprob=-1.5),))
DONE = Done(reason="stop", usage=Usage(prompt_tokens=7, completion_tokens=2))
USED = {
    "input_tokens": 7,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 2,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 9,
}


class Stamps:
    """Of one copy."""

    created_at, created, completed, id, total_ns = "2026-01-01T00:00:00Z", 1, 2, "a" * 24, 7


def form(**namespaces: str) -> ResponseForm:
    return ResponseForm(Stamps, {"model": "m"}, namespaces)  # type: ignore[arg-type]  # values


def read_events(body: bytes) -> list[dict[str, Any]]:
    """The events, each of them two lines whatever a reader takes for the end of one, numbered from 0."""
    lines = body.decode().splitlines()  # parts at U+2028 and its like, too
    found = []
    for name, data, blank in zip(lines[::3], lines[1::3], lines[2::3], strict=True):
        assert blank == ""
        value = json.loads(data.removeprefix("data: "))
        assert name == f"event: {value['type']}"
        assert value["sequence_number"] == len(found)
        found.append(value)
    return found


def events(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.headers["Content-Type"] == "text/event-stream"
    return read_events(response.content)


def streamed(writer: ResponseForm, *chunks: Chunk) -> list[dict[str, Any]]:
    return read_events(b"".join(frame for chunk in chunks for frame in writer.of_chunk(chunk)))


def kinds(found: list[dict[str, Any]]) -> list[str]:
    return [value["type"].removeprefix("response.") for value in found]


def scripted(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, *chunks: Chunk) -> None:
    async def chat(request: ChatRequest, _: object) -> AsyncIterator[Chunk]:
        engine.calls += 1
        engine.asked.append(request)
        for chunk in chunks:
            yield chunk

    monkeypatch.setattr(engine, "chat", chat)


def asked(**fields: Any) -> ChatRequest:
    return to_request(ResponsesBody.model_validate(HELLO | fields), {})


def conversation(*items: Any, **fields: Any) -> tuple[Message, ...]:
    return asked(input=list(items), **fields).messages


def without_own(value: Any) -> Any:
    """But for what is each copy's own."""
    if isinstance(value, dict):
        own = {"id", "item_id", "created_at", "completed_at"}
        return {name: without_own(one) for name, one in value.items() if name not in own}
    return [without_own(one) for one in value] if isinstance(value, list) else value


async def test_a_whole_answer_with_all_that_clients_expect_in_it(client: httpx.AsyncClient) -> None:
    response = await client.post(PATH, json=HELLO)
    assert response.headers["Content-Type"] == "application/json"
    value = response.json()
    stamp = value["id"].removeprefix("resp_")
    assert len(stamp) == 24
    assert value["completed_at"] >= value["created_at"] > 1_700_000_000
    assert value == {
        "id": value["id"],
        "object": "response",
        "created_at": value["created_at"],
        "completed_at": value["completed_at"],
        "status": "completed",
        "incomplete_details": None,
        "error": None,
        "model": "tiny",
        "previous_response_id": None,
        "store": False,
        "service_tier": "default",
        "metadata": {},
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "max_tool_calls": None,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "safety_identifier": None,
        "prompt_cache_key": None,
        "instructions": None,
        "max_output_tokens": None,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_logprobs": 0,
        "truncation": "disabled",
        "reasoning": None,
        "text": {"format": {"type": "text"}},
        "tools": [],
        "background": False,
        "output": [
            {
                "id": f"msg_{stamp}_0",
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "four", "annotations": [], "logprobs": []}],
            }
        ],
        "usage": USED,
    }


async def test_what_was_asked_for_is_said_again(client: httpx.AsyncClient) -> None:
    given = {
        "instructions": "Be brief.",
        "max_output_tokens": 50,
        "temperature": 0.5,
        "top_p": 0.25,
        "top_logprobs": 2,
        "truncation": "auto",
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}}},
        "tools": [WEATHER],
        "background": True,
    }
    value = (await client.post(PATH, json=BIG | given)).json()
    assert {name: value[name] for name in given} == given


async def test_events_come_in_openais_order(client: httpx.AsyncClient) -> None:
    found = events(await client.post(PATH, json=HELLO | {"stream": True}))
    assert kinds(found) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    created, progress, added, part, first, second, text, part_done, item_done, completed = found
    assert created["response"] == progress["response"]
    assert (created["response"]["status"], created["response"]["output"]) == ("in_progress", [])
    assert created["response"]["usage"] is created["response"]["completed_at"] is None
    assert (added["item"]["status"], added["item"]["content"]) == ("in_progress", [])
    place = {"item_id": added["item"]["id"], "output_index": 0, "content_index": 0}
    assert all(value.items() >= place.items() for value in (part, first, second, text, part_done))
    assert (first["delta"], second["delta"], first["logprobs"]) == ("fo", "ur", [])
    assert (text["text"], text["logprobs"]) == ("four", [])
    assert part["part"] == {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    assert part_done["part"] == part["part"] | {"text": "four"}
    assert completed["response"]["output"] == [item_done["item"]]
    assert item_done["item"]["status"] == completed["response"]["status"] == "completed"
    assert completed["response"]["usage"] == USED
    assert completed["response"]["id"] == created["response"]["id"]


async def test_thinking_text_and_calls_are_items_in_order(
    client: httpx.AsyncClient, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ToolCall(id="call_2", name="weather", arguments={})
    pieces = (Chunk(thinking="H"), Chunk(thinking="m"), Chunk(text="I'll look."), Chunk(tool_calls=(CALL, other)))
    scripted(cloud, monkeypatch, *pieces, Chunk(done=DONE))
    found = events(await client.post(PATH, json=BIG | {"stream": True, "tools": [WEATHER]}))
    assert kinds(found)[2:-1] == [
        "output_item.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        *["output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"] * 2,
    ]
    indexes = [value["output_index"] for value in found[2:-1]]
    assert indexes == [0] * 5 + [1] * 6 + [2] * 4 + [3] * 4
    assert found[3] | {"delta": "H", "summary_index": 0, "item_id": found[2]["item"]["id"]} == found[3]
    assert found[2]["item"]["summary"] == []
    assert found[5]["text"] == "Hm"
    added, delta, done, whole = found[13:17]
    assert (added["item"]["status"], added["item"]["arguments"]) == ("in_progress", "")
    assert delta["delta"] == done["arguments"] == whole["item"]["arguments"] == '{"city":"Rome"}'
    assert delta["item_id"] == done["item_id"] == whole["item"]["id"]

    at_the_end = found[-1]["response"]
    thought, said, call, second = at_the_end["output"]
    assert thought["summary"] == [{"type": "summary_text", "text": "Hm"}]
    assert thought["encrypted_content"] == "Hm"
    assert said["content"][0]["text"] == "I'll look."
    assert call == CALLED | {"id": call["id"], "status": "completed"}
    assert second["call_id"] == "call_2"
    assert len({item["id"] for item in at_the_end["output"]}) == 4
    whole_answer = (await client.post(PATH, json=BIG | {"tools": [WEATHER]})).json()
    assert without_own(whole_answer) == without_own(at_the_end)
    assert [item["id"].split("_")[0] for item in whole_answer["output"]] == ["rs", "msg", "fc", "fc"]


def test_thinking_again_after_speaking_is_an_item_of_its_own() -> None:
    found = streamed(form(), Chunk(text="a"), Chunk(thinking="b"), Chunk(text="c"), Chunk(done=DONE))
    assert [item["type"] for item in found[-1]["response"]["output"]] == ["message", "reasoning", "message"]


def test_an_answer_of_nothing_is_an_empty_message() -> None:
    for thought in ((), (Chunk(thinking="Hm"),)):
        writer = form()
        found = read_events(
            b"".join(frame for piece in [*thought, Chunk(done=DONE)] for frame in writer.of_chunk(piece))
        )
        last = found[-1]["response"]["output"][-1]
        assert (last["type"], last["content"][0]["text"]) == ("message", "")
        assert found[-2]["item"] == last
    whole = form().of_reply(Reply(model="m", done=DONE))
    assert [item["type"] for item in whole["output"]] == ["message"]


@pytest.mark.parametrize(("reason", "said"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_is_cut_is_completed_and_says_why_it_ended(
    client: httpx.AsyncClient, engine: FakeEngine, reason: str, said: str, stream: bool
) -> None:
    engine.reason = reason
    response = await client.post(PATH, json=HELLO | {"max_output_tokens": 2, "stream": stream})
    value = events(response)[-1]["response"] if stream else response.json()
    assert (value["status"], value["incomplete_details"]) == ("completed", {"reason": said})


@pytest.mark.parametrize(
    ("error", "code"), [(EngineError("gone"), "server_error"), (RateLimited("slower"), "rate_limit_exceeded")]
)
async def test_what_breaks_off_ends_with_a_failed_response(
    client: httpx.AsyncClient, engine: FakeEngine, error: Exception, code: str
) -> None:
    engine.error = error
    found = events(await client.post(PATH, json=HELLO | {"stream": True}))
    assert kinds(found)[-2:] == ["output_text.delta", "failed"]
    response = found[-1]["response"]
    assert (response["status"], response["error"]) == ("failed", {"code": code, "message": str(error)})
    assert response["id"] == found[0]["response"]["id"]
    (item,) = response["output"]
    assert (item["status"], item["content"][0]["text"]) == ("incomplete", "four")
    assert response["usage"] is None


async def test_a_failure_before_the_first_byte_is_an_error(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.pieces, engine.error = (), EngineError("gone")
    response = await client.post(PATH, json=HELLO | {"stream": True})
    assert response.status_code == EngineError.status
    assert response.json()["error"] == {"message": "gone", "type": "api_error", "param": None, "code": None}


async def test_a_fault_of_ours_is_a_failed_response_without_its_trace(
    client: httpx.AsyncClient, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.error = ZeroDivisionError("secret")
    found = events(await client.post(PATH, json=HELLO | {"stream": True}))
    assert kinds(found)[-1] == "failed"
    assert "secret" not in json.dumps(found)
    assert "internal error" in found[-1]["response"]["error"]["message"]


async def test_every_field_reaches_the_engine_in_our_words(client: httpx.AsyncClient, cloud: FakeEngine) -> None:
    body = {
        "model": "openai/big",
        "instructions": "Be brief.",
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "Look: "},
                    {"type": "input_image", "image_url": PNG, "detail": "auto"},
                ],
            },
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}]},
            CALLED | {"id": "fc_1", "status": "completed"},
            {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
        ],
        "max_output_tokens": 5,
        "temperature": 1,
        "top_p": 0.5,
        "reasoning": {"effort": "xhigh", "summary": "detailed"},
        "tools": [WEATHER],
        "text": {"format": {"type": "json_schema", "name": "x", "strict": True, "schema": {"type": "object"}}},
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
        "top_logprobs": 2,
        "truncation": "disabled",
        "previous_response_id": "resp_1",
        "conversation": "conv_1",
        "store": True,
        "user": "ignored",
    }
    response = await client.post(PATH, json=body)
    assert response.status_code == 200, response.text
    (sent,) = cloud.asked
    assert sent.messages == (
        Message(role="system", content="Be brief."),
        Message(role="user", content="Look: ", images=("iVBORw0KGgo=",)),
        Message(role="assistant", thinking="Hm", tool_calls=(CALL,)),
        Message(role="tool", content="sunny", tool_name="weather", tool_call_id="call_1"),
    )
    assert sent.options == {"num_predict": 5, "temperature": 1.0, "top_p": 0.5}
    assert (sent.format, sent.think, sent.tools) == ({"type": "object"}, "max", (WEATHER_IN_CHAT,))
    assert (sent.logprobs, sent.top_logprobs, sent.truncate) == (True, 2, False)
    assert (response.json()["store"], response.json()["previous_response_id"]) == (False, None)


def test_what_the_model_did_in_a_row_is_one_turn() -> None:
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}], "encrypted_content": "gAAAA"}
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "So."}]}
    user = {"role": "user", "content": "hi"}
    turn = Message(role="assistant", thinking="Hm", content="So.", tool_calls=(CALL,))
    hi = Message(role="user", content="hi")
    assert conversation(user, thought, said, CALLED) == (hi, turn)
    assert conversation(thought, said, CALLED, thought, said, CALLED) == (turn, turn)
    so = Message(role="assistant", content="So.")
    assert conversation(said, said, user) == (so, so, hi)
    assert conversation(CALLED, said) == (Message(role="assistant", tool_calls=(CALL,)), so)
    assert conversation(user, said | {"content": ""}, user) == (hi, Message(role="assistant"), hi)


def test_calls_that_were_made_at_once_are_answered_one_after_the_other() -> None:
    second = CALLED | {"call_id": "call_2", "name": "time"}
    messages = conversation(
        CALLED,
        second,
        {"type": "function_call_output", "call_id": "call_2", "output": "noon"},
        {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "sunny"}]},
    )
    calls = (CALL, ToolCall(id="call_2", name="time", arguments={"city": "Rome"}))
    assert messages == (
        Message(role="assistant", tool_calls=calls),
        Message(role="tool", content="noon", tool_name="time", tool_call_id="call_2"),
        Message(role="tool", content="sunny", tool_name="weather", tool_call_id="call_1"),
    )


def test_pictures_that_tools_answer_with_come_from_the_user_after_all_answers() -> None:
    look = {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_image", "image_url": PNG}]}
    other = {"type": "function_call_output", "call_id": "call_2", "output": "x"}
    messages = conversation(CALLED, look, other, {"role": "user", "content": "So?"})
    assert [(message.role, len(message.images)) for message in messages] == [
        ("assistant", 0),
        ("tool", 0),
        ("tool", 0),
        ("user", 1),
        ("user", 0),
    ]


def test_a_long_history_is_read_in_one_pass() -> None:
    """It is read on the event loop: each item must not copy what came before."""
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "x" * 1000}]}
    began = time.process_time()
    (message,) = conversation(*[thought] * 9000)
    assert len(message.thinking) == 9_000_000
    assert time.process_time() - began < 3


def test_reasoning_in_full_is_read_before_its_summary() -> None:
    both = {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "short"}],
        "content": [{"type": "reasoning_text", "text": "long"}],
    }
    assert conversation(both)[0].thinking == "long"
    assert conversation(both | {"content": None})[0].thinking == "short"


def test_a_search_that_was_made_elsewhere_is_passed_over() -> None:
    items = [{"type": "web_search_call", "id": "ws_1", "status": "completed"}, {"role": "user", "content": "hi"}]
    assert conversation(*items) == (Message(role="user", content="hi"),)


def test_forms_of_an_answer() -> None:
    assert asked(text={"format": {"type": "json_object"}}).format == "json"
    assert asked(text={"format": {"type": "text"}}).format is None
    assert asked(text={}).format is None
    with pytest.raises(BadRequest, match="must be text, json_object, or json_schema with a schema"):
        asked(text={"format": {"type": "json_schema"}})


def test_an_effort_is_what_it_is_in_chat() -> None:
    for effort in ("none", "minimal", "high", "ultra"):
        assert asked(reasoning={"effort": effort}).think == read_effort(effort)
    assert asked(reasoning={}).think is None
    with pytest.raises(BadRequest, match="invalid reasoning value"):
        asked(reasoning={"effort": "loud"})


def test_functions_of_a_namespace_are_offered_and_their_calls_name_it() -> None:
    given = ResponsesBody.model_validate(HELLO | {"tools": [{"type": "namespace", "name": "home", "tools": [WEATHER]}]})
    assert to_request(given, {}).tools == (WEATHER_IN_CHAT,)
    (tool,) = read_tools(given)
    whole = form(**{tool.name: tool.namespace}).of_reply(Reply(model="m", tool_calls=(CALL,), done=DONE))
    assert whole["output"][0]["namespace"] == "home"


def test_a_web_search_that_is_offered_is_left_out_and_not_said_again() -> None:
    """Clients such as Codex offer it with every question."""
    given = ResponsesBody.model_validate(HELLO | {"tools": [{"type": "web_search"}, WEATHER]})
    assert to_request(given, {}).tools == (WEATHER_IN_CHAT,)
    assert echo(given)["tools"] == [WEATHER]


def test_strictness_is_passed_on_where_it_is_given() -> None:
    (tool,) = asked(tools=[WEATHER | {"strict": True}]).tools
    assert tool["function"]["strict"] is True
    (tool,) = asked(tools=[WEATHER | {"strict": None}]).tools
    assert "strict" not in tool["function"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": ""}, "model is required"),
        ({"input": None}, "input is required: text, or a list of items"),
        ({"input": ""}, "input is required: text, or a list of items"),
        ({"input": []}, "[] is too short - 'input'"),
        (
            {"input": 7},
            "json: cannot unmarshal number into Go struct field ResponsesRequest.input of type string",
        ),
        (
            {"input": [{"type": "item_reference", "id": "msg_1"}]},
            "input[0]: an item of type 'item_reference' cannot be read; nothing is stored here: send the item itself",
        ),
        (
            {"input": [{"type": "computer_call"}]},
            f"input[0]: an item of type 'computer_call' cannot be read; {ITEMS}",
        ),
        (
            {"input": [{"content": "hi"}]},
            f"input[0]: an item without a type cannot be read; {ITEMS}",
        ),
        (
            {"input": [{"role": "god", "content": "hi"}]},
            "input[0].role: 'god' is not known; it is one of user, assistant, system, developer",
        ),
        ({"input": [{"role": "user"}]}, "input[0].content is required: text, or a list of parts"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
            "input[0].content[0]: a part of type 'input_file' cannot be read; send its text as input_text",
        ),
        (
            {"input": [{"role": "user", "content": ["hi"]}]},
            f"input[0].content[0]: a part without a type cannot be read; {PARTS}",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
            f"input[0].content[0]: a part of type 'input_text' cannot be read; {PARTS}",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "input[0].content[0]: files are not kept here; send the picture as a data URI",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "https://x.example/a.png"}]}]},
            "image URLs are not currently supported, please use base64 encoded data instead",
        ),
        (
            {"input": [{"role": "assistant", "content": [{"type": "input_image", "image_url": PNG}]}]},
            "input[0].content: pictures come from users; send a message of theirs",
        ),
        (
            {"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]},
            "input[0]: a function_call needs `call_id`, `name`, and `arguments` as text",
        ),
        (
            {"input": [CALLED | {"arguments": "[1]"}]},
            "invalid tool call arguments: they must be the text of a JSON object",
        ),
        (
            {"input": [{"type": "function_call_output", "output": "x"}]},
            "input[0]: a function_call_output needs the `call_id` of the call it answers",
        ),
        (
            {"input": [{"type": "reasoning", "summary": "Hm"}]},
            "input[0]: the summary of a reasoning item is a list of parts, each with a text",
        ),
        (
            {"tools": [{"type": "code_interpreter"}]},
            "tools[0]: tools of type 'code_interpreter' are not run here; describe yours as functions",
        ),
        ({"tools": [{"type": "function"}]}, "tools[0]: a function needs a name, beside its type"),
        ({"tools": [WEATHER, WEATHER]}, "tools: 2 functions are called 'weather'; rename them"),
        (
            {"tools": [WEATHER | {"parameters": "x"}]},
            "tools[0]: the parameters of a function are a JSON Schema object, its description is text",
        ),
        (
            {"tools": [{"type": "namespace", "name": "home"}]},
            "tools[0]: a namespace needs a name, and a list of functions as tools",
        ),
        (
            {"tools": [{"type": "namespace", "name": "home", "tools": [{"type": "custom"}]}]},
            "tools[0].tools[0]: a namespace holds functions only",
        ),
        ({"input": [{"type": "web_search_call"}]}, "input has nothing to answer; send a message"),
        ({"top_logprobs": 21}, "top_logprobs must be between 0 and 20"),
        ({"truncation": "some"}, "truncation is one of auto, disabled"),
        (
            {"max_output_tokens": "5"},
            "json: cannot unmarshal string into Go struct field ResponsesRequest.max_output_tokens of type int",
        ),
    ],
)
async def test_bad_requests_say_what_is_wrong_in_openais_shape(
    client: httpx.AsyncClient, cloud: FakeEngine, fields: Any, said: str
) -> None:
    response = await client.post(PATH, json=BIG | fields)
    assert response.status_code == 400
    error = {"message": said, "type": "invalid_request_error", "param": None, "code": None}
    assert response.json() == {"error": error}
    assert cloud.calls == 0


async def test_a_schema_nobody_can_write_again_is_refused(client: httpx.AsyncClient) -> None:
    schema: dict[str, Any] = {}
    for _ in range(300):
        schema = {"a": schema}
    for fields in (
        {"tools": [WEATHER | {"parameters": schema}]},
        {"text": {"format": {"type": "text", "x": schema}}},
        {"input": [CALLED | {"arguments": json.dumps(schema)}]},
    ):
        response = await client.post(PATH, json=BIG | fields)
        assert response.status_code == 400
        assert "within each other" in response.json()["error"]["message"]


KINDS = st.sampled_from(
    [
        "message",
        "reasoning",
        "function_call",
        "function_call_output",
        "input_text",
        "input_image",
        "namespace",
        "function",
    ]
)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "user", "assistant", PNG, "{}", "[1]"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "image_url"]), inner),
    max_leaves=5,
)


def objects(*names: str, **known: Any) -> Any:
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, JUNK) | {"type": KINDS | JUNK} | known)


LISTS = st.lists(objects("text", "image_url", "name", "parameters"), max_size=2) | JUNK


@given(
    items=st.lists(
        objects("role", "call_id", "name", "arguments", content=LISTS, summary=LISTS, output=LISTS), max_size=4
    ),
    tools=st.lists(objects("name", "parameters", "description", tools=LISTS), max_size=2),
    form=JUNK,
)
def test_whatever_comes_is_a_question_or_refused(items: Any, tools: Any, form: Any) -> None:
    value = {"model": "m", "input": items, "tools": tools, "text": {"format": form}}
    with suppress(BadRequest, ValidationError):
        body = ResponsesBody.model_validate(value)
        assert to_request(body, {}).messages
        assert echo(body)["tools"] == tools


async def test_an_unknown_model_is_a_404_and_an_empty_body_is_eof(client: httpx.AsyncClient) -> None:
    unknown = await client.post(PATH, json=HELLO | {"model": "nope"})
    assert unknown.status_code == 404
    assert unknown.json()["error"] == {
        "message": "model 'nope' not found",
        "type": "not_found_error",
        "param": None,
        "code": None,
    }
    for body in (b"", b"  "):
        response = await client.post(PATH, content=body)
        assert (response.status_code, response.json()["error"]["message"]) == (400, "EOF")


@pytest.mark.parametrize("said", [NASTY, *NASTY.split(" ")])
async def test_nothing_a_model_says_tears_a_frame(client: httpx.AsyncClient, engine: FakeEngine, said: str) -> None:
    engine.pieces = (said, said)
    found = events(await client.post(PATH, json=HELLO | {"stream": True}))
    assert "".join(value["delta"] for value in found if value["type"] == "response.output_text.delta") == said * 2
    for response in (found[-1]["response"], (await client.post(PATH, json=HELLO)).json()):
        assert response["output"][0]["content"][0]["text"] == said * 2


def test_half_a_surrogate_becomes_a_replacement_character_wherever_it_stands() -> None:
    half = "a\ud83db"
    call = ToolCall(id=half, name=half, arguments={half: [half]})
    logprob = TokenLogprob(token=half, logprob=-1.0)
    chunks = (Chunk(thinking=half), Chunk(text=half, logprobs=(logprob,)), Chunk(tool_calls=(call,)), Chunk(done=DONE))
    found = streamed(form(), *chunks)
    thought, said, called = found[-1]["response"]["output"]
    assert thought["summary"][0]["text"] == said["content"][0]["text"] == called["name"] == "a�b"
    assert json.loads(called["arguments"]) == {"a�b": ["a�b"]}
    (last,) = read_events(form().failed(EngineError(half)))[2:]
    assert last["response"]["error"]["message"] == "a�b"


CHUNKS = (
    Chunk(thinking="Hm"),
    Chunk(text="four", logprobs=(LOGPROB,)),
    Chunk(tool_calls=(CALL,)),
    Chunk(done=Done(reason="length", usage=DONE.usage)),
)
IN_CHAT = {
    "model": "openai/big",
    "messages": [{"role": "user", "content": "hello"}],
    "tools": [WEATHER_IN_CHAT],
    "logprobs": True,
    "top_logprobs": 1,
    "max_tokens": 2,
}
HERE = BIG | {"tools": [WEATHER], "top_logprobs": 1, "max_output_tokens": 2}


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_kept_by_another_dialect_is_told_again_with_all_it_holds(
    client: httpx.AsyncClient, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    scripted(cloud, monkeypatch, *CHUNKS)
    await client.post("/v1/chat/completions", json=IN_CHAT)
    response = await client.post(PATH, json=HERE | {"stream": stream})
    assert response.headers["Cache-Status"] == "orchestrator; hit; detail=memory"
    value = events(response)[-1]["response"] if stream else response.json()
    thought, said, call = value["output"]
    assert thought["summary"][0]["text"] == "Hm"
    (part,) = said["content"]
    (logprob,) = part["logprobs"]
    assert (part["text"], logprob["token"], logprob["bytes"]) == ("four", "four", [102])
    assert logprob["top_logprobs"] == [{"token": "f", "logprob": -1.5, "bytes": []}]
    assert (call["call_id"], call["arguments"]) == ("call_1", '{"city":"Rome"}')
    assert value["usage"] == USED
    assert value["incomplete_details"] == {"reason": "max_output_tokens"}
    assert cloud.calls == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_kept_here_is_told_again_in_another_dialect(
    client: httpx.AsyncClient, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    scripted(cloud, monkeypatch, *CHUNKS)
    await client.post(PATH, json=HERE | {"stream": stream})
    again = await client.post("/v1/chat/completions", json=IN_CHAT)
    assert again.headers["Cache-Status"] == "orchestrator; hit; detail=memory"
    (choice,) = again.json()["choices"]
    assert (choice["message"]["content"], choice["message"]["reasoning"]) == ("four", "Hm")
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == '{"city":"Rome"}'
    assert choice["logprobs"]["content"][0]["token"] == "four"
    assert choice["finish_reason"] == "length"
    assert cloud.calls == 1


async def test_instructions_are_the_system_message_of_ollama(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    await client.post(PATH, json=HELLO | {"instructions": "Be brief.", "temperature": 0})
    body = {"model": "tiny", "prompt": "hello", "system": "Be brief.", "stream": False, "options": {"temperature": 0}}
    again = await client.post("/api/generate", json=body)
    assert again.headers["Cache-Status"] == "orchestrator; hit; detail=memory"
    assert engine.calls == 1


async def test_answers_and_refusals_are_recorded(client: httpx.AsyncClient, recorded: Any) -> None:
    await client.post(PATH, json=HELLO)
    await client.post(PATH, json={"model": "tiny"})
    answered, refused = await recorded(2)
    assert (answered.endpoint, answered.dialect, answered.outcome) == (PATH, "openai", "done")
    assert (refused.endpoint, refused.dialect, refused.outcome) == (PATH, "openai", "bad_request")
