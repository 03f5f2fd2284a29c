"""How splits and shadows did and what the router learned, as the page has them: each figure with how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isfinite
from typing import Any

from dashboard import formats
from orchestrator.core.permissions import Reach
from orchestrator.outcomes import learning
from orchestrator.outcomes.judges import Unread, unread_grades
from orchestrator.outcomes.splits import Beside, Side, shadows, sides
from routing.intervals import Interval

MOST_SPLITS = 20
DAYS = (1, 7, 30, 90)
USUAL = 30
DIFFERS = {"answered": "in how often it ends well", "good": "in how good it is", "cost_usd": "in what it costs"}


@dataclass(frozen=True, slots=True)
class Shown:
    """A figure, and between what it is; `of` so many."""

    value: str
    between: str
    of: int


@dataclass(frozen=True, slots=True)
class SideRow:
    """One side of a split."""

    name: str
    requests: int
    figures: Sequence[Shown | None]
    differs: str


@dataclass(frozen=True, slots=True)
class BesideRow:
    """A shadow beside whoever answered."""

    rule: str
    model: str
    shadow: str
    runs: int
    not_asked: int
    figures: Sequence[Shown | None]


@dataclass(frozen=True, slots=True)
class Results:
    """All of it."""

    splits: Sequence[tuple[str, Sequence[SideRow]]]
    shadows: Sequence[BesideRow]
    learned: dict[str, Any] | None  # of all tenants together; None for who may not see what is theirs
    differing: int  # sides that differ from the first in something
    unread: Sequence[Unread]  # grades that could not be read, by judge

    @property
    def all_unread(self) -> int:
        """How many grades could not be read."""
        return sum(one.count for one in self.unread)

    @property
    def headline(self) -> str:
        """What is to be known first."""
        if not (self.splits or self.shadows):
            return "No split and no shadow had requests."
        if not self.splits:
            return "One shadow ran." if len(self.shadows) == 1 else f"{formats.count(len(self.shadows))} shadows ran."
        if not self.differing:
            return "No side differs, as far as can be told."
        return "One side differs." if self.differing == 1 else f"{formats.count(self.differing)} sides differ."


def results(reach: Reach, days: int, now: datetime, *, with_learned: bool) -> Results:
    """Of the requests of the last `days`.

    with_learned  also what the router learned, which is from the answers of every tenant.
    """
    since = now - timedelta(days=days)
    rules = list(sides(reach, since).items())[:MOST_SPLITS]
    return Results(
        [(rule, [_side(one) for one in some]) for rule, some in rules],
        [_beside(one) for one in shadows(reach, since)],
        learning.learned() if with_learned else None,
        sum(bool(one.differs) for _, some in rules for one in some),
        unread_grades(reach, since.date()),
    )


def _side(one: Side) -> SideRow:
    figures = (_percents(one.answered), _points(one.good), _dollars(one.cost_usd), _seconds(one.took_s))
    return SideRow(one.arm, one.requests, figures, formats.listing([DIFFERS[name] for name in one.differs]))


def _beside(one: Beside) -> BesideRow:
    figures = (
        _percents(one.failed),
        _points(one.likeness),
        _dollars(one.cost_usd, sign=True),
        _seconds(one.took_s, sign=True),
        _points(one.good, sign=True),
    )
    return BesideRow(one.rule, one.model, one.shadow, one.runs, one.not_asked, figures)


def _percents(one: Interval | None) -> Shown | None:
    return _shown(one, lambda value: f"{formats.percent(value)}{formats.NARROW}%")


def _points(one: Interval | None, *, sign: bool = False) -> Shown | None:
    return _shown(one, lambda value: _signed(f"{value:.2f}", sign=sign))


def _dollars(one: Interval | None, *, sign: bool = False) -> Shown | None:
    return _shown(one, lambda value: _signed(f"{value:.6f}", sign=sign))


def _seconds(one: Interval | None, *, sign: bool = False) -> Shown | None:
    return _shown(one, lambda value: f"{_signed(f'{value:.2f}', sign=sign)}{formats.NARROW}s")


def _signed(number: str, *, sign: bool) -> str:
    if number.startswith("-"):
        return f"−{number[1:]}" if float(number) else number[1:]
    return f"+{number}" if sign and float(number) else number


def _shown(one: Interval | None, written: Any) -> Shown | None:
    if one is None:
        return None
    is_bounded = isfinite(one.low) and isfinite(one.high)
    between = f"{written(one.low)} to {written(one.high)}" if is_bounded else "not to be told"
    return Shown(written(one.value), between, one.of)
