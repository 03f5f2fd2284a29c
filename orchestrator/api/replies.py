"""An answer that has begun becomes an HTTP response: headers, NDJSON lines, SSE events, or one JSON value."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

from orchestrator.answers import Answer
from orchestrator.api.bounds import check_question
from orchestrator.api.calls import caller_of
from orchestrator.api.offers import SLOT, Offer, Slot
from orchestrator.api.stamps import HOLES, Live, Stamps, Template
from orchestrator.core.arguments import whole_text
from orchestrator.core.errors import EngineError, OrchestratorError
from orchestrator.core.types import Caller, ChatRequest, Chunk, Chunks, Reply, ReplyBuilder
from orchestrator.kept import as_of_now
from orchestrator.parts import Parts
from orchestrator.pictures import named
from orchestrator.pipeline import answer
from orchestrator.wiring import parts

log = logging.getLogger(__name__)

JSON_UTF8 = "application/json; charset=utf-8"
NDJSON = "application/x-ndjson"
EVENTS = "text/event-stream"
Begin = Callable[[ChatRequest, Caller, Parts], Awaitable[Answer]]


class PartsResponse(StreamingHttpResponse):
    """A stream that can be closed, so that what feeds it stops when the client goes, also before it has begun."""

    def __init__(self, parts: AsyncGenerator[bytes, None], source: Chunks | None, content_type: str) -> None:
        super().__init__(parts, content_type=content_type)
        self.parts = parts
        self._source = source

    async def aclose(self) -> None:
        """Nobody reads on."""
        await self.parts.aclose()
        if self._source is not None:
            await self._source.aclose()  # a generator that never began closes nothing


class WholeStream(HttpResponse):
    """A stream that is all there before it begins. It is sent as one, without a length."""


def to_json(value: Any) -> bytes:
    """Compact JSON, UTF-8. Arrays of numpy are lists, with as many digits as tell their numbers apart."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:  # nothing else that is answered here cannot be written
        return orjson.dumps(readable(value), option=orjson.OPT_SERIALIZE_NUMPY)


def readable(value: Any) -> Any:
    """`value` with every half surrogate, which JSON in UTF-8 cannot hold, in the form of U+FFFD."""
    if isinstance(value, str):
        return whole_text(value)
    if isinstance(value, dict):
        return {readable(name): readable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [readable(item) for item in value]
    return value


def json_response(value: Any, *, status: int = 200, content_type: str = JSON_UTF8) -> HttpResponse:
    """`value` as the whole body."""
    return HttpResponse(to_json(value), status=status, content_type=content_type)


async def begin(request: HttpRequest, asked: ChatRequest, how: Begin = answer) -> Answer:
    """Ask for whoever sent `request`. Waits for the first chunk: a failure up to then is still a plain HTTP error."""
    check_question(asked)
    begun = await how(asked, caller_of(request), parts())
    first = await anext(begun.chunks, None)
    begun.chunks = _Resumed(first, begun.chunks)
    return begun


class _Resumed:
    """The answer again with its first chunk. No generator: one that is closed before it began would close nothing."""

    def __init__(self, first: Chunk | None, rest: Chunks) -> None:
        self._first, self._rest = first, rest

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        if self._first is None:
            return await anext(self._rest)
        first, self._first = self._first, None
        return first

    async def aclose(self) -> None:
        self._first = None
        await self._rest.aclose()


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


class Form(Protocol):
    """An answer as a dialect writes it."""

    def of_chunk(self, chunk: Chunk) -> Iterable[bytes]:
        """A piece of it, as frames of a stream."""

    def of_reply(self, reply: Reply) -> dict[str, Any]:
        """All of it, as one object."""


@dataclass(frozen=True, slots=True)
class Wire:
    """How a dialect sends answers."""

    error_frame: Callable[[OrchestratorError], bytes]
    stream_type: str
    whole_type: str = JSON_UTF8
    last: bytes = b""  # what a stream ends with


async def respond(
    request: HttpRequest, answer: Answer, form_of: Callable[[Stamps], Form], wire: Wire, *, is_streamed: bool
) -> HttpResponseBase:
    """Send the answer, as a stream or whole; what came from memory is offered to be replayed."""
    try:
        form = form_of(Live(answer.entry))
        response: HttpResponseBase
        if is_streamed and answer.hit is not None:
            response = await _at_once(answer, form, wire)  # piece by piece it would cost a sixth more
        elif is_streamed:
            response = _streamed(answer, form, wire)
        else:
            response = json_response(form.of_reply(await collected(answer)), content_type=wire.whole_type)
        _offer(request, answer, form_of(HOLES), wire, is_streamed=is_streamed)
        return _with_headers(response, answer)
    except BaseException:
        await answer.chunks.aclose()
        raise


def _offer(request: HttpRequest, answer: Answer, form: Form, wire: Wire, *, is_streamed: bool) -> None:
    slot: Slot | None = getattr(request, "scope", {}).get(SLOT)
    if slot is None or answer.hit is None or answer.hit.tier != "memory":
        return
    if answer.entry.granted_by is not None:  # a grant is looked at anew for each request
        return
    if answer.entry.request.template or named(answer.entry.request):  # the date in it, or what is there, may change
        return
    reply = as_of_now(answer.hit.entry.reply, HOLES.total_ns)
    if is_streamed:
        body = b"".join([frame for chunk in reply.chunks() for frame in form.of_chunk(chunk)]) + wire.last
    else:
        body = to_json(form.of_reply(reply))
    slot.offer = Offer(Template(body), answer.entry, answer.hit.entry)


async def _at_once(answer: Answer, form: Form, wire: Wire) -> HttpResponse:
    async with aclosing(answer.chunks) as chunks:
        frames = [frame async for chunk in chunks for frame in form.of_chunk(chunk)]
    return WholeStream(b"".join([*frames, wire.last]), content_type=wire.stream_type)


def _streamed(answer: Answer, form: Form, wire: Wire) -> HttpResponseBase:
    """Send each chunk as it comes. After the first byte an error is a frame of its own, and the end."""

    async def body() -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(answer.chunks) as chunks:
                async for chunk in chunks:
                    for frame in form.of_chunk(chunk):
                        yield frame
            if wire.last:
                yield wire.last
        except OrchestratorError as error:
            yield wire.error_frame(error)
        except Exception:  # the status is sent: all that is left is to say so, and to log the rest
            log.exception("answer %s broke off", answer.entry.request.request_id)
            yield wire.error_frame(OrchestratorError("internal error"))

    return PartsResponse(body(), answer.chunks, wire.stream_type)


def _with_headers(response: HttpResponseBase, answer: Answer) -> HttpResponseBase:
    entry = answer.entry
    response["Cache-Status"] = cache_status(
        entry.tier, is_stored=entry.is_stored, is_granted=entry.granted_by is not None
    )
    if answer.hit is not None:
        response["Age"] = str(int(answer.hit.age_s))
    response["X-Request-Id"] = entry.request.request_id
    response["X-Orchestrator-Model"] = header_safe(entry.model)
    response["X-Orchestrator-Route"] = header_safe(entry.route)
    if answer.standing.policy:
        response["RateLimit-Policy"] = answer.standing.policy
        response["RateLimit"] = answer.standing.now
    if entry.unsupported and parts().unsupported != "drop":
        response["X-Orchestrator-Unsupported"] = ", ".join(entry.unsupported)
    if entry.cap is not None:
        response["X-Orchestrator-Cap"] = str(entry.cap)
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


def cache_status(tier: str, *, is_stored: bool = False, is_granted: bool = False) -> str:
    """How the cache served the request, as RFC 9211 writes it."""
    match tier:
        case "memory" | "redis" | "sqlite" | "semantic":
            return (
                f'orchestrator; hit; detail="{tier}, by grant"' if is_granted else f"orchestrator; hit; detail={tier}"
            )
        case "collapsed":
            return "orchestrator; fwd=miss; collapsed"
        case "bypass" | "":
            return "orchestrator; fwd=bypass; stored" if is_stored else "orchestrator; fwd=bypass"
        case _:
            return "orchestrator; fwd=miss; stored" if is_stored else "orchestrator; fwd=miss"
