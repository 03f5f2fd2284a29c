"""OpenRouter: OpenAI's protocol, with what its answers cost, thinking of one form for all models, and errors of two."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from orchestrator.core.errors import EngineError
from orchestrator.core.types import ChatRequest, Chunk, Usage
from orchestrator.engines.wires import openai_vectors
from orchestrator.engines.wires.anthropic import MARK, MARKED_FROM_BYTES
from orchestrator.engines.wires.base import MOST_WORDS, Ask, Offer, Vectors, as_count, as_text
from orchestrator.engines.wires.openai import OpenAI, WireAnswer, to_wire
from orchestrator.engines.wires.prices import microusd

# How much a model may be asked to think, from the least. Where its entry has no list, it takes all of them.
EFFORTS = ("minimal", "low", "medium", "high", "xhigh")
USUAL_EFFORTS = ("low", "medium", "high")
ALWAYS_THINKS = "always thinks"


class OpenRouter(OpenAI):
    """Chat completions and embeddings of many vendors. It is not told who asks: that would be shown in public."""

    takes = OpenAI.takes | {"think"}
    tells = True
    probe = "key"

    def chat(self, request: ChatRequest, offer: Offer) -> Ask:
        """The question."""
        body = to_wire(replace(request, think=None), offer)
        body["usage"] = {"include": True}  # today it counts in any case
        if request.think is not None and "thinking" in offer.capabilities:
            body["reasoning"] = _reasoning(request.think, offer.traits)
        if offer.name.lstrip("~").startswith("anthropic/"):  # the others' caches need no marks
            _mark(body)
        if _keeps_thoughts(offer.name):
            for message, wire in zip(request.messages, body["messages"], strict=True):
                if message.role == "assistant" and message.thinking:
                    wire["reasoning"] = message.thinking
        return Ask(path="chat/completions", body=body)

    def answer(self) -> OpenRouterAnswer:
        """A reader for one answer."""
        return OpenRouterAnswer()

    def vectors(self, body: bytes) -> Vectors:
        """The vectors, and what they cost."""
        return openai_vectors.read(body, _charged)

    def guess(self, name: str) -> Offer:
        """By its name."""
        takes = self.takes | {"thinking"} if _keeps_thoughts(name) else self.takes
        return replace(super().guess(name), takes=takes, traits=frozenset(USUAL_EFFORTS))

    def _offer(self, entry: dict[str, Any]) -> Offer:
        offer = super()._offer(entry)
        if isinstance(thinks := entry.get("reasoning"), dict):
            known = thinks.get("supported_efforts")
            traits = {effort for effort in EFFORTS if not isinstance(known, list) or effort in known}
            traits |= {ALWAYS_THINKS} if thinks.get("mandatory") is True else set()
            offer = replace(offer, traits=frozenset(traits))
        first = entry.get("top_provider")
        most = as_count(first.get("max_completion_tokens")) if isinstance(first, dict) else 0
        # A name may come to mean another model: this tells which it is.
        return replace(offer, most_output=most, version=str(entry.get("canonical_slug") or ""))

    def words(self, error: object) -> str:
        """Its own words, and those of the provider behind it, which alone say what happened."""
        return _words(error)


def _keeps_thoughts(name: str) -> bool:
    """Whether a model is to be shown what it thought when it called tools; others' thoughts are signed, or its own."""
    return name.lower().lstrip("~").startswith("deepseek/")


def _reasoning(think: bool | str, traits: frozenset[str]) -> dict[str, Any]:
    able = [effort for effort in EFFORTS if effort in traits]
    if think is True or (think and not able):
        return {"enabled": True}
    if not think and ALWAYS_THINKS in traits:  # it refuses not to: as little as it can, and not to be seen
        return ({"effort": able[0]} if able else {}) | {"exclude": True}
    if not think:
        return {"enabled": False}
    wanted = EFFORTS.index(think if think in EFFORTS else "xhigh")
    return {"effort": min(able, key=lambda effort: abs(EFFORTS.index(effort) - wanted))}


def _mark(body: dict[str, Any]) -> None:
    """Mark what will come again for Anthropic's own cache, as its own wire does."""
    messages = body["messages"]
    system = [message for message in messages if message["role"] == "system" and message["content"]]
    size = sum(len(message["content"]) for message in system) + len(json.dumps(body.get("tools", "")))
    if system and size >= MARKED_FROM_BYTES:
        _mark_message(system[-1])
    if messages and messages[-1]["role"] == "tool" and messages[-1]["content"]:
        _mark_message(messages[-1])


def _mark_message(message: dict[str, Any]) -> None:
    if isinstance(message["content"], str):
        message["content"] = [{"type": "text", "text": message["content"]}]
    message["content"][-1]["cache_control"] = MARK


def _words(error: object) -> str:
    if not isinstance(error, dict):
        return str(error)[:MOST_WORDS]
    words, about = str(error["message"]), error.get("metadata")
    if isinstance(about, dict):
        reasons = about.get("reasons")  # of a moderation
        said = about.get("raw") or (", ".join(map(str, reasons)) if isinstance(reasons, list) else "")
        more = ": ".join(str(part) for part in (about.get("provider_name"), said) if part)
        words += f" ({more})" if more else ""
    return words[:MOST_WORDS]


def _charged(usage: dict[str, Any]) -> int | None:
    """What it cost, in millionths of a dollar: the fee, and with one's own key at a vendor what the vendor takes."""
    fee = microusd(usage.get("cost"))
    match usage:
        case {"is_byok": True, "cost_details": {"upstream_inference_cost": told}}:
            vendors = microusd(told)
            return None if fee is None or vendors is None else fee + vendors
        case {"is_byok": True}:
            return None
    return fee


class OpenRouterAnswer(WireAnswer):
    """Reads one streamed answer. While nothing comes it is sent comments, which say nothing."""

    def take(self, event: dict[str, Any]) -> Iterable[Chunk]:
        """Read one event."""
        for choice in (event.get("choices") or ())[:1]:
            delta = choice.get("delta") or {}
            if delta.get("images"):
                raise EngineError("The provider answered with a picture, which is neither text nor a tool call.")
            if not delta.get("reasoning") and (details := delta.get("reasoning_details")):
                delta["reasoning"] = "".join(as_text(one.get("text") or one.get("summary")) for one in details)
        return super().take(event)

    def words(self, error: object) -> str:
        """As of a refusal."""
        return _words(error)

    def counted(self, usage: dict[str, Any]) -> Usage:
        """The counts, and what it cost."""
        return replace(super().counted(usage), cost_microusd=_charged(usage))
