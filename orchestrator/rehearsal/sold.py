"""Whom a replayed day may ask: the models of the files of questions, where they are sold or that they run here."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from django.conf import settings

from orchestrator.core.prices import Price
from orchestrator.core.types import ChatRequest, Message, Model, Usage
from orchestrator.ledger.estimate import AN_ANSWER, about
from orchestrator.pricing.library import price_of
from orchestrator.weighing.offers import offer_of
from routing.day.questions import Candidate
from routing.day.ways import Slider
from routing.rules.document import AutoPart

DATA = Path(settings.BASE_DIR) / "bench/routing/data"
TRACE = DATA / "azure_llm_2023_conv.csv.gz"
_AUTO = AutoPart.model_validate({})
USUAL = Slider(_AUTO.aim.share or 0.5, _AUTO.dollar_weight, _AUTO.explore)  # as the product has it by itself
LOCAL = "llamacpp"  # the engine of what runs here
ADDRESSES = {"openrouter": "https://openrouter.ai/api/v1", "openai": "https://api.openai.com/v1"}


@dataclass(frozen=True, slots=True)
class Offered:
    """A model of a file.

    column     in the file.    provider  its kind, which is its name; "" for this machine.
    name       what it is called there.
    priced_as  the model whose price it is given, where the table of prices has none for it.
    size       its parameters, as local models tell.
    """

    column: str
    provider: str
    name: str
    priced_as: str = ""
    size: str = ""

    @property
    def model(self) -> Model:
        """As engines describe it."""
        if not self.provider:
            return Model(name=self.name, digest=_digest(self.name), engine=LOCAL, parameter_size=self.size)
        name = f"{self.provider}/{self.name}"
        return Model(name=name, digest=_digest(name), engine=self.provider, remote_name=self.name, is_paid=True)

    def price(self, at: datetime) -> Price | None:
        """What the table says that a call there costs; None where nothing does, or nobody knows."""
        if not self.provider:
            return None
        return price_of(self.provider, ADDRESSES[self.provider], self.priced_as or self.name, at)

    def candidate(self, at: datetime) -> Candidate | None:
        """As the product weighs it; None where nobody knows its price."""
        price = self.price(at)
        if price is None and self.provider:
            return None
        ability = offer_of(replace(self.model, price=price), LOCAL).standing.ability
        return Candidate(self.column, self.model.name, ability, price)


@dataclass(frozen=True, slots=True)
class Asked:
    """A file of questions, the share of them that is asked, and who may be.

    The priors were made from these files, and for a day they are made anew without what is asked in it. Where the rest
    of a file is all that they know of questions of its kind, half of it has to be left to them.
    """

    title: str
    file: str
    share: float
    offered: Sequence[Offered]

    def candidates(self, at: datetime) -> list[Candidate]:
        """Those whose price is known."""
        return [found for one in self.offered if (found := one.candidate(at)) is not None]


_HERE = (
    Offered("llama-3.1-8b-instruct", "", "llama3.1:8b", size="8.0B"),
    Offered("gemma-2-9b-it", "", "gemma2:9b", size="9.2B"),
    Offered("qwen2.5-7b-instruct", "", "qwen2.5:7b", size="7.6B"),
    Offered("mistral-7b-instruct-v0.3", "", "mistral:7b", size="7.2B"),
)
_49B = "llama-3.3-nemotron-super-49b-v1"  # as the table has it, without its maker
_51B = "nvidia/llama-3.1-nemotron-51b-instruct"
NINE = "llmrouter_9models_train.json.gz"
ASKED = {
    "nine": Asked(
        "four small models here, the 49B of OpenRouter",
        NINE,
        0.5,
        (*_HERE, Offered("llama-3.3-nemotron-super-49b-v1", "openrouter", _49B)),
    ),
    "nine-51b": Asked(
        "four small models here, the 51B at the price of the 49B (nobody in the table sells it)",
        NINE,
        0.5,
        (*_HERE, Offered("llama-3.1-nemotron-51b-instruct", "openrouter", _51B, priced_as=_49B)),
    ),
    "mmlu": Asked(
        "Mixtral of OpenRouter, GPT-4 of OpenAI",
        "mmlu_1500.csv.gz",
        1.0,
        (
            Offered("weak_mixtral_8x7b", "openrouter", "mistralai/mixtral-8x7b-instruct"),
            Offered("strong_gpt4_1106", "openai", "gpt-4-1106-preview"),
        ),
    ),
}


def question(text: str) -> ChatRequest:
    """A question as callers ask it, of whoever the router chooses."""
    return ChatRequest(model="auto", messages=(Message(role="user", content=text),), endpoint="/api/chat")


def expected(text: str) -> Usage:
    """What the product expects such a call to read and write, before anybody is asked."""
    return Usage(prompt_tokens=about(question(text)), completion_tokens=AN_ANSWER)


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
