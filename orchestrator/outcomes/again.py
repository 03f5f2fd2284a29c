"""Whether a question was asked before, and so the answer to it hardly helped: again, or in other words."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

import msgspec

from orchestrator.core.types import Caller, ChatRequest

MOST_REMEMBERED = 4_000  # questions
FORGOTTEN_S = 600.0
ALIKE = 0.5  # share of words that two wordings have in common, of those that either has
MOST_WORDS, MOST_TEXT = 200, 4_000  # of a question, and characters of it that are looked through for them
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Before:
    """The request whose answer was not what was wanted, as it seems, and why it seems so."""

    request_id: str
    kind: Literal["retry", "edit"]


@dataclass(slots=True)
class _Asked:
    request_id: str
    at: float
    words: frozenset[int]  # hashes: what was asked is not kept
    question: bytes


class Again:
    """The newest questions of each caller, by what was said before them."""

    def __init__(self) -> None:
        self._asked: OrderedDict[bytes, _Asked] = OrderedDict()

    def asked(self, request: ChatRequest, caller: Caller, now: float) -> Before | None:
        """Remember a question, and return the one that it asks again.

        A question that is asked again as it was, and anew by the caller's own word, is a retry. One that says the last
        thing otherwise, in much the same words, is an edit; a new turn of the conversation is neither.

        request  as the caller made it, before rules say what the cache may do.
        now      monotonic seconds.
        """
        if not request.messages:
            return None
        last = request.messages[-1]
        before = _digest((caller.tenant_id, caller.key_id, request.address, request.model, request.messages[:-1]))
        said = _digest((last.content, last.images, request.tools, str(request.format)))
        words = frozenset(map(hash, _WORD.findall(last.content[:MOST_TEXT].casefold())[:MOST_WORDS]))
        known = self._asked.pop(before, None)
        self._asked[before] = _Asked(request.request_id, now, words, said)
        if len(self._asked) > MOST_REMEMBERED:
            self._asked.popitem(last=False)
        if known is None or now - known.at > FORGOTTEN_S or known.request_id == request.request_id:
            return None
        if known.question == said:
            return Before(known.request_id, "retry") if _is_anew(request) else None
        both, either = len(words & known.words), len(words | known.words)
        # A first question has nothing before it: two of a key's own are hardly ever one question in two wordings.
        if len(request.messages) > 1 and either and both / either >= ALIKE:
            return Before(known.request_id, "edit")
        return None


def _is_anew(request: ChatRequest) -> bool:
    """Whether the caller wants another answer; who only wants nothing kept says nothing of the last one."""
    return not request.control.read and request.control.write


def _digest(value: object) -> bytes:
    try:
        encoded = msgspec.msgpack.encode(value, enc_hook=repr)
    except (ValueError, OverflowError, RecursionError):  # what JSON holds and MessagePack does not
        encoded = repr(value).encode("utf-8", "surrogatepass")
    return blake2b(encoded, digest_size=16).digest()
