"""OpenAI's costs (money by day and line item) and usage (tokens by day and model): exports of its pages and its API."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from orchestrator.invoices.account import CACHE_READ, INPUT, LONGEST_MODEL, OTHER, OUTPUT, Line
from orchestrator.invoices.cells import Cells
from orchestrator.invoices.pages import Found

BEGIN, END = "start_time", "end_time"
_KINDS = {"input": INPUT, "output": OUTPUT, "cached input": CACHE_READ}


def cost_row(number: int, row: Cells) -> Line:
    """A row of the costs' CSV. A day without spending has one without an amount."""
    cost = row.usd("amount_value")
    if cost is not None:
        row.must_be_usd("amount_currency")
    return replace(
        _item(number, row.day_of_span(BEGIN, END), row.text("line_item", LONGEST_MODEL)),
        cost_usd=cost,
    )


def cost_result(number: int, place: str, span: Found, result: Found) -> Line:
    """A result of `/v1/organization/costs`."""
    day = Cells(place, span).day_of_span(BEGIN, END)
    amount = result.get("amount")
    cells = Cells(f"{place}, amount", amount if isinstance(amount, dict) else {})
    cost = cells.usd("value")
    if cost is None:
        raise cells.wrong("value", "is missing")
    cells.must_be_usd("currency")
    return replace(_item(number, day, Cells(place, result).text("line_item", LONGEST_MODEL)), cost_usd=cost)


def usage_row(number: int, row: Cells) -> Line:
    """A row of the usage's CSV."""
    return _usage(number, row.day_of_span(BEGIN, END), row)


def usage_result(number: int, place: str, span: Found, result: Found) -> Line:
    """A result of `/v1/organization/usage/…`."""
    return _usage(number, Cells(place, span).day_of_span(BEGIN, END), Cells(place, result))


def _item(number: int, day: date, item: str) -> Line:
    """`gpt-4o-2024-08-06, input` is of a model; `Web search` stands for itself."""
    model, comma, kind = item.rpartition(", ")
    if not comma:
        return Line(number=number, day=day, model=item, kind=OTHER if item else "all")
    return Line(number=number, day=day, model=model, kind=_KINDS.get(kind, OTHER))


def _usage(number: int, day: date, cells: Cells) -> Line:
    return Line(
        number=number,
        day=day,
        model=cells.text("model", LONGEST_MODEL),
        requests=cells.count("num_model_requests"),
        prompt_tokens=cells.count("input_tokens"),
        completion_tokens=cells.count("output_tokens"),
        cached_tokens=cells.count("input_cached_tokens"),
        cache_write_tokens=cells.count("input_cache_write_tokens"),
    )
