"""Requests as CSV: what is filtered, a page at a time, up to a bound, and where it was cut."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any

from dashboard import formats
from dashboard.requests.searching import Found
from orchestrator.ledger.spreadsheet import cut, dollars, written
from orchestrator.models import RequestRecord

PAGE = 500
MOST_LINES = 20_000
MOST_LOOKS = 60  # pages that are looked for, also where little is found in each

HEAD = (
    "at",
    "request_id",
    "tenant",
    "key",
    "dialect",
    "endpoint",
    "asked_model",
    "model",
    "provider",
    "route",
    "tier",
    "cache_key",
    "tags",
    "status",
    "outcome",
    "error",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "is_estimated",
    "first_us",
    "total_us",
    "is_paid",
    "cost_usd",
    "saved_usd",
)

NextPage = Callable[[int], Awaitable[Found]]


async def sheet(next_page: NextPage) -> AsyncIterator[bytes]:
    """The lines, the newest first. The last one says where the rest begins, where there is more.

    next_page  the rows before a number; 0: the newest.
    """
    yield written([HEAD])
    lines = before = 0
    for _ in range(MOST_LOOKS):
        found = await next_page(before)
        lines += len(found.rows)
        if found.rows:
            yield written([line(row) for row in found.rows])
        before = found.older
        if not before or lines >= MOST_LINES:
            break
    if before:
        yield cut(lines, before)


def line(row: RequestRecord) -> list[Any]:
    """One request."""
    known: dict[str, Any] = {
        "at": formats.exact(row.at),
        "tenant": row.tenant.name,
        "is_estimated": "yes" if row.is_estimated else "no",
        "is_paid": "yes" if row.is_paid else "no",
        "key": row.key.prefix if row.key else "",
        "cost_usd": _dollars(row.cost_microusd),
        "saved_usd": _dollars(row.saved_microusd),
    }
    return [known[name] if name in known else getattr(row, name) for name in HEAD]


def _dollars(microusd: int | None) -> Decimal | str:
    """A number, so that one below zero is not taken for a formula; empty where nobody knows."""
    return "" if microusd is None else Decimal(dollars(microusd))
