"""The Content-Security-Policy of every page."""

from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction

from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
Handler = Callable[[HttpRequest], HttpResponseBase]
AsyncHandler = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


@sync_and_async_middleware
def content_security_policy(get_response: Handler | AsyncHandler) -> Handler | AsyncHandler:
    """Let a page load only what this site serves, and no inline style or script."""
    if iscoroutinefunction(get_response):

        async def ask_async(request: HttpRequest) -> HttpResponseBase:
            return _guarded(await get_response(request))

        return ask_async

    def ask(request: HttpRequest) -> HttpResponseBase:
        return _guarded(get_response(request))  # type: ignore[arg-type]  # the async kind went the other way

    return ask


def _guarded(response: HttpResponseBase) -> HttpResponseBase:
    response.headers.setdefault("Content-Security-Policy", POLICY)
    return response
