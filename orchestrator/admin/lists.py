"""Lists in the admin of tables that may be long."""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from typing import Any, cast

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

MOST_COUNTED = 10_000


class BoundedPaginator(Paginator):  # type: ignore[type-arg]  # generic in the stubs only
    """Counts to `MOST_COUNTED` and no further; later pages are reached by narrowing the filters."""

    @cached_property
    def count(self) -> int:
        """How many match, `MOST_COUNTED` at most."""
        return cast("QuerySet[Any]", self.object_list).order_by().values("pk")[:MOST_COUNTED].count()


class When(admin.SimpleListFilter):
    """How long ago. Ranges, which the index on the time serves; a date hierarchy would read every record."""

    title = "when"
    parameter_name = "when"
    lengths = {  # noqa: RUF012  # read only
        "15m": ("Last 15 minutes", timedelta(minutes=15)),
        "1h": ("Last hour", timedelta(hours=1)),
        "24h": ("Last 24 hours", timedelta(hours=24)),
        "7d": ("Last 7 days", timedelta(days=7)),
        "30d": ("Last 30 days", timedelta(days=30)),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The ranges."""
        return [(value, words) for value, (words, _) in self.lengths.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those of the range."""
        chosen = self.lengths.get(self.value() or "")
        return queryset.filter(at__gte=timezone.now() - chosen[1]) if chosen else queryset
