"""Whether a question was asked before, and so the answer to it hardly helped: again, or in other words."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
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
    """The newest questions of each caller, by what was said before them; and with it, to know what grew out of them."""

    def __init__(self) -> None:
        self._asked: OrderedDict[bytes, _Asked] = OrderedDict()
        self._whole: OrderedDict[bytes, None] = OrderedDict()

    def asked(self, request: ChatRequest, caller: Caller, now: float) -> Before | None:
        """Remember a question, and return the one that it asks again.

        A question that is asked again as it was, and anew by the caller's own word, is a retry. One that says the last
        thing otherwise, in much the same words, is an edit where the conversation goes on from a question that was
        seen; a new turn of the conversation is neither.

        request  as the caller made it, before rules say what the cache may do.
        now      monotonic seconds.
        """
        if not request.messages:
            return None
        last = request.messages[-1]
        conversations = list(_conversations(request, caller))
        before, whole = conversations[-2:]
        said = _digest((last.content, last.images, request.tools, str(request.format)))
        words = frozenset(map(hash, _WORD.findall(last.content[:MOST_TEXT].casefold())[:MOST_WORDS]))
        known = self._asked.pop(before, None)
        self._asked[before] = _Asked(request.request_id, now, words, said)
        self._whole[whole] = None
        self._whole.move_to_end(whole)
        for remembered in (self._asked, self._whole):
            if len(remembered) > MOST_REMEMBERED:
                remembered.popitem(last=False)
        if known is None or now - known.at > FORGOTTEN_S or known.request_id == request.request_id:
            return None
        if known.question == said:
            return Before(known.request_id, "retry") if _is_anew(request) else None
        both, either = len(words & known.words), len(words | known.words)
        # What no answer of ours came before are an application's instructions and examples: two questions that follow
        # the same of them are hardly ever one question in two wordings, whatever words a template gives both.
        if either and both / either >= ALIKE and self._goes_on(request, conversations):
            return Before(known.request_id, "edit")
        return None

    def _goes_on(self, request: ChatRequest, conversations: Sequence[bytes]) -> bool:
        """Whether what stands before the newest answer in the conversation was asked here."""
        answers = [at for at, message in enumerate(request.messages[:-1]) if message.role == "assistant"]
        return bool(answers) and conversations[answers[-1]] in self._whole


def _is_anew(request: ChatRequest) -> bool:
    """Whether the caller wants another answer; who only wants nothing kept says nothing of the last one."""
    return not request.control.read and request.control.write


def _conversations(request: ChatRequest, caller: Caller) -> Iterator[bytes]:
    """Digests of what was said before each message, the first before all, and then of the whole."""
    asked = caller.tenant_id, caller.key_id, request.address, request.model
    digest = blake2b(_encoded(asked), digest_size=16)
    yield digest.digest()
    for message in request.messages:
        digest.update(_encoded(message))
        yield digest.digest()


def _digest(value: object) -> bytes:
    return blake2b(_encoded(value), digest_size=16).digest()


def _encoded(value: object) -> bytes:
    try:
        return msgspec.msgpack.encode(value, enc_hook=repr)
    except (ValueError, OverflowError, RecursionError):  # what JSON holds and MessagePack does not
        return repr(value).encode("utf-8", "surrogatepass")
