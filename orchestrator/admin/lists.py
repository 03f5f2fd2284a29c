"""Lists in the admin of tables that may be long."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.db.models.expressions import RawSQL
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.urls import path, reverse
from django.utils import timezone

from orchestrator.core.permissions import EVERYBODY
from orchestrator.ledger.spreadsheet import MONEY, dollars, written

if TYPE_CHECKING:
    AnyBase = admin.ModelAdmin[Any]
else:
    AnyBase = admin.ModelAdmin

MOST_COUNTED = 10_000
MOST_LOOKED = 20_000  # rows, the newest, that are looked through for what no index finds
MOST_OF_DAYS = 100_000  # the same of a list that is asked for by time, as pages of costs lead to
MOST_EXPORTED = 20_000  # rows of one file, which is made while other pages wait


class BoundedPaginator(Paginator):  # type: ignore[type-arg]  # generic in the stubs only
    """Counts to `MOST_COUNTED` and no further; later pages are reached by narrowing the filters."""

    @cached_property
    def count(self) -> int:
        """How many match, `MOST_COUNTED` at most."""
        return cast("QuerySet[Any]", self.object_list).order_by().values("pk")[:MOST_COUNTED].count()


class NewestPaginator(BoundedPaginator):
    """Counts them in the order of their list: left to itself SQLite would take another index, and pass millions by."""

    @cached_property
    def count(self) -> int:
        """How many match, `MOST_COUNTED` at most."""
        return cast("QuerySet[Any]", self.object_list).values("pk")[:MOST_COUNTED].count()


def newest(request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
    """Those among the newest `MOST_LOOKED` of their table: what few rows match would be looked for in all of them.

    A file has what is in all of them. Of anything else `request` has it noted, so that its page says so.
    """
    if getattr(request, "is_whole", False):
        return rows
    request.is_newest = True  # type: ignore[attr-defined]
    oldest = RawSQL(f"(SELECT MAX(id) - {MOST_LOOKED} FROM {rows.model._meta.db_table})", ())  # noqa: S608, S611  # our own
    return rows.filter(pk__gt=oldest)


class Newest(ChangeList):
    """A list of the newest, as far as nothing says which rows are meant that an index finds."""

    looked = 0  # through how many; 0: all
    since: datetime | None = None  # of a list that is asked for by time: only what is newer was looked through

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """What matches."""
        is_by_time = "at__gte" in request.GET and not self.query
        if is_by_time and not getattr(request, "is_whole", False):
            self._begin_later()
        rows = super().get_queryset(request, exclude_parameters)
        if not self.query and not is_by_time:
            rows = newest(request, rows)
        if getattr(request, "is_newest", False):
            self.looked = MOST_LOOKED
        return rows

    def _begin_later(self) -> None:
        """Where there are more than `MOST_OF_DAYS` of the time that is asked for, ask for the newest of them.

        Beside the beginning that was asked for a later one would do nothing: the index is searched by the first.
        """
        asked = {name: self.filter_params[name][-1] for name in ("at__gte", "at__lt") if name in self.filter_params}
        every: QuerySet[Any] = cast("Any", self.model).objects.of(EVERYBODY)
        try:
            there = every.filter(**asked).order_by("-at").values_list("at", flat=True)
        except ValidationError as error:
            raise IncorrectLookupParameters(error) from error
        before = next(iter(there[MOST_OF_DAYS : MOST_OF_DAYS + 1]), None)
        if before is not None:
            self.looked, self.since = MOST_OF_DAYS, before + timedelta(microseconds=1)
            self.filter_params["at__gte"] = [self.since.isoformat()]


class Long(AnyBase):
    """A list whose table may have millions of rows."""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # a count for every choice reads every row
    paginator = BoundedPaginator

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """How it lists."""
        return Newest

    def get_ordering(self, request: HttpRequest) -> Any:
        """By the index that finds the rows: any other order would sort all of them, with what is shown of each."""
        return ("-at", "-id") if "at__gte" in request.GET else super().get_ordering(request)

    def get_paginator(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Paginator[Any]:
        """How it counts."""
        return (NewestPaginator if getattr(request, "is_newest", False) else self.paginator)(*args, **kwargs)


class Exported(AnyBase):
    """A list that can be had as CSV, as it is filtered: all of what matches, or nothing."""

    exported: tuple[str, ...] = ()  # columns of the model

    def get_urls(self) -> list[Any]:
        """The list's own, and the file."""
        name = f"{self.opts.app_label}_{self.opts.model_name}_export"
        return [path("export.csv", self.admin_site.admin_view(self.export), name=name), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list, with the way to the file."""
        address = f"{self._address('export')}?{request.GET.urlencode()}"
        return super().changelist_view(request, {"export_at": address} | (extra_context or {}))

    def export(self, request: HttpRequest) -> HttpResponseBase:
        """The file. More rows than it takes are refused: a file that leaves some out proves nothing."""
        request.is_whole = True  # type: ignore[attr-defined]
        try:
            rows = list(self.get_changelist_instance(request).get_queryset(request)[: MOST_EXPORTED + 1])
        except IncorrectLookupParameters:
            return redirect(self._address("changelist"))
        if len(rows) > MOST_EXPORTED:
            messages.error(request, f"More than {MOST_EXPORTED:,} match. Narrow the filters, and export again.")
            return redirect(f"{self._address('changelist')}?{request.GET.urlencode()}")
        head = [MONEY.get(name, name) for name in self.exported]
        lines = [[_cell(getattr(row, name), name) for name in self.exported] for row in rows]
        response = HttpResponse(written([head, *lines]), content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = f'attachment; filename="{self.opts.model_name}.csv"'
        return response

    def _address(self, action: str) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{action}")


def _cell(value: Any, name: str) -> Any:
    if name in MONEY:
        return "" if value is None else Decimal(dollars(value))
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else value if isinstance(value, int) else str(value)


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
