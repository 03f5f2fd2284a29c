"""In by password or by a link that works once; out by a button."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import login, logout
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from dashboard.access import roles
from orchestrator.identity.links import redeem_link


class SignIn(LoginView):
    """The form for those who have a password, and how to get a link for those who have none."""

    template_name = "dashboard/sign_in.html"
    next_page = "dashboard:overview"
    authentication_form = AuthenticationForm

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Send those on who are in already and may be; nobody else, or they would go in circles."""
        if roles(request):
            return redirect(self.get_success_url())
        return super().dispatch(request, *args, **kwargs)


@require_GET  # a HEAD, as link checkers send, must not spend it
def redeem(request: HttpRequest, token: str) -> HttpResponse:
    """Sign in whoever holds an unspent link."""
    user = redeem_link(token)
    if user is None:
        return render(request, "dashboard/sign_in.html", {"form": AuthenticationForm(), "is_spent": True}, status=410)
    login(request, user, backend="dashboard.backend.RolesBackend")
    return redirect("dashboard:overview")


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session."""
    logout(request)
    return redirect("dashboard:sign-in")
