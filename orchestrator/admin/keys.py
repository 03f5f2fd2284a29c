"""API keys: looked up, changed and revoked."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AdminSplitDateTime
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from orchestrator.admin.acts import ActForm, Acts
from orchestrator.admin.seen import Reached
from orchestrator.core.lines import Lines
from orchestrator.core.numbers import whole
from orchestrator.core.permissions import DIALECTS, EVERYBODY, FAMILIES
from orchestrator.identity import issuing, tenancy
from orchestrator.identity.asked import KeyChange, read
from orchestrator.models import ApiKey, Team

MOST_TEAMS = 40  # to choose from
LISTS = ("model_patterns", "dialects", "families", "networks", "tags")
LABELS = {"model_patterns": "Models", "families": "Endpoints", "reaches_all": "For every tenant"}
HELP = {
    "model_patterns": "Models it may ask, one a line: openai/*, smollm2:135m.",
    "dialects": f"One a line: {', '.join(DIALECTS)}.",
    "families": f"One a line: {', '.join(FAMILIES)}.",
    "networks": "Where it may come from, one a line: 10.0.0.0/8, 192.0.2.7, 2001:db8::/32.",
    "tags": "Words that every record of its requests has, one a line.",
}


class NamedDateTime(AdminSplitDateTime):
    """A date and a time, each with a name of its own."""

    def __init__(self) -> None:
        super().__init__()
        for widget, name in zip(self.widgets, ("Expires at, date", "Expires at, time"), strict=True):
            widget.attrs["aria-label"] = name


class KeyForm(ActForm):
    """What a key is for."""

    changeable = ("name", "team", "role", "reaches_all", *LISTS, "expires_at")

    class Meta:
        model = ApiKey
        fields = ("name", "team", "role", "reaches_all", *LISTS, "expires_at")
        field_classes = dict.fromkeys(LISTS, Lines)
        widgets = {  # noqa: RUF012  # read only
            **dict.fromkeys(LISTS, forms.Textarea(attrs={"rows": 3, "cols": 40})),
            "expires_at": NamedDateTime(),
        }
        labels = LABELS  # read only
        help_texts = HELP  # read only

    def act(self) -> ApiKey:
        """Change what was changed."""
        given = {field: self.cleaned_data[field] for field in self.changed_data}
        if "team" in given:
            given["team"] = given["team"] and given["team"].name
        if "role" in given:
            given["role"] = given["role"] or None
        return issuing.change(self.by, self.instance.prefix, read(KeyChange, given))


class State(admin.SimpleListFilter):
    """Whether it opens anything."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Three."""
        return [(state, state) for state in issuing.STATES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those that are so."""
        state = next((one for one in issuing.STATES if one == self.value()), None)
        return queryset if state is None else queryset.filter(issuing.is_state(state, timezone.now()))


class OfTeam(admin.SimpleListFilter):
    """Whose they are, within a tenant."""

    title = "team"
    parameter_name = "team"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Those that may be seen, as far as a list of links is of use."""
        return [(str(team.pk), str(team)) for team in tenancy.teams(model_admin.by(request))[:MOST_TEAMS]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those of the team."""
        value = self.value() or ""
        return queryset if (number := whole(value)) is None else queryset.filter(team=number)


@admin.register(ApiKey)
class ApiKeyAdmin(Acts):
    """Keys, to be looked up, changed and revoked. `manage.py issue_key` and the API issue them, and show each once."""

    explanation = "A key is shown once, when it is issued: by manage.py issue_key, or POST /api/admin/v1/keys."
    form = KeyForm
    list_display = (
        "name",
        "tenant",
        "team",
        "prefix",
        "may_manage",
        "created_at",
        "expires_at",
        "last_used_at",
        "state",
    )
    list_filter = (State, ("tenant", Reached), "role", OfTeam)
    list_select_related = ("tenant", "team__tenant")
    search_fields = ("name", "prefix", "owner__username")
    search_help_text = "Name, prefix, or the user name of the owner"
    fieldsets = (
        (None, {"fields": ("name", "prefix", "tenant", "team", "owner", "role", "reaches_all")}),
        ("What it is for; empty means any", {"fields": LISTS}),
        ("Its life", {"fields": ("created_at", "expires_at", "revoked_at", "last_used_at", "replaces")}),
    )
    readonly_fields = ("prefix", "tenant", "owner", "created_at", "revoked_at", "last_used_at", "replaces")
    actions = ("revoke",)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Teams are those of its tenant."""
        match = request.resolver_match
        if db_field.name == "team" and match and "object_id" in match.kwargs:
            kwargs["queryset"] = Team.objects.of(EVERYBODY).filter(tenant__keys__pk=match.kwargs["object_id"])
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        """What is revoked stays as it was."""
        return super().has_change_permission(request, obj) and (obj is None or obj.revoked_at is None)

    @admin.display(description="may manage", ordering="role")
    def may_manage(self, key: ApiKey) -> str:
        """In words: Django's cross would look like a fault."""
        return f"{key.role}, every tenant" if key.reaches_all else key.role or "no"

    @admin.display(description="state")
    def state(self, key: ApiKey) -> str:
        """Whether it opens anything."""
        return issuing.state_of(key, timezone.now())

    @admin.action(description="Revoke the chosen keys", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> HttpResponse | None:
        """Ask once more, then revoke: they stop working at once, for good."""
        keys = queryset.filter(revoked_at=None)
        if not keys:
            self.message_user(request, "These keys are revoked already.", messages.WARNING)
            return None
        if "confirmed" not in request.POST:
            context = {**self.admin_site.each_context(request), "title": "Revoke keys", "keys": keys, "opts": self.opts}
            return TemplateResponse(request, "admin/revoke_keys.html", context)
        self.do_each(request, keys, lambda key: issuing.revoke(self.by(request), key.prefix), "Revoked")
        return None

    def has_add_permission(self, request: HttpRequest) -> bool:
        """A key is shown once, when it is issued; a form could not do that."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        """Revoked, not deleted: requests point to it."""
        return False
