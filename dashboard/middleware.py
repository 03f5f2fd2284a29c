"""What every page says to browsers, and how long somebody stays signed in."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from inspect import iscoroutinefunction

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from orchestrator.core.headers import PAGE

Handler = Callable[[HttpRequest], HttpResponseBase]
AsyncHandler = Callable[[HttpRequest], Awaitable[HttpResponseBase]]

BEGAN, SEEN = "began", "seen"  # in a session: whole seconds since the epoch
NOTED_EVERY_S = 60  # how exactly it is known when somebody was last here


@sync_and_async_middleware
def guards(get_response: Handler | AsyncHandler) -> Handler | AsyncHandler:
    """Let a page load only what this site serves, be shown nowhere else, and be kept by nobody."""
    if iscoroutinefunction(get_response):

        async def ask_async(request: HttpRequest) -> HttpResponseBase:
            return _guarded(await get_response(request))

        return ask_async

    def ask(request: HttpRequest) -> HttpResponseBase:
        return _guarded(get_response(request))  # type: ignore[arg-type]  # the async kind went the other way

    return ask


def _guarded(response: HttpResponseBase) -> HttpResponseBase:
    for name, value in PAGE.items():
        response.headers.setdefault(name, value)
    return response


@sync_and_async_middleware
def sessions_end(get_response: Handler | AsyncHandler) -> Handler | AsyncHandler:
    """Sign out who has not been here for long, and everybody after a while, whatever they did.

    The end is written where the session is kept, so that live pages and whoever else reads it find it gone.
    A page that asks for parts of itself anew does not count as somebody who is here.
    """
    if iscoroutinefunction(get_response):

        async def ask_async(request: HttpRequest) -> HttpResponseBase:
            response = await get_response(request)
            assert isinstance(response, HttpResponseBase)
            if await request.session.aget(SESSION_KEY) is not None:
                _note(request.session, is_here=not _is_poll(request))  # it is in memory by now
            return response

        return ask_async

    def ask(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        assert isinstance(response, HttpResponseBase)  # the async kind went the other way
        if request.session.get(SESSION_KEY) is not None:
            _note(request.session, is_here=not _is_poll(request))
        return response

    return ask


def _note(session: SessionBase, *, is_here: bool) -> None:
    now = int(time.time())
    began = session.get(BEGAN)
    if began is not None and (not is_here or now - session[SEEN] < NOTED_EVERY_S):
        return
    began = session.setdefault(BEGAN, now)
    session[SEEN] = now
    end = min(now + settings.SESSION_IDLE_S, began + settings.SESSION_MOST_S)
    session.set_expiry(datetime.fromtimestamp(end, UTC))  # a moment: whatever else is written to it moves no end


def _is_poll(request: HttpRequest) -> bool:
    return request.method == "GET" and "HX-Request" in request.headers
