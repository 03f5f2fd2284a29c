"""Accounts and what differs from them, as API, commands and pages show it: amounts as text, with every digit."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from decimal import Decimal
from io import StringIO
from typing import Any

from django.db.models import Count

from orchestrator.core.cells import harmless
from orchestrator.invoices.calls import DAY, MODEL, CallDifference
from orchestrator.invoices.compared import Difference
from orchestrator.invoices.comparison import Comparison
from orchestrator.invoices.forms import FORMS
from orchestrator.invoices.keeping import Kept
from orchestrator.invoices.sums import Figure, Sums
from orchestrator.models import ImportedUsage, UsageImport

MOST_TOLD = 500  # differences, and calls; a table as CSV has all
COLUMNS = (
    *("day", "model", "call", "kind", "figure", "theirs", "ours", "difference", "may_be_below", "may_be_above"),
    *("differs", "named_there", "named_here", "lines", "calls", "estimated", "unpriced", "midnight", "request_id"),
)


def account(row: UsageImport, lines: int) -> dict[str, Any]:
    """One that is kept."""
    return {
        "number": row.pk,
        "provider": row.provider,
        "form": row.form,
        "title": FORMS[row.form].title,
        "name": row.name,
        "first_day": row.first_day.isoformat(),
        "last_day": row.last_day.isoformat(),
        "lines": lines,
        "sha256": row.digest,
        "at": row.at,
        "by": row.by,
    }


def accounts(rows: Sequence[UsageImport]) -> list[dict[str, Any]]:
    """Several."""
    counted = ImportedUsage.objects.filter(of__in=rows).values_list("of").annotate(lines=Count("pk")).order_by()
    lines = dict(counted)
    return [account(row, lines.get(row.pk, 0)) for row in rows]


def kept(found: Kept) -> dict[str, Any]:
    """One that was read in just now."""
    return account(found.account, found.lines) | {"replaced": list(found.replaced)}


def compared(found: Comparison) -> dict[str, Any]:
    """All that was compared, and what differs; the first of either."""
    calls = found.calls or []
    return {
        "number": found.account.pk,
        "provider": found.account.provider,
        "first_day": found.first_day.isoformat(),
        "last_day": found.last_day.isoformat(),
        "is_same": found.is_same,
        "compared": list(found.told),
        "by": "day" if found.is_by_day else "model",
        "totals": [_figure(figure) for figure in found.totals],
        "lines": found.theirs.entries,
        "kept_from": found.kept_from.isoformat() if found.kept_from else None,
        "calls_here": found.ours.entries,
        "estimated": found.ours.estimated,
        "unpriced": found.ours.unpriced,
        "learned": [{"there": there, "here": here} for there, here in found.learned],
        "differences": [_difference(one) for one in found.differences[:MOST_TOLD]],
        "differences_in_all": len(found.differences),
        "calls": None if found.calls is None else [_call(one) for one in calls[:MOST_TOLD]],
        "calls_in_all": len(calls),
    }


def verdict(found: Comparison) -> str:
    """What came of it, in a sentence or two."""
    days = f"{found.first_day} to {found.last_day}"
    about = f"{_count(found.theirs.entries, 'line')} there, {_count(found.ours.entries, 'call')} here, {days}"
    if found.is_same:
        words = f"Nothing differs: {about}."
    else:
        calls = f" and {_count(len(found.calls), 'call')}" if found.calls else ""
        words = f"{_count(len(found.real), 'day and model', 'days and models')}{calls} differ: {about}."
    if found.kept_from:
        words += f" Charges here of before {found.kept_from} are kept no longer, so those days cannot be compared."
    over = len(found.differences) - len(found.real)
    if over:
        words += f" {_count(over, 'more fits', 'more fit')} together with the day beside: calls went over midnight."
    if found.ours.unpriced:
        words += f" What {_count(found.ours.unpriced, 'call')} here cost is not known, and counts as nothing."
    if found.ours.estimated:
        words += f" The tokens of {_count(found.ours.estimated, 'call')} here are estimated."
    return words


def differing(found: Comparison) -> Iterator[dict[str, Any]]:
    """Only the figures that differ, in rows."""
    for row in _rows(found):
        if row["differs"]:
            shown = {name: str(cell) if isinstance(cell, Decimal) else cell for name, cell in row.items()}
            below, above = str(row["may_be_below"]), str(row["may_be_above"])
            yield {column: shown.get(column, "") for column in COLUMNS} | {
                "tolerated": "0" if below == above == "0" else f"-{below} to +{above}",
                "kind": "over midnight" if row.get("midnight") else row["kind"],
            }


def as_csv(found: Comparison) -> str:
    """Each figure of each difference, and of each call that differs, in a row."""
    text = StringIO()
    out = csv.writer(text)
    out.writerow(COLUMNS)
    for row in _rows(found):
        out.writerow([harmless(row.get(column, "")) for column in COLUMNS])
    return text.getvalue()


def amount(number: Decimal) -> str:
    """Without an exponent, and without zeros at the end."""
    text = f"{number:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in {"-0", ""} else text


def _figure(figure: Figure) -> dict[str, Any]:
    return {
        "figure": figure.name,
        "theirs": amount(figure.theirs),
        "ours": amount(figure.ours),
        "difference": amount(figure.difference),
        "may_be_below": amount(figure.room.below),
        "may_be_above": amount(figure.room.above),
        "differs": not figure.is_same,
    }


def _difference(one: Difference) -> dict[str, Any]:
    return {
        "day": one.day.isoformat(),
        "model": one.model,
        "kind": one.kind,
        "is_midnight": one.is_midnight,
        "figures": [_figure(figure) for figure in one.figures],
        **_sides(one.theirs, one.ours),
    }


def _sides(theirs: Sums, ours: Sums) -> dict[str, Any]:
    return {
        "named_there": sorted(theirs.names),
        "named_here": sorted(ours.names),
        "lines": theirs.entries,
        "calls": ours.entries,
        "estimated": ours.estimated,
        "unpriced": ours.unpriced,
    }


def _call(one: CallDifference) -> dict[str, Any]:
    return {
        "call": one.ref,
        "kind": one.kind,
        "day": one.day.isoformat(),
        "day_here": one.day_here.isoformat() if one.day_here else None,
        "lines": list(one.lines),
        "request_id": one.request_id,
        "model_there": one.model_there,
        "model_here": one.model_here,
        "differing": list(one.differing),
        "figures": [_figure(figure) for figure in one.figures],
    }


def _rows(found: Comparison) -> Iterator[dict[str, Any]]:
    for one in found.differences:
        sides = _sides(one.theirs, one.ours)
        for figure in one.figures:
            yield (
                _cells(figure)
                | sides
                | {
                    "day": one.day.isoformat(),
                    "model": one.model,
                    "kind": one.kind,
                    "named_there": "; ".join(sides["named_there"]),
                    "named_here": "; ".join(sides["named_here"]),
                    "midnight": "yes" if one.is_midnight else "",
                }
            )
    for call in found.calls or ():
        other = [_named(name, call) for name in call.differing if name in {MODEL, DAY}]
        for cells in (*map(_cells, call.figures), *other):
            yield cells | {
                "day": call.day.isoformat(),
                "model": call.model_here or call.model_there,
                "call": call.ref,
                "kind": call.kind,
                "named_there": call.model_there,
                "named_here": call.model_here,
                "lines": "; ".join(map(str, call.lines)),
                "request_id": call.request_id,
            }


def _named(name: str, call: CallDifference) -> dict[str, Any]:
    """A model that is called otherwise, or a day that is another."""
    theirs, ours = (call.model_there, call.model_here) if name == MODEL else (call.day.isoformat(), str(call.day_here))
    return {"figure": name, "theirs": theirs, "ours": ours, "may_be_below": 0, "may_be_above": 0, "differs": "yes"}


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _cells(figure: Figure) -> dict[str, Any]:
    """Decimals, which `harmless` leaves alone: what is below nothing begins with a minus, and is no formula."""
    return {
        "figure": figure.name,
        "theirs": _Plain(figure.theirs),
        "ours": _Plain(figure.ours),
        "difference": _Plain(figure.difference),
        "may_be_below": _Plain(figure.room.below),
        "may_be_above": _Plain(figure.room.above),
        "differs": "" if figure.is_same else "yes",
    }


class _Plain(Decimal):
    """Written without an exponent."""

    def __str__(self) -> str:
        return amount(self)
