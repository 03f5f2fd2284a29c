"""Drawings as path data. Templates put them into SVG that stretches, beside words that do not.

Every drawing is 1000 wide and 100 high, y downwards. Positions of words are in per cent.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from dashboard import formats
from dashboard.tiers import ALWAYS_SHOWN, NAMES, STACK
from orchestrator.ledger.stats import Bucket, Figures

WIDTH, HEIGHT = 1000.0, 100.0
A_DAY_S = 86400
TICK_LENGTHS_S = (60, 300, 900, 3600, 3 * 3600, 6 * 3600, A_DAY_S, 2 * A_DAY_S, 7 * A_DAY_S)
MOST_TIME_TICKS = 5
NEAR_THE_END = 86.0  # per cent; a time there would touch the word "now"
ROWS_A_DECADE = 6
LOWEST_US = 100.0  # 0.1 ms
LEAST_ROWS = 5 * ROWS_A_DECADE  # up to 10 s; more only for answers that took longer
HEAT_LEVELS = 5
CROWDED = 100  # requests in the fullest cell
LABEL_GAP = 9.0  # per cent of the height between two names at the right


@dataclass(frozen=True, slots=True)
class Tick:
    """A grid line or a time on an axis."""

    at: float  # per cent
    label: str = ""
    moment: datetime | None = None
    is_day: bool = False  # it is one of so many that the time of day says nothing


@dataclass(frozen=True, slots=True)
class Layer:
    """One colour of a drawing."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class LegendRow:
    """A tier, what it answered, and the share of all answers (0 to 1)."""

    tier: str
    name: str
    requests: int
    share: float | None


@dataclass(frozen=True, slots=True)
class Steps:
    """Requests by where they were answered."""

    layers: list[Layer]
    y: list[Tick]
    x: list[Tick]
    legend: list[LegendRow]  # in stack order, the top first
    answered: int
    unanswered: int


@dataclass(frozen=True, slots=True)
class Name:
    """What a line is called, at its right end."""

    text: str
    at: float  # per cent from the top


@dataclass(frozen=True, slots=True)
class Heat:
    """Requests by time to answer, with percentiles drawn over. The names are those of the whole window.

    The cells have a drawing of their own, `columns` wide and `rows` high, so that each is one unit.
    """

    cells: list[Layer]
    columns: int
    rows: int
    lines: list[Layer]
    y: list[Tick]
    x: list[Tick]
    names: list[Name] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Spark:
    """A small line, and where its last value is."""

    path: str
    last: float | None  # per cent from the top


def whole_buckets(figures: Figures) -> tuple[Bucket, ...]:
    """Those to draw: without the first, which began before the window did."""
    buckets = figures.buckets
    return buckets[1:] if buckets and buckets[0].start < figures.since else buckets


def steps(figures: Figures) -> Steps:
    """Stack the tiers, one step a bucket."""
    buckets = whole_buckets(figures)
    shown = [tier for tier in STACK if tier in ALWAYS_SHOWN or figures.by_tier[tier]]
    ticks = round_ticks(max((sum(b.by_tier.get(t, 0) for t in shown) for b in buckets), default=0))
    top = ticks[-1]
    x = scale(figures)
    below = [0.0] * len(buckets)
    layers = []
    for tier in shown:
        above = [base + bucket.by_tier.get(tier, 0) for base, bucket in zip(below, buckets, strict=True)]
        boxes = [
            (x(b.start), x(b.start, figures.bucket_s), _y(base, top), _y(value, top))
            for b, base, value in zip(buckets, below, above, strict=True)
        ]
        layers.append(Layer(tier, outline(boxes)))
        below = above
    answered = sum(figures.by_tier[tier] for tier in shown)
    return Steps(
        layers=layers,
        y=[Tick(_y(value, top), formats.count(value)) for value in ticks],
        x=time_ticks(figures),
        legend=[
            LegendRow(tier, NAMES[tier], figures.by_tier[tier], figures.by_tier[tier] / answered if answered else None)
            for tier in reversed(shown)
        ],
        answered=answered,
        unanswered=figures.requests - answered,
    )


def heat(figures: Figures) -> Heat:
    """Cells of six a decade of time to answer, darker where more requests fell; p50 and p95 over them."""
    buckets = whole_buckets(figures)
    slowest = max((took for bucket in buckets for took in bucket.durations), default=0)
    rows = max(LEAST_ROWS, math.ceil(ROWS_A_DECADE * math.log10(max(slowest, 1) / LOWEST_US)))
    cells: dict[tuple[int, int], int] = {}
    for column, bucket in enumerate(buckets):
        for took, n in bucket.durations.items():
            row = _heat_row(took, rows)
            cells[column, row] = cells.get((column, row), 0) + n
    x = scale(figures)
    place = _log_scale(rows)
    lines, names = [], []
    for name, whole, values in (
        ("p50", figures.latency.p50_us, [b.latency.p50_us for b in buckets]),
        ("p95", figures.latency.p95_us, [b.latency.p95_us for b in buckets]),
    ):
        points = [
            None if us is None else (x(b.start), x(b.start, figures.bucket_s), place(us))
            for b, us in zip(buckets, values, strict=True)
        ]
        if whole is not None:
            lines.append(Layer(name, curve(points)))
            number, unit = formats.duration(whole)
            names.append(Name(f"{name} {number}{formats.NARROW}{unit}", place(whole)))
    return Heat(
        cells=_cells(cells, rows),
        columns=max(1, len(buckets)),
        rows=rows,
        lines=lines,
        y=[
            Tick(HEIGHT * (1 - row / rows), formats.NARROW.join(_round_time(LOWEST_US * 10 ** (row / ROWS_A_DECADE))))
            for row in range(0, rows + 1, ROWS_A_DECADE)
        ],
        x=time_ticks(figures),
        names=_apart(names),
    )


def spark(values: Sequence[float | None], *, from_zero: bool = True) -> Spark:
    """A small line through `values`; gaps where there is none."""
    known = [value for value in values if value is not None]
    if not known:
        return Spark("", None)
    low = 0.0 if from_zero else min(known)
    spread = (max(known) - low) or 1.0
    parts, is_down = [], False
    for index, value in enumerate(values):
        if value is not None:
            x = WIDTH * index / max(1, len(values) - 1)
            parts.append(f"{'L' if is_down else 'M'}{x:.0f} {HEIGHT - 90 * (value - low) / spread:.0f}")
        is_down = value is not None
    last = values[-1]
    return Spark("".join(parts), None if last is None else HEIGHT - 90 * (last - low) / spread)


def outline(boxes: Iterable[tuple[float, float, float, float]]) -> str:
    """Boxes (left, right, bottom, top) side by side as closed paths; nothing where a box has no height."""
    runs: list[list[tuple[float, float, float, float]]] = [[]]
    for box in boxes:
        if box[2] - box[3] > 1e-9:
            runs[-1].append(box)
        elif runs[-1]:
            runs.append([])
    parts = []
    for run in filter(None, runs):
        parts.append(f"M{run[0][0]:.1f} {run[0][3]:.2f}")
        parts.extend(f"V{top:.2f}H{right:.1f}" for _, right, _, top in run)
        parts.extend(f"V{bottom:.2f}H{left:.1f}" for left, _, bottom, _ in reversed(run))
        parts.append("z")
    return "".join(parts)


def curve(points: Sequence[tuple[float, float, float] | None]) -> str:
    """A line through the middles of (left, right, y), reaching the outer ends of each unbroken run."""
    parts = []
    for index, point in enumerate(points):
        if point is None:
            continue
        left, right, y = point
        begins = index == 0 or points[index - 1] is None
        ends = index == len(points) - 1 or points[index + 1] is None
        parts.append(f"M{left:.1f} {y:.2f}" if begins else f"L{(left + right) / 2:.1f} {y:.2f}")
        if ends:
            parts.append(f"L{right:.1f} {y:.2f}")
    return "".join(parts)


def round_ticks(most: float) -> list[float]:
    """Zero and up to five round steps that reach `most`; whole numbers."""
    step = next(unit * 10**power for power in range(15) for unit in (1, 2, 5) if most <= 5 * unit * 10**power)
    return [float(step * index) for index in range(max(1, math.ceil(most / step)) + 1)]


def time_ticks(figures: Figures) -> list[Tick]:
    """Round times along the axis, and "now" at its end."""
    buckets = whole_buckets(figures)
    if not buckets:
        return [Tick(100.0, "now")]
    begin, end = buckets[0].start.timestamp(), _end(figures)
    length = next((s for s in TICK_LENGTHS_S if (end - begin) / s < MOST_TIME_TICKS), TICK_LENGTHS_S[-1])
    times = range(math.ceil(begin / length) * length, int(end) + 1, length)
    ticks = [
        Tick(100 * (t - begin) / (end - begin), moment=datetime.fromtimestamp(t, UTC), is_day=length >= A_DAY_S)
        for t in times
    ]
    return [*(tick for tick in ticks if tick.at < NEAR_THE_END), Tick(100.0, "now")]


def _cells(counts: Mapping[tuple[int, int], int], rows: int) -> list[Layer]:
    """Cells (column, row from below) by how many requests fell there; equal neighbours in a row are one path."""
    most = max(counts.values(), default=1)
    faintest = 1 if most >= CROWDED else 2  # a single request must be seen, where it is not one of many

    def level(cell: tuple[int, int]) -> int:
        n = counts.get(cell, 0)
        if not n:
            return 0
        return faintest + round((HEAT_LEVELS - faintest) * (math.log(n) / math.log(most) if most > 1 else 1))

    paths: dict[int, list[str]] = {}
    for column, row in sorted(counts, key=lambda cell: (cell[1], cell[0])):
        here = level((column, row))
        if level((column - 1, row)) == here:
            continue  # the run it belongs to is drawn
        length = next(n for n in itertools.count(1) if level((column + n, row)) != here)
        paths.setdefault(here, []).append(f"M{column} {rows - 1 - row}h{length}v1h-{length}z")
    return [Layer(f"heat-{number}", "".join(path)) for number, path in sorted(paths.items())]


def _end(figures: Figures) -> float:
    """Where the axis ends: with the open bucket, which is drawn as wide as the others from its first second on."""
    buckets = whole_buckets(figures)
    return buckets[-1].start.timestamp() + figures.bucket_s if buckets else figures.until.timestamp()


def scale(figures: Figures) -> Callable[..., float]:
    """From a moment to where it is on the axis of the buckets."""
    buckets = whole_buckets(figures)
    begin = buckets[0].start.timestamp() if buckets else figures.since.timestamp()
    end = _end(figures)

    def x(moment: datetime, plus_s: float = 0.0) -> float:
        return WIDTH * (moment.timestamp() + plus_s - begin) / ((end - begin) or 1.0)

    return x


def _y(value: float, top: float) -> float:
    return HEIGHT * (1 - value / top)


def _heat_row(us: float, rows: int) -> int:
    return min(rows - 1, max(0, math.floor(ROWS_A_DECADE * math.log10(max(us, 1) / LOWEST_US))))


def _log_scale(rows: int) -> Callable[[float], float]:
    def place(us: float) -> float:
        share = ROWS_A_DECADE * math.log10(max(us, LOWEST_US) / LOWEST_US) / rows
        return HEIGHT * (1 - min(1.0, share))

    return place


def _round_time(us: float) -> tuple[str, str]:
    return (f"{us / 1e3:g}", "ms") if us < 1e6 else (f"{us / 1e6:g}", "s")


def _apart(names: list[Name]) -> list[Name]:
    """Move two names that would touch away from each other."""
    if len(names) == 2 and abs(names[0].at - names[1].at) < LABEL_GAP:
        lower, upper = names  # p50 lies below p95, or on it
        middle = (lower.at + upper.at) / 2
        middle = min(HEIGHT - LABEL_GAP / 2, max(LABEL_GAP / 2, middle))
        return [Name(lower.text, middle + LABEL_GAP / 2), Name(upper.text, middle - LABEL_GAP / 2)]
    return names
