"""Drawings of money: spent and saved by day, and how a budget burns down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from dashboard.charts import HEIGHT, WIDTH, Layer, Spark, Tick, outline, round_ticks, spark
from orchestrator.ledger.costs import Span, Sums
from orchestrator.ledger.pace import LATELY, Use

A_DAY = timedelta(days=1)
A_CENTURY_S = 100 * 365 * 86_400
MOST_DATES = 6
GAP = 0.14  # of a day's width, between two days
WIDEST = WIDTH / 8  # of a day, where there are few
WIDE = 62  # days, from which on no gaps are drawn
NEAR_THE_END = 90.0


@dataclass(frozen=True, slots=True)
class Days:
    """Spent and saved by day, one on the other."""

    layers: list[Layer]
    y: list[Tick]
    x: list[Tick]


@dataclass(frozen=True, slots=True)
class BurnDown:
    """What is left of a budget: so far, at an even pace, and where it leads."""

    left: str
    even: str
    forecast: str
    now: float  # per cent, from the left
    now_at: float  # per cent, from the top
    ends: float | None  # where it is used up, per cent from the left
    y: list[Tick]
    x: list[Tick]


def by_day(span: Span, days: Mapping[date, Sums]) -> Days:
    """The drawing of `span`."""
    none = Sums()
    each = [(index, days.get(span.first + timedelta(days=index), none)) for index in range(span.days)]
    ticks = round_ticks(max((sums.cost_microusd + max(sums.saved_microusd, 0) for _, sums in each), default=0))
    top, width = ticks[-1], WIDTH / span.days
    gap = max(width * GAP, width - WIDEST) if span.days <= WIDE else 0.0
    spent, saved = [], []
    for index, sums in each:
        left, right = index * width + gap / 2, (index + 1) * width - gap / 2
        low, high = sums.cost_microusd, sums.cost_microusd + max(sums.saved_microusd, 0)
        spent.append((left, right, HEIGHT, _y(low, top)))
        saved.append((left, right, _y(low, top), _y(high, top)))
    layers = [Layer("spent", _boxes(spent, apart=gap > 0)), Layer("saved", _boxes(saved, apart=gap > 0))]
    return Days(layers, [Tick(_y(value, top), axis(value)) for value in ticks], dates(span))


def burn_down(use: Use, burnt: Mapping[date, int]) -> BurnDown:
    """The drawing of a budget's period; of one without an end, of lately and as long from now on."""
    begin, end = _window(use)
    paid = use.amount - use.spent
    # Where days do not add up to what is spent, the difference was there before the first of them.
    left = float(paid + sum(burnt.values())) if use.ends is None else float(use.amount)
    points = [(begin, left)]
    day = begin.date()
    while day < use.at.date():
        left -= burnt.get(day, 0)
        day += timedelta(days=1)
        points.append((_midnight(day), left))
    points.append((use.at, float(paid)))
    ticks = round_ticks(max(1, use.amount, *(int(value) for _, value in points)))
    top = ticks[-1]

    def place(moment: datetime, value: float) -> tuple[float, float]:
        x = WIDTH * ((moment - begin) / (end - begin))
        return min(WIDTH, max(0.0, x)), _y(min(max(value, 0.0), top), top)

    now_x, now_y = place(use.at, paid)
    goal, gone_at = _goal(use, burnt, end)
    forecast = "" if goal is None else _line([(now_x, now_y), place(*goal)])
    even = _line([place(begin, use.amount), place(end, 0)]) if use.ends is not None else ""
    return BurnDown(
        left=_line([place(*point) for point in points]),
        even=even,
        forecast=forecast,
        now=now_x / 10,
        now_at=now_y,
        ends=None if gone_at is None else place(gone_at, 0)[0] / 10,
        y=[Tick(_y(value, top), axis(value)) for value in ticks],
        x=dates(Span(begin.date(), end.date())) if end - begin > timedelta(days=1) else [],
    )


def sparks(span: Span, days: Mapping[date, Sums]) -> Mapping[str, Spark]:
    """Small lines of what was spent, saved and charged."""
    each = [days.get(span.first + timedelta(days=index), Sums()) for index in range(span.days)]
    if len(each) < 2:
        return {}
    return {
        "spent": spark([sums.cost_microusd for sums in each]),
        "saved": spark([sums.saved_microusd for sums in each]),
        "calls": spark([sums.calls for sums in each]),
        "tokens": spark([sums.prompt_tokens + sums.completion_tokens for sums in each]),
    }


def axis(microusd: float) -> str:
    """An amount on an axis, with as many digits as it has."""
    return f"${Decimal(int(microusd)).scaleb(-6).normalize():,f}"


def dates(span: Span) -> list[Tick]:
    """Days along the axis, evenly, the first and those that the others fall on."""
    step = max(1, -(-span.days // MOST_DATES))
    if step > 1:
        step = next((whole for whole in (2, 5, 7, 14, 28, 61) if whole >= step), step)
    middle = 50.0 / span.days
    ticks = [
        Tick(100.0 * index / span.days + middle, _date(span.first + timedelta(days=index)))
        for index in range(0, span.days, step)
    ]
    return [tick for tick in ticks if tick.at < NEAR_THE_END + 5]


def _window(use: Use) -> tuple[datetime, datetime]:
    if use.ends is None:
        first = _midnight((use.at - LATELY).date())
        return first, use.at + LATELY
    return _midnight(use.begins), _midnight(use.ends)


def _goal(use: Use, burnt: Mapping[date, int], end: datetime) -> tuple[tuple[datetime, float] | None, datetime | None]:
    """Where the line leads, and when nothing is left, where that is within the drawing."""
    paid = use.amount - use.spent
    if use.ends is not None:
        if use.projected is None or paid <= 0:
            return None, None
        if use.used_up_at is not None:
            return (use.used_up_at, 0.0), use.used_up_at
        return (end, float(use.amount - use.projected)), None
    gone_at = lasts_until(use, burnt)
    if gone_at is None:
        return None, None
    if gone_at <= end:
        return (gone_at, 0.0), gone_at
    return (end, paid * (1 - (end - use.at) / (gone_at - use.at))), None


def lasts_until(use: Use, burnt: Mapping[date, int]) -> datetime | None:
    """When a budget without an end is used up, at the pace of lately; None: not at this pace, or not for a century.

    Lately is since the first of those days on which anything was spent: before, there may have been nobody to spend.
    """
    paid, lately = use.amount - use.spent, sum(burnt.values())
    if use.ends is not None or paid <= 0 or lately <= 0:
        return None
    paced = min(use.at - _midnight(min(day for day, spent in burnt.items() if spent)), LATELY)
    lasts_s = int(paced.total_seconds()) * paid // lately
    return use.at + timedelta(seconds=lasts_s) if paced >= A_DAY and lasts_s <= A_CENTURY_S else None


def _boxes(boxes: list[tuple[float, float, float, float]], *, apart: bool) -> str:
    return "".join(outline([box]) for box in boxes) if apart else outline(boxes)


def _line(points: list[tuple[float, float]]) -> str:
    return "".join(f"{'L' if index else 'M'}{x:.1f} {y:.2f}" for index, (x, y) in enumerate(points))


def _y(value: float, top: float) -> float:
    return HEIGHT * (1 - value / top)


def _date(day: date) -> str:
    return f"{day.day} {day:%b}"


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
