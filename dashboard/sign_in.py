"""In by password or by a link that works once, then by a code where the account has a second factor; out by a button.

What is refused says the same of every name, whether there is such an account or not.
"""

from __future__ import annotations

import threading
import time
from typing import Any, cast
from urllib.parse import urlsplit

from django.contrib.auth import get_user_model, login, logout
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, resolve_url
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_http_methods, require_POST

from dashboard.access import page_now, roles
from orchestrator.identity import attempts, second_factor
from orchestrator.identity.links import open_link, redeem_link
from orchestrator.identity.sessions import WAITS_FOR_CODE, WITH_CODE

BACKEND = "dashboard.backend.RolesBackend"
OUR_PAGES = ("/dashboard/", "/admin/")
CODE_S = 300  # from the password to the code
MOST_CHECKS = 2  # at once in a process: each takes 100 MB and a tenth of a second of a core, on purpose
CHECK_S = 5.0
_checking = threading.BoundedSemaphore(MOST_CHECKS)


class SignInForm(AuthenticationForm):
    """Name and password, looked at only when it is not too soon for another attempt."""

    wait_s = 0

    def clean(self) -> dict[str, Any]:
        """Raises ValidationError."""
        if not (self.cleaned_data.get("username") and self.cleaned_data.get("password")):
            return super().clean()
        subjects = {"account": self.cleaned_data["username"], "address": address_of(self.request)}
        self.wait_s = attempts.wait_s(subjects)
        if self.wait_s:
            raise ValidationError("Too many attempts.", code="wait")
        if not _checking.acquire(timeout=CHECK_S):
            self.wait_s = 1
            raise ValidationError("Too many at once.", code="wait")
        try:
            cleaned = super().clean()
        finally:
            _checking.release()
        attempts.forgive(subjects)
        return cleaned


class SignIn(LoginView):
    """The form for those who have a password, and how to get a link for those who have none."""

    template_name = "dashboard/sign_in.html"
    next_page = "dashboard:overview"
    authentication_form = SignInForm

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Send those on who are in already and may be; nobody else, or they would go in circles."""
        if roles(request):
            return redirect(self.get_success_url())
        return super().dispatch(request, *args, **kwargs)

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        """The password is right."""
        return _admit(self.request, form.get_user(), self.get_success_url())

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        """It is not, or it is too soon to say."""
        response = super().form_invalid(form)
        if wait := cast(SignInForm, form).wait_s:
            response.status_code = 429
            response["Retry-After"] = str(wait)
        return response

    def get_redirect_url(self, request: HttpRequest | None = None) -> str:
        """Where they wanted to go, if that is one of our pages."""
        wanted = super().get_redirect_url()
        return wanted if urlsplit(wanted).path.startswith(OUR_PAGES) else ""


@require_http_methods(["GET", "HEAD", "POST"])
def code(request: HttpRequest) -> HttpResponse:
    """The second step: a code of the authenticator, or one of the paper's."""
    user = _waiting(request)
    if user is None:
        return redirect("dashboard:sign-in")
    context: dict[str, Any] = {"who": user.get_username()}
    if request.method == "POST":
        subjects = {"code": str(user.pk), "address": address_of(request)}
        context["wait_s"] = wait = attempts.wait_s(subjects)
        if not wait and second_factor.check(user, request.POST.get("code", "")[:64]):
            attempts.forgive(subjects)
            where = request.session.pop(WAITS_FOR_CODE)["where"]
            login(request, user, backend=BACKEND)
            request.session[WITH_CODE] = True
            return redirect(where)
        context["is_wrong"] = True
        response = page_now(request, "dashboard/sign_in_code.html", context, status=429 if wait else 422)
        if wait:
            response["Retry-After"] = str(wait)
        return response
    return page_now(request, "dashboard/sign_in_code.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def redeem(request: HttpRequest, token: str) -> HttpResponse:
    """Sign in whoever holds an unspent link; of an account with a second factor it is the first one only.

    Only the button does it: programs open what they find in chats and mails, and would spend it.
    """
    link = open_link(token)  # first, since to guess is no way to keep others from writing
    if link is not None and request.method != "POST":
        return page_now(request, "dashboard/sign_in_link.html", {"who": link.user.get_username()})
    response = _redeemed(request, token) if link else None
    if response is not None:
        return response
    context = {"form": SignInForm(request), "is_spent": True}
    return page_now(request, "dashboard/sign_in.html", context, status=410)


def _redeemed(request: HttpRequest, token: str) -> HttpResponse | None:
    """A role that is given meanwhile finds the link to make void or the session to end, and nothing between."""
    with transaction.atomic():
        link = redeem_link(token)
        if link is None:
            return None
        where = "dashboard:account" if link.is_invitation else "dashboard:overview"
        response = _admit(request, link.user, resolve_url(where))
        request.session.save()
    return response


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session."""
    logout(request)
    return redirect("dashboard:sign-in")


def address_of(request: HttpRequest | None) -> str:
    """Where a request comes from, as the server has it."""
    return str(request.META.get("REMOTE_ADDR", "")) if request else ""


def _admit(request: HttpRequest, user: User, where: str) -> HttpResponse:
    """The first factor is right. Each sign-in has a session of a new number."""
    if not second_factor.is_on(user):
        login(request, user, backend=BACKEND)
        return redirect(where)
    request.session.flush()
    request.session[WAITS_FOR_CODE] = {
        "user": user.pk,
        "hash": user.get_session_auth_hash(),
        "until": time.time() + CODE_S,
        "where": where,
    }
    return redirect("dashboard:sign-in-code")


def _waiting(request: HttpRequest) -> User | None:
    """Who has shown a first factor a moment ago, and has the same password still."""
    pending = request.session.get(WAITS_FOR_CODE)
    if not pending or pending["until"] < time.time():
        return None
    user = get_user_model().objects.filter(pk=pending["user"], is_active=True).first()
    return user if user and constant_time_compare(pending["hash"], user.get_session_auth_hash()) else None
