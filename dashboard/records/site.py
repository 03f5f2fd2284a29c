"""The admin site: one door, the dashboard's, and no second sign-in page."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache

from orchestrator.identity.people import roles_of


class Records(admin.AdminSite):
    """Requests, tenants, keys, kept answers, users."""

    site_header = "Orchestrator"
    site_title = "Orchestrator"
    index_title = "Everything that is kept"
    site_url = "/dashboard/"
    enable_nav_sidebar = False

    def has_permission(self, request: HttpRequest) -> bool:
        """Whoever has a role; what it opens is in `dashboard.policy`, and the pages' door has asked there already."""
        return bool(roles_of(request.user))

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Where one's account is."""
        return redirect("dashboard:account")

    @method_decorator(never_cache)
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Send everybody to the dashboard's sign-in page, and on from there to where they wanted to go."""
        wanted = request.GET.get("next") or reverse("admin:index")
        if self.has_permission(request):
            return redirect("admin:index")
        return redirect_to_login(wanted, reverse("dashboard:sign-in"))
