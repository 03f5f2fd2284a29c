"""Anthropic's cost report, from its API (in cents) and its console (in dollars), and the console's usage."""

from __future__ import annotations

from decimal import Decimal

from orchestrator.invoices.account import ALL, CACHE_READ, CACHE_WRITE, INPUT, LONGEST_MODEL, OTHER, OUTPUT, Line
from orchestrator.invoices.cells import Cells
from orchestrator.invoices.pages import Found

BEGIN, END = "starting_at", "ending_at"
TOKENS = "tokens"  # the type of cost that is a model's
CENTS = Decimal("0.01")
_INPUT = "usage_input_tokens_"
UNCACHED, WRITTEN_5M, WRITTEN_1H, READ = (
    f"{_INPUT}{kind}" for kind in ("no_cache", "cache_write_5m", "cache_write_1h", "cache_read")
)
OUT = "usage_output_tokens"


def cost_row(number: int, row: Cells) -> Line:
    """A row of the console's costs: dollars, rounded to cents."""
    what = row.text("token_type", LONGEST_MODEL)
    return Line(
        number=number,
        day=row.day("usage_date_utc"),
        model=row.text("model", LONGEST_MODEL) or row.text("cost_type", LONGEST_MODEL) or what,
        kind=_kind(what),
        cost_usd=row.usd("cost_usd"),
    )


def cost_result(number: int, place: str, span: Found, result: Found) -> Line:
    """A result of `/v1/organizations/cost_report`: cents, as text."""
    day = Cells(place, span).day_of_span(BEGIN, END)
    cells = Cells(place, result)
    cents = cells.usd("amount")
    if cents is None:
        raise cells.wrong("amount", "is missing")
    cells.must_be_usd("currency")
    sort = cells.text("cost_type", LONGEST_MODEL)
    model = cells.text("model", LONGEST_MODEL) or ("" if sort == TOKENS else sort)
    what = cells.text("token_type", LONGEST_MODEL)
    return Line(number=number, day=day, model=model, kind=_kind(what) if sort else ALL, cost_usd=cents * CENTS)


def usage_row(number: int, row: Cells) -> Line:
    """A row of the console's usage. What was read from the cache and written to it is of the question, too."""
    counts = {name: row.count(name) for name in (UNCACHED, WRITTEN_5M, WRITTEN_1H, READ)}
    told = [count for count in counts.values() if count is not None]
    return Line(
        number=number,
        day=row.day("usage_date_utc"),
        model=row.text("model_version", LONGEST_MODEL),
        prompt_tokens=sum(told) if told else None,
        completion_tokens=row.count(OUT),
        cached_tokens=counts[READ],
        cache_write_tokens=(counts[WRITTEN_5M] or 0) + (counts[WRITTEN_1H] or 0) if told else None,
    )


def _kind(token_type: str) -> str:
    if "output" in token_type:
        return OUTPUT
    if "cache_read" in token_type:
        return CACHE_READ
    if "cache_write" in token_type or "cache_creation" in token_type:
        return CACHE_WRITE
    return INPUT if "input" in token_type else OTHER
