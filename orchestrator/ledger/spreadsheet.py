"""Costs as CSV: sums, and single charges a page at a time, safe to be opened by a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from django.db.models import OuterRef, Q, Subquery

from orchestrator.core.cells import harmless
from orchestrator.core.errors import BadRequest
from orchestrator.core.permissions import Reach
from orchestrator.ledger.costs import COLUMNS, MOST_CHARGES, By, Groups, Span, Sums, charges, is_too_many
from orchestrator.models import ApiKey, Tenant

PAGE = 1_000
OTHERS = "all others"
MONEY = {"cost_microusd": "cost_usd", "saved_microusd": "saved_usd"}
OF_A_CHARGE = (
    "at",
    "request_id",
    "tenant",
    "key",
    "provider",
    "model",
    "purpose",
    "outcome",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "is_estimated",
    "cost_usd",
    "source",
    "price_id",
    "provider_ref",
    "tags",
    "doubt",
)


class After(NamedTuple):
    """Where a page of charges goes on."""

    at: datetime
    pk: int


def dollars(microusd: int | None) -> str:
    """To the millionth, exactly; empty where it is not known."""
    return "" if microusd is None else f"{Decimal(microusd).scaleb(-6):.6f}"


def of_groups(by: By, groups: Groups, rest: Sums | None) -> bytes:
    """Sums, a line for each group, and one for the `rest`. Where there are more without one, the last line says so."""
    head = [by, "id", *(MONEY.get(name, name) for name in COLUMNS)]
    lines = [[group.name, group.id, *_figures(group.sums)] for group in groups.rows]
    if rest is not None:
        lines.append([OTHERS, "", *_figures(rest)])
    elif groups.has_more:
        lines.append([f"cut after {len(groups.rows)} lines, of those that cost most; ask for fewer days"])
    return written([head, *lines])


def cut(lines: int, before: int) -> bytes:
    """The last line of a file that has not all: where the rest begins."""
    return written([[f"cut after {lines} lines; ask with before={before} for older ones, or narrow the filter"]])


def check_count(span: Span, reach: Reach) -> None:
    """Raises BadRequest where there are more charges than one file has."""
    if is_too_many(span, reach):
        raise BadRequest(f"More than {MOST_CHARGES:,} charges; ask for fewer days, by `from` and `to`.")


def page_of(span: Span, reach: Reach, after: After | None) -> tuple[list[list[Any]], After | None]:
    """The next charges, the oldest first, and where to go on; None: that was all."""
    rows = charges(span, reach).order_by("at", "pk")
    if after is not None:
        rows = rows.filter(at__gte=after.at).filter(Q(at__gt=after.at) | Q(pk__gt=after.pk))
    named = rows.annotate(
        tenant=Subquery(Tenant.objects.filter(pk=OuterRef("tenant_id")).values("name")[:1]),
        key=Subquery(ApiKey.objects.of(reach).filter(pk=OuterRef("key_id")).values("prefix")[:1]),
    )
    found = list(named[:PAGE])
    lines = [[_value(row, name) for name in OF_A_CHARGE] for row in found]
    return lines, After(found[-1].at, found[-1].pk) if len(found) == PAGE else None


Read = Callable[[After | None], Awaitable[tuple[list[list[Any]], After | None]]]


async def of_charges(read: Read) -> AsyncGenerator[bytes, None]:
    """Single charges as they are read, with at most a page of them in memory."""
    yield written([OF_A_CHARGE])
    after: After | None = None
    for _ in range(MOST_CHARGES // PAGE):
        lines, after = await read(after)
        if lines:
            yield written(lines)
        if after is None:
            return


def written(lines: Iterable[Sequence[Any]]) -> bytes:
    """Lines of CSV. Text that a spreadsheet would take for a formula gets an apostrophe before it."""
    text = io.StringIO()
    csv.writer(text).writerows([[harmless(cell) for cell in line] for line in lines])
    return text.getvalue().encode("utf-8", "replace")


def _figures(sums: Sums) -> list[Any]:
    values = ((name, getattr(sums, name)) for name in COLUMNS)
    return [Decimal(dollars(value)) if name in MONEY else value for name, value in values]


def _value(row: Any, name: str) -> Any:
    if name == "at":
        return row.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if name == "cost_usd":
        return "" if row.cost_microusd is None else Decimal(dollars(row.cost_microusd))
    if name == "is_estimated":
        return "yes" if row.is_estimated else "no"
    value = getattr(row, name)
    return "" if value is None else value
