"""The ASGI handler of the API.

Django's own handler opens a thread for each request and hops to it for signal receivers: four fifths
of a request's time. The API is async throughout and needs neither, nor any middleware. So nothing
below may touch the ORM on the event loop; see DECISIONS.md.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import aclosing
from functools import lru_cache
from inspect import isawaitable
from io import BytesIO
from typing import Any, TypeVar

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import Resolver404, ResolverMatch, URLResolver
from django.urls.resolvers import RegexPattern
from django.utils.encoding import iri_to_uri

from orchestrator.api.absent import is_absent
from orchestrator.api.anthropic import error_response, is_anthropic
from orchestrator.api.body import ENCODINGS, FILES, UnknownEncoding, is_packed, read_json, unpacked
from orchestrator.api.bounds import MOST_UNPACKED
from orchestrator.api.calls import request_id
from orchestrator.api.policy import admit, need_of, offered, path_of
from orchestrator.api.replies import PartsResponse, WholeStream
from orchestrator.api.table import api, show_error, show_fault
from orchestrator.core.errors import Busy, OrchestratorError, RequestTimeout, RequestTooLarge
from orchestrator.core.headers import DATA, HSTS, PAGE, as_bytes, missing
from orchestrator.core.threads import WorkerThread
from orchestrator.core.types import Caller

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

T = TypeVar("T")

OFF_LOOP_BYTES = 256 * 1024  # a larger body is read in a thread
ASKED_AGAIN_S = 0.1  # a body that took longer: its sender's key may have been revoked since it was shown
BODIES_HELD = 8  # bodies of the largest size that may be in memory at once
_routes = URLResolver(RegexPattern(r"^/"), list(api.urls[0]))
_offered = offered(api)


class LeanRequest(ASGIRequest):
    """A request whose body was read already."""

    json: Any = None  # the body's value, where that was worth a thread
    caller: Caller | None = None  # whose key was shown
    auth: Caller | None = None  # who asks, where a caller is asked for
    held_bytes = 0  # what its body takes of the handler's bound


class HungUp(Exception):  # nobody is told: there is nobody left
    """The client is gone."""


class LeanHandler:
    """Serves `api`.

    most_body_bytes  for one body; all that are held at a time may have `BODIES_HELD` times as many.
    body_deadline_s  how long a body may take to arrive.
    has_tls          whether a proxy in front ends TLS: browsers are told to come by it alone.
    How long a caller may take nothing of an answer is for the server to say: it sees the bytes leave.
    """

    def __init__(self, most_body_bytes: int, body_deadline_s: float, *, has_tls: bool = False) -> None:
        also = HSTS if has_tls else {}
        self._of_data, self._of_pages = as_bytes(DATA | also), as_bytes(PAGE | also)
        self._most_body_bytes = most_body_bytes
        self._body_deadline_s = body_deadline_s
        self._held_bytes = 0
        # One body is unpacked at a time, which bounds the memory that unpacking takes.
        self._unpacking = WorkerThread("unpacking")

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        request = LeanRequest(scope, BytesIO())
        try:
            response = await self._response(request, receive)
            response.headers.setdefault("X-Request-Id", request_id(request))
            await self._send(response, receive, send, is_head=request.method == "HEAD")
        except HungUp:
            return
        finally:
            self._held_bytes -= request.held_bytes

    async def _response(self, request: LeanRequest, receive: Receive) -> HttpResponseBase:
        match = _route(request.path_info)
        if match is None:
            return _not_found(request)
        method, path = request.method or "", path_of(match.route)
        if need_of(method, path) is None and method not in _offered.get(path, ()):
            return _not_allowed(request, ", ".join(_offered.get(path, ())))
        try:
            request.auth = await admit(request, method, path)  # a stranger's body is not worth reading
            began = time.monotonic()
            request._body = await self._read(request, receive)
            if time.monotonic() - began >= ASKED_AGAIN_S:
                request.caller = None
                request.auth = await admit(request, method, path)
            if len(request._body) > OFF_LOOP_BYTES and request.path_info not in FILES:
                request.json = await asyncio.to_thread(read_json, request._body)
            answer: HttpResponseBase | Awaitable[HttpResponseBase] = match.func(request, *match.args, **match.kwargs)
            # The pages that describe the API are plain functions.
            response = await _unless_hung_up(answer, receive) if isawaitable(answer) else answer
        except OrchestratorError as error:
            response = show_error(request, error)
            if isinstance(error, UnknownEncoding):
                response["Accept-Encoding"] = ENCODINGS
            _let_go(error)
        except (HungUp, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001  # the border: whatever it is, the caller gets its id and the log the rest
            response = show_fault(request, error)
        return _not_allowed(request, response.get("Allow", "")) if response.status_code == 405 else response

    async def _read(self, request: LeanRequest, receive: Receive) -> bytes:
        """What the endpoint reads. Raises what the next two raise, and UnknownEncoding."""
        if is_absent(request.method or "", request.path_info):
            return b""
        is_zstd = request.method == "POST" and is_packed(request.path_info, _encoding(request))
        body = await self._body(request, receive)
        return await self._unpacked(request, body) if is_zstd else body

    async def _body(self, request: LeanRequest, receive: Receive) -> bytes:
        """The whole body. Raises RequestTooLarge as soon as it is certain, Busy, RequestTimeout, HungUp."""
        announced = request.META.get("CONTENT_LENGTH", "")
        if announced.isdigit():
            self._check_size(int(announced))
        parts = []
        try:
            async with asyncio.timeout(self._body_deadline_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise HungUp
                    part = message.get("body", b"")
                    parts.append(part)
                    self._hold(request, len(part))
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError:
            raise RequestTimeout(f"The request body did not arrive within {self._body_deadline_s:g} s.") from None

    async def _unpacked(self, request: LeanRequest, body: bytes) -> bytes:
        """The body as it was before it was packed. Raises BadRequest, RequestTooLarge, Busy."""
        most = min(MOST_UNPACKED, self._most_body_bytes)
        try:
            body = await self._unpacking.run(self._body_deadline_s, unpacked, body, most)
        except TimeoutError:
            raise Busy("The request body could not be unpacked in time; try again shortly.", retry_after_s=1) from None
        self._hold(request, len(body) - request.held_bytes)
        return body

    def _hold(self, request: LeanRequest, more_bytes: int) -> None:
        """Count what the body takes. Raises RequestTooLarge, Busy."""
        request.held_bytes += more_bytes
        self._held_bytes += more_bytes
        self._check_size(request.held_bytes)
        if self._held_bytes > BODIES_HELD * self._most_body_bytes:
            raise Busy("Too many large requests are being read; try again shortly.", retry_after_s=1)

    def _check_size(self, size: int) -> None:
        if size > self._most_body_bytes:
            raise RequestTooLarge(f"The request body may have {self._most_body_bytes} bytes at most.")

    async def _send(self, response: HttpResponseBase, receive: Receive, send: Send, *, is_head: bool) -> None:
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.items()]
        is_page = response.headers.get("Content-Type", "").startswith("text/html")
        headers += missing(self._of_pages if is_page else self._of_data, headers)
        start: Message = {"type": "http.response.start", "status": response.status_code, "headers": headers}
        if isinstance(response, PartsResponse):
            async with aclosing(response):
                await send(start)
                await _unless_hung_up(self._send_parts(response, send), receive)
            return
        assert isinstance(response, HttpResponse)
        if not isinstance(response, WholeStream):
            headers.append((b"content-length", str(len(response.content)).encode()))
        await send(start)
        await send({"type": "http.response.body", "body": b"" if is_head else response.content})

    async def _send_parts(self, response: PartsResponse, send: Send) -> None:
        async for part in response.parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def _let_go(error: BaseException | None) -> None:
    """Take the tracebacks off: they hold the body, and are part of a cycle that is collected late."""
    while error is not None:
        error.__traceback__ = None
        error = error.__context__


async def _unless_hung_up(work: Awaitable[T], receive: Receive) -> T:
    """Return what `work` returns, or cancel it when the client goes first. Raises HungUp then."""
    me = asyncio.current_task()
    assert me is not None
    is_gone = is_over = False

    def hang_up(_: asyncio.Task[None]) -> None:
        nonlocal is_gone
        if not is_over:  # it may have been scheduled just before the end
            is_gone = True
            me.cancel()

    # Only the watch is a task of its own: this one is already there, and a second costs a tenth of a hit.
    watching = asyncio.create_task(_gone(receive))
    watching.add_done_callback(hang_up)
    try:
        result = await work
        if is_gone:  # and `work` would not be cancelled
            me.uncancel()
            raise HungUp
        return result
    except asyncio.CancelledError:
        if is_gone and me.uncancel() == 0:
            raise HungUp from None
        raise
    finally:
        is_over = True
        watching.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _encoding(request: HttpRequest) -> str:
    value: str = request.META.get("HTTP_CONTENT_ENCODING", "")
    return value


def _plain(status: int, text: str, **headers: str) -> HttpResponse:
    return HttpResponse(text, status=status, content_type="text/plain", headers=headers)


@lru_cache(maxsize=1024)
def _route(path: str) -> ResolverMatch | None:
    if path.endswith("/") and path != "/":  # none does; a model's name would take the slash as its own
        return None
    try:
        return _routes.resolve(path)
    except Resolver404:
        return None


def _not_allowed(request: HttpRequest, methods: str) -> HttpResponse:
    return _refusal(request, 405, "method not allowed", Allow=", ".join(sorted(methods.split(", "))))


def _refusal(request: HttpRequest, status: int, words: str, **headers: str) -> HttpResponse:
    """Plain text, as Ollama's router has it; Anthropic's clients read nothing but their own shape."""
    if not is_anthropic(request.path_info):
        return _plain(status, f"{status} {words}", **headers)
    response = error_response(request, status, words)
    for name, value in headers.items():
        response[name] = value
    return response


def _not_found(request: HttpRequest) -> HttpResponse:
    """Unknown, or known without its trailing slash."""
    bare = request.path_info.rstrip("/")
    if bare and bare != request.path_info and _route(bare):
        query = request.META.get("QUERY_STRING", "")
        location = iri_to_uri(bare) + (f"?{query}" if query else "")
        return _plain(301 if request.method == "GET" else 307, "", Location=location)
    return _refusal(request, 404, "page not found")
