"""OpenAI's own models in its own protocol: each takes another part of it, and refuses all else for good."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.core.types import ChatRequest
from orchestrator.engines.wires.base import EMBEDS, Ask, Offer
from orchestrator.engines.wires.by_name import GPTS, GPTS_CAPS, NONE_WITH_TOOLS
from orchestrator.engines.wires.json_words import with_the_word
from orchestrator.engines.wires.openai import OpenAI, to_wire


class OpenAIItself(OpenAI):
    """The form of OpenAI's own models, the newer of which refuse `max_tokens`; others know only that."""

    def chat(self, request: ChatRequest, offer: Offer) -> Ask:
        """The question, with its cap under the newer name."""
        body = to_wire(with_the_word(request), offer)
        if "max_tokens" in body:
            body["max_completion_tokens"] = body.pop("max_tokens")
        if request.tools and NONE_WITH_TOOLS in offer.traits:
            body["reasoning_effort"] = "none"
        return Ask(path="chat/completions", body=body)

    def guess(self, name: str) -> Offer:
        """By its name, which tells all there is to know: the list has nothing else."""
        offer = super().guess(name)
        kind = name.lower().removeprefix("ft:")
        if offer.capabilities == EMBEDS:
            return offer
        row = GPTS.row(kind)
        return replace(
            offer,
            capabilities=offer.capabilities - row.cannot,
            takes=row.of(self.takes),
            traits=frozenset(row.traits),
            most_output=GPTS_CAPS.row(kind).most_output,
        )
