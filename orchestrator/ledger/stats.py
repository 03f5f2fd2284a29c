"""What the request records of a stretch of time add up to.

The database does the adding: a handful of grouped queries over the index on `at`, whose results
are as long as there are distinct values, not as there are records. Durations are grouped by their
leading three digits, so a percentile is exact to three digits however many records there are.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from django.db.models import Count, F, Q, QuerySet, Sum, Value

from orchestrator.core.permissions import Reach
from orchestrator.ledger.grouping import Epoch, digits, whole
from orchestrator.ledger.savings import UNKNOWN
from orchestrator.models import RequestRecord

Tier = RequestRecord.Tier
FROM_CACHE = (Tier.MEMORY, Tier.REDIS, Tier.SQLITE, Tier.SEMANTIC)
WITHOUT_A_CALL = (*FROM_CACHE, Tier.COLLAPSED)
BY_A_MODEL = (Tier.MISS, Tier.BYPASS)
ENDED_WELL = ("done", "cut", "cancelled")
NOT_WANTED = "only_if_cached"  # and it was not: what the caller asked for, whatever its status
REFUSED = Q(status__range=(400, 499)) | Q(outcome=NOT_WANTED)
FAILED = ~Q(outcome__in=ENDED_WELL) & ~REFUSED
BUCKET_LENGTHS_S = (1, 5, 15, 60, 300, 900, 3600, 6 * 3600, 86400, 7 * 86400)
MOST_BUCKETS = 100
MOST_MODELS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Nearest-rank percentiles in microseconds, to three digits; None when there is nothing to rank."""

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
    latency: Latency  # to two digits
    first: Latency  # until the first piece, of those a model answered
    errors: int
    completion_tokens: int

    @property
    def requests(self) -> int:
        """All that began in it."""
        return sum(self.by_tier.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The records with `since` <= at < `until`.

    errors      requests that failed on our side or a model's; refused  those answered 4xx, or not in the cache.
    latency     of all requests until the last piece; first  until the first piece, of those a model answered.
    saved       millionths of a dollar, by tier, that calls would have cost which were not made; and saved_unknown
                answers of which nobody knows how much they saved.
    by_tier     counts for every tier, zeros too; by_model  the busiest, busiest first.
    buckets     steps of `bucket_s` seconds on round times, oldest first, without gaps.
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


def figures(since: datetime, until: datetime, reach: Reach) -> Figures:
    """Add up the records from `since` until before `until`, of the tenants in `reach`.

    Three queries. Meant for windows of up to a day or so: each reads every record of the window once.
    """
    rows = RequestRecord.objects.of(reach, by_tenant=False).order_by().filter(at__gte=since, at__lt=until)

    by_tier: defaultdict[str, _Tally] = defaultdict(_Tally)
    by_model: defaultdict[str, _Tally] = defaultdict(_Tally)
    fresh: defaultdict[str, Counter[int]] = defaultdict(Counter)
    everything = _Tally()
    for row in _tallied(rows, "tier", "model", took=digits("total_us", 3)):
        for tally in (everything, by_tier[row["tier"]], by_model[row["model"]]):
            tally.add(row)
        if row["tier"] in BY_A_MODEL:
            fresh[row["model"]][row["took"]] += row["n"] - row["errors"] - row["refused"]
    by_model.pop("", None)  # nobody answered
    busiest = sorted(by_model.items(), key=lambda item: (-item[1].requests, item[0]))[:MOST_MODELS]
    bucket_s = bucket_length(since, until)
    step = whole(Epoch(F("at")) / Value(bucket_s))
    first: defaultdict[int, Counter[int]] = defaultdict(Counter)
    by_models = rows.filter(tier__in=BY_A_MODEL, first_us__isnull=False)
    for row in _grouped(by_models, step=step, took=digits("first_us", 3)):
        first[row["step"]][row["took"]] += row["n"]
    return Figures(
        since=since,
        until=until,
        requests=everything.requests,
        errors=everything.errors,
        refused=everything.refused,
        prompt_tokens=everything.prompt_tokens,
        completion_tokens=everything.completion_tokens,
        saved={tier.value: by_tier[tier].saved for tier in WITHOUT_A_CALL},
        saved_unknown=everything.saved_unknown,
        by_tier={tier: by_tier[tier].requests for tier in Tier.values},
        latency=latency(everything.durations),
        first=latency(sum(first.values(), Counter())),
        latency_by_tier={tier: latency(by_tier[tier].durations) for tier in Tier.values},
        by_model=tuple(
            ModelFigures(
                model=model,
                requests=tally.requests,
                errors=tally.errors,
                prompt_tokens=tally.prompt_tokens,
                completion_tokens=tally.completion_tokens,
                latency=latency(tally.durations),
                fresh_answers=fresh[model].total(),
                fresh=latency(fresh[model]),
            )
            for model, tally in busiest
        ),
        bucket_s=bucket_s,
        buckets=_buckets(rows, step, since, until, bucket_s, first),
    )


def has_failed(record: RequestRecord) -> bool:
    """Whether one record counts among `Figures.errors`; the same as `FAILED`."""
    return record.outcome not in {*ENDED_WELL, NOT_WANTED} and not 400 <= record.status <= 499


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
class _Tally:
    requests: int = 0
    errors: int = 0
    refused: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    saved: int = 0
    saved_unknown: int = 0
    durations: Counter[int] = field(default_factory=Counter)

    def add(self, row: Mapping[str, Any]) -> None:
        self.requests += row["n"]
        self.errors += row["errors"]
        self.refused += row["refused"]
        self.prompt_tokens += row["prompt"]
        self.completion_tokens += row["completion"]
        self.saved += row["saved"] or 0
        self.saved_unknown += row["saved_unknown"]
        self.durations[row["took"]] += row["n"]


def _grouped(rows: QuerySet[RequestRecord], *columns: str, **keys: Any) -> Iterable[dict[str, Any]]:
    """Count rows by columns and expressions."""
    return cast(Iterable[dict[str, Any]], rows.values(*columns, **keys).annotate(n=Count("pk")).order_by())


def _tallied(rows: QuerySet[RequestRecord], *columns: str, **keys: Any) -> Iterable[dict[str, Any]]:
    """The same with what a `_Tally` adds up."""
    sums = {
        "n": Count("pk"),
        "errors": Count("pk", filter=FAILED),
        "refused": Count("pk", filter=REFUSED),
        "prompt": Sum("prompt_tokens"),
        "completion": Sum("completion_tokens"),
        "saved": Sum("saved_microusd"),
        "saved_unknown": Count("pk", filter=Q(saved_why=UNKNOWN)),
    }
    return cast(Iterable[dict[str, Any]], rows.values(*columns, **keys).annotate(**sums).order_by())


def _buckets(
    rows: QuerySet[RequestRecord],
    step: Any,
    since: datetime,
    until: datetime,
    bucket_s: int,
    first: Mapping[int, Mapping[int, int]],
) -> tuple[Bucket, ...]:
    tallies: defaultdict[int, _Tally] = defaultdict(_Tally)
    by_tier: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for row in _tallied(rows, "tier", step=step, took=digits("total_us", 2)):
        tallies[row["step"]].add(row)
        by_tier[row["step"]][row["tier"]] += row["n"]
    begin, end = int(since.timestamp()) // bucket_s, math.ceil(until.timestamp() / bucket_s)
    return tuple(
        Bucket(
            start=datetime.fromtimestamp(number * bucket_s, UTC),
            by_tier=by_tier[number],
            durations=tallies[number].durations,
            latency=latency(tallies[number].durations),
            first=latency(first.get(number, {})),
            errors=tallies[number].errors,
            completion_tokens=tallies[number].completion_tokens,
        )
        for number in range(begin, end)
    )
