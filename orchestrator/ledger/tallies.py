"""What some requests add up to, in a form that adds up itself: two levels of names with a whole number under each.

steps   what a step of a chart needs: requests by tier, sums, and how many took how long.
cells   requests, tokens and money, by provider, tier, outcome and model; and calls that failed, by provider and kind.
times   how many took how long, in microseconds to two digits: by tier, by model, and until the first piece.

Durations are not kept for each cell: that would be most of what is kept, and nobody asks for them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
from django.db.models import Count, F, Max, Q, QuerySet, Sum, Value

from orchestrator.ledger.grouping import Epoch, digits, whole
from orchestrator.ledger.savings import FREE, UNKNOWN
from orchestrator.models import RequestRecord

Counts = dict[str, dict[str, int]]
Tier = RequestRecord.Tier
BY_A_MODEL = (Tier.MISS, Tier.BYPASS)
ENDED_WELL = ("done", "cut", "cancelled")
NOT_WANTED = "only_if_cached"  # and it was not: what the caller asked for, whatever its status

MINUTE_S = 60
DIGITS = 2
PARTS = ("steps", "cells", "times")
NEWEST = "newest"  # the one that is not added up: the latest of both
APART = "\x1f"
ERROR, REFUSAL = "error", "refused"
CELL, FAILURE = "cell", "failed"
TOOK, FIRST, TIERS, SUMS = "took", "first", "tier", "sum"
OF_TIER, OF_MODEL, FRESH, OF_PROVIDER = (f"{name}{APART}" for name in ("tier", "model", "fresh", "provider"))


class Cell(NamedTuple):
    """What requests of a cell have in common. Fate: an ERROR, a REFUSAL, or empty. The model is last: it may be any."""

    provider: str
    tier: str
    outcome: str
    fate: str
    model: str

    @property
    def is_called(self) -> bool:
        """Whether a provider, or an engine here, was called."""
        return self.tier in BY_A_MODEL and bool(self.provider)


@dataclass(slots=True)
class Tally:
    """Some requests."""

    steps: Counts = field(default_factory=dict)
    cells: Counts = field(default_factory=dict)
    times: Counts = field(default_factory=dict)

    def add(self, row: Mapping[str, Any]) -> None:
        """Requests that are alike, as `grouped` finds them."""
        n: int = row["n"]
        cell = Cell(row["provider"], row["tier"], row["outcome"], fate(row["outcome"], row["status"]), row["model"])
        sums = {
            "n": n,
            "prompt": row["prompt"],
            "completion": row["completion"],
            "cached": row["cached"],
            "cost": row["cost"] or 0,
            "unpriced": row["unpriced"],
        }
        if row["saved_why"] is not None:
            sums["answers"] = n
            sums["free"] = n if row["saved_why"] == FREE else 0
            sums["unknown"] = n if row["saved_why"] == UNKNOWN else 0
            sums["saved"] = row["saved"] or 0
        if row[NEWEST] is not None and not cell.fate:
            sums[NEWEST] = int(row[NEWEST].timestamp() * 1_000_000 + 0.5)
        add(self.cells, APART.join((CELL, *cell)), sums)
        took, first = {str(row["took"]): n}, row["first"]
        add(self.steps, TIERS, {cell.tier: n})
        add(self.steps, TOOK, took)
        add(self.steps, SUMS, {"completion": row["completion"], "errors": n if cell.fate == ERROR else 0})
        add(self.times, OF_TIER + cell.tier, took)
        if cell.model:
            add(self.times, (FRESH if cell.tier in BY_A_MODEL and not cell.fate else OF_MODEL) + cell.model, took)
        if cell.tier in BY_A_MODEL and first is not None:
            add(self.steps, FIRST, {str(first): n})
        if cell.is_called and not cell.fate and row["engine_first"] is not None:
            add(self.steps, OF_PROVIDER + cell.provider, {str(row["engine_first"]): n})

    def fail(self, provider: str, outcome: str, n: int) -> None:
        """Calls of a provider that failed."""
        add(self.cells, APART.join((FAILURE, provider, outcome)), {"n": n})

    def merge(self, other: Tally) -> None:
        """Add another to it, which stays as it is."""
        for part in PARTS:
            merge(getattr(self, part), getattr(other, part))

    def packed(self) -> tuple[str, ...]:
        """Its parts as they are kept."""
        return tuple(orjson.dumps(getattr(self, part)).decode() for part in PARTS)

    def of_cells(self) -> Iterable[tuple[Cell, Mapping[str, int]]]:
        """Requests."""
        for name, sums in self.cells.items():
            kind, rest = name.split(APART, 1)
            if kind == CELL:
                yield Cell(*rest.split(APART, 4)), sums

    def of_failures(self) -> Iterable[tuple[str, str, int]]:
        """Calls that failed, by provider and kind of error."""
        for name, sums in self.cells.items():
            kind, rest = name.split(APART, 1)
            if kind == FAILURE:
                provider, outcome = rest.split(APART, 1)
                yield provider, outcome, sums["n"]


def add(counts: Counts, name: str, more: Mapping[str, int]) -> None:
    """Add numbers to those under a name."""
    mine = counts.get(name)
    if mine is None:
        counts[name] = dict(more)
        return
    if NEWEST not in more:
        for key, n in more.items():
            mine[key] = mine.get(key, 0) + n
        return
    newest = max(mine.get(NEWEST, 0), more[NEWEST])
    for key, n in more.items():
        mine[key] = mine.get(key, 0) + n
    mine[NEWEST] = newest


def merge(counts: Counts, more: Counts) -> None:
    """Add all of `more`, which stays as it is."""
    for name, numbers in more.items():
        add(counts, name, numbers)


def unpacked(text: str) -> Counts:
    """A part as it was kept."""
    counts: Counts = orjson.loads(text)
    return counts


def durations(counts: Mapping[str, int]) -> dict[int, int]:
    """How many took how long, in microseconds."""
    return {int(took): n for took, n in counts.items()}


def fate(outcome: str, status: int) -> str:
    """What became of a request, as far as figures tell it apart."""
    if 400 <= status <= 499 or outcome == NOT_WANTED:
        return REFUSAL
    return "" if outcome in ENDED_WELL else ERROR


def newest(sums: Mapping[str, int]) -> datetime | None:
    """When the latest of these calls began that was answered; None where none was."""
    at = sums.get(NEWEST)
    return None if at is None else datetime.fromtimestamp(at // 1_000_000, UTC).replace(microsecond=at % 1_000_000)


def whole_minute(moment: datetime, *, up: bool = False) -> datetime:
    """The minute a moment is in: its begin, or its end."""
    minute = (math.ceil if up else math.floor)(moment.timestamp() / MINUTE_S)
    return datetime.fromtimestamp(minute * MINUTE_S, UTC)


def grouped(rows: QuerySet[RequestRecord]) -> Iterable[dict[str, Any]]:
    """Requests that are alike, by tenant and minute. One query."""
    found: Any = (
        rows.order_by()
        .values(
            "tenant_id",
            "provider",
            "model",
            "tier",
            "outcome",
            "status",
            "saved_why",
            minute=whole(Epoch(F("at")) / Value(MINUTE_S)),
            took=digits("total_us", DIGITS),
            first=digits("first_us", DIGITS),
            engine_first=digits("engine_first_us", DIGITS),
        )
        .annotate(
            n=Count("pk"),
            prompt=Sum("prompt_tokens"),
            completion=Sum("completion_tokens"),
            cached=Sum("cached_tokens"),
            cost=Sum("cost_microusd"),
            unpriced=Count("pk", filter=Q(cost_microusd=None)),
            saved=Sum("saved_microusd"),
            newest=Max("at", filter=Q(tier__in=BY_A_MODEL, outcome__in=("done", "cut"))),
        )
        .order_by()
    )
    return found.iterator(chunk_size=2000)  # type: ignore[no-any-return]
