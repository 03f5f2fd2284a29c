"""What Anthropic is asked: turns and tools, how much to think, how to choose words, what its cache is to keep."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from anthropic.types.message_create_params import MessageCreateParamsStreaming
from pydantic import TypeAdapter

from orchestrator.core.errors import BadRequest
from orchestrator.core.types import Message, ToolCall
from orchestrator.engines.wires.anthropic import ALL_EFFORTS, Anthropic
from orchestrator.engines.wires.base import Offer
from orchestrator.engines.wires.by_name import ADAPTIVE, WAYS
from tests.engines.exchange import CONVERSATION, SCHEMA, TOOL, asked, hello, settle_for
from tests.speeches import AnthropicSpeech


def test_a_conversation_is_sent_as_anthropic_has_it() -> None:
    body = asked(Anthropic(), tools=(TOOL,), options={"temperature": 0.5, "top_k": 3, "stop": ["x"], "num_ctx": 9})
    TypeAdapter(MessageCreateParamsStreaming).validate_python(body)
    assert body["system"] == [{"type": "text", "text": "Be brief."}]
    assert body["tools"] == [{"name": "weather", "description": "Look.", "input_schema": SCHEMA}]
    assert (body["temperature"], body["top_k"], body["stop_sequences"], body["max_tokens"]) == (0.5, 3, ["x"], 8192)
    assert "num_ctx" not in body
    user, assistant, results = body["messages"]
    assert [block["type"] for block in user["content"]] == ["text", "image", "image"]
    assert [block["source"]["media_type"] for block in user["content"][1:]] == ["image/png", "image/jpeg"]
    assert [block["type"] for block in assistant["content"]] == ["text", "tool_use", "tool_use"]
    rome, oslo = (block["id"] for block in assistant["content"][1:])
    answered = {block["tool_use_id"]: block["content"][0]["text"] for block in results["content"][:2]}
    assert answered == {rome: "sun", oslo: "snow"}
    assert all(part.isalnum() for part in oslo.split("_"))
    assert results["content"][2]["text"] == "And?"


def test_a_caller_without_a_cap_gets_what_anthropics_model_can() -> None:
    offer = Offer(name="m", most_output=20_000)
    assert hello(Anthropic(), offer=offer)["max_tokens"] == 20_000
    assert hello(Anthropic(), offer=Offer(name="m", most_output=128_000))["max_tokens"] == 32_000
    assert hello(Anthropic(), offer=offer, options={"num_predict": 5})["max_tokens"] == 5
    assert hello(Anthropic(), offer=offer, options={"num_predict": -1})["max_tokens"] == 20_000


@pytest.mark.parametrize(
    ("think", "thinking", "effort"),
    [
        (None, None, None),
        (False, {"type": "disabled"}, None),
        (True, {"type": "adaptive", "display": "summarized"}, None),
        ("low", {"type": "adaptive", "display": "summarized"}, "low"),
        ("max", {"type": "adaptive", "display": "summarized"}, "max"),
    ],
)
def test_newer_models_of_anthropic_think_as_they_find_right(think: Any, thinking: Any, effort: str | None) -> None:
    body = hello(Anthropic(), think=think, offer=Offer(name="m", traits=frozenset({ADAPTIVE, ALL_EFFORTS})))
    assert (body.get("thinking"), body.get("output_config", {}).get("effort")) == (thinking, effort)


@pytest.mark.parametrize(
    ("name", "thinking", "effort"),
    [
        ("claude-opus-4-6", {"type": "disabled"}, None),
        ("claude-opus-4-8", None, None),
        ("claude-sonnet-5-5", {"type": "between_tools"}, None),
        ("claude-opus-5-5", None, "low"),
        ("claude-fable-5", None, "low"),
    ],
)
def test_models_of_anthropic_are_kept_from_thinking_in_ways_of_their_own(name: str, thinking: Any, effort: Any) -> None:
    able = {"thinking": {"supported": True, "types": {"adaptive": {"supported": True}}}}
    listed = orjson.dumps({"data": [{"id": name, "capabilities": able}]})
    for offer in (Anthropic().guess(name), *Anthropic().offers(listed)):
        body = hello(Anthropic(), think=False, offer=offer, format=SCHEMA if effort else None)
        assert (body.get("thinking"), body.get("output_config", {}).get("effort")) == (thinking, effort)
        assert not effort or body["output_config"]["format"], "what else is said there stays"


def test_older_models_of_anthropic_think_within_a_budget() -> None:
    name = "claude-sonnet-4-5-20250929"
    assert hello(Anthropic(), name, think="low")["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert hello(Anthropic(), name, think=True)["thinking"]["budget_tokens"] == 4096  # half of what it may say
    with pytest.raises(BadRequest, match="needs `num_predict` over 1024"):
        hello(Anthropic(), name, think=True, options={"num_predict": 1024})
    assert hello(Anthropic(), name, think=True, options={"num_predict": 1025})["thinking"]["budget_tokens"] == 1024
    assert "thinking" not in asked(Anthropic(), CONVERSATION[:-1], name, think=True)  # its thoughts were signed


OLDER = "claude-sonnet-4-5-20250929"
LOOKED = (
    Message(role="user", content="How is it there?"),
    Message(role="assistant", tool_calls=(ToolCall(id="toolu_1", name="weather", arguments={}),)),
)
SUN = Message(role="tool", content="sun", tool_call_id="toolu_1")


@pytest.mark.parametrize(
    "messages",
    [
        (*LOOKED, SUN),
        (*LOOKED, SUN, Message(role="user", content="And?")),
        (*LOOKED, Message(role="user", content="Well?"), SUN),
        (Message(role="user", content="hi"), Message(role="assistant", content="It is")),
    ],
    ids=["a tool answered", "and more was said", "and something was said before", "an answer to go on with"],
)
@pytest.mark.parametrize("think", [None, False, True, "high"])
def test_anthropic_takes_a_conversation_that_is_in_the_middle_of_a_turn(
    messages: Sequence[Message], think: Any
) -> None:
    body = asked(Anthropic(), messages, OLDER, think=think)
    AnthropicSpeech().check("/v1/messages", body)
    assert body.get("thinking", {}).get("type") != "enabled"


def test_anthropic_thinks_again_when_the_turn_with_tools_is_over() -> None:
    over = (*LOOKED, SUN, Message(role="assistant", content="Sunny."), Message(role="user", content="And there?"))
    assert asked(Anthropic(), over, OLDER, think=True)["thinking"]["type"] == "enabled"


@pytest.mark.parametrize(
    ("messages", "first", "system"),
    [
        ([Message(role="assistant", content="Hello!"), Message(role="user", content="hi")], "…", None),
        ([Message(role="assistant", content="Once")], "…", None),
        ([Message(role="system", content="Tell a joke.")], "Tell a joke.", None),
        ([Message(role="system", content="Be brief."), Message(role="assistant", content="Once")], "…", "Be brief."),
    ],
)
def test_a_conversation_that_no_user_began_is_one_that_anthropic_takes(
    messages: Sequence[Message], first: str, system: str | None
) -> None:
    body = asked(Anthropic(), messages)
    AnthropicSpeech().check("/v1/messages", body)
    assert body["messages"][0] == {"role": "user", "content": [{"type": "text", "text": first}]}
    assert body.get("system", [{"text": None}])[0]["text"] == system


def test_a_conversation_in_which_nothing_is_said_is_refused_before_anthropic_does() -> None:
    for messages in ([], [Message(role="user", content=" ")], [Message(role="system", content=" ")]):
        with pytest.raises(BadRequest, match="needs a message that says something"):
            asked(Anthropic(), messages)


def test_anthropic_is_asked_for_no_warmer_answer_than_it_gives() -> None:
    assert hello(Anthropic(), options={"temperature": 1.8})["temperature"] == 1.0
    assert hello(Anthropic(), options={"temperature": 0})["temperature"] == 0


@pytest.mark.parametrize("name", ["claude-3-7-sonnet-20250219", "glm-5"])
@pytest.mark.parametrize(("think", "left_out"), [(True, ("temperature", "top_k", "top_p")), (False, ()), (None, ())])
def test_how_to_choose_words_is_left_out_where_anthropic_thinks_and_that_is_said(
    name: str, think: Any, left_out: tuple[str, ...]
) -> None:
    wire = Anthropic()
    offer = wire.guess(name)
    options = {"temperature": 0.2, "top_p": 0.5, "top_k": 3, "stop": ["x"]}
    settled, said = settle_for(offer, think=think, options=options)
    assert said == left_out
    AnthropicSpeech().check("/v1/messages", wire.chat(settled, offer).body | {"stream": True})


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("claude-v1", []),
        ("claude-3-5-haiku-20241022", []),
        ("claude-3-opus-latest", []),
        ("claude-sonnet-4-20250514", []),
        ("claude-opus-4-1-20250805", ["top_p"]),
        ("claude-haiku-4-5", ["top_p"]),
        ("claude-opus-4.6", ["top_p"]),
        ("claude-opus-4-7", ["temperature", "top_k", "top_p"]),
        ("claude-opus-4-8-20260601", ["temperature", "top_k", "top_p"]),
        ("claude-sonnet-5", ["temperature", "top_k", "top_p"]),
        ("claude-fable-5-1", ["temperature", "top_k", "top_p"]),
        ("claude-mythos-preview", ["temperature", "top_k", "top_p"]),
        ("minimax-m3", []),
    ],
)
def test_ways_to_choose_words_that_a_model_of_anthropic_refuses_are_left_out_and_said(
    name: str, left_out: list[str]
) -> None:
    offer = Anthropic().guess(name)
    settled, said = settle_for(offer, options={"temperature": 0.2, "top_p": 0.5, "top_k": 3})
    assert (list(said), sorted(WAYS - Anthropic().chat(settled, offer).body.keys())) == (
        left_out,
        left_out,
    )
    listed = Anthropic().offers(json.dumps({"data": [{"id": name, "capabilities": {}}]}).encode())
    assert listed[0].takes == offer.takes
    _, said = settle_for(offer, options={"top_p": 0.5})
    assert said == (("top_p",) if "temperature" in left_out else ())


def test_a_blank_stop_string_is_not_for_anthropic() -> None:
    offer = Anthropic().guess("claude-sonnet-4-5")
    assert settle_for(offer, options={"stop": ["x", "\n"]})[1] == ("stop",)
    assert settle_for(offer, options={"stop": ["x\n"]})[1] == ()


@pytest.mark.parametrize(
    ("name", "thinks", "is_adaptive"),
    [
        ("claude-3-5-haiku-latest", False, False),
        ("claude-3-7-sonnet-20250219", True, False),
        ("claude-opus-4-1", True, False),
        ("claude-opus-4-6", True, True),
        ("claude-haiku-5", True, True),
        ("glm-5", True, False),
    ],
)
def test_how_an_unlisted_model_of_anthropic_thinks_is_told_by_its_name(
    name: str, *, thinks: bool, is_adaptive: bool
) -> None:
    offer = Anthropic().guess(name)
    assert ("thinking" in offer.capabilities, ADAPTIVE in offer.traits) == (thinks, is_adaptive)


def test_what_comes_again_is_marked_for_anthropics_cache() -> None:
    long = Message(role="system", content="word " * 2000)
    short = hello(Anthropic())
    marked = asked(Anthropic(), [long, Message(role="user", content="hi")], tools=(TOOL,))
    assert "cache_control" not in json.dumps(short)
    assert marked["system"][-1]["cache_control"] == {"type": "ephemeral"}
    assert "cache_control" not in json.dumps([marked["tools"], marked["messages"]])
    running = asked(Anthropic(), CONVERSATION[:-1])
    assert running["messages"][-1]["content"][-1]["cache_control"] == {"type": "ephemeral"}


def test_nothing_empty_is_sent_to_anthropic() -> None:
    messages = [
        Message(role="user", content=" "),
        Message(role="user", content="hi"),
        Message(role="assistant", content=""),
        Message(role="user", content="there"),
        Message(role="assistant", content="It is \n"),
    ]
    turns = asked(Anthropic(), messages)["messages"]
    assert [(turn["role"], [block["text"] for block in turn["content"]]) for turn in turns] == [
        ("user", ["hi", "there"]),
        ("assistant", ["It is"]),
    ]
