"""Money, to be read: single charges, the sums of days, alerts of budgets, and the prices that were used.

What a list sums is what it lists, all of it. Charges that the page of costs leads to are among the newest of its days,
found by the index on time; otherwise the list is of the newest of all. It says which.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.expressions import Combinable
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from orchestrator.admin.lists import BoundedPaginator, Exported, Long, When
from orchestrator.admin.records import yes_or_no
from orchestrator.core.numbers import whole
from orchestrator.core.permissions import EVERYBODY
from orchestrator.ledger import bills
from orchestrator.ledger.spreadsheet import dollars
from orchestrator.ledger.wording import ending
from orchestrator.models import ApiKey, Charge, PriceRow, SpendDay, Tenant

if TYPE_CHECKING:
    AnyAdmin = admin.ModelAdmin[Any]
else:
    AnyAdmin = admin.ModelAdmin

MOST_CHOICES = 100
YEARS = 5  # that are offered
_YEAR = re.compile(r"[1-9]\d{3}", re.ASCII)
SHOWN_DAYS = 30  # of sums of days, where nobody chose others
TOKENS = ("prompt_tokens", "completion_tokens")
LINKED = {"model", "provider", "tenant_id", "key_id", "key_id__isnull", "at__gte", "at__lt"}  # from the page of costs


class Read(AnyAdmin):
    """Rows to be read. What was spent was spent."""

    list_per_page = 50
    actions = None
    ordering: ClassVar[tuple[str | Combinable, ...]] = ("-id",)
    sortable_by = ()
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = BoundedPaginator
    titled = ""
    explanation = ""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list, with what it says of itself, and its totals."""
        told = {"title": self.titled, "explanation": self.explanation} | (extra_context or {})
        response = super().changelist_view(request, told)
        if isinstance(response, TemplateResponse) and response.context_data and "cl" in response.context_data:
            response.context_data["totals"] = self.totals(response.context_data["cl"].queryset)
        return response

    def totals(self, matching: QuerySet[Any]) -> dict[str, Any] | None:
        """Sums of all that match the filters."""
        return None

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody."""
        return False


class OfTenant(admin.SimpleListFilter):
    """Whose. Charges have the tenant's number, and outlive it."""

    title = "tenant"
    parameter_name = "tenant_id"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The first by name."""
        names = Tenant.objects.order_by("name").values_list("pk", "name")[:MOST_CHOICES]
        return [(str(pk), name) for pk, name in names]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those of the chosen one."""
        value = self.value() or ""
        if not value:
            return queryset
        return queryset.filter(tenant_id=number) if (number := whole(value)) is not None else queryset.none()


class OfProvider(admin.SimpleListFilter):
    """Where."""

    title = "provider"
    parameter_name = "provider"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Those whose prices were used, which are few."""
        used = PriceRow.objects.order_by("provider").values_list("provider", flat=True).distinct()[:MOST_CHOICES]
        return [(name, name) for name in dict.fromkeys([*used, *filter(None, [self.value()])])]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those of the chosen one."""
        return queryset.filter(provider=self.value()) if self.value() else queryset


class HasCost(admin.SimpleListFilter):
    """Whether anybody knows what it cost."""

    title = "what it cost"
    parameter_name = "cost"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Two ways."""
        return [("known", "Known"), ("unknown", "Unknown")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those of the way."""
        if self.value() not in {"known", "unknown"}:
            return queryset
        return queryset.filter(cost_microusd__isnull=self.value() == "unknown")


class Doubted(admin.SimpleListFilter):
    """What there is to be doubted of what the provider said."""

    title = "what is doubted"
    parameter_name = "doubted"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Whether anything is, and each of it."""
        each = [(Charge.Doubt.COUNTS.value, "Its counts"), (Charge.Doubt.NOTHING.value, "That it cost nothing")]
        return [("yes", "Something"), *each, ("no", "Not a thing")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those of the chosen one."""
        if self.value() == "yes":
            return queryset.exclude(doubt="")
        if self.value() == "no":
            return queryset.filter(doubt="")
        return queryset.filter(doubt=self.value()) if self.value() else queryset


class Purpose(admin.SimpleListFilter):
    """What it was for."""

    title = "purpose"
    parameter_name = "purpose"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """All there are."""
        return [(purpose, purpose) for purpose in get_args(bills.Purpose)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those of the chosen one."""
        return queryset.filter(purpose=self.value()) if self.value() else queryset


ESTIMATED = yes_or_no("is_estimated", "how tokens were counted", "Estimated here", "Counted by who had them")


@admin.register(Charge)
class ChargeAdmin(Exported, Long, Read):
    """What each asking of a provider cost."""

    exported = (
        *("at", "request_id", "tenant_name", "key_name", "provider", "model", "purpose", "outcome"),
        *("prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens"),
        *("is_estimated", "cost_microusd", "source", "price_id", "provider_ref", "tags", "doubt"),
    )

    titled = "Charges"
    explanation = "What each asking of a provider cost, whether it was the one that answered or not."
    list_display = ("charged_at", "model", "who", "tokens", "cost", "source", "outcome_words", "request")
    list_filter = (When, OfTenant, OfProvider, HasCost, "source", Doubted, Purpose, ESTIMATED)
    search_fields = ("request_id",)  # shows the field; `get_search_results` does the searching
    search_help_text = "Request id, or the provider's id of the call"
    change_list_template = "admin/costs.html"
    fields = (
        "charged_at",
        "request",
        "who",
        "provider",
        "model",
        "purpose",
        "outcome_words",
        *TOKENS,
        "cached_tokens",
        "cache_write_tokens",
        "cache_write_1h_tokens",
        "reasoning_tokens",
        "counted",
        "cost",
        "source",
        "doubted",
        "price",
        "provider_ref",
        "tags",
        "hold",
    )
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With the names of tenant and key, so that a list asks once."""
        return with_names(Charge.objects.of(EVERYBODY).order_by("-id"))

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Also what the page of costs links to."""
        return lookup in LINKED or super().lookup_allowed(lookup, value, request)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Match whole ids, so that an index can serve."""
        term = search_term.strip()
        if not term:
            return queryset, False
        by_request = queryset.filter(request_id=term)
        return (by_request if by_request.exists() else queryset.filter(provider_ref=term)), False

    def totals(self, matching: QuerySet[Any]) -> dict[str, Any]:
        """Exact, of all that match."""
        return matching.order_by().aggregate(
            n=Count("pk"),
            cost=Sum("cost_microusd"),
            unknown=Count("pk", filter=Q(cost_microusd=None)),
            **{name: Sum(name) for name in TOKENS},
        )

    @admin.display(description="time, UTC")
    def charged_at(self, charge: Charge) -> str:
        """When the request came, to the millisecond."""
        return moment(charge.at)

    @admin.display(description="tenant, key")
    def who(self, charge: Any) -> str:
        """Whose, by the names they have now."""
        return named(charge)

    @admin.display(description="tokens in, out")
    def tokens(self, charge: Charge) -> str:
        """Read and written."""
        about = "about " if charge.is_estimated else ""
        return f"{about}{charge.prompt_tokens:,}, {charge.completion_tokens:,}"

    @admin.display(description="tokens are")
    def counted(self, charge: Charge) -> str:
        """In words: Django's cross would look like a fault."""
        return "estimated" if charge.is_estimated else "counted"

    @admin.display(description="cost, $")
    def cost(self, charge: Charge) -> str:
        """To the millionth; an unknown price is not nothing."""
        return dollars(charge.cost_microusd) or "unknown"

    @admin.display(description="doubted")
    def doubted(self, charge: Charge) -> str:
        """What of what the provider said cannot be so."""
        return charge.get_doubt_display() or "-"

    @admin.display(description="outcome")
    def outcome_words(self, charge: Charge) -> str:
        """How the asking ended."""
        return ending(charge.outcome)

    @admin.display(description="request")
    def request(self, charge: Charge) -> SafeString:
        """Its record, for as long as that is kept."""
        records = reverse("admin:orchestrator_requestrecord_changelist")
        query = urlencode({"q": charge.request_id})
        return format_html('<a href="{}?{}">{}</a>', records, query, charge.request_id)

    @admin.display(description="price")
    def price(self, charge: Charge) -> SafeString | str:
        """The one it was reckoned by."""
        if charge.price_id is None:
            return "-"
        address = reverse("admin:orchestrator_pricerow_change", args=[charge.price_id])
        return format_html('<a href="{}">price {}</a>', address, charge.price_id)


class OfDays(admin.SimpleListFilter):
    """Which days: the last ones, or those of a year. Sums of days are kept for good, so all of them are never read."""

    title = "when"
    parameter_name = "when"
    lengths = {"90d": ("Last 90 days", 90), "366d": ("Last 366 days", 366)}  # noqa: RUF012  # read only

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Longer ones, and the latest years. Which of them have any is one more query; older ones go by the address."""
        years = [str(timezone.now().year - ago) for ago in range(YEARS)]
        return [*((value, words) for value, (words, _) in self.lengths.items()), *((year, year) for year in years)]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """The last days are what nobody has to choose."""
        unchosen, *others = super().choices(changelist)
        yield unchosen | {"display": f"Last {SHOWN_DAYS} days"}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those that are chosen. An address that names a year needs no other bound."""
        value = self.value()
        if not value and "day__year" in request.GET:
            return queryset
        if not value or value in self.lengths:
            days = self.lengths[value][1] if value else SHOWN_DAYS
            return queryset.filter(day__gt=timezone.now().date() - timedelta(days=days))
        is_year = bool(_YEAR.fullmatch(value))
        return queryset.filter(day__year=int(value)) if is_year else queryset.none()


@admin.register(SpendDay)
class SpendDayAdmin(Exported, Read):
    """What was spent and saved in a day."""

    exported = (
        *("day", "tenant_name", "key_name", "provider", "model", "calls", "unpriced", *TOKENS, "cached_tokens"),
        *("cost_microusd", "saved_calls", "saved_microusd"),
    )

    titled = "Days"
    explanation = (
        "What was spent and saved in a day, by whom and where. These sums are kept when records and charges go;"
        f" listed are those of the last {SHOWN_DAYS} days, unless others are chosen."
    )
    list_display = ("day", "who", "model", "all_calls", "without_price", "tokens", "cost", "answers_saved", "saved")
    list_filter = (OfDays, OfTenant, OfProvider)
    date_hierarchy = "day"  # of the days that are chosen
    ordering: ClassVar[tuple[str | Combinable, ...]] = ("-day", "-cost_microusd", "-id")
    search_fields = ("model",)
    search_help_text = "Full name of a model"
    change_list_template = "admin/costs.html"
    fields = (
        "day",
        "who",
        "provider",
        "model",
        "calls",
        "unpriced",
        *TOKENS,
        "cached_tokens",
        "cache_write_tokens",
        "cost",
        "saved_calls",
        "saved",
    )
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With the names of tenant and key."""
        return with_names(SpendDay.objects.of(EVERYBODY).order_by(*self.ordering))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Match whole names."""
        return (queryset.filter(model=search_term.strip()) if search_term.strip() else queryset), False

    def totals(self, matching: QuerySet[Any]) -> dict[str, Any]:
        """Exact, of all that match."""
        return matching.order_by().aggregate(
            n=Sum("calls"),
            cost=Sum("cost_microusd"),
            unknown=Sum("unpriced"),
            saved=Sum("saved_microusd"),
            **{name: Sum(name) for name in TOKENS},
        )

    @admin.display(description="tenant, key")
    def who(self, row: Any) -> str:
        """Whose, by the names they have now."""
        return named(row)

    @admin.display(description="calls")
    def all_calls(self, row: SpendDay) -> str:
        """Those of unknown cost as well."""
        return f"{row.calls:,}"

    @admin.display(description="without a price")
    def without_price(self, row: SpendDay) -> str:
        """Of them."""
        return f"{row.unpriced:,}"

    @admin.display(description="tokens in, out")
    def tokens(self, row: SpendDay) -> str:
        """Read and written."""
        return f"{row.prompt_tokens:,}, {row.completion_tokens:,}"

    @admin.display(description="answers saved")
    def answers_saved(self, row: SpendDay) -> str:
        """Without a call."""
        return f"{row.saved_calls:,}"

    @admin.display(description="spent, $")
    def cost(self, row: SpendDay) -> str:
        """Of the calls whose cost is known."""
        return dollars(row.cost_microusd)

    @admin.display(description="saved, $")
    def saved(self, row: SpendDay) -> str:
        """By the cache."""
        return dollars(row.saved_microusd)


@admin.register(PriceRow)
class PriceRowAdmin(Read):
    """Prices that were used, or could have been."""

    titled = "Prices that were used"
    explanation = "What a row says is never changed: what was charged by it can be reckoned again."
    list_display = ("number", "provider", "model", "rates_shown", "source", "used_at", "last_used")
    list_filter = (OfProvider,)
    search_fields = ("model",)
    search_help_text = "A model, as its provider calls it"
    fields = ("number", "provider", "model", "source", "rates_shown", "used_at", "last_used", "digest")
    readonly_fields = fields

    @admin.display(description="number")
    def number(self, row: PriceRow) -> int:
        """As charges name it."""
        return row.pk

    @admin.display(description="dollars for a million tokens")
    def rates_shown(self, row: PriceRow) -> str:
        """Those of short questions, then those of longer ones."""
        return "; ".join(_rates(rates) for rates in row.rates)

    @admin.display(description="first asked for, UTC")
    def used_at(self, row: PriceRow) -> str:
        """By whoever asked for the model."""
        return moment(row.first_used_at)

    @admin.display(description="last used, UTC", empty_value="never")
    def last_used(self, row: PriceRow) -> str | None:
        """By a charge, or an answer that spared one."""
        return moment(row.last_used_at) if row.last_used_at else None


def with_names(rows: QuerySet[Any]) -> QuerySet[Any]:
    """With the names that tenant and key have now, looked up by the database."""
    key = ApiKey.objects.of(EVERYBODY).filter(pk=OuterRef("key_id")).values("name")[:1]
    tenant = Tenant.objects.filter(pk=OuterRef("tenant_id")).values("name")[:1]
    named_: QuerySet[Any] = rows.annotate(tenant_name=Subquery(tenant), key_name=Subquery(key))
    return named_


def named(row: Any) -> str:
    """Tenant and key."""
    tenant = row.tenant_name or f"tenant {row.tenant_id}, gone"
    if not row.key_id:
        return str(tenant)
    return f"{tenant}, {row.key_name or f'key {row.key_id}, gone'}"


def moment(at: datetime) -> str:
    """To the millisecond, in UTC."""
    return at.astimezone(UTC).isoformat(" ", timespec="milliseconds")[:23]


def _rates(rates: dict[str, Any]) -> str:
    above = f"above {rates['above']:,} tokens: " if rates.get("above") else ""
    return above + ", ".join(f"{name.replace('_', ' ')} {rate}" for name, rate in rates.items() if name != "above")
