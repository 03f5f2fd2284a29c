"""What the providers did in a stretch of time, from rollups of calls and of attempts that failed."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from orchestrator.core.permissions import Reach
from orchestrator.ledger import rolled
from orchestrator.ledger.stats import BUCKET_LENGTHS_S, Latency, latency
from orchestrator.ledger.stretches import longest_within
from orchestrator.ledger.tallies import OF_PROVIDER, durations, newest, whole_minute

MOST_STEPS = 30  # what a line as wide as a word can show


@dataclass(slots=True, kw_only=True)
class ProviderFigures:
    """The calls to one provider."""

    calls: int = 0  # each place asked counts: a request that failed here and was answered elsewhere is one here, too
    failures: Counter[str] = field(default_factory=Counter)  # by the kind of error
    share: float | None = None  # of the calls to all providers, 0 to 1
    first: Latency = field(default_factory=Latency)  # until the first piece
    prompt_tokens: int = 0
    completion_tokens: int = 0
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
    """Add up the calls for `reach` from the step that `since` is in until the minute `until` is in, by provider.

    Also of this machine's engines.
    """
    span_s = (until - since).total_seconds()
    step_s = next((length for length in BUCKET_LENGTHS_S if span_s / length <= MOST_STEPS), BUCKET_LENGTHS_S[-1])
    unit = longest_within(step_s)
    first, end = int(since.timestamp()) // unit * unit, int(whole_minute(until, up=True).timestamp())
    rolls = rolled.read(first, end, step_s, reach, ("cells",), with_failures=True)
    found: defaultdict[str, ProviderFigures] = defaultdict(ProviderFigures)
    for cell, sums in rolls.total.of_cells():
        if cell.is_called and not cell.fate:  # what a caller was refused is none of them
            _add(found[cell.provider], sums)
    for provider, outcome, n in rolls.total.of_failures():
        found[provider].calls += n
        found[provider].failures[outcome] += n
    everything = sum(figures.calls for figures in found.values())
    numbers = range(first // step_s, math.ceil(end / step_s))
    for provider, figures in found.items():
        steps = {n: durations(step.steps.get(OF_PROVIDER + provider, {})) for n, step in rolls.steps.items()}
        figures.first = latency(sum(map(Counter, steps.values()), Counter()))
        figures.share = figures.calls / everything if everything else None
        figures.first_p95_us = tuple(latency(steps.get(number, {})).p95_us for number in numbers)
    return dict(found)


def _add(figures: ProviderFigures, sums: Mapping[str, int]) -> None:
    figures.calls += sums["n"]
    figures.prompt_tokens += sums["prompt"]
    figures.completion_tokens += sums["completion"]
    if answered_at := newest(sums):
        figures.answered_at = max(figures.answered_at or answered_at, answered_at)
