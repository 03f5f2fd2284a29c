"""OpenAI's own models in its own protocol: each takes another part of it, and refuses all else for good."""

from __future__ import annotations

import re
from dataclasses import replace

from orchestrator.core.types import ChatRequest
from orchestrator.engines.wires.base import EMBEDS, Ask, Offer
from orchestrator.engines.wires.json_words import with_the_word
from orchestrator.engines.wires.openai import OpenAI, to_wire

# What models that think refuse in whatever they are asked.
SAMPLING = frozenset(
    {"temperature", "top_p", "stop", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs"}
)
# What these take as long as they do not think, which they only do when they are asked to.
UNLESS_THINKING = frozenset({"temperature", "top_p", "logprobs", "top_logprobs"})
_THINKS_WHEN_ASKED = re.compile(r"gpt-5\.[12](-\d{4}-\d\d-\d\d)?")

_NUMBER = re.compile(r"gpt-(\d+)(?:\.(\d+))?")
NO_EFFORT_WITH_TOOLS = (5, 4)  # in this protocol, from this number on
SAYS_NONE_WITH_TOOLS = (5, 6)  # these think without being asked to, and have to be told not to
NONE_WITH_TOOLS = "no effort with tools"

# Tokens in an answer; a higher cap is refused. Those that think may write more than anybody asks for.
MOST_OUTPUT = (
    (re.compile(r"gpt-4\.1"), 32_768),
    (re.compile(r"gpt-4o-2024-05-13"), 4_096),
    (re.compile(r"gpt-4o|chatgpt-4o"), 16_384),
    (re.compile(r"gpt-4-turbo|gpt-3\.5-turbo"), 4_096),
)


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
        if offer.capabilities == EMBEDS or not re.match(r"gpt-\d|chatgpt|o\d", kind):
            return offer
        offer = replace(offer, most_output=next((most for known, most in MOST_OUTPUT if known.match(kind)), 0))
        number = _number(kind)
        if kind.startswith(("chatgpt", "gpt-5-chat")) or (0, 0) < number < (5, 0):
            return replace(offer, capabilities=offer.capabilities - {"thinking"}, takes=self.takes - {"effort"})
        takes = self.takes - SAMPLING
        if _THINKS_WHEN_ASKED.fullmatch(kind):
            takes |= {f"{option} unless thinking" for option in UNLESS_THINKING}
        if "-chat" in kind:  # which has the one effort that it has
            return replace(offer, takes=takes - {"effort"})
        if number >= NO_EFFORT_WITH_TOOLS:
            takes = (takes - {"effort"}) | {"effort unless tools"}
        says_none = number >= SAYS_NONE_WITH_TOOLS
        return replace(offer, takes=takes, traits=frozenset({NONE_WITH_TOOLS} if says_none else ()))


def _number(kind: str) -> tuple[int, int]:
    """The 5 and the 4 of `gpt-5.4-mini`; nothing where it has none, as `o3`."""
    found = _NUMBER.match(kind)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)
