"""DeepSeek's form of OpenAI's protocol, and its models behind OpenRouter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.capabilities import settle
from orchestrator.core.presets import BY_NAME
from orchestrator.core.types import ChatRequest, Message, Model, ToolCall
from orchestrator.engines.wires import WIRES, wire_at
from orchestrator.engines.wires.base import Wire
from orchestrator.engines.wires.deepseek import DeepSeek
from orchestrator.engines.wires.openai import OpenAI
from orchestrator.engines.wires.openrouter import OpenRouter

CALL = ToolCall(id="call_1", name="weather", arguments={"city": "Rome"})
LOOP = (
    Message(role="user", content="How is it in Rome?"),
    Message(role="assistant", thinking="I have to look.", tool_calls=(CALL,)),
    Message(role="tool", content="sun", tool_call_id="call_1"),
    Message(role="assistant", tool_calls=(replace(CALL, id="call_2"),)),
    Message(role="tool", content="sun", tool_call_id="call_2"),
    Message(role="assistant", content="Sunny.", thinking="So it is."),
    Message(role="user", content="And in Oslo?"),
    Message(role="assistant", content="I cannot tell."),
    Message(role="user", content="Why?"),
)


def asked(wire: Wire, name: str, messages: tuple[Message, ...] = LOOP, **fields: Any) -> dict[str, Any]:
    """What is sent once it is known what the model takes."""
    offer = wire.guess(name)
    takes = offer.takes or wire.takes
    model = Model(name=name, digest="", engine="p", remote_name=name, capabilities=offer.capabilities, takes=takes)
    settled, _ = settle(ChatRequest(model="m", messages=messages, **fields), model, "warn")
    return wire.chat(settled, offer).body


@pytest.mark.parametrize(
    ("name", "address", "form"),
    [
        (BY_NAME["deepseek"].wire, "https://api.deepseek.com", DeepSeek),
        (BY_NAME["deepseek"].wire, "http://localhost:8000", DeepSeek),
        ("openai", "https://api.deepseek.com/v1", DeepSeek),
        ("openai", "https://deepseek.example/v1", OpenAI),
        ("openai", "https://api.deepseek.com.example/v1", OpenAI),
        ("openrouter", "https://api.deepseek.com/v1", OpenRouter),
    ],
)
def test_deepseeks_form_is_for_deepseek(name: str, address: str, form: type[OpenAI]) -> None:
    assert type(wire_at(name, address)) is form


@pytest.mark.parametrize("name", ["deepseek-reasoner", "deepseek-v4-pro", "deepseek-flash", "DeepSeek-V5"])
def test_what_was_thought_goes_back_with_the_calls_it_led_to(name: str) -> None:
    sent = asked(DeepSeek(), name)["messages"]
    assert [message.get("reasoning_content") for message in sent] == [
        None,
        "I have to look.",
        None,
        "",  # nobody knows it, and without the field it is refused
        None,
        "So it is.",
        None,
        None,
        None,
    ]


def test_a_model_that_never_thinks_is_not_told_what_was_thought() -> None:
    assert not any("reasoning_content" in message for message in asked(DeepSeek(), "deepseek-chat")["messages"])


@pytest.mark.parametrize("name", ["deepseek/deepseek-v3.2", "~deepseek/latest"])
def test_openrouter_takes_what_a_model_of_deepseeks_thought(name: str) -> None:
    sent = asked(OpenRouter(), name)["messages"]
    assert [message.get("reasoning") for message in sent if message["role"] == "assistant"] == [
        "I have to look.",
        None,
        "So it is.",
        None,
    ]


@pytest.mark.parametrize("wire", [OpenRouter(), OpenAI(), WIRES["mistral"]()])
def test_nobody_else_is_told_what_was_thought(wire: Wire) -> None:
    for message in asked(wire, "vendor/model")["messages"]:
        assert not message.keys() & {"reasoning", "reasoning_content"}
