"""What the requests of a stretch of time add up to, from rollups: at the same cost however many there are.

Durations are kept by their leading two digits, so a percentile is exact to two digits. A window begins and ends at
whole minutes, and a long one begins at a whole quarter or hour: with a step of its charts.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from orchestrator.core.permissions import Reach
from orchestrator.ledger import rolled
from orchestrator.ledger.rolled import FAILED, REFUSED
from orchestrator.ledger.stretches import longest_within
from orchestrator.ledger.tallies import (
    BY_A_MODEL,
    ENDED_WELL,
    ERROR,
    FIRST,
    FRESH,
    OF_MODEL,
    OF_TIER,
    REFUSAL,
    SUMS,
    TIERS,
    TOOK,
    Tally,
    Tier,
    durations,
    fate,
    newest,
    whole_minute,
)
from orchestrator.models import RequestRecord

__all__ = ["BY_A_MODEL", "ENDED_WELL", "FAILED", "REFUSED", "Tier"]

FROM_CACHE = (Tier.MEMORY, Tier.REDIS, Tier.SQLITE, Tier.SEMANTIC)
WITHOUT_A_CALL = (*FROM_CACHE, Tier.COLLAPSED)
BUCKET_LENGTHS_S = (60, 300, 900, 3600, 2 * 3600, 6 * 3600, 12 * 3600, 86400, 7 * 86400)
MOST_BUCKETS = 100
MOST_MODELS = 50
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Nearest-rank percentiles in microseconds, to two digits; None when there is nothing to rank."""

    p50_us: int | None = None
    p95_us: int | None = None
    p99_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFigures:
    """What one model answered, from cache or freshly."""

    model: str
    requests: int
    errors: int
    prompt_tokens: int
    completion_tokens: int
    latency: Latency
    fresh_answers: int  # those it gave itself, not the cache, without an error
    fresh: Latency  # of those, until the last piece


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """One step of the charts."""

    start: datetime
    by_tier: Mapping[str, int]
    durations: Mapping[int, int]  # requests by total time in microseconds, to two digits
    latency: Latency
    first: Latency  # until the first piece, of those a model answered
    errors: int
    completion_tokens: int

    @property
    def requests(self) -> int:
        """All that began in it."""
        return sum(self.by_tier.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The requests that began with `since` or after it, and before `until`.

    errors      requests that failed on our side or a model's; refused  those answered 4xx, or not in the cache.
    latency     of all requests until the last piece; first  until the first piece, of those a model answered.
    saved       millionths of a dollar, by tier, that calls would have cost which were not made; and saved_unknown
                answers of which nobody knows how much they saved.
    by_tier     counts for every tier, zeros too; by_model  the busiest, busiest first.
    buckets     steps of `bucket_s` seconds on round times, oldest first, without gaps.
    answered_at when each provider's last call began that was answered.
    behind_s    0, or how old the oldest request is that is missing, because the background worker is behind.
    """

    since: datetime
    until: datetime
    requests: int
    errors: int
    refused: int
    prompt_tokens: int
    completion_tokens: int
    saved: Mapping[str, int]
    saved_unknown: int
    by_tier: Mapping[str, int]
    latency: Latency
    first: Latency
    latency_by_tier: Mapping[str, Latency]
    by_model: tuple[ModelFigures, ...]
    bucket_s: int
    buckets: tuple[Bucket, ...]
    answered_at: Mapping[str, datetime] = field(default_factory=dict)
    behind_s: float = 0.0

    @property
    def is_behind(self) -> bool:
        """Whether requests are missing that are not added up yet."""
        return self.behind_s > 0

    @property
    def hits(self) -> int:
        """Answers that took no call of a model: from a tier, or by sharing a call in flight."""
        return sum(self.by_tier[tier] for tier in WITHOUT_A_CALL)

    @property
    def cacheable(self) -> int:
        """Answers the cache was asked for: hits and misses, not those that went past it."""
        return self.hits + self.by_tier[Tier.MISS]

    @property
    def hit_rate(self) -> float | None:
        """Share of `cacheable` answers that took no call, 0 to 1; None when there were none."""
        return self.hits / self.cacheable if self.cacheable else None

    @property
    def fresh(self) -> int:
        """Answers a model was called for."""
        return sum(self.by_tier[tier] for tier in BY_A_MODEL)

    @property
    def error_rate(self) -> float | None:
        """Share of all requests that failed, 0 to 1; None when there were none."""
        return self.errors / self.requests if self.requests else None


def figures(since: datetime, until: datetime, reach: Reach, most_models: int = MOST_MODELS) -> Figures:
    """Add up what the tenants in `reach` asked, from the step that `since` is in until the minute `until` is in.

    Meant for windows that end about now: of what is long ago no minutes are kept.

    most_models  that are told apart, the busiest.
    """
    bucket_s = bucket_length(since, until)
    first = _first(since, bucket_s)
    end = int(whole_minute(until, up=True).timestamp())
    found = rolled.read(first, end, bucket_s, reach)
    everything = _Sums()
    answered_at: dict[str, datetime] = {}
    by_tier: defaultdict[str, _Sums] = defaultdict(_Sums)
    by_model: defaultdict[str, _Sums] = defaultdict(_Sums)
    for cell, sums in found.total.of_cells():
        for one in (everything, by_tier[cell.tier], by_model[cell.model]):
            one.add(cell.fate, sums)
        if cell.is_called and not cell.fate and (at := newest(sums)):
            answered_at[cell.provider] = max(at, answered_at.get(cell.provider, at))
    times = found.total.times
    by_model.pop("", None)  # nobody answered
    busiest = sorted(by_model.items(), key=lambda item: (-item[1].requests, item[0]))[:most_models]
    took = {tier: durations(times.get(OF_TIER + tier, {})) for tier in Tier.values}
    return Figures(
        since=datetime.fromtimestamp(first, UTC),
        until=until,
        requests=everything.requests,
        errors=everything.errors,
        refused=everything.refused,
        prompt_tokens=everything.prompt_tokens,
        completion_tokens=everything.completion_tokens,
        saved={tier.value: by_tier[tier].saved for tier in WITHOUT_A_CALL},
        saved_unknown=everything.saved_unknown,
        by_tier={tier: by_tier[tier].requests for tier in Tier.values},
        latency=latency(_together(took.values())),
        first=latency(_together(durations(step.steps.get(FIRST, {})) for step in found.steps.values())),
        latency_by_tier={tier: latency(took[tier]) for tier in Tier.values},
        by_model=tuple(_of_model(model, sums, found.total) for model, sums in busiest),
        bucket_s=bucket_s,
        buckets=_buckets(found.steps, first, end, bucket_s),
        answered_at=answered_at,
        behind_s=found.behind_s,
    )


def figures_before(length: timedelta, now: datetime, reach: Reach) -> Figures:
    """What `figures` of the last `length` are compared with: as long before where that is a day or longer, else the
    same time of the day before.

    It ends with the step that those begin with, so that no request is in both or in neither, and is exactly `length`
    long: ends that are no steps would need minutes of long ago. Those have in addition what the step that is running
    came to so far.
    """
    began = datetime.fromtimestamp(_first(now - length, bucket_length(now - length, now)), UTC)
    begins = began - max(DAY, length)
    return figures(begins, begins + length, reach)


def has_failed(record: RequestRecord) -> bool:
    """Whether one record counts among `Figures.errors`; the same as `FAILED`."""
    return fate(record.outcome, record.status) == ERROR


def bucket_length(since: datetime, until: datetime) -> int:
    """The shortest round length in seconds of which at most `MOST_BUCKETS` cover the window."""
    span_s = (until - since).total_seconds()
    return next((length for length in BUCKET_LENGTHS_S if span_s / length <= MOST_BUCKETS), BUCKET_LENGTHS_S[-1])


def latency(durations: Mapping[int, int]) -> Latency:
    """Percentiles of a histogram: how many took how long, in microseconds."""
    total = sum(durations.values())
    if not total:
        return Latency()
    ranks = {name: math.ceil(total * share) for name, share in (("p50_us", 0.5), ("p95_us", 0.95), ("p99_us", 0.99))}
    found: dict[str, int] = {}
    seen = 0
    for took, n in sorted(durations.items()):
        seen += n
        for name, rank in ranks.items():
            if seen >= rank:
                found.setdefault(name, took)
    return Latency(**found)


@dataclass(slots=True)
class _Sums:
    requests: int = 0
    errors: int = 0
    refused: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    saved: int = 0
    saved_unknown: int = 0

    def add(self, fate: str, sums: Mapping[str, int]) -> None:
        self.requests += sums["n"]
        self.errors += sums["n"] if fate == ERROR else 0
        self.refused += sums["n"] if fate == REFUSAL else 0
        self.prompt_tokens += sums["prompt"]
        self.completion_tokens += sums["completion"]
        self.saved += sums.get("saved", 0)
        self.saved_unknown += sums.get("unknown", 0)


def _first(since: datetime, bucket_s: int) -> int:
    """The second that the step begins with which `since` is in."""
    unit = longest_within(bucket_s)
    return math.floor(since.timestamp()) // unit * unit


def _of_model(model: str, sums: _Sums, total: Tally) -> ModelFigures:
    fresh = durations(total.times.get(FRESH + model, {}))
    return ModelFigures(
        model=model,
        requests=sums.requests,
        errors=sums.errors,
        prompt_tokens=sums.prompt_tokens,
        completion_tokens=sums.completion_tokens,
        latency=latency(_together((fresh, durations(total.times.get(OF_MODEL + model, {}))))),
        fresh_answers=sum(fresh.values()),
        fresh=latency(fresh),
    )


def _buckets(steps: Mapping[int, Tally], first: int, end: int, bucket_s: int) -> tuple[Bucket, ...]:
    return tuple(
        _bucket(number * bucket_s, steps.get(number) or Tally())
        for number in range(first // bucket_s, math.ceil(end / bucket_s))
    )


def _bucket(start: int, step: Tally) -> Bucket:
    took, sums = durations(step.steps.get(TOOK, {})), step.steps.get(SUMS, {})
    return Bucket(
        start=datetime.fromtimestamp(start, UTC),
        by_tier=Counter(step.steps.get(TIERS, {})),
        durations=took,
        latency=latency(took),
        first=latency(durations(step.steps.get(FIRST, {}))),
        errors=sums.get("errors", 0),
        completion_tokens=sums.get("completion", 0),
    )


def _together(some: Iterable[Mapping[int, int]]) -> Counter[int]:
    total: Counter[int] = Counter()
    for one in some:
        total.update(one)
    return total
