"""Lists of which everybody sees the rows of their own tenants, and changes none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.text import capfirst

from orchestrator.core.numbers import whole
from orchestrator.core.permissions import Permission
from orchestrator.identity.acting import Actor
from orchestrator.identity.people import roles_of
from orchestrator.models import Tenant

if TYPE_CHECKING:
    AnyBase = admin.ModelAdmin[Any]
else:
    AnyBase = admin.ModelAdmin

MOST_CHOICES = 100


class ByTenant(admin.RelatedFieldListFilter):
    """A filter by tenant with the first of them by name, and the one that is chosen, however many there are."""

    def __init__(self, *about: Any, **named: Any) -> None:
        """As Django makes it."""
        super().__init__(*about, **named)
        if len(self.lookup_choices) >= MOST_CHOICES:
            self.title = f"{self.title}, the first {MOST_CHOICES}"

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:
        """The tenants."""
        rows = self.tenants(request, model_admin).order_by("name")
        found = list(rows.values_list("pk", "name")[:MOST_CHOICES])
        chosen = {number for value in self.lookup_val or () if (number := whole(value)) is not None}
        if missing := chosen - {pk for pk, _ in found}:
            found += rows.filter(pk__in=missing).values_list("pk", "name")
        return found

    def tenants(self, request: HttpRequest, model_admin: Any) -> QuerySet[Tenant]:
        """Those to choose from."""
        return Tenant.objects.all()


class Reached(ByTenant):
    """A filter by tenant whose choices are those that one may see: a name is something, too."""

    def tenants(self, request: HttpRequest, model_admin: Any) -> QuerySet[Tenant]:
        """Those in reach."""
        reach = model_admin.by(request).reach(model_admin.sees)
        rows = super().tenants(request, model_admin)
        return rows if reach.tenants is None else rows.filter(pk__in=reach.tenants)


class Seen(AnyBase):
    """A page of rows that somebody may see, to be read."""

    sees = Permission.SEE_KEYS
    tenants: tuple[str, ...] = ("tenant",)  # whose a row is, by column
    explanation = ""  # above the list

    def by(self, request: HttpRequest) -> Actor:
        """Who is signed in; asked once for each request."""
        known: Actor | None = getattr(request, "actor", None)
        if known is None:
            held = roles_of(request.user)  # as they were read at the door
            known = Actor(name=f"user:{request.user.get_username()}", roles=held)
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

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """The list, under the name of what is in it."""
        told = {"title": capfirst(str(self.opts.verbose_name_plural)), "explanation": self.explanation}
        return super().changelist_view(request, told | (extra_context or {}))

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Whether the page is in the index."""
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Which rows, `get_queryset` says."""
        return not self.by(request).reach(self.sees).is_nobody

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody."""
        return False
