"""The records, to be read: who asked what, and what became of it.

A ledger may hold ten million requests, so nothing here counts, sorts or lists distinct values over
all of them: counts and sums stop at `MOST_COUNTED`, and the choices of the filters come from the newest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import Q, QuerySet, Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path

from orchestrator.admin.lists import MOST_COUNTED, Exported, Long, When, newest
from orchestrator.admin.seen import ByTenant
from orchestrator.core.errors import NotThere
from orchestrator.core.permissions import EVERYBODY, Permission, Reach
from orchestrator.identity.people import reach
from orchestrator.ledger.belonging import charged_for, decided_for, tried_for
from orchestrator.ledger.spreadsheet import dollars
from orchestrator.ledger.stats import FAILED, REFUSED
from orchestrator.ledger.wording import ending, milliseconds, tokens_read
from orchestrator.models import RequestRecord
from orchestrator.outcomes.saying import is_answered, judge, said_of

if TYPE_CHECKING:
    RecordAdmin = admin.ModelAdmin[RequestRecord]
else:
    RecordAdmin = admin.ModelAdmin

CHOICES_FROM = 10_000  # newest records
CHOSEN = ("outcome", "model", "provider", "dialect")  # columns whose choices come from those
MOST_CHOICES = 40
MOST_TRIED = 10


class Ended(admin.SimpleListFilter):
    """How it ended, as the dashboard counts it."""

    title = "how it ended"
    parameter_name = "ended"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Three ways."""
        return [("well", "Answered"), ("failed", "Failed"), ("refused", "Refused (4xx)")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those that ended so."""
        ways = {"failed": FAILED, "refused": REFUSED, "well": ~FAILED & ~REFUSED}
        way = ways.get(self.value() or "")
        return queryset if way is None else queryset.filter(way)


class Took(admin.SimpleListFilter):
    """How long it took until the last piece."""

    title = "how long it took"
    parameter_name = "took"
    lengths = {  # noqa: RUF012  # read only
        "1s": ("1 s or longer", 1_000_000),
        "5s": ("5 s or longer", 5_000_000),
        "20s": ("20 s or longer", 20_000_000),
        "60s": ("60 s or longer", 60_000_000),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The lengths."""
        return [(value, words) for value, (words, _) in self.lengths.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those that took as long."""
        chosen = self.lengths.get(self.value() or "")
        return queryset.filter(total_us__gte=chosen[1]) if chosen else queryset


def yes_or_no(column: str, words: str, yes: str, no: str) -> type[admin.SimpleListFilter]:
    """A filter by a flag, which says what its two values mean."""

    class Flag(admin.SimpleListFilter):
        title = words
        parameter_name = column

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            return [("1", yes), ("0", no)]

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            return queryset.filter(**{column: self.value() == "1"}) if self.value() in {"0", "1"} else queryset

    return Flag


class LeftOut(admin.SimpleListFilter):
    """Whether the model was asked for all that the caller asked for."""

    title = "what the model cannot do"
    parameter_name = "left_out"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Two ways."""
        return [("1", "Something was left out"), ("0", "Nothing was")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those of the way."""
        ways = {"1": ~Q(unsupported=""), "0": Q(unsupported="")}
        return queryset.filter(ways[self.value() or ""]) if self.value() in ways else queryset


def _recent(request: HttpRequest) -> dict[str, set[Any]]:
    """What those columns hold among the newest records. One query for all filters of a page."""
    found: dict[str, set[Any]] | None = getattr(request, "recent", None)
    if found is None:
        newest = list(RequestRecord.objects.of(EVERYBODY).order_by("-id").values_list(*CHOSEN)[:CHOICES_FROM])
        found = {column: {row[place] for row in newest} for place, column in enumerate(CHOSEN)}
        request.recent = found  # type: ignore[attr-defined]
    return found


def recent(column: str, title_: str, words: Callable[[str], str] = str) -> type[admin.SimpleListFilter]:
    """A filter whose choices are the values of `column` among the newest records, as `words` puts them."""

    class Recent(admin.SimpleListFilter):
        title = title_
        parameter_name = column

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            values = {str(value) for value in (*_recent(request)[column], self.value()) if value}
            return [(value, words(value)) for value in sorted(values)[:MOST_CHOICES]]

        def has_output(self) -> bool:
            return bool(self.lookup_choices)

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            return queryset.filter(**{column: self.value()}) if self.value() else queryset

    return Recent


@admin.register(RequestRecord)
class RequestRecordAdmin(Exported, Long, RecordAdmin):
    """Every request, to be read. Nobody adds, changes or deletes one here."""

    exported = (
        *("at", "request_id", "tenant", "key", "dialect", "endpoint", "asked_model", "model", "provider", "route"),
        *("tier", "cache_key", "tags", "status", "outcome", "error"),
        *("prompt_tokens", "completion_tokens", "cached_tokens", "is_estimated"),
        *("first_us", "engine_first_us", "total_us", "cost_microusd", "saved_microusd"),
    )

    list_display = (
        "began",
        "shown_model",
        "tier",
        "who",
        "tokens_in",
        "tokens_out",
        "first_ms",
        "total_ms",
        "result",
    )
    list_filter = (
        When,
        Ended,
        Took,
        "tier",
        recent("outcome", "outcome", ending),
        recent("model", "model"),
        recent("provider", "provider"),
        ("tenant", ByTenant),
        recent("dialect", "dialect"),
        yes_or_no("is_paid", "whether it cost money", "Yes, a provider charges", "No"),
        LeftOut,
    )
    fields = (
        "request_id",
        "began",
        "tenant",
        "key",
        "dialect",
        "endpoint",
        "asked_model",
        "model",
        "provider",
        "route",
        "tried",
        "tags",
        "left_out",
        "done_for_it",
        "tier",
        "cache_key",
        "granted_by",
        "saved",
        "is_streamed",
        "status",
        "ended",
        "error",
        "tokens_in",
        "tokens_out",
        "tokens_cached",
        "counted",
        "first_ms",
        "engine_first_ms",
        "total_ms",
        "cost",
        "charges",
        "said",
    )
    list_select_related = ("tenant", "key")
    list_per_page = 50
    ordering = ("-id",)
    sortable_by = ()  # sorting by anything but the newest would sort everything
    search_fields = ("request_id",)  # shows the field; `get_search_results` does the searching
    search_help_text = "Request id, cache key, or the name of a model"
    actions = None
    change_list_template = "admin/requests.html"
    change_form_template = "admin/request.html"

    @admin.display(description="time, UTC")
    def began(self, record: RequestRecord) -> str:
        """When it came, to the millisecond."""
        return record.at.astimezone(UTC).isoformat(" ", timespec="milliseconds")[:23]

    @admin.display(description="model")
    def shown_model(self, record: RequestRecord) -> str:
        """Who answered, and what was asked for where that is another."""
        if not record.model or record.model == record.asked_model:
            return record.asked_model
        return f"{record.asked_model} → {record.model}"

    @admin.display(description="tenant, key")
    def who(self, record: RequestRecord) -> str:
        """Who asked."""
        return f"{record.tenant.name}, {record.key.name}" if record.key else record.tenant.name

    @admin.display(description="result")
    def result(self, record: RequestRecord) -> str:
        """How it ended, with the status where that is not 200."""
        words = ending(record.outcome)
        words = words if record.status == 200 else f"{words}, {record.status}"
        return f"{words}, without {self.left_out(record)}" if record.unsupported else words

    @admin.display(description="ended")
    def ended(self, record: RequestRecord) -> str:
        """How."""
        return ending(record.outcome)

    @admin.display(description="left out")
    def left_out(self, record: RequestRecord) -> str:
        """What was asked for and the model cannot do."""
        return record.unsupported.replace(",", ", ") or "-"

    @admin.display(description="adapted")
    def done_for_it(self, record: RequestRecord) -> str:
        """What was put to the model in another way, or done in its place."""
        return (record.adapted or "-").replace(",", ", ")

    @admin.display(description="asked before")
    def tried(self, record: RequestRecord) -> str:
        """Who was asked and did not answer, in turn."""
        found = tried_for(record).order_by("id")[: MOST_TRIED + 1]
        return _first(f"{one.model}: {ending(one.outcome)} after {milliseconds(one.took_us)} ms" for one in found)

    @admin.display(description="tokens in")
    def tokens_in(self, record: RequestRecord) -> str:
        """Read; a dash where nobody had counted them yet."""
        number = tokens_read(record)
        return "–" if number is None else f"{number:,}"

    @admin.display(description="tokens out")
    def tokens_out(self, record: RequestRecord) -> str:
        """Written."""
        return f"{record.completion_tokens:,}"

    @admin.display(description="of those in, read from the provider's cache")
    def tokens_cached(self, record: RequestRecord) -> str:
        """Cheaper ones, mostly."""
        return f"{record.cached_tokens:,}"

    @admin.display(description="tokens are")
    def counted(self, record: RequestRecord) -> str:
        """Whether by who had them."""
        return "estimated" if record.is_estimated else "counted"

    @admin.display(description="saved, $")
    def saved(self, record: RequestRecord) -> str:
        """And who paid; of another tenant's requests nothing is shown."""
        if record.saved_why is None:
            return "-"
        amount = "unknown" if record.saved_microusd is None else f"{record.saved_microusd / 1e6:.6f}"
        payer = record.saved_of if record.granted_by_id is None else "another tenant's"
        return f"{amount}, by {record.saved_why}; paid by request {payer}" if payer else amount

    @admin.display(description="first, ms")
    def first_ms(self, record: RequestRecord) -> str:
        """Until the first piece."""
        return "" if record.first_us is None else milliseconds(record.first_us)

    @admin.display(description="first, ms, since who answered was asked")
    def engine_first_ms(self, record: RequestRecord) -> str:
        """The same, without what others took before."""
        return "-" if record.engine_first_us is None else milliseconds(record.engine_first_us)

    @admin.display(description="total, ms")
    def total_ms(self, record: RequestRecord) -> str:
        """Until the last piece."""
        return milliseconds(record.total_us)

    @admin.display(description="streamed")
    def is_streamed(self, record: RequestRecord) -> str:
        """In words: Django's cross would look like a fault."""
        return "yes" if record.streamed else "no"

    @admin.display(description="cost, $")
    def cost(self, record: RequestRecord) -> str:
        """To the millionth; an unknown price is not nothing."""
        return "unknown" if record.cost_microusd is None else f"{record.cost_microusd / 1e6:.6f}"

    @admin.display(description="charges, $")
    def charges(self, record: RequestRecord) -> str:
        """Each asking that cost something, or may have: what `cost` is the sum of, but for a judge's and a shadow's."""
        return _first(
            f"{dollars(one.cost_microusd) or 'unknown'}: {one.model}, {ending(one.outcome)},"
            f" {one.prompt_tokens:,} in, {one.completion_tokens:,} out, by {one.source}, as {one.purpose}"
            f"{f', doubted: {one.get_doubt_display()}' if one.doubt else ''}"
            for one in charged_for(record).order_by("id")[: MOST_TRIED + 1]
        )

    @admin.display(description="said of the answer")
    def said(self, record: RequestRecord) -> str:
        """By whom, and how good it was."""
        found = said_of(Reach(frozenset({record.tenant_id})), record.request_id)
        lines = [f"{one.good:.2f}, {one.get_kind_display()}: {one.by or '-'} {one.note}".strip() for one in found]
        return "\n".join(lines) or "-"

    def get_urls(self) -> list[Any]:
        """One more: what somebody says of an answer."""
        saying = self.admin_site.admin_view(self.said_view)
        return [path("<int:number>/said/", saying, name="orchestrator_requestrecord_said"), *super().get_urls()]

    def said_view(self, request: HttpRequest, number: int) -> HttpResponse:
        """Keep it, and show the record again."""
        record = self.get_object(request, str(number))
        if record is None:
            raise Http404
        if not self._may_say(request, record):
            raise PermissionDenied
        if request.method != "POST" or request.POST.get("good") not in {"0", "1"}:
            raise BadRequest("Say whether the answer was right.")
        try:
            kept = judge(record, float(request.POST["good"]), by=request.user.get_username())
        except NotThere as error:
            self.message_user(request, str(error), messages.ERROR)
        else:
            words = "right" if kept.good else "wrong"
            self.message_user(request, f"Noted: the answer was {words}. The router learns from it.", messages.SUCCESS)
        return redirect("admin:orchestrator_requestrecord_change", number)

    def _may_say(self, request: HttpRequest, record: RequestRecord) -> bool:
        whose = reach(request.user, Permission.PURGE_ANSWERS)
        return whose.tenants is None or record.tenant_id in whose.tenants

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The record, the way to its decision, and one to say how good the answer was for those who may."""
        record = self.get_object(request, object_id)
        context: dict[str, Any] = {"may_say": False}
        if record is not None:
            context["decision"] = decided_for(record).order_by("-id").first()
            context["may_say"] = is_answered(record) and self._may_say(request, record)
        return super().change_view(request, object_id, form_url, context | (extra_context or {}))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[RequestRecord], search_term: str
    ) -> tuple[QuerySet[RequestRecord], bool]:
        """Match whole values, so that an index can serve: a request id, else a cache key or a model."""
        term = search_term.strip()
        if not term:
            return queryset, False
        by_id = queryset.filter(request_id=term)
        if by_id.exists():
            return by_id, False
        return newest(request, queryset).filter(Q(cache_key=term) | Q(model=term) | Q(asked_model=term)), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list, with the tokens of what is listed."""
        response = super().changelist_view(request, {"title": "Requests"} | (extra_context or {}))
        if isinstance(response, TemplateResponse) and response.context_data and "cl" in response.context_data:
            response.context_data["totals"] = self._totals(response.context_data["cl"].queryset)
        return response

    def _totals(self, matching: QuerySet[RequestRecord]) -> dict[str, Any]:
        listed = matching.order_by("-id").values("pk")[:MOST_COUNTED]
        columns = ("prompt_tokens", "completion_tokens")
        sums = (
            RequestRecord.objects.of(EVERYBODY)
            .filter(pk__in=listed)
            .aggregate(**{column: Sum(column) for column in columns})
        )
        return {column: sums[column] or 0 for column in columns} | {"most": MOST_COUNTED}

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Requests are recorded, not entered."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: RequestRecord | None = None) -> bool:
        """What happened, happened."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: RequestRecord | None = None) -> bool:
        """Old ones go by age (ORCHESTRATOR_RECORD_DAYS)."""
        return False


def _first(lines: Iterable[str]) -> str:
    """The first `MOST_TRIED` of them, and whether there are more."""
    found = list(lines)
    more = ["and more"] if len(found) > MOST_TRIED else []
    return "\n".join([*found[:MOST_TRIED], *more]) or "-"
