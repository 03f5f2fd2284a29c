"""Groq's form of OpenAI's protocol."""

from __future__ import annotations

from orchestrator.core.types import ChatRequest
from orchestrator.engines.wires.base import Ask, Offer
from orchestrator.engines.wires.json_words import with_the_word
from orchestrator.engines.wires.openai import OpenAI


class Groq(OpenAI):
    """What is asked for as JSON has to be called so there."""

    def chat(self, request: ChatRequest, offer: Offer) -> Ask:
        """The question."""
        return super().chat(with_the_word(request), offer)
