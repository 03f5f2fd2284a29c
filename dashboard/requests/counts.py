"""How many requests there were over time: small bars, each of which leads to its own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from dashboard import charts
from dashboard.charts import Tick
from dashboard.reading import Snapshot
from dashboard.requests.asked import Asked
from dashboard.requests.verdict import share_of


@dataclass(frozen=True, slots=True)
class Step:
    """One bar: where it stands in per cent, how many it is, and the address of just these."""

    begins: datetime
    count: int
    x: float
    width: float
    y: float
    height: float
    query: str


@dataclass(frozen=True, slots=True)
class Counts:
    """The drawing, with its axis."""

    steps: list[Step]
    ticks: list[Tick]
    most: int
    step_s: int
    newest: int


def counts(asked: Asked, snapshot: Snapshot | None) -> Counts | None:
    """None where figures do not tell of what is asked for."""
    of = share_of(asked)
    if snapshot is None or of is None or not snapshot.figures.requests:
        return None
    figures = snapshot.figures
    buckets = charts.whole_buckets(figures)
    most = max((of(one) for one in buckets), default=0)
    top = charts.round_ticks(most)[-1]
    width = 100 / max(1, len(buckets))
    length = timedelta(seconds=figures.bucket_s)
    steps = []
    for index, one in enumerate(buckets):
        height = 100 * of(one) / top
        ends = {"period": None, "from": _at(one.start), "to": _at(one.start + length)}
        steps.append(Step(one.start, of(one), index * width, 0.86 * width, 100 - height, height, asked.with_(**ends)))
    newest = of(buckets[-1]) if buckets else 0
    return Counts(steps, charts.time_ticks(figures), most, figures.bucket_s, newest)


def _at(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S")
