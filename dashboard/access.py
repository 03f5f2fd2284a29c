"""Who may see the pages: staff. Others are asked to sign in, or told why not."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, cast

from asgiref.sync import sync_to_async
from django.contrib.auth import aget_user
from django.contrib.auth.views import redirect_to_login
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache

from orchestrator import __version__

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

View = Callable[..., Awaitable[HttpResponseBase]]
Guarded = Callable[..., Coroutine[Any, Any, HttpResponseBase]]


def for_staff(view: View) -> Guarded:
    """Let staff in; send the unknown to the sign-in page, and refuse the rest."""

    @never_cache
    @functools.wraps(view)
    async def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        user = await request.auser()
        if not user.is_authenticated:
            return _to_sign_in(request)
        if not may_see(user):
            return await page(request, "dashboard/refused.html", status=403)
        return await view(request, *args, **kwargs)

    return cast(Guarded, guarded)


def may_see(user: User | AnonymousUser) -> bool:
    """Whether the dashboard is open to `user`."""
    return bool(user.is_active and user.is_staff)


async def still_may_see(session_key: str) -> bool:
    """Whether the session is still signed in as somebody who may; read anew."""
    request = HttpRequest()
    request.session = SessionStore(session_key)
    return may_see(await aget_user(request))


async def page(
    request: HttpRequest, template: str, context: dict[str, Any] | None = None, status: int = 200
) -> HttpResponse:
    """Render off the event loop: templates may ask the session, the user and the database."""
    return await sync_to_async(render)(request, template, {"version": __version__} | (context or {}), status=status)


def _to_sign_in(request: HttpRequest) -> HttpResponseBase:
    if request.headers.get("HX-Request"):  # a part of a page must not become the sign-in page
        response = HttpResponse(status=401)
        response["HX-Redirect"] = reverse("dashboard:sign-in")
        return response
    return redirect_to_login(request.get_full_path(), reverse("dashboard:sign-in"))
