"""Askers and questions that are nearly the same: what isolation must tell apart, and what it must not."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.core.types import Caller, ChatRequest, Dialect, Message, Model

# One letter in several forms, and letters that look alike.
WORDS = (
    "cafe\u0301",
    "caf\u00e9",
    "cafe",
    "\u0441afe",
    "cafe\u200b",
    "\uff43afe",
    "CAFE",
    "cafe ",
    "cafe\x00",
    "cafe\ud800",
    "\u202ecafe",
)
# Put together and taken apart again at another place, they are the same letters.
PIECES = ("a", "b", ":", "/", "|", "\x00", "\x1f", "1", "11", "a:b", '"', "\\", ",", "answer:", "")
NUMBERS = (1, 2, 11, 12, 111, 2**31, 2**31 + 1, 2**53, 2**53 + 1)
MODELS = ("tiny:latest", "tiny", "tiny:1", "tiny:11", "openai/tiny", "openai:tiny", "t\u0131ny")
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"seed": 1},
    {"seed": "1"},
    {"seed": True},
    {"seed": 11},
    {"top_k": 1},
    {"stop": ["a", "b"]},
    {"stop": ["a,b"]},
    {"stop": "ab"},
    {"num_predict": 9},
)
ENDPOINTS: tuple[tuple[Dialect, str], ...] = (
    ("ollama", "/api/chat"),
    ("openai", "/v1/chat/completions"),
    ("anthropic", "/v1/messages"),
)


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks what. Two with the same `question` may share an answer, if they are of one tenant."""

    caller: Caller
    model: Model
    request: ChatRequest

    @property
    def tenant(self) -> tuple[int, str]:
        """Both of what a tenant is: a number in this ledger, and a name."""
        return self.caller.tenant_id, self.caller.tenant

    @property
    def question(self) -> str:
        """What is asked, and of what, so that no two that differ are written alike."""
        asked = self.request
        # An answer that ends by itself is the same under every cap on its length.
        options = [(name, value) for name, value in asked.options.items() if name != "num_predict"]
        return repr((self.model.name, self.model.digest, asked.namespace, asked.messages[0].content, options))

    def may_have(self, tenant: tuple[int, str], question: str) -> bool:
        """Whether an answer that was made for `tenant` is one for this asker."""
        return question == self.question and (tenant == self.tenant or tenant in self.caller.reads_from)


def pair(chance: random.Random) -> tuple[Asker, Asker]:
    """Two askers who have nearly everything in common."""
    first = _asker(chance)
    second = first
    for change in chance.sample((_tenant, _namespace, _model, _text, _options, _delivery, _grant, _shift), 2):
        second = change(second, first, chance)
    return (first, second) if chance.random() < 0.5 else (second, first)


def _asker(chance: random.Random) -> Asker:
    caller = Caller(
        tenant_id=chance.choice(NUMBERS), tenant=_name(chance), key_id=chance.choice((None, *NUMBERS)), key_name="k"
    )
    dialect, endpoint = chance.choice(ENDPOINTS)
    request = ChatRequest(
        model="asked",
        messages=(Message(role="user", content=chance.choice(WORDS) + _name(chance)),),
        namespace=_name(chance),
        options=chance.choice(OPTIONS),
        dialect=dialect,
        endpoint=endpoint,
        stream=chance.random() < 0.5,
    )
    name = chance.choice(MODELS)
    return Asker(caller, Model(name=name, digest=chance.choice("de") * 64, engine="llamacpp"), request)


def _name(chance: random.Random) -> str:
    return "".join(chance.choices(PIECES, k=chance.randint(1, 4)))


def _tenant(one: Asker, other: Asker, chance: random.Random) -> Asker:
    if chance.random() < 0.5:
        return replace(one, caller=replace(one.caller, tenant_id=chance.choice(NUMBERS)))
    return replace(one, caller=replace(one.caller, tenant=chance.choice((_name(chance), one.caller.tenant + " "))))


def _namespace(one: Asker, other: Asker, chance: random.Random) -> Asker:
    return replace(one, request=replace(one.request, namespace=_name(chance)))


def _model(one: Asker, other: Asker, chance: random.Random) -> Asker:
    return replace(one, model=replace(one.model, name=chance.choice(MODELS), digest=chance.choice("de") * 64))


def _text(one: Asker, other: Asker, chance: random.Random) -> Asker:
    said = chance.choice(WORDS) + one.request.messages[0].content.lstrip("".join(WORDS))
    return replace(one, request=replace(one.request, messages=(Message(role="user", content=said),)))


def _options(one: Asker, other: Asker, chance: random.Random) -> Asker:
    return replace(one, request=replace(one.request, options=chance.choice(OPTIONS)))


def _delivery(one: Asker, other: Asker, chance: random.Random) -> Asker:
    """What changes nothing about the answer."""
    dialect, endpoint = chance.choice(ENDPOINTS)
    asked = replace(one.request, dialect=dialect, endpoint=endpoint, stream=not one.request.stream, request_id="same")
    return replace(one, caller=replace(one.caller, key_id=chance.choice(NUMBERS)), request=asked)


def _grant(one: Asker, other: Asker, chance: random.Random) -> Asker:
    """The other grants it; or somebody of the same number, or of the same name, does."""
    owner = chance.choice(
        (
            other.tenant,
            (chance.choice(NUMBERS), other.caller.tenant),
            (other.caller.tenant_id, _name(chance)),
        )
    )
    return replace(one, caller=replace(one.caller, reads_from=(owner,)))


def _shift(one: Asker, other: Asker, chance: random.Random) -> Asker:
    """The same letters, parted elsewhere between tenant, namespace and text."""
    letters = one.caller.tenant + one.request.namespace + one.request.messages[0].content
    first, second = sorted(chance.choices(range(len(letters) + 1), k=2))
    said = (Message(role="user", content=letters[second:]),)
    asked = replace(one.request, namespace=letters[first:second], messages=said)
    return replace(one, caller=replace(one.caller, tenant=letters[:first]), request=asked)
