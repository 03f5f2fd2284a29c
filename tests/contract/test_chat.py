"""POST /api/chat."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from orchestrator.core.types import Chunk, Message, ToolCall
from orchestrator.modelhost.reply import tool_calls
from tests.api.test_ollama import lines
from tests.contract.facts import HELLO
from tests.contract.test_generate import COUNTS, HE, scripted
from tests.fakes import FakeEngine
from tests.product import Product

PATH = "/api/chat"
BIG = HELLO | {"model": "openai/big"}
LOCAL = {"model": "smollm2:135m", "options": {"temperature": 0, "num_predict": 3}, "stream": False}
CALL = ToolCall(id="call_ab12cd34", name="get_weather", arguments={"city": "Rome"})
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather there.",
        "parameters": {"type": "object", "properties": {"city": {"type": ["string", "null"]}}},
    },
}


async def test_the_keys_of_a_line_come_in_ollamas_order(
    client: httpx.AsyncClient, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(cloud, monkeypatch, Chunk(thinking="Hm"), Chunk(text="He", logprobs=(HE,)))
    body = BIG | {"logprobs": True, "top_logprobs": 1}
    thinking, spoken, *_, last = lines(await client.post(PATH, json=body))
    assert list(thinking) == ["model", "created_at", "message", "done"]
    assert list(thinking["message"]) == ["role", "content", "thinking"]
    assert list(spoken) == ["model", "created_at", "message", "done", "logprobs"]
    assert list(last) == ["model", "created_at", "message", "done", "done_reason", *COUNTS]
    whole = (await client.post(PATH, json=body | {"stream": False})).json()
    assert list(whole) == ["model", "created_at", "message", "done", "done_reason", "logprobs", *COUNTS]


async def test_a_message_always_has_its_role_and_its_content(client: httpx.AsyncClient) -> None:
    for line in lines(await client.post(PATH, json=HELLO)):
        assert list(line["message"]) == ["role", "content"]
        assert line["message"]["role"] == "assistant"


async def test_there_is_no_context_in_a_chat(client: httpx.AsyncClient) -> None:
    assert "context" not in lines(await client.post(PATH, json=HELLO))[-1]


@pytest.mark.parametrize("role", ["System", "USER", "Assistant", "tooL"])
async def test_a_role_is_read_in_any_case(client: httpx.AsyncClient, engine: FakeEngine, role: str) -> None:
    body = HELLO | {"messages": [{"role": role, "content": "hello"}]}
    assert (await client.post(PATH, json=body)).status_code == 200
    assert engine.asked[-1].messages == (Message(role=role.lower(), content="hello"),)  # type: ignore[arg-type]


@pytest.mark.parametrize("message", [{"role": "user"}, {"role": "user", "content": None}])
async def test_a_message_may_have_no_content(client: httpx.AsyncClient, engine: FakeEngine, message: Any) -> None:
    assert (await client.post(PATH, json=HELLO | {"messages": [message]})).status_code == 200
    assert engine.asked[-1].messages == (Message(role="user"),)


async def test_every_field_of_a_message_reaches_the_model(client: httpx.AsyncClient, cloud: FakeEngine) -> None:
    called = {"id": "call_1", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}}
    messages = [
        {"role": "user", "content": "look", "images": ["AAAA"]},
        {"role": "assistant", "thinking": "Hm", "tool_calls": [called, {"function": called["function"]}]},
        {"role": "tool", "content": "4", "tool_name": "f", "tool_call_id": "call_1"},
    ]
    assert (await client.post(PATH, json=BIG | {"messages": messages})).status_code == 200
    call = ToolCall(id="call_1", name="f", arguments={"a": 1})
    assert cloud.asked[-1].messages == (
        Message(role="user", content="look", images=("AAAA",)),
        Message(role="assistant", thinking="Hm", tool_calls=(call, ToolCall(id="", name="f", arguments={"a": 1}))),
        Message(role="tool", content="4", tool_name="f", tool_call_id="call_1"),
    )


async def test_arguments_that_are_text_are_refused(client: httpx.AsyncClient) -> None:
    call = {"function": {"name": "f", "arguments": '{"a":1}'}}
    response = await client.post(PATH, json=BIG | {"messages": [{"role": "assistant", "tool_calls": [call]}]})
    assert response.status_code == 400
    assert response.json()["error"].startswith("json: cannot unmarshal string into Go struct field ChatRequest.")


async def test_the_type_of_a_property_may_be_a_list(client: httpx.AsyncClient, cloud: FakeEngine) -> None:
    assert (await client.post(PATH, json=BIG | {"tools": [WEATHER]})).status_code == 200
    assert cloud.asked[-1].tools == (WEATHER,)


async def test_tool_choice_is_ignored(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    assert (await client.post(PATH, json=HELLO | {"tool_choice": "required"})).status_code == 200
    assert (await client.post(PATH, json=HELLO)).headers["Cache-Status"].startswith("orchestrator; hit")


async def test_a_tool_call_comes_whole_in_one_chunk_and_changes_no_reason(
    client: httpx.AsyncClient, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(cloud, monkeypatch, Chunk(tool_calls=(CALL,)), Chunk(tool_calls=(CALL,)))
    first, second, *_, last = lines(await client.post(PATH, json=BIG | {"tools": [WEATHER]}))
    function = {"index": 0, "name": "get_weather", "arguments": {"city": "Rome"}}
    assert first["message"] == {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "call_ab12cd34", "function": function}],
    }
    assert second["message"]["tool_calls"][0]["function"]["index"] == 1
    assert last["done_reason"] == "stop"
    whole = (await client.post(PATH, json=BIG | {"tools": [WEATHER], "stream": False})).json()
    assert [call["function"]["index"] for call in whole["message"]["tool_calls"]] == [0, 1]
    assert whole["done_reason"] == "stop"


def test_the_id_of_a_local_models_call_is_call_and_eight_letters_or_digits() -> None:
    (call,) = tool_calls('{"name": "get_weather", "arguments": {"city": "Rome"}}', {"get_weather"})
    assert re.fullmatch(r"call_[a-z0-9]{8}", call.id)


async def test_that_a_model_cannot_think_is_told_before_that_it_takes_no_tools(client: httpx.AsyncClient) -> None:
    response = await client.post(PATH, json=HELLO | {"think": True, "tools": [WEATHER]})
    assert (response.status_code, response.json()) == (400, {"error": '"tiny" does not support thinking'})


@pytest.mark.parametrize("messages", [{}, {"messages": []}, {"messages": None}])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("keep_alive", "reason"), [({}, "load"), ({"keep_alive": 0}, "unload")])
async def test_without_messages_the_model_is_loaded_or_unloaded_and_one_object_says_so(
    client: httpx.AsyncClient, messages: dict[str, Any], stream: bool, keep_alive: dict[str, Any], reason: str
) -> None:
    response = await client.post(PATH, json={"model": "tiny", "stream": stream, **messages, **keep_alive})
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    value = response.json()
    assert list(value) == ["model", "created_at", "message", "done", "done_reason"]
    assert value["message"] == {"role": "assistant", "content": ""}
    assert (value["done"], value["done_reason"]) == (True, reason)


def test_a_models_own_system_prompt_goes_first_unless_the_caller_sends_one(product: Product) -> None:
    said = {"role": "user", "content": "hello"}

    def tokens(*messages: dict[str, str]) -> int:
        body = LOCAL | {"messages": list(messages)}
        return int(httpx.post(product.base_url + PATH, json=body, timeout=60).json()["prompt_eval_count"])

    own = (
        httpx.post(product.base_url + "/api/show", json={"model": "smollm2:135m"}, timeout=30).json().get("system", "")
    )
    assert tokens(said) == tokens({"role": "system", "content": own}, said)
    assert tokens(said) != tokens({"role": "system", "content": own + " Be brief."}, said)


LONG = [{"role": "user", "content": f"Turn {number}: " + "word " * 60} for number in range(8)]


@pytest.mark.parametrize(("truncate", "status"), [(True, 200), (None, 200), (False, 400)])
def test_a_conversation_that_is_too_long_loses_its_oldest_turns_unless_that_is_forbidden(
    product: Product, truncate: bool | None, status: int
) -> None:
    options = LOCAL["options"] | {"num_ctx": 256}  # type: ignore[operator]  # a dict
    body = LOCAL | {"messages": LONG, "truncate": truncate, "options": options}
    response = httpx.post(product.base_url + PATH, json=body, timeout=60)
    assert response.status_code == status, response.text
    if status == 200:
        assert response.json()["prompt_eval_count"] < 256
