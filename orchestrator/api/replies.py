"""An answer that has begun becomes an HTTP response: headers, NDJSON lines, SSE events, or one JSON value."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import Any

import orjson
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse

from orchestrator.core.errors import EngineError, OrchestratorError
from orchestrator.core.types import Chunk, Chunks, Reply, ReplyBuilder
from orchestrator.pipeline import Answer

log = logging.getLogger(__name__)

JSON_UTF8 = "application/json; charset=utf-8"
NDJSON = "application/x-ndjson"
EVENTS = "text/event-stream"


class PartsResponse(StreamingHttpResponse):
    """A stream whose generator can be closed, so that what feeds it stops when the client goes."""

    def __init__(self, parts: AsyncGenerator[bytes, None], content_type: str) -> None:
        super().__init__(parts, content_type=content_type)
        self.parts = parts


def to_json(value: Any) -> bytes:
    """Compact JSON, UTF-8."""
    return orjson.dumps(value)


def json_response(value: Any, *, status: int = 200, content_type: str = JSON_UTF8) -> HttpResponse:
    """`value` as the whole body."""
    return HttpResponse(to_json(value), status=status, content_type=content_type)


async def started(answer: Answer) -> Answer:
    """Wait for the first chunk, so that a failure up to then is still a plain HTTP error."""
    first = await anext(answer.chunks, None)
    answer.chunks = _resumed(first, answer.chunks)
    return answer


async def _resumed(first: Chunk | None, rest: Chunks) -> AsyncGenerator[Chunk, None]:
    async with aclosing(rest):
        if first is not None:
            yield first
            async for chunk in rest:
                yield chunk


async def collected(answer: Answer) -> Reply:
    """Read the answer to its end. Raises what the engine raises."""
    builder = ReplyBuilder(answer.entry.model)
    async with aclosing(answer.chunks) as chunks:
        async for chunk in chunks:
            builder.add(chunk)
    reply = builder.reply()
    if reply is None:
        raise EngineError("The answer ended without its last part.")
    return reply


def streamed(
    answer: Answer,
    frames: Callable[[Chunk], Iterable[bytes]],
    error_frame: Callable[[OrchestratorError], bytes],
    *,
    content_type: str,
    last: bytes = b"",
) -> HttpResponseBase:
    """Send each chunk as it comes. After the first byte an error is a frame of its own, and the end."""

    async def body() -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(answer.chunks) as chunks:
                async for chunk in chunks:
                    for frame in frames(chunk):
                        yield frame
            if last:
                yield last
        except OrchestratorError as error:
            yield error_frame(error)
        except Exception:  # the status is sent: all that is left is to say so, and to log the rest
            log.exception("answer %s broke off", answer.entry.request.request_id)
            yield error_frame(OrchestratorError("internal error"))

    return _with_headers(PartsResponse(body(), content_type), answer)


def whole(answer: Answer, value: Any, *, content_type: str = JSON_UTF8) -> HttpResponseBase:
    """The collected answer, as `value`."""
    return _with_headers(json_response(value, content_type=content_type), answer)


def _with_headers(response: HttpResponseBase, answer: Answer) -> HttpResponseBase:
    entry = answer.entry
    response["Cache-Status"] = cache_status(entry.tier, is_stored=entry.is_stored)
    if answer.age_s is not None:
        response["Age"] = str(int(answer.age_s))
    response["X-Request-Id"] = entry.request.request_id
    response["X-Orchestrator-Model"] = header_safe(entry.model)
    response["X-Orchestrator-Route"] = entry.route
    laps = dict(answer.timing)
    if entry.first_s is not None:
        laps["first"] = max(entry.first_s - sum(answer.timing.values()), 0.0)
    if entry.total_s:
        laps["total"] = entry.total_s
    response["Server-Timing"] = ", ".join(f"{name};dur={seconds * 1000:.3f}" for name, seconds in laps.items())
    return response


def header_safe(text: str) -> str:
    """`text` with whatever may not stand in a header left out."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char for char in text if " " <= char <= "~")


def cache_status(tier: str, *, is_stored: bool = False) -> str:
    """How the cache served the request, as RFC 9211 writes it."""
    match tier:
        case "memory" | "redis" | "sqlite" | "semantic":
            return f"orchestrator; hit; detail={tier}"
        case "collapsed":
            return "orchestrator; fwd=miss; collapsed"
        case "bypass" | "":
            return "orchestrator; fwd=bypass"
        case _:
            return "orchestrator; fwd=miss; stored" if is_stored else "orchestrator; fwd=miss"


def rfc3339(seconds_ns: int | None = None) -> str:
    """A moment as Go prints it: UTC, up to nine decimals, trailing zeros trimmed."""
    nanoseconds = time.time_ns() if seconds_ns is None else seconds_ns
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{stamp}.{fraction:09d}".rstrip("0").rstrip(".") + "Z"
