"""One's own account: the password, the second factor, where one is signed in."""

from __future__ import annotations

from typing import Any, cast

import segno
from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.forms import PasswordChangeForm, SetPasswordForm
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST

from dashboard.access import page_now, roles
from dashboard.once import is_spent, spend
from dashboard.sign_in import address_of
from orchestrator.audit import note
from orchestrator.identity import attempts, second_factor
from orchestrator.identity.people import must_have_second_factor
from orchestrator.identity.sessions import WITH_CODE, end_sessions
from orchestrator.models import SecondFactor

QR_SCALE = 5
_MAY_REPLACE = "may_replace_second_factor"  # in a session: password or code was shown in it to begin with another one
CONFIRMED_BEFORE = (
    "The authenticator is in use, and the recovery codes stood in the first answer and nowhere else. If you have not "
    "seen them, have new ones made below."
)
RENEWED_BEFORE = (
    "New recovery codes were made, which stood in the first answer and nowhere else; those before do not work any "
    "more. If you have not seen them, have new ones made below."
)
Context = dict[str, Any]


@require_http_methods(["GET", "HEAD", "POST"])
def account(request: HttpRequest) -> HttpResponse:
    """What there is of oneself; POST sets the password."""
    user = cast(User, request.user)
    if request.method != "POST":
        return _account(request, user)
    has_one = user.has_usable_password()
    if has_one and (wait := _wait_s(request, user)):
        return _account(request, user, {"wait_s": wait}, status=429)
    form = PasswordChangeForm(user, request.POST) if has_one else SetPasswordForm(user, request.POST)
    if not form.is_valid():
        return _account(request, user, {"faults": form.errors}, status=422)
    form.save()
    _was_right(request, user)
    update_session_auth_hash(request, user)  # this session goes on, the others of the account end
    note(_named(user), "person.password_set", user.get_username())
    messages.success(request, "Your new password is in use. Other browsers are signed out.")
    return redirect("dashboard:account")


@require_POST
def sign_out_elsewhere(request: HttpRequest) -> HttpResponse:
    """End every other session of the account."""
    ended = end_sessions(cast(User, request.user), but=request.session.session_key)
    messages.success(request, "You are signed in here only." if ended else "You were signed in here only.")
    return redirect("dashboard:account")


@require_http_methods(["GET", "HEAD", "POST"])
def two_factor(request: HttpRequest) -> HttpResponse:
    """Set the second factor up, replace it, switch it off, print new recovery codes."""
    user = cast(User, request.user)
    if request.method != "POST":
        return _two_factor(request, user)
    act = _ACTS.get(request.POST.get("act", ""))
    return act(request, user) if act else _two_factor(request, user, status=422)


def _begin(request: HttpRequest, user: User) -> HttpResponse:
    if refusal := _unproven(request, user):
        return refusal
    second_factor.begin(user)
    request.session[_MAY_REPLACE] = True
    return redirect("dashboard:two-factor")


@transaction.atomic  # of two that come at once the second finds all that the first did
def _confirm(request: HttpRequest, user: User) -> HttpResponse:
    if is_spent(request):
        return _two_factor(request, user, {"sent_before": CONFIRMED_BEFORE}, status=409)
    if not _is_its_own(request, user):
        return _two_factor(request, user, {"is_unproven": True}, status=422)
    if wait := _wait_s(request, user):
        return _two_factor(request, user, {"wait_s": wait}, status=429)
    codes = second_factor.confirm(user, request.POST.get("code", "")[:64])
    if codes is None:
        return _two_factor(request, user, {"is_wrong": True}, status=422)
    _was_right(request, user)
    request.session.pop(_MAY_REPLACE, None)
    request.session[WITH_CODE] = True
    end_sessions(user, but=request.session.session_key)  # they were signed in without
    note(_named(user), "person.two_factor_on", user.get_username())
    spend(request)
    return _two_factor(request, user, {"codes": codes})


def _renew(request: HttpRequest, user: User) -> HttpResponse:
    if is_spent(request):
        return _two_factor(request, user, {"sent_before": RENEWED_BEFORE}, status=409)
    if not second_factor.is_on(user):  # they would stand in for a second factor that is none
        return _two_factor(request, user, status=422)
    if wait := _wait_s(request, user):
        return _two_factor(request, user, {"wait_s": wait}, status=429)
    proof = _proof(request)
    knows_password = user.check_password(proof)  # before the transaction: nobody else can write for as long as it takes
    codes = None
    with transaction.atomic():  # with the code that it is shown for, which works once
        was_sent = is_spent(request)
        if not was_sent and (knows_password or second_factor.check(user, proof)):
            _was_right(request, user)
            note(_named(user), "person.recovery_codes_renewed", user.get_username())
            codes = second_factor.renew_recovery_codes(user)
            spend(request)
    if was_sent:
        return _two_factor(request, user, {"sent_before": RENEWED_BEFORE}, status=409)
    if codes is None:
        return _two_factor(request, user, {"is_unproven": True}, status=422)
    return _two_factor(request, user, {"codes": codes})


def _off(request: HttpRequest, user: User) -> HttpResponse:
    if refusal := _unproven(request, user):
        return refusal
    if must_have_second_factor(roles(request)):
        return _two_factor(request, user, status=403)
    second_factor.switch_off(user)
    request.session.pop(WITH_CODE, None)
    end_sessions(user, but=request.session.session_key, only_with_code=True)
    note(_named(user), "person.two_factor_off", user.get_username())
    messages.success(
        request, "Two-factor is off. A password or a link alone signs you in. Other browsers are signed out."
    )
    return redirect("dashboard:account")


def _prove(request: HttpRequest, user: User) -> HttpResponse:
    """This session was signed in without a code; with one it is as good as others."""
    if not second_factor.is_on(user):  # whoever has nothing to show has shown nothing
        return _two_factor(request, user, status=422)
    if refusal := _unproven(request, user, by_code=True):
        return refusal
    request.session.cycle_key()
    request.session[WITH_CODE] = True
    return redirect("dashboard:overview")


_ACTS = {"begin": _begin, "confirm": _confirm, "renew": _renew, "off": _off, "prove": _prove}


def _unproven(request: HttpRequest, user: User, *, by_code: bool = False) -> HttpResponse | None:
    """What is answered to somebody who does not show password or code; None: they did, or have nothing to protect."""
    if not second_factor.is_on(user):
        return None
    if wait := _wait_s(request, user):
        return _two_factor(request, user, {"wait_s": wait}, status=429)
    proof = _proof(request)
    if second_factor.check(user, proof) or (not by_code and user.check_password(proof)):
        _was_right(request, user)
        return None
    return _two_factor(request, user, {"is_unproven": True}, status=422)


def _proof(request: HttpRequest) -> str:
    """The password or code that was typed."""
    return request.POST.get("proof", "")[:4096]


def _is_its_own(request: HttpRequest, user: User) -> bool:
    """Whether the secret that waits to be confirmed is this session's to see: one that is to replace another."""
    return bool(request.session.get(_MAY_REPLACE)) or not second_factor.is_on(user)


def _wait_s(request: HttpRequest, user: User) -> int:
    return attempts.wait_s({"code": str(user.pk), "address": address_of(request)})


def _was_right(request: HttpRequest, user: User) -> None:
    attempts.forgive({"code": str(user.pk), "address": address_of(request)})


def _named(user: User) -> str:
    return f"user:{user.get_username()}"


def _account(request: HttpRequest, user: User, more: Context | None = None, status: int = 200) -> HttpResponse:
    held = user.memberships.select_related("tenant").order_by("tenant__name")
    context = {
        "here": "account",
        "held": held,
        "is_superuser": user.is_superuser,
        "has_password": user.has_usable_password(),
        "has_second": second_factor.is_on(user),
        "must_have": must_have_second_factor(roles(request)),
    }
    return page_now(request, "dashboard/account.html", context | (more or {}), status)


def _two_factor(request: HttpRequest, user: User, more: Context | None = None, status: int = 200) -> HttpResponse:
    row = SecondFactor.objects.filter(user=user).first()
    must_have = must_have_second_factor(roles(request))
    context: Context = {
        "here": "account",
        "is_on": bool(row and row.sealed),
        "since": row and row.since,
        "left": user.recovery_codes.count(),
        "must_have": must_have,
        "must_prove": must_have and bool(row and row.sealed) and not request.session.get(WITH_CODE),
        "has_password": user.has_usable_password(),
    }
    if _is_its_own(request, user) and (secret := second_factor.offered(user)) is not None:
        image = segno.make(second_factor.uri(user, secret), micro=False)
        shown = second_factor.shown(secret)
        context |= {
            "qr": image.svg_data_uri(scale=QR_SCALE, border=4, light="#fff"),
            "secret": " ".join(shown[start : start + 4] for start in range(0, len(shown), 4)),
        }
    return page_now(request, "dashboard/two_factor.html", context | (more or {}), status)
