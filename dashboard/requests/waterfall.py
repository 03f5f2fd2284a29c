"""Where the time of a request went: spans, one after the other, drawn in two scales.

Our own work is tenths of a millisecond, a model's is seconds: in one scale nobody would see the first. So there is a
drawing up to the moment when the first model is asked, and one from then on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from dashboard import formats
from dashboard.charts import Tick, round_ticks
from dashboard.tiers import FAR_FROM_CACHE, NAMES, Tier
from orchestrator.ledger.stats import FROM_CACHE
from orchestrator.ledger.wording import ending
from orchestrator.models import Attempt, RequestRecord

LEAST_WIDTH = 0.4  # per cent; what took less is still seen
WORTH_A_ROW_US = 1_000  # of what is left: after the last piece, or of our own work

# What laps of a request are called, and what drawing they belong to.
STAGES = {
    "queue": ("Wait for a turn", "waiting"),
    "read": ("Read and check", "ours"),
    "route": ("Rules, routing", "ours"),
    "limits": ("Identity, limits", "ours"),
    "pictures": ("Fetch pictures", "waiting"),
    "memory": ("Memory", "t-memory"),
    "redis": ("Redis", "t-redis"),
    "sqlite": ("SQLite", "t-sqlite"),
    "semantic": ("By meaning", "t-semantic"),
    "meaning": ("By meaning", "t-semantic"),
    "cache": ("Cache, the rest", "ours"),
    "choice": ("Choice of a model", "ours"),
    "hold": ("Hold the money", "ours"),
}

GIVEN_UP = {
    "not_sure": "not sure enough",
    "not_taken": "its answer was not taken",
    "engine_timeout": "nothing came, given up",
    "outraced": "another was faster",
}


class Measured(Protocol):
    """A stage as a record has it, in microseconds."""

    @property
    def name(self) -> str:
        """What it is called there."""

    @property
    def begin_us(self) -> int:
        """Since the request came."""

    @property
    def took_us(self) -> int:
        """How long."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a request's time, in microseconds since it came.

    kind  how it is drawn: ours, waiting, given-up, or a tier's colour.
    """

    name: str
    begin_us: int
    took_us: int
    kind: str
    words: str = ""
    is_model: bool = False

    @property
    def end_us(self) -> int:
        """When it was over."""
        return self.begin_us + self.took_us


@dataclass(frozen=True, slots=True)
class Bar:
    """A span as it is drawn, in per cent of the drawing's width."""

    span: Span
    x: float
    width: float

    @property
    def end(self) -> float:
        """Where it ends."""
        return min(99.6, self.x + self.width)


@dataclass(frozen=True, slots=True)
class Drawing:
    """Spans over one axis, whose labels are milliseconds."""

    title: str
    took_us: int
    bars: list[Bar]
    ticks: list[Tick]


def waterfall(record: RequestRecord, tried: Sequence[Attempt], stages: Iterable[Measured] = ()) -> list[Drawing]:
    """Both drawings; the second only where a model was asked, or is likely to have been."""
    asked = asked_at(record, tried)
    ours = before(record, asked, stages)
    theirs = of_models(record, tried, asked)
    found = []
    if ours:
        title = "Before any model" if theirs else "All of it"
        found.append(drawn(title, ours, 0, max(asked if theirs else record.total_us, _end(ours))))
    if theirs:
        found.append(drawn("Models", theirs, theirs[0].begin_us, max(record.total_us, _end(theirs))))
    return found


def asked_at(record: RequestRecord, tried: Sequence[Attempt]) -> int:
    """When the first model was asked; the whole of it where none was, 0 where nobody knows."""
    if record.tier in FROM_CACHE:
        return record.total_us
    begins = [_begin(one, record) for one in tried]
    if record.first_us is not None and record.engine_first_us is not None:
        begins.append(record.first_us - record.engine_first_us)
    if not begins:
        return 0 if record.tier in FAR_FROM_CACHE else record.total_us
    return min(record.total_us, max(0, min(begins)))


def before(record: RequestRecord, asked_us: int, stages: Iterable[Measured] = ()) -> list[Span]:
    """Our own work before a model was asked: by its stages where they were measured, else as one bar."""
    measured = staged(stages)
    rest = asked_us - _end(measured)
    if measured:
        if record.tier in FROM_CACHE and rest > 0:
            measured.append(Span("Answer, record", _end(measured), rest, "ours", "the kept answer"))
        elif rest >= WORTH_A_ROW_US:
            measured.append(Span("The rest", _end(measured), rest, "ours", "not measured apart"))
        return measured
    if not asked_us:
        return []
    if record.tier in FROM_CACHE:
        colour = f"t-{record.tier}"
        first = asked_us if record.first_us is None else min(record.first_us, asked_us)
        spans = [Span("Until the first piece", 0, first, colour, f"{NAMES[Tier(record.tier)].lower()} had it")]
        if asked_us > first:
            spans.append(Span("The rest of it", first, asked_us - first, "ours", "the kept answer"))
        return spans
    return [Span("Read, route, look it up", 0, asked_us, "ours", "its stages were not measured")]


def staged(stages: Iterable[Measured]) -> list[Span]:
    """Measured stages as spans."""
    spans = []
    for one in stages:
        name, kind = STAGES.get(one.name, (one.name.capitalize(), "ours"))
        spans.append(Span(name, one.begin_us, one.took_us, kind))
    return spans


def of_models(record: RequestRecord, tried: Sequence[Attempt], asked_us: int) -> list[Span]:
    """Who was asked in turn, what came of it, and how long the answer took."""
    spans = []
    for one in tried:
        begin = max(asked_us, _begin(one, record))
        words = GIVEN_UP.get(one.outcome, f"{ending(one.outcome).removeprefix('engine ')}, given up")
        spans.append(Span(one.model, begin, one.took_us, "given-up", words, is_model=True))
    if record.tier in FROM_CACHE or not record.model or record.tier == Tier.NONE:
        return spans
    return [*spans, *_answer(record, asked_us, bool(tried))]


def _answer(record: RequestRecord, asked_us: int, others_were_asked: bool) -> list[Span]:
    name, total, first = short_name(record), record.total_us, record.first_us
    if record.tier == Tier.COLLAPSED:
        until = total if first is None else first
        waited = Span(f"{name}, shared call", asked_us, max(0, until - asked_us), "waiting", "first piece")
        return [waited, *_written(record, until)]
    if first is None:
        if others_were_asked:
            return []
        return [Span(name, asked_us, total - asked_us, "waiting", "no piece came", is_model=True)]
    begin = max(0, first - (record.engine_first_us or first - asked_us))
    waiting = Span(f"{name}, waiting", begin, first - begin, "waiting", "first piece", is_model=True)
    return [waiting, *_written(record, first)]


def _written(record: RequestRecord, first: int) -> list[Span]:
    took = record.total_us - first
    if took < WORTH_A_ROW_US:
        return []
    tokens = record.completion_tokens
    words = f"{formats.count(tokens)} tokens, {formats.count(tokens / (took / 1e6))} a second" if tokens else "whole"
    return [Span(f"{short_name(record)}, writing", first, took, "ours", words, is_model=True)]


def short_name(record: RequestRecord) -> str:
    """Who answered, without the provider's name before it."""
    return record.model.removeprefix(f"{record.provider}/") or record.model


def drawn(title: str, spans: Sequence[Span], begin_us: int, end_us: int) -> Drawing:
    """Spans on the axis from `begin_us` to `end_us`; its labels count from there."""
    length = max(1, end_us - begin_us)
    ticks = [one for one in _round_ticks(length) if one <= length]
    bars = []
    for span in spans:
        x = min(99.0, 100 * max(0, span.begin_us - begin_us) / length)
        bars.append(Bar(span, x, max(LEAST_WIDTH, min(100 - x, 100 * span.took_us / length))))
    return Drawing(title, length, bars, [Tick(100 * one / length, f"{one / 1000:,g}") for one in ticks])


def _round_ticks(length_us: float) -> list[float]:
    """Round steps of microseconds; the last may lie beyond the end."""
    return round_ticks(max(5.0, length_us))


def _begin(one: Attempt, record: RequestRecord) -> int:
    """When it was asked, since the request came."""
    given_up = round((one.at - record.at).total_seconds() * 1e6)
    return min(max(0, given_up - one.took_us), record.total_us)


def _end(spans: Sequence[Span]) -> int:
    return max((one.end_us for one in spans), default=0)
