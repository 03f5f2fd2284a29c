"""What was spent and saved: sums of days, which are kept for good, and of single charges for what days do not know.

Everything is in millionths of a US dollar and whole numbers. Days are of UTC, those of the request's coming.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal, NamedTuple

from django.conf import settings
from django.db.models import CharField, Count, F, Min, OuterRef, Q, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Concat
from django.utils import timezone

from orchestrator.core.permissions import Reach
from orchestrator.models import ApiKey, Charge, SpendDay, Tenant

By = Literal["day", "model", "provider", "tenant", "key", "tag", "purpose"]
BYS: tuple[By, ...] = ("day", "model", "provider", "tenant", "key", "tag", "purpose")
OF_CHARGES: frozenset[By] = frozenset({"tag", "purpose"})  # days do not know these
MOST_DAYS = 366
MOST_CHARGES = 100_000  # read one by one for a page or a file; the newest
MOST_TAG_SETS = 5_000
UNTAGGED = "no tag"
KEYLESS = "without a key"


class Span(NamedTuple):
    """Days, from the first until before the last."""

    first: date
    until: date

    @property
    def days(self) -> int:
        """How many."""
        return (self.until - self.first).days

    @property
    def before(self) -> Span:
        """As many days, just before."""
        return Span(self.first - (self.until - self.first), self.first)

    @property
    def moments(self) -> tuple[datetime, datetime]:
        """When it begins and when it is over."""
        first, until = (datetime.combine(day, time(), UTC) for day in self)
        return first, until


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """What some calls came to. The cost is of those whose cost is known."""

    calls: int = 0
    unpriced: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cost_microusd: int = 0
    saved_calls: int = 0
    saved_microusd: int = 0

    @property
    def cache_write_1h_tokens(self) -> int:
        """Sums do not tell them apart."""
        return 0

    def __add__(self, other: Sums) -> Sums:
        return Sums(**{name: getattr(self, name) + getattr(other, name) for name in COLUMNS})

    def __sub__(self, other: Sums) -> Sums:
        return Sums(**{name: getattr(self, name) - getattr(other, name) for name in COLUMNS})


COLUMNS = tuple(field.name for field in fields(Sums))
_OF_CHARGES = ("prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens", "cost_microusd")


class Group(NamedTuple):
    """The sums under a name; `id` is what it is looked for by."""

    name: str
    id: str
    sums: Sums


class Groups(NamedTuple):
    """The groups that cost most, and whether there are more.

    since  of single charges: from when on they were read; None: of sums of days, which are all kept.
    """

    rows: list[Group]
    has_more: bool
    since: datetime | None = None


def whole(sums: Iterable[Sums]) -> Sums:
    """All together."""
    total = Sums()
    for one in sums:
        total += one
    return total


def by_day(span: Span, reach: Reach) -> Mapping[date, Sums]:
    """The days on which anything was spent or saved, the first first."""
    rows = _days(span, reach).values("day").annotate(**_summed(COLUMNS)).order_by("day")[: 2 * MOST_DAYS]
    return {row["day"]: _sums(row) for row in rows}


def grouped(by: By, span: Span, reach: Reach, most: int) -> Groups:
    """The `most` groups that cost most; of days, the last. One query."""
    if by in OF_CHARGES:
        return tagged(span, reach, most) if by == "tag" else _by_purpose(span, reach, most)
    if by == "day":
        days = _days(span, reach).values("day").annotate(**_summed(COLUMNS)).order_by("-day")[: most + 1]
        found = [Group(row["day"].isoformat(), row["day"].isoformat(), _sums(row)) for row in days]
    else:
        column = {"model": "model", "provider": "provider", "tenant": "tenant_id", "key": "key_id"}[by]
        rows = _days(span, reach).values(column).annotate(**_summed(COLUMNS))
        if by in ("tenant", "key"):
            rows = rows.annotate(name=_name_of(by, reach))
        rows = rows.order_by("-sum_cost_microusd", "-sum_saved_microusd", column)[: most + 1]
        found = [Group(_name(by, row, column), str(row[column]), _sums(row)) for row in rows]
    return Groups(found[:most], len(found) > most)


def total_of(span: Span, reach: Reach) -> Sums:
    """All that was spent and saved. One query."""
    return whole(by_day(span, reach).values())


def rest(by: By, groups: Groups, total: Callable[[], Sums]) -> Sums | None:
    """What is in none of the groups; None where that is nothing, or they cannot be told from the whole.

    total  of the same days, asked for where there is a rest.
    """
    if by in OF_CHARGES or not groups.has_more:
        return None
    return total() - whole(group.sums for group in groups.rows)


def by_model(span: Span, reach: Reach, most: int, *, only_unpriced: bool = False) -> list[tuple[str, str, Sums]]:
    """Sums by provider and model: the dearest, or those with calls that nobody knows the price of. One query."""
    rows = _days(span, reach)
    if only_unpriced:
        rows = rows.filter(unpriced__gt=0)
    order = "-sum_unpriced" if only_unpriced else "-sum_cost_microusd"
    summed = rows.values("provider", "model").annotate(**_summed(COLUMNS)).order_by(order, "model")[:most]
    return [(row["provider"], row["model"], _sums(row)) for row in summed]


def by_provider(span: Span, reach: Reach, most: int) -> Mapping[str, Sums]:
    """What each provider was asked and charges for it, the `most` that were paid most. One query."""
    return {one.name: one.sums for one in grouped("provider", span, reach, most).rows}


def tagged(span: Span, reach: Reach, most: int) -> Groups:
    """The same by tag, of the newest charges. A call with three tags counts under each of them: never add these up."""
    rows = newest_charges(span, reach).values("tags").annotate(**_counted())
    dearest = F("sum_cost_microusd").desc(nulls_last=True)
    sets = list(rows.order_by(dearest, "tags")[: MOST_TAG_SETS + 1])
    found: dict[str, Sums] = {}
    for row in sets[:MOST_TAG_SETS]:
        for tag in dict.fromkeys(filter(None, row["tags"].split(","))) or ("",):
            found[tag] = found.get(tag, Sums()) + _sums(row)
    ordered = sorted(found.items(), key=lambda one: (-one[1].cost_microusd, -one[1].calls, one[0]))
    groups = [Group(tag or UNTAGGED, tag, sums) for tag, sums in ordered[:most]]
    return Groups(groups, len(ordered) > most or len(sets) > MOST_TAG_SETS, _read_since(span, sets))


def _by_purpose(span: Span, reach: Reach, most: int) -> Groups:
    """What calls were for: an answer, vectors, a judge or a shadow. Each call is for one thing."""
    rows = newest_charges(span, reach).values("purpose").annotate(**_counted())
    every = list(rows.order_by(F("sum_cost_microusd").desc(nulls_last=True), "purpose"))
    found = [Group(row["purpose"], row["purpose"], _sums(row)) for row in every[:most]]
    return Groups(found, len(every) > most, _read_since(span, every))


def _read_since(span: Span, rows: Sequence[Mapping[str, Any]]) -> datetime:
    """From when on single charges were read: as they are kept, and no more than `MOST_CHARGES` of them."""
    kept = datetime.combine((timezone.now() - timedelta(days=settings.CHARGE_DAYS)).date(), time(), UTC)
    since = max(span.moments[0], kept)
    is_cut = sum(row["sum_calls"] for row in rows) >= MOST_CHARGES
    return max(since, min(row["oldest"] for row in rows)) if is_cut else since


def charges(span: Span, reach: Reach) -> QuerySet[Charge]:
    """Single charges of some days, by the index on time, or on tenant and time."""
    first, until = span.moments
    return Charge.objects.of(reach).filter(at__gte=first, at__lt=until)


def newest_charges(span: Span, reach: Reach) -> QuerySet[Charge]:
    """The newest `MOST_CHARGES` of them, to be summed: of more than that, a page would have to be waited for."""
    newest = charges(span, reach).order_by("-at").values("pk")[:MOST_CHARGES]
    return Charge.objects.of(reach).filter(pk__in=newest).order_by()


def is_too_many(span: Span, reach: Reach) -> bool:
    """Whether there are more than `MOST_CHARGES`; counts no further."""
    return charges(span, reach).order_by().values("pk")[: MOST_CHARGES + 1].count() > MOST_CHARGES


def _days(span: Span, reach: Reach) -> QuerySet[SpendDay]:
    return SpendDay.objects.of(reach).filter(day__gte=span.first, day__lt=span.until).order_by()


def _summed(columns: Sequence[str]) -> dict[str, Any]:
    return {f"sum_{name}": Sum(name) for name in columns}


def _counted() -> dict[str, Any]:
    """The same of single charges."""
    counts = {"sum_calls": Count("pk"), "sum_unpriced": Count("pk", filter=Q(cost_microusd=None)), "oldest": Min("at")}
    return counts | _summed(_OF_CHARGES)


def _sums(row: Mapping[str, Any]) -> Sums:
    return Sums(**{name: row.get(f"sum_{name}") or 0 for name in COLUMNS})


def _name_of(by: By, reach: Reach) -> Subquery:
    """The name comes with the sums, so that a page asks once."""
    if by == "tenant":
        return Subquery(Tenant.objects.filter(pk=OuterRef("tenant_id")).values("name")[:1])
    named = ApiKey.objects.of(reach).filter(pk=OuterRef("key_id"))
    shown = Concat("name", Value(" ("), "prefix", Value(")"), output_field=CharField())
    return Subquery(named.annotate(shown=shown).values("shown")[:1])


def _name(by: By, row: Mapping[str, Any], column: str) -> str:
    value = row[column]
    if by == "key" and not value:
        return KEYLESS
    if by in ("tenant", "key"):
        return row["name"] or f"{by} {value}, gone"
    return str(value)
