"""A provider that answers as fast as a Python process can: `python -m bench.upstream LISTENING_FD`.

It speaks the OpenAI chat protocol, whole and streamed, and keeps count of its calls (`GET /calls`).
The model's name says how it behaves:

    at-once            everything in one write
    about-MS           the same, so many milliseconds later, half as many more or less: callers do not march in
                       step, and a question takes as long each time
    paced-FRAMES-MS    streamed, a frame each MS milliseconds
    idle-SECONDS       streamed: one frame, a comment now and then, the end after so many seconds
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import socket
import sys
from typing import Any

import uvloop

TEXT = "Paris is the capital of France, and has been for most of the last thousand years. " * 4
PIECES = 8  # frames of an answer that is streamed at once
COMMENT_EACH_S = 5.0
BACKLOG = 4096  # connections that come at once are not turned away
CREATED = 1_700_000_000  # any moment: nobody reads it

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_MODEL = re.compile(rb'"model": *"([^"]+)"')
_NUMBER = re.compile(rb"Question (\d+)")
_STREAM = re.compile(rb'"stream": *true')
_USAGE = {"prompt_tokens": 60, "completion_tokens": 64, "total_tokens": 124}


def to_json(value: Any) -> bytes:
    """As compact as providers write it."""
    return json.dumps(value, separators=(",", ":")).encode()


def whole(value: dict[str, Any]) -> bytes:
    """A response with `value` as its body."""
    body = to_json(value)
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body


def event(model: str, delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    """One frame of a streamed answer, as an HTTP chunk."""
    choices = [] if more else [{"index": 0, "delta": delta, "finish_reason": finish}]
    about = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": CREATED, "model": model}
    return chunk(b"data: " + to_json({**about, "choices": choices, **more}) + b"\n\n")


def chunk(data: bytes) -> bytes:
    """`data` as an HTTP chunk."""
    return b"%x\r\n" % len(data) + data + b"\r\n"


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
MODELS = whole({"object": "list", "data": [{"id": "at-once", "object": "model"}]})
COMMENT = chunk(b": still here\n\n")


def ending(model: str) -> bytes:
    """What a streamed answer ends with."""
    return event(model, {}, "stop") + event(model, {}, usage=_USAGE) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def at_once(*, is_streamed: bool) -> bytes:
    """The whole response of the model `at-once`."""
    if not is_streamed:
        message = {"role": "assistant", "content": TEXT}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        about = {"id": "chatcmpl-1", "object": "chat.completion", "created": CREATED, "model": "at-once"}
        return whole({**about, "choices": choices, "usage": _USAGE})
    size = -(-len(TEXT) // PIECES)
    pieces = [event("at-once", {"content": TEXT[start : start + size]}) for start in range(0, len(TEXT), size)]
    return STREAM_HEAD + b"".join(pieces) + ending("at-once")


WHOLE_AT_ONCE, STREAM_AT_ONCE = at_once(is_streamed=False), at_once(is_streamed=True)


class Provider(asyncio.Protocol):
    """One connection."""

    calls = 0  # of all connections

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._next: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # it is one
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._next:
            self._next.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        end_of_head = self._received.find(b"\r\n\r\n")
        if end_of_head < 0:
            return
        length = _LENGTH.search(self._received, 0, end_of_head + 2)
        end = end_of_head + 4 + (int(length[1]) if length else 0)
        if len(self._received) >= end:
            request, self._received = self._received[:end], self._received[end:]
            self._answer(request)

    def _answer(self, request: bytes) -> None:
        if request.startswith(b"GET /calls"):
            self._transport.write(whole({"calls": Provider.calls}))
            return
        if request.startswith(b"GET"):
            self._transport.write(MODELS)
            return
        Provider.calls += 1
        found = _MODEL.search(request)
        behaviour, *numbers = found[1].decode().rsplit("-", 2) if found else ("at-once",)
        match behaviour, *numbers:
            case "paced", frames, pause_ms:
                self._transport.write(STREAM_HEAD)
                self._pace(int(frames), float(pause_ms) / 1000, self._loop.time())
            case "idle", seconds:
                self._transport.write(STREAM_HEAD + event("idle", {"content": "Still here."}))
                self._idle(self._loop.time() + float(seconds))
            case "about", pause_ms:
                number = _NUMBER.search(request)
                chance = random.Random(number[1] if number else b"")  # noqa: S311  # the same each time
                pause_s = float(pause_ms) / 1000 * chance.uniform(0.5, 1.5)
                self._next = self._loop.call_later(pause_s, self._all, request)
            case _:
                self._all(request)

    def _all(self, request: bytes) -> None:
        self._transport.write(STREAM_AT_ONCE if _STREAM.search(request) else WHOLE_AT_ONCE)

    def _pace(self, left: int, pause_s: float, due: float) -> None:
        self._transport.write(event("paced", {"content": f"word{left} "}))
        if left == 1:
            self._transport.write(ending("paced"))
            return
        due += pause_s  # from when it was due, so that being late does not add up
        self._next = self._loop.call_at(due, self._pace, left - 1, pause_s, due)

    def _idle(self, until: float) -> None:
        now = self._loop.time()
        if now >= until:
            self._transport.write(ending("idle"))
            return
        self._next = self._loop.call_at(min(now + COMMENT_EACH_S, until), self._remark, until)

    def _remark(self, until: float) -> None:
        self._transport.write(COMMENT)
        self._idle(until)


async def main() -> None:
    """Serve until killed."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    server = await asyncio.get_running_loop().create_server(Provider, sock=listener, backlog=BACKLOG)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
