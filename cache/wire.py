"""What processes say to each other about calls in flight.

    checksum (16 bytes)  body (MessagePack)

The checksum is keyed and covers the inbox a message is for: what someone without our secret wrote, or
took from one inbox to another, is no message. Each says which follower it is about, by a number of the
follower's own process, and chunks by their place in the answer, so that one that comes twice changes
nothing and one that is missing is noticed.
"""

from __future__ import annotations

import hmac
from hashlib import blake2b

import msgspec
from django.conf import settings

from orchestrator.core.errors import EngineError, OrchestratorError
from orchestrator.core.types import Chunk

_CHECKSUM_SIZE = 16


class Listen(msgspec.Struct, tag="listen", array_like=True, frozen=True):
    """Tell me of this call, or go on telling me."""

    inbox: str  # the follower's
    follower: int
    call: int
    heard: int  # chunks that were taken in
    again_from: int | None = None  # something is missing from here on


class Left(msgspec.Struct, tag="left", array_like=True, frozen=True):
    """I need no more of it."""

    inbox: str
    follower: int


class Alive(msgspec.Struct, tag="alive", array_like=True, frozen=True):
    """You are heard, and this is how much was said so far."""

    follower: int
    said: int


class News(msgspec.Struct, tag="news", array_like=True, frozen=True):
    """The next chunks."""

    follower: int
    place: int  # of the first
    chunks: list[Chunk]


class End(msgspec.Struct, tag="end", array_like=True, frozen=True):
    """There is no more."""

    follower: int
    place: int
    error: Failure | None = None


class No(msgspec.Struct, tag="no", array_like=True, frozen=True):
    """You cannot have it from here."""

    follower: int
    why: str


class Failure(msgspec.Struct, array_like=True, frozen=True):
    """What was raised."""

    name: str
    words: str
    retry_after_s: float | None = None


Message = Listen | Left | Alive | News | End | No

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


class BadMessage(Exception):
    """These bytes are no message for this inbox, or this cannot be said in bytes."""


def seal(inbox: str, message: Message) -> bytes:
    """Return `message` as bytes that `unseal` takes, for this inbox only. Raises BadMessage."""
    try:
        body = _encoder.encode(message)
    except (OverflowError, UnicodeEncodeError, TypeError) as error:
        raise BadMessage(f"It cannot be sent: {error}.") from None
    return _checksum(inbox, body) + body


def unseal(inbox: str, data: bytes) -> Message:
    """Return the message that `data` is. Raises BadMessage when it is none, or none for `inbox`."""
    checksum, body = data[:_CHECKSUM_SIZE], data[_CHECKSUM_SIZE:]
    if not hmac.compare_digest(checksum, _checksum(inbox, body)):
        raise BadMessage("The checksum is wrong.")
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise BadMessage(f"The checksum is right, the content is not: {error}.") from None


def secret_name(hash_: str) -> str:
    """What a question is called where others can read it: only processes with our secret call it the same."""
    return blake2b(hash_.encode(), key=settings.CACHE_MAC_KEY, digest_size=16, person=b"calls in flight").hexdigest()


def to_failure(error: BaseException) -> Failure:
    """What is told of `error`; a fault of ours stays where it happened."""
    if not isinstance(error, OrchestratorError):
        return Failure(EngineError.__name__, "The call failed in the process that made it; its log has more.")
    return Failure(type(error).__name__, str(error), error.retry_after_s)


def to_error(failure: Failure) -> OrchestratorError:
    """The error that was told of; an unknown one is an EngineError."""
    kinds = _kinds(OrchestratorError)
    return kinds.get(failure.name, EngineError)(failure.words, retry_after_s=failure.retry_after_s)


def _kinds(error: type[OrchestratorError]) -> dict[str, type[OrchestratorError]]:
    kinds = {error.__name__: error}
    for kind in error.__subclasses__():
        kinds |= _kinds(kind)
    return kinds


def _checksum(inbox: str, body: bytes) -> bytes:
    checksum = blake2b(inbox.encode(), key=settings.CACHE_MAC_KEY, digest_size=_CHECKSUM_SIZE, person=b"calls message")
    checksum.update(b"\0" + body)
    return checksum.digest()
