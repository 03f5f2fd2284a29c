"""DeepSeek's form of OpenAI's protocol: thoughts that go back with the calls they led to."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.core.types import ChatRequest
from orchestrator.engines.wires.base import Ask, Offer
from orchestrator.engines.wires.json_words import with_the_schema
from orchestrator.engines.wires.openai import OpenAI, to_wire

NEVER_THINKS = ("deepseek-chat", "deepseek-coder")


class DeepSeek(OpenAI):
    """DeepSeek's own models. Those that think refuse a turn that called tools without what was thought in it."""

    def chat(self, request: ChatRequest, offer: Offer) -> Ask:
        """The question, with what was thought before; of a turn that called tools that is said, if it is not known."""
        request = with_the_schema(request)
        body = to_wire(request, offer)
        if "thinking" in (offer.takes or self.takes):
            for message, wire in zip(request.messages, body["messages"], strict=True):
                if message.role == "assistant" and (message.thinking or message.tool_calls):
                    wire["reasoning_content"] = message.thinking
        return Ask(path="chat/completions", body=body)

    def guess(self, name: str) -> Offer:
        """By its name: all but the former ones think where they are not told not to."""
        offer = super().guess(name)
        return replace(offer, takes=self.takes if name.lower().startswith(NEVER_THINKS) else self.takes | {"thinking"})
