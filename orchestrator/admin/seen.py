"""Lists of which everybody sees the rows of their own tenants, and changes none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.text import capfirst

from orchestrator.core.permissions import Permission
from orchestrator.identity.acting import Actor, of_user

if TYPE_CHECKING:
    AnyBase = admin.ModelAdmin[Any]
else:
    AnyBase = admin.ModelAdmin


class Reached(admin.RelatedFieldListFilter):
    """A filter by tenant whose choices are those that one may see: a name is something, too."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:
        """The tenants."""
        reach = model_admin.by(request).reach(model_admin.sees)
        within = {} if reach.tenants is None else {"pk__in": reach.tenants}
        ordering = self.field_admin_ordering(field, request, model_admin)
        return field.get_choices(include_blank=False, ordering=ordering, limit_choices_to=within)


class Seen(AnyBase):
    """A page of rows that somebody may see, to be read."""

    sees = Permission.SEE_KEYS
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
