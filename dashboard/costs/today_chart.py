"""The drawing of a day's money: what was spent, and on top of it what was saved, as both grew."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dashboard.charts import HEIGHT, LABEL_GAP, WIDTH, Name, Spark, Tick, round_ticks, spark
from dashboard.costs.charts import axis
from dashboard.costs.today import Today
from dashboard.formats import money as amount

DAY = timedelta(days=1)
TIMES = (0, 6, 12, 18, 24)


@dataclass(frozen=True, slots=True)
class Money:
    """Paths, names at where they end, and the small lines of the figures."""

    spent: str
    saved: str
    now: float  # per cent, where the paths end
    names: list[Name]
    names_are_left: bool  # there is no room at the right of where they end
    y: list[Tick]
    x: list[Tick]
    spent_spark: Spark
    saved_spark: Spark


def money(today: Today) -> Money:
    """The drawing of today; it ends where the sums of the day do, which know of every call."""
    begins = today.hours[0].begins
    points: list[tuple[float, int, int]] = [(0.0, 0, 0)]
    spent = saved = 0
    for hour in today.hours:
        spent, saved = spent + hour.spent, saved + max(0, hour.saved)
        end = min(hour.begins + timedelta(hours=1), today.at)
        points.append((WIDTH * ((end - begins) / DAY), spent, saved))
    sums = today.sums
    points[-1] = (points[-1][0], sums.cost_microusd, max(0, sums.saved_microusd))
    ticks = round_ticks(max(1, *(one + more for _, one, more in points)))
    top = ticks[-1]

    def y(value: float) -> float:
        return HEIGHT * (1 - value / top)

    low = [(x, y(one)) for x, one, _ in points]
    high = [(x, y(one + more)) for x, one, more in points]
    end_x = points[-1][0]
    names = [
        Name(f"list price {amount(today.list_price)}", max(4.0, high[-1][1])),
        Name(f"saved {amount(sums.saved_microusd)}", (high[-1][1] + low[-1][1]) / 2),
        Name(f"spent {amount(sums.cost_microusd)}", low[-1][1]),
    ]
    for above, below in ((0, 1), (1, 2)):  # from above downwards, each a line apart
        names[below] = Name(names[below].text, max(names[below].at, names[above].at + LABEL_GAP))
    over = max(0.0, names[-1].at - HEIGHT)
    return Money(
        spent=f"M0 {HEIGHT:.0f}{_line(low)}V{HEIGHT:.0f}z",
        saved=f"M{low[0][0]:.1f} {low[0][1]:.2f}{_line(high)}{_line(list(reversed(low)))}z",
        now=end_x / 10,
        names=[Name(one.text, one.at - over) for one in names],
        names_are_left=end_x > WIDTH * 0.6,
        y=[Tick(y(value), axis(value)) for value in ticks],
        x=[_time(begins, hour) for hour in TIMES],
        spent_spark=spark([float(one) for _, one, _ in points]),
        saved_spark=spark([float(one) for _, _, one in points]),
    )


def _line(points: list[tuple[float, float]]) -> str:
    return "".join(f"L{x:.1f} {y:.2f}" for x, y in points)


def _time(begins: datetime, hour: int) -> Tick:
    return Tick(100 * hour / 24, moment=(begins + timedelta(hours=hour)).astimezone(UTC))
