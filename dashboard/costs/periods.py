"""The days a page of costs is about; they stand in the address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from urllib.parse import urlencode

from dashboard import formats
from orchestrator.ledger.costs import MOST_DAYS, Span

FIRST = date(1971, 1, 1)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A choice of days. `words` go after a verb: in the last 30 days."""

    slug: str
    label: str
    words: str
    span: Span
    wrong: str = ""  # what is wrong with the days that were asked for; the usual ones are shown
    typed: tuple[str, str] | None = None  # those days, as they were written, where they are wrong

    @property
    def query(self) -> str:
        """As it stands in an address."""
        if self.slug != "days":
            return urlencode({"period": self.slug})
        return urlencode({"from": self.span.first.isoformat(), "to": self.last.isoformat()})

    @property
    def last(self) -> date:
        """The last day."""
        return self.span.until - timedelta(days=1)

    @property
    def fields(self) -> tuple[str, str]:
        """The first and the last day as their fields have them."""
        return self.typed or (self.span.first.isoformat(), self.last.isoformat())

    @property
    def before(self) -> str:
        """When the days before it were."""
        days = self.span.days
        return "on the day before" if days == 1 else f"in the {days} days before"


def choices(today: date) -> list[Chosen]:
    """Those of the switch."""
    until = today + timedelta(days=1)
    month = today.replace(day=1)
    month_before = _back(month, 1).replace(day=1)
    return [
        Chosen("today", "Today", "today", Span(today, until)),
        *(
            Chosen(f"{days}d", f"{days}{formats.NARROW}d", f"in the last {days} days", Span(_back(until, days), until))
            for days in (7, 30)
        ),
        Chosen("last", f"{month_before:%b}", f"in {month_before:%B}", Span(month_before, month)),
        Chosen("month", f"{today:%b}", f"in {today:%B} so far", Span(month, until)),
        Chosen("1y", "1\u202fyear", "in the last year", Span(_back(until, 365), until)),
    ]


def chosen(asked: Mapping[str, str], today: date) -> Chosen:
    """The days that are asked for; the last 30 where none are, or none that can be."""
    known = {one.slug: one for one in choices(today)}
    usual = known.get(asked.get("period", ""), known["30d"])
    if not (asked.get("from") or asked.get("to")):
        return usual
    try:
        last = date.fromisoformat(asked.get("to") or today.isoformat())
        first = date.fromisoformat(asked.get("from") or (last - timedelta(days=29)).isoformat())
    except (ValueError, OverflowError):
        return _wrong(usual, asked, "A day is written as 2026-11-21.")
    if not FIRST <= first <= last < date.max:
        return _wrong(usual, asked, "The first day comes before the last.")
    if (last - first).days >= MOST_DAYS:
        return _wrong(usual, asked, f"At most {MOST_DAYS} days are shown at once.")
    words = f"on {formats.day(first)}" if first == last else f"from {formats.day(first)} to {formats.day(last)}"
    return Chosen("days", "Days", words, Span(first, last + timedelta(days=1)))


def _wrong(usual: Chosen, asked: Mapping[str, str], why: str) -> Chosen:
    return replace(usual, wrong=why, typed=(asked.get("from", ""), asked.get("to", "")))


def _back(until: date, days: int) -> date:
    return until - timedelta(days=days)
