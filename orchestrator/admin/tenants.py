"""Tenants, their teams, and what one tenant may be answered from another's cache."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from orchestrator.admin.acts import ActForm, Acts
from orchestrator.admin.seen import Reached
from orchestrator.core.permissions import Permission
from orchestrator.identity import tenancy
from orchestrator.identity.asked import GrantAsked, TeamAsked, TenantAsked, TenantChange, read
from orchestrator.models import Grant, Team, Tenant


class TenantForm(ActForm):
    """A tenant. Its name stays."""

    changeable = ("priority",)

    class Meta:
        model = Tenant
        fields = ("name", "priority")

    def act(self) -> Tenant:
        """Make or change it."""
        values = self.cleaned_data
        if self.instance.pk is None:
            return tenancy.make_tenant(self.by, read(TenantAsked, values))
        change = read(TenantChange, self.changed({"priority": values["priority"]}))
        return tenancy.change_tenant(self.by, Tenant.objects.get(pk=self.instance.pk).name, change)


@admin.register(Tenant)
class TenantAdmin(Acts):
    """Who is served. A tenant is suspended, not deleted: its requests are the audit."""

    sees, changes, tenants = Permission.SEE_PEOPLE, Permission.CHANGE_PEOPLE, ("pk",)
    explanation = "Who is served. A tenant is suspended, not deleted: its records stay."
    form = TenantForm
    list_display = ("name", "priority", "state", "working_keys", "created_at")
    list_filter = ("priority", ("suspended_at", admin.EmptyFieldListFilter))
    search_fields = ("name",)
    fields = ("name", "priority", "suspended_at", "created_at")
    actions = ("suspend", "resume")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With how many keys of theirs work."""
        working = Q(keys__revoked_at=None) & (Q(keys__expires_at=None) | Q(keys__expires_at__gt=timezone.now()))
        rows: QuerySet[Any] = super().get_queryset(request).annotate(working=Count("keys", filter=working))
        return rows

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Statistics and grants name it, so its name stays."""
        return ("suspended_at", "created_at", *(("name",) if obj else ()))

    @admin.display(description="state", ordering="suspended_at")
    def state(self, tenant: Tenant) -> str:
        """Whether its keys work."""
        return "suspended" if tenant.suspended_at else "served"

    @admin.display(description="working keys", ordering="working")
    def working_keys(self, tenant: Any) -> int:
        """How many."""
        count: int = tenant.working
        return count

    @admin.action(description="Suspend the chosen tenants: none of their keys works", permissions=["change"])
    def suspend(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> None:
        """Until they are resumed."""
        self._set(request, queryset, "Suspended", suspended=True)

    @admin.action(description="Resume the chosen tenants", permissions=["change"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> None:
        """Their keys work again."""
        self._set(request, queryset, "Resumed", suspended=False)

    def _set(self, request: HttpRequest, queryset: QuerySet[Tenant], done: str, *, suspended: bool) -> None:
        change = TenantChange(suspended=suspended)
        self.do_each(
            request, queryset, lambda tenant: tenancy.change_tenant(self.by(request), tenant.name, change), done
        )

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

    def delete_model(self, request: HttpRequest, obj: Team) -> None:
        """Unless it has keys or budgets."""
        tenancy.delete_team(self.by(request), obj.tenant.name, obj.name)


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

    def delete_model(self, request: HttpRequest, obj: Grant) -> None:
        """From the next request on."""
        tenancy.delete_grant(self.by(request), obj.owner.name, obj.reader.name)
