"""A conversation as it goes over a wire, what is sent for it, and an answer as it is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.capabilities import settle
from orchestrator.core.types import ChatRequest, Chunk, Message, Model, Reply, ReplyBuilder, ToolCall
from orchestrator.engines.wires.base import Offer, Wire

PNG, JPEG = "iVBORw0KGgo=", "/9j/4AAQ"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "weather", "description": "Look.", "parameters": SCHEMA}}
CONVERSATION = (
    Message(role="system", content="Be brief."),
    Message(role="user", content="How is it there?", images=(PNG, JPEG)),
    Message(
        role="assistant",
        content="Let me see.",
        thinking="Hm.",
        tool_calls=(
            ToolCall(id="", name="weather", arguments={"city": "Rome"}),
            ToolCall(id="functions.weather:1", name="weather", arguments={"city": "Oslo"}),
        ),
    ),
    Message(role="tool", content="snow", tool_call_id="functions.weather:1"),
    Message(role="tool", content="sun", tool_name="weather"),
    Message(role="user", content="And?"),
)


def asked(wire: Wire, messages: Sequence[Message] = CONVERSATION, name: str = "m", **fields: Any) -> dict[str, Any]:
    offer = fields.pop("offer", None) or wire.guess(name)
    return wire.chat(ChatRequest(model="x", messages=tuple(messages), **fields), offer).body


def hello(wire: Wire, name: str = "m", **fields: Any) -> dict[str, Any]:
    return asked(wire, [Message(role="user", content="hi")], name, **fields)


def settle_for(offer: Offer, **fields: Any) -> tuple[ChatRequest, tuple[str, ...]]:
    """What such a model is asked, and what is left out."""
    assert offer.takes is not None
    model = Model(name="m", digest="", engine="p", capabilities=offer.capabilities, takes=offer.takes)
    return settle(ChatRequest(model="m", messages=(Message(role="user", content="hi"),), **fields), model, "warn")


def read(wire: Wire, data: bytes) -> Reply:
    """The whole answer. Raises EngineError when it is none."""
    answer = wire.answer()
    builder = ReplyBuilder("m")
    chunks: list[Chunk] = answer.read(data.split(b"\n"))
    if answer.trouble:
        raise answer.trouble
    for chunk in [*chunks, answer.end(prompt_ns=1, eval_ns=1)]:
        builder.add(chunk)
    reply = builder.reply()
    assert reply is not None
    return reply
