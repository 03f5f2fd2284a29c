"""The pages' door: who is signed in meets what the page needs, in one place for every page there is.

A page that stands in no row of `dashboard.policy` is refused to everybody. A page that is shown finds in
`request.reach` whose things it may show.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.contrib.auth import get_user
from django.contrib.auth.views import redirect_to_login
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotFound
from django.shortcuts import redirect, render
from django.urls import ResolverMatch, is_valid_path, reverse
from django.utils.cache import add_never_cache_headers

from dashboard import beside
from dashboard.policy import SOCKETS, Open, Rule, is_for_all, rule_of
from orchestrator import __version__
from orchestrator.core.permissions import (
    ALLOWED,
    EVERYBODY,
    FOR_ALL_TENANTS,
    NOBODY,
    Permission,
    Reach,
    Role,
    reach_of,
)
from orchestrator.identity.people import NO_ROLES, Roles, must_have_second_factor, roles_of
from orchestrator.identity.sessions import WITH_CODE

Answer = Callable[[HttpRequest], Awaitable[HttpResponseBase]]
_API = "ninja"  # has a table and a door of its own
_PAGES = "dashboard"


class Door:
    """Middleware: asks the table before any page runs."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Answer; what was behind the door is kept nowhere."""
        if iscoroutinefunction(self):
            return self._answer(request)
        return _unkept(request, _or_above(request, self.get_response(request)))

    async def _answer(self, request: HttpRequest) -> HttpResponseBase:
        return _unkept(request, _or_above(request, await self.get_response(request)))

    async def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponseBase | None:
        """None lets the page run; an answer takes its place."""
        match = request.resolver_match
        if match is None:
            return None
        if _API in match.app_names:  # `orchestrator.lean` serves it, and asks first; whoever comes here was not asked
            return HttpResponseNotFound("The API is not served here.", content_type="text/plain")
        request.is_guarded = True  # type: ignore[attr-defined]
        user = await request.auser()
        held = await sync_to_async(roles_of)(user)
        request.user = user  # so that templates and the admin ask the same one, who knows its roles
        request.roles = held  # type: ignore[attr-defined]
        page_name = _name(match)
        rule = rule_of(page_name)
        request.reach = reach_through(rule, held, for_all=is_for_all(page_name))  # type: ignore[attr-defined]
        if rule is Open.ANYBODY:
            return None
        if not user.is_authenticated:
            return _to_sign_in(request)
        if rule is Open.OWN_ACCOUNT:
            return None
        if must_have_second_factor(held) and not await request.session.aget(WITH_CODE):
            return _to(request, reverse("dashboard:two-factor"))
        if rule is not Open.SIGNED_IN and reach(request).is_nobody:
            return await refused(request, rule, for_all=is_for_all(page_name))
        return None


def reach(request: HttpRequest) -> Reach:
    """Whose things the page that was asked for may show."""
    return cast(Reach, getattr(request, "reach", NOBODY))


def roles(request: HttpRequest) -> Roles:
    """The roles of who asks, by tenant."""
    return cast(Roles, getattr(request, "roles", NO_ROLES))


def reach_through(rule: Rule | None, held: Roles, *, for_all: bool = False) -> Reach:
    """For whom somebody with those roles passes by `rule`. `for_all`: for everybody, or not at all."""
    if not isinstance(rule, Permission):
        return NOBODY
    found = reach_of(held, rule)
    return NOBODY if for_all and found != EVERYBODY else found


def may(request: HttpRequest) -> dict[str, Any]:
    """For every template: `may.purge_answers` is whether who looks may do that for anybody; and by which roles."""
    held = roles(request)
    return {
        "may": {one.name.lower(): not reach_of(held, one).is_nobody for one in Permission},
        "roles_held": ", ".join(sorted({role.value for role in held.values()})),
    }


def reach_of_session(socket: str, session_key: str) -> Reach:
    """Whose things the live connection of that name may show to whoever the session is signed in as; read anew."""
    request = HttpRequest()
    request.session = SessionStore(session_key)
    held = roles_of(get_user(request))
    if must_have_second_factor(held) and not request.session.get(WITH_CODE):
        return NOBODY
    return reach_through(SOCKETS.get(socket), held)


def page_now(
    request: HttpRequest, template: str, context: dict[str, Any] | None = None, status: int = 200
) -> HttpResponse:
    """Render a page."""
    return render(request, template, {"version": __version__} | (context or {}), status=status)


async def page(
    request: HttpRequest, template: str, context: dict[str, Any] | None = None, status: int = 200
) -> HttpResponse:
    """Render off the event loop: templates may ask the session, the user and the database."""
    if "HX-Request" not in request.headers:  # a part has no rail
        request.beside = await beside.words()  # type: ignore[attr-defined]  # see the rail's template tag
    return await sync_to_async(page_now)(request, template, context, status)


async def refused(request: HttpRequest, rule: Rule | None, *, for_all: bool) -> HttpResponse:
    """Say what would be needed, and what there is."""
    needed = [role for role in Role if isinstance(rule, Permission) and rule in ALLOWED[role]]
    context = {
        "needed": needed,
        "for_all": for_all or rule in FOR_ALL_TENANTS,
        "held": sorted({role.value for role in roles(request).values()}),
    }
    return await page(request, "dashboard/refused.html", context, status=403)


def _name(match: ResolverMatch) -> str:
    return ":".join((*match.app_names, match.url_name or ""))


def _unkept(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    if getattr(request, "is_guarded", False):
        add_never_cache_headers(response)
    return response


def _or_above(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """The answer; for whoever opens an address that only takes forms, by a reload or a bookmark, the page above it."""
    if response.status_code != HTTPStatus.METHOD_NOT_ALLOWED or request.method not in {"GET", "HEAD"}:
        return response
    if request.resolver_match is None or request.resolver_match.app_name != _PAGES:
        return response
    above = request.path.rstrip("/")
    while above := above.rpartition("/")[0]:
        if is_valid_path(f"{above}/"):
            return redirect(f"{above}/")
    return response


def _to_sign_in(request: HttpRequest) -> HttpResponseBase:
    door = reverse("dashboard:sign-in")
    if request.headers.get("HX-Request"):
        return _to(request, door)
    is_page = request.method in {"GET", "HEAD"}  # else what was sent is gone, and its address may be none
    return redirect_to_login(request.get_full_path() if is_page else reverse("dashboard:overview"), door)


def _to(request: HttpRequest, address: str) -> HttpResponseBase:
    if not request.headers.get("HX-Request"):
        return redirect(address)
    response = HttpResponse(status=401)  # a part of a page must not become another page
    response["HX-Redirect"] = address
    return response
