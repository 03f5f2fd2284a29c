"""People: who is let in, what each may do, letting in, changing roles, removing."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from dashboard.access import page_now, reach
from dashboard.formats import listing
from dashboard.once import SentBefore, once
from orchestrator.core.errors import BadRequest, NotThere, OrchestratorError
from orchestrator.core.numbers import whole
from orchestrator.core.permissions import ALLOWED, EVERYBODY, Permission, Role
from orchestrator.identity import acting, staffing
from orchestrator.identity.acting import Actor
from orchestrator.models import Tenant

EVERY = "every"  # tenant, in a form
NONE = "none"  # no role, in a form
MOST_TENANTS = 1_000  # to choose from
INVITED_BEFORE = (
    "This form let them in, and their link stood in the first answer and nowhere else. If you have not seen it, make "
    "another on their page."
)
LINKED_BEFORE = (
    "This form made a link, which stood in the first answer and nowhere else. If you have not seen it, make another "
    "below; it takes the place of the first."
)
Context = dict[str, Any]


@require_safe
def people(request: HttpRequest) -> HttpResponse:
    """Everybody with a role where the viewer may see people."""
    return _list(request)


@require_POST
def invite(request: HttpRequest) -> HttpResponse:
    """Let somebody in, and show their link once."""
    try:
        with once(request):
            user, token = staffing.invite(
                _actor(request), request.POST.get("name", ""), _role(request), _tenant_id(request.POST.get("of", ""))
            )
    except SentBefore as error:
        return _list(request, {"sent_before": INVITED_BEFORE}, error.status)
    except OrchestratorError as error:
        return _list(request, {"fault": str(error), "typed": request.POST}, error.status)
    return _list(request, {"link": _address(request, token), "link_for": user.get_username()})


@require_safe
def person(request: HttpRequest, number: int) -> HttpResponse:
    """One of them, with what they may do where."""
    return _one(request, _found(request, number))


@require_POST
def role(request: HttpRequest, number: int) -> HttpResponse:
    """Give a role in a tenant, change it, or take it away."""
    user = _found(request, number)
    try:
        tenant_id = _tenant_id(request.POST.get("of", ""))
        if request.POST.get("role") == NONE:
            staffing.take_role(_actor(request), user, tenant_id)
            said = f"{user.get_username()} has no role there any more."
        else:
            reaches_further = staffing.give_role(_actor(request), user, _role(request), tenant_id)
            said = f"{user.get_username()} is {request.POST['role']} there now."
            said += f" {staffing.signed_out(user)}" if reaches_further else ""
    except OrchestratorError as error:
        typed = {} if request.POST.get("role") == NONE else {"typed": request.POST}  # else a button's, not the form's
        return _one(request, user, {"fault": str(error), **typed}, error.status)
    messages.success(request, said)
    if not staffing.people(reach(request)).filter(pk=number).exists():
        return redirect("dashboard:people")
    return redirect("dashboard:person", number)


@require_POST
def link(request: HttpRequest, number: int) -> HttpResponse:
    """Another link for somebody, shown once."""
    user = _found(request, number)
    try:
        with once(request):
            token = staffing.fresh_link(_actor(request), user)
    except SentBefore as error:
        return _one(request, user, {"sent_before": LINKED_BEFORE}, error.status)
    except OrchestratorError as error:
        return _one(request, user, {"fault": str(error)}, error.status)
    return _one(request, user, {"link": _address(request, token), "link_for": user.get_username()})


@require_POST
def two_factor_off(request: HttpRequest, number: int) -> HttpResponse:
    """For somebody who lost their authenticator."""
    user = _found(request, number)
    try:
        staffing.forget_second_factor(_actor(request), user)
    except OrchestratorError as error:
        return _one(request, user, {"fault": str(error)}, error.status)
    messages.success(
        request, f"{user.get_username()} signs in without a code from now on. Sessions opened with one have ended."
    )
    return redirect("dashboard:person", number)


@require_POST
def remove(request: HttpRequest, number: int) -> HttpResponse:
    """Somebody goes."""
    user = _found(request, number)
    try:
        staffing.remove(_actor(request), user)
    except OrchestratorError as error:
        return _one(request, user, {"fault": str(error)}, error.status)
    messages.success(request, f"{user.get_username()} is removed and signed out everywhere.")
    return redirect("dashboard:people")


def _actor(request: HttpRequest) -> Actor:
    return acting.of_user(request.user)


def _found(request: HttpRequest, number: int) -> User:
    try:
        return staffing.person(reach(request), number)
    except NotThere:
        raise Http404 from None


def _role(request: HttpRequest) -> Role:
    try:
        return Role(request.POST.get("role", ""))
    except ValueError:
        raise BadRequest("Choose a role.") from None


def _tenant_id(shown: str) -> int | None:
    if shown == EVERY:
        return None
    number = whole(shown)
    if number is None:
        raise BadRequest("Choose a tenant, or every one.")
    return number


def _address(request: HttpRequest, token: str) -> str:
    return request.build_absolute_uri(reverse("dashboard:sign-in-link", args=[token]))


def _choices(request: HttpRequest, chosen: int | None = None) -> Context:
    """The first tenants by name, and the one that is chosen: a form that lacked it would say another."""
    here = reach(request)
    tenants = Tenant.objects.order_by("name")
    if here.tenants is not None:
        tenants = tenants.filter(pk__in=here.tenants)
    found = list(tenants[:MOST_TENANTS])
    if chosen is not None and all(one.pk != chosen for one in found):
        found += tenants.filter(pk=chosen)
    return {"here": "people", "roles": list(Role), "tenants": found, "for_every": here == EVERYBODY}


def _list(request: HttpRequest, more: Context | None = None, status: int = 200) -> HttpResponse:
    found = list(staffing.people(reach(request)))
    admins = [one.get_username() for one in found if one.is_superuser or _is_admin_of_all(one)]
    context = _choices(request) | {
        "found": found,
        "admins": admins,
        "verdict": _verdict(found),
        "why": _why(found, admins, for_every=reach(request) == EVERYBODY),
        "meanings": [(one, [str(what) for what in Permission if what in ALLOWED[one]]) for one in Role],
    }
    return page_now(request, "dashboard/people.html", context | (more or {}), status)


def _one(request: HttpRequest, user: User, more: Context | None = None, status: int = 200) -> HttpResponse:
    user = staffing.people(reach(request)).filter(pk=user.pk).first() or user
    first = next(iter(getattr(user, "roles_here", ())), None)
    context = _choices(request, first.tenant_id if first else None) | {
        "typed": {"role": first.role, "of": str(first.tenant_id or EVERY)} if first else {},
        "person": user,
        "is_oneself": user.pk == request.user.pk,
        "is_within": staffing.is_within(user, reach(request)),
    }
    return page_now(request, "dashboard/person.html", context | (more or {}), status)


def _is_admin_of_all(user: Any) -> bool:
    return any(row.tenant_id is None and row.role == Role.ADMIN for row in user.roles_here)


def _verdict(found: list[User]) -> str:
    return "One person is let in." if len(found) == 1 else f"{len(found)} people are let in."


def _why(found: list[User], admins: list[str], *, for_every: bool) -> str:
    without = sum(not has_second_factor(one) for one in found)
    second = f"{without} of them without a second factor." if without else "All of them with a second factor."
    if not for_every:
        return second
    return f"{second} {listing(admins)} {'is' if len(admins) == 1 else 'are'} admin of every tenant."


def has_second_factor(user: Any) -> bool:
    """As the row says that was read with them."""
    row = getattr(user, "second_factor", None)
    return bool(row and row.sealed)
