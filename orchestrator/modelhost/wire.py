"""What web workers, the model host and its children say to each other, and how it is written.

Host and child: frames over a socket pair, each a length in four bytes and a MessagePack body.
Web worker and host: a MessagePack body up, lines of JSON down, over HTTP on a unix socket.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import msgspec

from orchestrator.core import errors
from orchestrator.core.types import ChatRequest, Chunk

LARGEST_FRAME = 128 * 1024**2  # bytes
_LENGTH = struct.Struct(">I")


class Load(msgspec.Struct, tag="load"):
    """To a child, first: the file to load and how."""

    weights: str
    context: int  # tokens each answer may have in view
    slots: int  # answers made at once
    threads: int  # 0: measure
    tokens_per_s: float  # one answer's pace with those, where it was measured before; otherwise 0
    template: str = ""  # Go's kind, in place of the file's own


class Ask(msgspec.Struct, tag="ask"):
    """To a child: answer this."""

    id: int
    request: ChatRequest
    options: dict[str, Any]  # the model's own, under the request's
    system: str | None
    messages: tuple[Mapping[str, str], ...]
    load_ns: int
    is_preview: bool = False  # only say what the model would be given: one `Preview`, as JSON


class Preview(msgspec.Struct):
    """What a model would be given."""

    text: str
    tokens: int


class Cancel(msgspec.Struct, tag="cancel"):
    """To a child: nobody is listening any more."""

    id: int


class Ready(msgspec.Struct, tag="ready"):
    """From a child: it can be asked now."""

    threads: int
    rates: dict[int, float]  # tokens per second by threads, where they were measured


class LoadFailed(msgspec.Struct, tag="load_failed"):
    """From a child, which then ends."""

    message: str


class Piece(msgspec.Struct, tag="piece"):
    """From a child: the next part of an answer."""

    id: int
    line: bytes  # a Chunk as JSON, without an end of line
    is_last: bool = False


class Refused(msgspec.Struct, tag="refused"):
    """From a child: this one will not be answered, or not to its end."""

    id: int
    kind: str
    message: str


class Pulse(msgspec.Struct, tag="pulse"):
    """From a child, about once a second while it works: it lives, and how it fares."""

    tokens_per_s: float
    threads: int
    collapses: int  # how often its threads were too many


ToChild = Load | Ask | Cancel
FromChild = Ready | LoadFailed | Piece | Refused | Pulse

_encode = msgspec.msgpack.Encoder().encode
_decode_request = msgspec.msgpack.Decoder(ChatRequest).decode
_decode_chunk = msgspec.json.Decoder(Chunk).decode
_preview: msgspec.json.Decoder[Preview | None] = msgspec.json.Decoder(Preview | None)
_encode_json = msgspec.json.Encoder().encode
_to_child: msgspec.msgpack.Decoder[ToChild] = msgspec.msgpack.Decoder(ToChild)
_from_child: msgspec.msgpack.Decoder[FromChild] = msgspec.msgpack.Decoder(FromChild)
_CHUNK_DEFAULTS = {field.name: field.default for field in fields(Chunk)}


def to_frame(request: ChatRequest) -> bytes:
    """A request as bytes. Raises BadRequest when something in it cannot be written, such as a huge number."""
    try:
        return _encode(request)
    except (OverflowError, TypeError, RecursionError, UnicodeEncodeError) as error:
        raise errors.BadRequest(f"the request cannot be passed on to the model: {error}") from None


def from_frame(data: bytes) -> ChatRequest:
    """The request that `to_frame` wrote. Raises BadRequest when it is not one."""
    try:
        return _decode_request(data)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise errors.BadRequest(f"not a request: {error}") from None


def to_line(chunk: Chunk) -> bytes:
    """A chunk as one line of JSON, without its end; what is at its default is left out."""
    said = {name: value for name, unset in _CHUNK_DEFAULTS.items() if (value := getattr(chunk, name)) != unset}
    return _encode_json(said)


def from_line(line: bytes) -> Chunk:
    """The chunk that `to_line` wrote; raises the error when the line holds one instead."""
    if line.startswith(b'{"error"'):
        raise from_error(line)
    return _decode_chunk(line)


def preview_from_line(line: bytes) -> Preview | None:
    """What a line of JSON says a model would be given; None where it says that nobody knows."""
    return _preview.decode(line)


def preview_to_line(preview: Preview) -> bytes:
    """As one line of JSON, without its end."""
    return _encode_json(preview)


def to_error(error: errors.OrchestratorError) -> bytes:
    """An error as one line of JSON."""
    said: dict[str, Any] = {"error": str(error), "kind": error.kind}
    if error.retry_after_s is not None:
        said["retry_after_s"] = error.retry_after_s
    return _encode_json(said)


def from_error(line: bytes) -> errors.OrchestratorError:
    """The error that `to_error` wrote."""
    said = msgspec.json.decode(line)
    return error_of(str(said.get("kind", "")), str(said["error"]), said.get("retry_after_s"))


def error_of(kind: str, message: str, retry_after_s: float | None = None) -> errors.OrchestratorError:
    """The error that has this kind."""
    return _KINDS.get(kind, errors.EngineError)(message, retry_after_s=retry_after_s)


def _kinds(root: type[errors.OrchestratorError]) -> dict[str, type[errors.OrchestratorError]]:
    found = {root.kind: root} if "kind" in vars(root) else {}  # a kind is whose own it is, not who inherits it
    for child in root.__subclasses__():
        found |= _kinds(child)
    return found


_KINDS = _kinds(errors.OrchestratorError)


def frame(message: ToChild | FromChild) -> bytes:
    """A message with its length in front. Raises ValueError when it is too long or cannot be written."""
    try:
        body = _encode(message)
    except (OverflowError, TypeError, RecursionError) as error:
        raise ValueError(f"a message cannot be written: {error}") from None
    if len(body) > LARGEST_FRAME:
        raise ValueError(f"a message of {len(body)} bytes is longer than {LARGEST_FRAME}")
    return _LENGTH.pack(len(body)) + body


def child_frame(message: FromChild) -> bytes:
    """What a child says, as `frame`; in place of a part that is too long, that there will be no answer."""
    try:
        return frame(message)
    except ValueError as error:
        if not isinstance(message, Piece):
            raise
        return frame(Refused(message.id, errors.EngineError.kind, str(error)))


async def from_child(reader: asyncio.StreamReader) -> FromChild:
    """The next message of a child. Raises EOFError when it is gone, ValueError on what is not a message."""
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > LARGEST_FRAME:
        raise ValueError(f"a child sent a message of {length} bytes")
    return _from_child.decode(await reader.readexactly(length))


def to_child(connection: socket.socket) -> ToChild:
    """The host's next message, in the child. Raises EOFError when the host is gone."""
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
    return _to_child.decode(_exactly(connection, length))


def _exactly(connection: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = connection.recv(min(length - len(data), 1024**2))
        if not part:
            raise EOFError
        data += part
    return bytes(data)
