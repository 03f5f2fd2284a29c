"""What the providers did in a stretch of time, from the records of calls and of attempts that failed.

Four grouped queries. Those of requests go over the index of called engines, `called_at`, which leaves out all that
came from cache; those of attempts over their index on `at`. None reads what is older than the stretch.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import BooleanField, Count, Exists, F, Max, OuterRef, Q, QuerySet, Sum, Value
from django.db.models.expressions import RawSQL

from orchestrator.core.errors import Outraced
from orchestrator.core.permissions import Reach
from orchestrator.ledger.grouping import Epoch, digits, whole
from orchestrator.ledger.stats import BUCKET_LENGTHS_S, FAILED, REFUSED, Latency, latency
from orchestrator.models import Attempt, RequestRecord

MOST_STEPS = 30  # what a line as wide as a word can show
ANSWERED = ~FAILED & ~REFUSED


@dataclass(slots=True, kw_only=True)
class ProviderFigures:
    """The calls to one provider."""

    calls: int = 0  # each place asked counts: a request that failed here and was answered elsewhere is one here, too
    failures: Counter[str] = field(default_factory=Counter)  # by the kind of error
    share: float | None = None  # of the calls to all providers, 0 to 1
    first: Latency = field(default_factory=Latency)  # until the first piece
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_microusd: int = 0  # of those whose cost is known
    unpriced: int = 0  # calls that cost nobody knows how much
    answered_at: datetime | None = None  # when the last call began that was answered
    first_p95_us: tuple[int | None, ...] = ()  # in steps of the stretch, the oldest first

    @property
    def failed(self) -> int:
        """Calls that were not answered."""
        return self.failures.total()

    @property
    def error_rate(self) -> float | None:
        """The share of calls that were not answered; None when there were none."""
        return self.failed / self.calls if self.calls else None


def provider_figures(since: datetime, until: datetime, reach: Reach) -> Mapping[str, ProviderFigures]:
    """Add up the calls for `reach` from `since` until before `until`, by provider; also of this machine's engines."""
    called = called_between(since, until, reach)
    found: defaultdict[str, ProviderFigures] = defaultdict(ProviderFigures)
    firsts: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for row in _answers(called):
        figures = found[row["provider"]]
        figures.calls += row["n"]
        figures.prompt_tokens += row["prompt"]
        figures.completion_tokens += row["completion"]
        figures.cost_microusd += row["cost"] or 0
        figures.unpriced += row["unpriced"]
        if row["took"] is not None:
            firsts[row["provider"]][row["took"]] += row["n"]
        if row["newest"] and (figures.answered_at is None or row["newest"] > figures.answered_at):
            figures.answered_at = row["newest"]
    for provider, outcome, n in (*_failed_attempts(since, until, reach), *_failed_alone(called, reach)):
        found[provider].calls += n
        found[provider].failures[outcome] += n
    everything = sum(figures.calls for figures in found.values())
    steps = _steps(called, since, until)
    for provider, figures in found.items():
        figures.first = latency(firsts[provider])
        figures.share = figures.calls / everything if everything else None
        figures.first_p95_us = steps(provider)
    return dict(found)


def called_between(since: datetime, until: datetime, reach: Reach) -> QuerySet[RequestRecord]:
    """Requests that an engine was called for, as the index of those has them."""
    # Written out: SQLite takes a partial index whose condition stands in the query word for word, not bound to it.
    is_called: Any = RawSQL("tier IN ('miss', 'bypass')", (), output_field=BooleanField())
    called = RequestRecord.objects.of(reach, by_tenant=False).order_by().filter(is_called, at__gte=since, at__lt=until)
    return called.exclude(provider="")


def _answers(called: QuerySet[RequestRecord]) -> Iterable[Mapping[str, Any]]:
    """All that did not fail, by provider and time to the first piece. What a caller was refused is none of them."""
    return (
        called.filter(ANSWERED)
        .values("provider", took=digits("engine_first_us", 3))
        .annotate(
            n=Count("pk"),
            prompt=Sum("prompt_tokens"),
            completion=Sum("completion_tokens"),
            cost=Sum("cost_microusd"),
            unpriced=Count("pk", filter=Q(cost_microusd=None)),
            newest=Max("at", filter=Q(outcome__in=("done", "cut"))),
        )
        .order_by()
    )


def _failed_attempts(since: datetime, until: datetime, reach: Reach) -> list[tuple[str, str, int]]:
    attempts = (
        Attempt.objects.of(reach, by_tenant=False)
        .order_by()
        .filter(at__gte=since, at__lt=until)
        .exclude(outcome=Outraced.kind)
    )
    return list(attempts.values_list("provider", "outcome").annotate(n=Count("pk")).order_by())


def _failed_alone(called: QuerySet[RequestRecord], reach: Reach) -> list[tuple[str, str, int]]:
    """Requests that failed and have no attempt that says so: those after their first piece."""
    said = Attempt.objects.of(reach, by_tenant=False).filter(
        request_id=OuterRef("request_id"), tenant_id=OuterRef("tenant_id"), provider=OuterRef("provider")
    )
    failed = called.filter(FAILED).exclude(Exists(said))
    return list(failed.values_list("provider", "outcome").annotate(n=Count("pk")).order_by())


def _steps(
    called: QuerySet[RequestRecord], since: datetime, until: datetime
) -> Callable[[str], tuple[int | None, ...]]:
    """A function from a provider to its p95 of the first piece, step by step."""
    span_s = (until - since).total_seconds()
    step_s = next((length for length in BUCKET_LENGTHS_S if span_s / length <= MOST_STEPS), BUCKET_LENGTHS_S[-1])
    tallies: defaultdict[tuple[str, int], Counter[int]] = defaultdict(Counter)
    rows = called.filter(ANSWERED, engine_first_us__isnull=False)
    keys = {"step": whole(Epoch(F("at")) / Value(step_s)), "took": digits("engine_first_us", 2)}
    counted: Iterable[Mapping[str, Any]] = rows.values("provider", **keys).annotate(n=Count("pk")).order_by()
    for row in counted:
        tallies[row["provider"], row["step"]][row["took"]] += row["n"]
    numbers = range(int(since.timestamp()) // step_s, math.ceil(until.timestamp() / step_s))

    def of(provider: str) -> tuple[int | None, ...]:
        return tuple(latency(tallies.get((provider, number), {})).p95_us for number in numbers)

    return of
