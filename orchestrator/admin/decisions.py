"""Why models were asked, and how their answers turned out, to be read."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from orchestrator.admin.lists import MOST_LOOKED, Long, When
from orchestrator.admin.seen import Reached, Seen
from orchestrator.core.permissions import Permission
from orchestrator.models import AnswerOutcome, RouteDecision, ShadowRun
from routing.analysis.types import TASKS


class _Told(Long, Seen):
    """A long list, the newest first, of which a request is found by its id."""

    sees = Permission.SEE_USAGE
    list_per_page = 50
    ordering = ("-id",)
    sortable_by = ()  # sorting by anything but the newest would sort everything
    list_select_related = ()  # joined, a database may begin with tenants, and sort all rows
    search_fields = ("request_id__exact",)
    search_help_text = "Request id"
    actions = None
    explanation = f"Of the newest {MOST_LOOKED:,}. An older one is found by the id of its request."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With tenants, asked for by themselves."""
        return super().get_queryset(request).prefetch_related("tenant")


class OfTask(admin.SimpleListFilter):
    """What was asked for. The tasks that are known, so that a long table is not read for those it has."""

    title = "task"
    parameter_name = "task"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Every task."""
        return [(task, task) for task in TASKS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those of the chosen one."""
        return queryset.filter(task=self.value()) if self.value() in TASKS else queryset


@admin.register(RouteDecision)
class RouteDecisionAdmin(_Told):
    """Decisions of rules and of the router. The API explains each: `/api/admin/v1/decisions/…`."""

    list_display = ("at", "request_id", "tenant", "rule", "split", "arm", "task", "complexity", "is_explored")
    list_filter = (When, "is_explored", OfTask, ("tenant", Reached))
    fields = (
        *("request_id", "tenant", "at", "rules", "rule", "split", "arm", "task", "complexity", "propensity"),
        *("is_explored", "inputs"),
    )

    @admin.display(description="what it followed from")
    def inputs(self, decision: RouteDecision) -> str:
        """Facts, verdict, candidates and order, as JSON that can be read."""
        try:
            shown = json.dumps(json.loads(decision.document), indent=2, ensure_ascii=False)
        except ValueError:  # it is shown as it is
            shown = decision.document
        return format_html('<div class="document"><pre tabindex="0">{}</pre></div>', shown)


@admin.register(AnswerOutcome)
class AnswerOutcomeAdmin(_Told):
    """What was said of answers, and in which snapshot of the router it is."""

    list_display = ("at", "request_id", "tenant", "model", "kind", "good", "by", "learned")
    list_filter = (When, "kind", ("tenant", Reached))
    fields = ("request_id", "tenant", "at", "model", "kind", "good", "by", "note", "learned")

    @admin.display(description="learned in")
    def learned(self, outcome: AnswerOutcome) -> str:
        """0: the router did not choose, or a model was not sure of itself; neither says how good its choices are."""
        if outcome.learned_in is None:
            return "not yet"
        return f"snapshot {outcome.learned_in}" if outcome.learned_in else "nothing to learn"


@admin.register(ShadowRun)
class ShadowRunAdmin(_Told):
    """The same questions to other models."""

    list_display = ("at", "request_id", "tenant", "rule", "model", "shadow", "failed", "likeness")
    list_filter = (When, ("tenant", Reached))

    fields = tuple(field.name for field in ShadowRun._meta.fields if field.name != "id")
