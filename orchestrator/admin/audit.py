"""The audit, to be read."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from orchestrator.admin.lists import BoundedPaginator, Exported, When
from orchestrator.admin.seen import Reached, Seen
from orchestrator.audit import KINDS
from orchestrator.core.permissions import Permission
from orchestrator.models import AuditEvent


class KindOfAct(admin.SimpleListFilter):
    """What it was about."""

    title = "what it is about"
    parameter_name = "about"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """By the first word of the action."""
        return [(kind, kind) for kind in KINDS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those that are; of a kind that there is not, none."""
        kind = self.value()
        if not kind:
            return queryset
        return queryset.filter(action__startswith=f"{kind}.") if kind in KINDS else queryset.none()


@admin.register(AuditEvent)
class AuditEventAdmin(Exported, Seen):
    """Who changed what. It is read here, and nobody changes it; `manage.py audit verify` tells whether somebody has."""

    exported = ("id", "at", "actor", "action", "subject", "tenant", "details", "request_id", "digest")
    sees = Permission.SEE_AUDIT
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
