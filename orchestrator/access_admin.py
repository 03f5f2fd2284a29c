"""Who may ask, in the admin: tenants, teams, keys, grants, limits, and the audit of all that.

What is saved here goes the way of API and commands: it is checked, done and noted by `identity`, in the name of who
is signed in. So a page shows and takes what their roles let them see and change, and no more.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import ForeignKeyRawIdWidget
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.text import capfirst

from orchestrator.admin_lists import BoundedPaginator, When
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.permissions import DIALECTS, EVERYBODY, FAMILIES, Permission
from orchestrator.identity import issuing, limiting, tenancy
from orchestrator.identity.acting import Actor, of_user
from orchestrator.identity.asked import (
    GrantAsked,
    KeyChange,
    LimitAsked,
    LimitChange,
    TeamAsked,
    TenantAsked,
    TenantChange,
    read,
)
from orchestrator.models import ApiKey, AuditEvent, Grant, Limit, Team, Tenant

if TYPE_CHECKING:
    AnyBase = admin.ModelAdmin[Any]
    AnyForm = forms.ModelForm[Any]
else:
    AnyBase, AnyForm = admin.ModelAdmin, forms.ModelForm

MOST_TEAMS = 40  # to choose from
KINDS_OF_ACTS = ("key", "team", "tenant", "grant", "limit", "person", "registry", "cache")


class ActForm(AnyForm):
    """A form that is an act: right when whoever is signed in could do it."""

    by: Actor  # set by the page

    def act(self) -> models.Model:
        """Do it. Raises OrchestratorError."""
        raise NotImplementedError

    def clean(self) -> dict[str, Any]:
        """Try it, and take it back."""
        values = super().clean() or {}
        if not self.errors:
            try:
                with transaction.atomic():
                    self.act()
                    transaction.set_rollback(True)
            except OrchestratorError as error:
                field, _, words = str(error).partition(": ")
                raise ValidationError({field: words} if words and field in self.fields else str(error)) from None
        return values


class Reached(admin.RelatedFieldListFilter):
    """A filter by tenant whose choices are those that one may see: a name is something, too."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:
        """The tenants."""
        reach = model_admin.by(request).reach(model_admin.sees)
        within = {} if reach.tenants is None else {"pk__in": reach.tenants}
        ordering = self.field_admin_ordering(field, request, model_admin)
        return field.get_choices(include_blank=False, ordering=ordering, limit_choices_to=within)


class KeyNumber(ForeignKeyRawIdWidget):
    """A key by its number, with its name beside for whoever may see it: any number may be typed, or be in a link."""

    keys: QuerySet[Any]  # set by the page

    def label_and_url_for_value(self, value: Any) -> Any:
        """Its name, and where it is; nothing of another's."""
        is_theirs = str(value).isdecimal() and self.keys.filter(pk=value).exists()
        return super().label_and_url_for_value(value) if is_theirs else ("", "")


class Acts(AnyBase):
    """A page of rows that somebody may see, whose forms are acts."""

    sees = Permission.SEE_KEYS
    changes = Permission.CHANGE_KEYS
    tenants: tuple[str, ...] = ("tenant",)  # whose a row is, by column
    explanation = ""  # above the list

    def by(self, request: HttpRequest) -> Actor:
        """Who is signed in; asked once for each request."""
        known: Actor | None = getattr(request, "actor", None)
        if known is None:
            known = of_user(request.user)
            request.actor = known  # type: ignore[attr-defined]
        return known

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """What they may see."""
        reach = self.by(request).reach(self.sees)
        rows = super().get_queryset(request)
        if reach.tenants is None:
            return rows
        mine = Q()
        for column in self.tenants:
            mine |= Q(**{f"{column}__in": reach.tenants})
        return rows.filter(mine)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Choices are what they may change."""
        reach = self.by(request).reach(self.changes)
        if db_field.related_model is Team:
            kwargs["queryset"] = Team.objects.of(reach)
        elif db_field.related_model is ApiKey:
            kwargs["queryset"] = keys = ApiKey.objects.of(reach)
            kwargs["widget"] = widget = KeyNumber(db_field.remote_field, self.admin_site)
            widget.keys = keys
        elif db_field.related_model is Tenant and reach.tenants is not None:
            kwargs["queryset"] = Tenant.objects.filter(pk__in=reach.tenants)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """The form, which knows who fills it in."""
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        for field in form.base_fields.values():
            for way in ("add", "change", "delete", "view"):  # what is chosen from has a page of its own
                setattr(field.widget, f"can_{way}_related", False)
        form.by = self.by(request)  # the class was made for this request
        return form

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> Any:
        """Do it."""
        return form.act()

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """It is saved already."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """There is nothing beside."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Whether the page is in the index."""
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Which rows, `get_queryset` says."""
        return not self.by(request).reach(self.sees).is_nobody

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Of which rows, the act says."""
        return not self.by(request).reach(self.changes).is_nobody

    def has_add_permission(self, request: HttpRequest) -> bool:
        """The same."""
        return self.has_change_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The same."""
        return self.has_change_permission(request)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """By the act that is for it."""
        self.end(self.by(request), obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """One by one, so that each is noted."""
        for obj in queryset:
            self.end(self.by(request), obj)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """Delete one, or say why not."""
        try:
            return super().delete_view(request, object_id, extra_context)
        except OrchestratorError as error:
            return self._refused(request, error)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """The list, under the name of what is in it.

        What is done with the chosen ones is done with all of them, or it is said why not.
        """
        told = {"title": capfirst(str(self.opts.verbose_name_plural)), "explanation": self.explanation}
        told |= extra_context or {}
        if request.method != "POST":
            return super().changelist_view(request, told)
        try:
            with transaction.atomic():
                return super().changelist_view(request, told)
        except OrchestratorError as error:
            return self._refused(request, error)

    def _refused(self, request: HttpRequest, error: OrchestratorError) -> HttpResponse:
        self.message_user(request, str(error), messages.ERROR)
        return redirect(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")

    def end(self, by: Actor, obj: Any) -> None:
        """Take one away."""
        raise NotImplementedError


class TenantForm(ActForm):
    """A tenant. Its name stays."""

    class Meta:
        model = Tenant
        fields = ("name", "priority")

    def act(self) -> Tenant:
        """Make or change it."""
        values = self.cleaned_data
        if self.instance.pk is None:
            return tenancy.make_tenant(self.by, read(TenantAsked, values))
        change = read(TenantChange, {"priority": values["priority"]})
        return tenancy.change_tenant(self.by, Tenant.objects.get(pk=self.instance.pk).name, change)


@admin.register(Tenant)
class TenantAdmin(Acts):
    """Who is served. A tenant is suspended, not deleted: its requests are the audit."""

    sees, changes, tenants = Permission.SEE_PEOPLE, Permission.CHANGE_PEOPLE, ("pk",)
    explanation = "Who is served. A tenant is suspended, not deleted: its records stay."
    form = TenantForm
    list_display = ("name", "priority", "state", "keys_in_use", "created_at")
    list_filter = ("priority", ("suspended_at", admin.EmptyFieldListFilter))
    search_fields = ("name",)
    fields = ("name", "priority", "suspended_at", "created_at")
    actions = ("suspend", "resume")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With how many keys are theirs."""
        working = Q(keys__revoked_at=None) & (Q(keys__expires_at=None) | Q(keys__expires_at__gt=timezone.now()))
        rows: QuerySet[Any] = super().get_queryset(request).annotate(in_use=Count("keys", filter=working))
        return rows

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Statistics and grants name it, so its name stays."""
        return ("suspended_at", "created_at", *(("name",) if obj else ()))

    @admin.display(description="state", ordering="suspended_at")
    def state(self, tenant: Tenant) -> str:
        """Whether its keys work."""
        return "suspended" if tenant.suspended_at else "served"

    @admin.display(description="keys in use", ordering="in_use")
    def keys_in_use(self, tenant: Any) -> int:
        """How many."""
        count: int = tenant.in_use
        return count

    @admin.action(description="Suspend the chosen tenants: none of their keys works", permissions=["change"])
    def suspend(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> None:
        """Until they are resumed."""
        self._set(request, queryset, suspended=True)

    @admin.action(description="Resume the chosen tenants", permissions=["change"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> None:
        """Their keys work again."""
        self._set(request, queryset, suspended=False)

    def _set(self, request: HttpRequest, queryset: QuerySet[Tenant], *, suspended: bool) -> None:
        done = []
        for tenant in queryset:
            try:
                tenancy.change_tenant(self.by(request), tenant.name, TenantChange(suspended=suspended))
            except OrchestratorError as error:
                self.message_user(request, f"{tenant}: {error}", messages.ERROR)
                continue
            self.log_change(request, tenant, "Suspended." if suspended else "Resumed.")
            done.append(tenant.name)
        if done:
            words = "Suspended" if suspended else "Resumed"
            self.message_user(request, f"{words}: {', '.join(done)}.", messages.SUCCESS)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Its requests are the audit."""
        return False


class TeamForm(ActForm):
    """A team, which is made and deleted, and not changed."""

    class Meta:
        model = Team
        fields = ("tenant", "name")

    def act(self) -> Team:
        """Make it."""
        values = self.cleaned_data
        return tenancy.make_team(self.by, read(TeamAsked, {"tenant": values["tenant"].name, "name": values["name"]}))


@admin.register(Team)
class TeamAdmin(Acts):
    """Some of a tenant's keys, for limits and accounts of their own."""

    explanation = "Some of a tenant's keys, for limits of their own."
    form = TeamForm
    list_display = ("name", "tenant", "key_count", "created_at")
    list_filter = (("tenant", Reached),)
    list_select_related = ("tenant",)
    search_fields = ("name", "tenant__name")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With how many keys it has."""
        rows: QuerySet[Any] = super().get_queryset(request).annotate(key_count_=Count("keys"))
        return rows

    @admin.display(description="keys", ordering="key_count_")
    def key_count(self, team: Any) -> int:
        """Revoked ones too: with any, it cannot be deleted."""
        count: int = team.key_count_
        return count

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Keys and limits name it."""
        return False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """By those who may change keys."""
        return super().has_change_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The same."""
        return super().has_change_permission(request, obj)

    def end(self, by: Actor, obj: Team) -> None:
        """Delete it."""
        tenancy.delete_team(by, obj.tenant.name, obj.name)


class GrantForm(ActForm):
    """A grant, which is made and ended, and not changed."""

    class Meta:
        model = Grant
        fields = ("owner", "reader")

    def act(self) -> Grant:
        """Make it."""
        names = {side: self.cleaned_data[side].name for side in ("owner", "reader")}
        return tenancy.make_grant(self.by, read(GrantAsked, names))


@admin.register(Grant)
class GrantAdmin(Acts):
    """Which tenant may be answered from which other's cache."""

    sees, changes, tenants = Permission.SEE_PEOPLE, Permission.CHANGE_PEOPLE, ("owner", "reader")
    explanation = "The reader is answered from what the owner has in the cache, too."
    form = GrantForm
    list_display = ("__str__", "owner", "reader", "created_at")
    list_filter = (("owner", Reached), ("reader", Reached))
    list_select_related = ("owner", "reader")
    search_fields = ("owner__name", "reader__name")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """It is there or not."""
        return False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """By those who may change people."""
        return super().has_change_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The same."""
        return super().has_change_permission(request, obj)

    def end(self, by: Actor, obj: Grant) -> None:
        """End it."""
        tenancy.delete_grant(by, obj.owner.name, obj.reader.name)


class LimitForm(ActForm):
    """A limit. What it counts, and whose, stays."""

    class Meta:
        model = Limit
        fields = (
            "name",
            "kind",
            "amount",
            "per_s",
            "burst",
            "each",
            "tenant",
            "team",
            "key",
            "model",
            "network",
            "is_off",
        )
        labels = {"per_s": "In seconds", "is_off": "Switched off"}  # noqa: RUF012  # read only
        help_texts = {"name": "As the header RateLimit-Policy names it."}  # noqa: RUF012  # read only

    def act(self) -> Limit:
        """Make or change it."""
        values = self.cleaned_data
        fields = {field: values[field] for field in limiting.FIELDS}
        if self.instance.pk is not None:
            return limiting.change(self.by, Limit.objects.get(pk=self.instance.pk).name, read(LimitChange, fields))
        whose = {
            "tenant": values["tenant"] and values["tenant"].name,
            "team": values["team"] and values["team"].name,
            "key": values["key"] and values["key"].prefix,
        }
        if values["team"] and not values["tenant"]:
            whose["tenant"] = values["team"].tenant.name
        return limiting.make(
            self.by, read(LimitAsked, fields | whose | {field: values[field] for field in ("name", "kind")})
        )


@admin.register(Limit)
class LimitAdmin(Acts):
    """How much may be asked."""

    explanation = "How much may be asked. A request has to be within every limit that is about it."
    form = LimitForm
    list_display = ("name", "kind", "how_much", "each", "about", "is_on")
    list_filter = ("kind", "each", "is_off", ("tenant", Reached))
    list_select_related = ("tenant", "team__tenant", "key")
    search_fields = ("name", "tenant__name", "team__name", "key__prefix", "model")
    raw_id_fields = ("key",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Another kind, or of somebody else, is another limit."""
        return ("name", "kind", "tenant", "team", "key") if obj else ()

    @admin.display(description="how much", ordering="amount")
    def how_much(self, limit: Limit) -> str:
        """The amount, with its time."""
        within = f" in {limit.per_s:,} s" if limit.per_s else ""
        at_once = f", {limit.burst:,} at once" if limit.burst else ""
        return f"{limit.amount:,}{within}{at_once}"

    @admin.display(description="about")
    def about(self, limit: Limit) -> str:
        """Every field that is set."""
        whose = limit.key or limit.team or limit.tenant
        return ", ".join(str(one) for one in (whose, limit.model, limit.network) if one) or "everything"

    @admin.display(description="state", ordering="is_off")
    def is_on(self, limit: Limit) -> str:
        """In words: Django's cross would look like a fault."""
        return "off" if limit.is_off else "on"

    def end(self, by: Actor, obj: Limit) -> None:
        """Delete it."""
        limiting.delete(by, obj.name)


class Lines(forms.JSONField):
    """A list of words, one a line."""

    widget = forms.Textarea(attrs={"rows": 3, "cols": 40})

    def prepare_value(self, value: Any) -> Any:
        """As it is typed."""
        return "\n".join(value) if isinstance(value, list) else value

    def bound_data(self, data: Any, initial: Any) -> Any:
        """As it was typed."""
        return initial if self.disabled else data

    def to_python(self, value: Any) -> Any:
        """As it is kept."""
        return [line.strip() for line in str(value or "").splitlines() if line.strip()]

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Whether other lines are there."""
        return bool((initial or []) != self.to_python(data))


LISTS = ("model_patterns", "dialects", "families", "networks", "tags")
LABELS = {"model_patterns": "Models", "families": "Endpoints", "reaches_all": "For every tenant"}
HELP = {
    "model_patterns": "Models it may ask, one a line: openai/*, smollm2:135m.",
    "dialects": f"One a line: {', '.join(DIALECTS)}.",
    "families": f"One a line: {', '.join(FAMILIES)}.",
    "networks": "Where it may come from, one a line: 10.0.0.0/8, 192.0.2.7, 2001:db8::/32.",
    "tags": "Words that every record of its requests has, one a line.",
}


class KeyForm(ActForm):
    """What a key is for."""

    class Meta:
        model = ApiKey
        fields = ("name", "team", "role", "reaches_all", *LISTS, "expires_at")
        field_classes = dict.fromkeys(LISTS, Lines)
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
        return [(state, "in use" if state == "working" else state) for state in issuing.STATES]

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
        return queryset.filter(team=value) if value.isdecimal() else queryset


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
            return AnyBase.formfield_for_foreignkey(self, db_field, request, **kwargs)
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
        state = issuing.state_of(key, timezone.now())
        return "in use" if state == "working" else state

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
        revoked = []
        for key in keys:
            try:
                issuing.revoke(self.by(request), key.prefix)
            except OrchestratorError as error:
                self.message_user(request, f"{key}: {error}", messages.ERROR)
                continue
            self.log_change(request, key, "Revoked.")
            revoked.append(f"{key.name} ({key.prefix})")
        if revoked:
            self.message_user(request, f"Revoked: {', '.join(revoked)}.", messages.SUCCESS)
        return None

    def has_add_permission(self, request: HttpRequest) -> bool:
        """A key is shown once, when it is issued; a form could not do that."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        """Revoked, not deleted: requests point to it."""
        return False


class KindOfAct(admin.SimpleListFilter):
    """What it was about."""

    title = "what it is about"
    parameter_name = "about"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """By the first word of the action."""
        return [(kind, kind) for kind in KINDS_OF_ACTS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those that are."""
        return queryset.filter(action__startswith=f"{self.value()}.") if self.value() in KINDS_OF_ACTS else queryset


@admin.register(AuditEvent)
class AuditEventAdmin(Acts):
    """Who changed what. It is read here, and nobody changes it; `manage.py audit verify` tells whether somebody has."""

    sees = changes = Permission.SEE_AUDIT
    explanation = (
        "Who changed what. Whether an event was changed, dropped or moved since, manage.py audit verify tells."
    )
    list_display = ("number", "at", "actor", "action", "subject", "tenant", "request_id")
    list_filter = (When, KindOfAct, ("tenant", Reached))
    list_select_related = ("tenant",)
    list_per_page = 50
    search_fields = ("actor", "subject", "request_id")
    search_help_text = "Who, what it was done to, or the id of the request"
    fields = ("number", "at", "actor", "action", "subject", "tenant", "what", "request_id", "digest")
    readonly_fields = fields
    actions = None
    ordering = ("-id",)
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = BoundedPaginator

    @admin.display(description="number", ordering="id")
    def number(self, event: AuditEvent) -> int:
        """From 1 on, without a gap."""
        return event.pk

    @admin.display(description="details")
    def what(self, event: AuditEvent) -> str:
        """As JSON, a line for each field."""
        lines = [f"{field}: {json.dumps(value, ensure_ascii=False)}" for field, value in event.details.items()]
        return "\n".join(lines) or "-"

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Events are noted, not entered."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """What happened, happened."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The next one would not fit the one before."""
        return False
