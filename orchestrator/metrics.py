"""What Prometheus is told. Each worker counts in files of its own, so that any of them can tell for all.

The files are named for the worker's number, not its process: one that is started again counts on
where the last one ended, and there are never more files than workers. Labels are words of ours, and
of each no more than a bound: the rest is "other", so no caller can make series.
"""

from __future__ import annotations

import logging
import os
import struct
import sys
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    disable_created_metrics,
    values,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from orchestrator.core.threads import WorkerThread
from orchestrator.core.types import ChatRequest, Usage

log = logging.getLogger(__name__)
disable_created_metrics()  # one more series for each; shared figures have none either

BOUNDS_S = (
    *(50e-6, 100e-6, 250e-6, 500e-6),  # a hit takes microseconds
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0),
)
LAG_BOUNDS_S = BOUNDS_S[4:]  # timers are no finer
MOST_DIALECTS, MOST_TIERS, MOST_OUTCOMES, MOST_PARTS, MOST_MODELS = 4, 12, 40, 12, 50
MOST_PROVIDERS = 50
MOST_LIMITS = 50
ENDED_WELL = frozenset({"done", "cut", "cancelled"})
MOST_PAGES = 8  # asked for at once
PAGE_DEADLINE_S = 5.0
OTHER = "other"
ENTRIES, BYTES = "orchestrator_cache_entries", "orchestrator_cache_bytes"
SAVED = "_saved"
CALLED = frozenset({"miss", "bypass"})  # tiers for which an engine was called
WAITED = CALLED | {"collapsed"}  # and where another's call was waited for
RESERVED = {"counter": 1024**2, "histogram": 1024**2, "gauge_livesum": 64 * 1024}  # bytes, beyond what all labels fill


class Attempt(Protocol):
    """A place that was asked and did not answer."""

    @property
    def provider(self) -> str:
        """Whose it is."""

    @property
    def outcome(self) -> str:
        """The kind of error."""


class Saved(Protocol):
    """What an answer saved that took no call."""

    @property
    def microusd(self) -> int | None:
        """Millionths of a US dollar; None when it is not known."""


class Answered(Protocol):
    """What is known of a request at its end; the ledger's entry is such."""

    request: ChatRequest
    model: str  # resolved, never as the caller wrote it
    tier: str
    outcome: str
    usage: Usage
    first_s: float | None
    total_s: float
    laps: dict[str, float]  # seconds by part, up to the engine's turn
    provider: str  # who was asked last
    engine_first_s: float | None  # until its first piece, since it was asked

    @property
    def attempts(self) -> Sequence[Attempt]:
        """Who was asked and did not answer."""

    @property
    def cost_microusd(self) -> int | None:
        """Millionths of a US dollar; None when it is not known."""

    @property
    def saved(self) -> Saved | None:
        """None where nothing is claimed: it was a call, or did not come to its end."""


class Metrics:
    """The figures of this process, and of its fellows when they share a folder.

    `answered` and `settled` are for the event loop and only tally; `hand_over`, called a few times a
    second, lets the others see it. A process that is killed takes with it what it had not handed over.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` is where `open_metrics` put the values; without one they are this process's alone."""
        self._folder = folder
        self._registry = CollectorRegistry()
        self._pages = WorkerThread("metrics", most_waiting=MOST_PAGES)
        self._totals: dict[tuple[str, ...], float] = {}
        counter = partial(Counter, namespace="orchestrator", registry=self._registry)
        gauge = partial(Gauge, namespace="orchestrator", multiprocess_mode="livesum", registry=self._registry)
        times = partial(_Times, registry=self._registry)

        self._requests = _Counts(
            counter("requests_total", "Requests that came to an end.", ["dialect", "tier", "outcome"])
        )
        self._of_model = _Counts(counter("model_requests_total", "Requests by the model that answered.", ["model"]))
        self._tokens = _Counts(
            counter(
                "tokens_total",
                "Tokens by kind: prompt and completion as a model worked them, _saved where none was called.",
                ["kind", "model"],
            )
        )
        self._cost = _Counts(counter("cost_dollars_total", "Known cost in US dollars.", ["model"]))
        self._unpriced = _Counts(
            counter("unpriced_requests_total", "Requests that cost money whose amount is not known.", ["model"])
        )
        self._saved = _Counts(
            counter(
                "saved_microdollars_total",
                "Millionths of a US dollar that calls would have cost which were not made.",
                ["tier"],
            )
        )
        self._saved_unknown = _Counts(
            counter("savings_unknown_total", "Answers without a call that saved nobody knows how much.", ["tier"])
        )
        self._seconds = times("request_seconds", "Time until the last piece of the answer.", ["dialect", "tier"])
        self._first_seconds = times("first_chunk_seconds", "Time until the first piece of the answer.", ["tier"])
        self._part_seconds = times("part_seconds", "Time in each part of the way.", ["part"])
        self._asked = _Counts(
            counter("provider_calls_total", "Calls by the provider that was asked.", ["provider", "outcome"])
        )
        self._asked_seconds = times(
            "provider_first_chunk_seconds", "Time to the first piece since the provider was asked.", ["provider"]
        )
        self._loop_lag = times("event_loop_lag_seconds", "How late a worker's event loop woke.", [], LAG_BOUNDS_S)

        self.lookups = counter("cache_lookups_total", "Lookups that came to an end.", ["tier", "result"])
        self.errors = counter("cache_errors_total", "Lookups and writes that failed or took too long.", ["tier"])
        self.skipped = counter("cache_skipped_total", "Lookups and writes spared while it is out.", ["tier"])
        self.invalid = counter("cache_invalid_total", "Values found that were no answers.", ["tier"])
        self.breakers = gauge("cache_breakers_open", "Workers that go on without the tier.", ["tier"])
        self.entries = gauge("cache_entries", "Answers kept in the workers' memory.", ["tier"])
        self.bytes = gauge("cache_bytes", "Bytes of answers kept in the workers' memory.", ["tier"])
        self.calls = gauge("calls_in_flight", "Calls to engines under way.")
        self.provider_calls = gauge("provider_calls_in_flight", "Calls under way, by provider.", ["provider"])
        self.provider_breakers = gauge(
            "provider_breakers_open", "Models of a provider that a worker does not ask for now.", ["provider"]
        )
        self.listeners = gauge("listeners", "Callers who hear a call under way.")
        self.limited = counter("limited_total", "Requests that a limit refused.", ["limit", "kind"])
        self.leases = counter("limit_leases_total", "Allowance that was taken from Redis in advance.")
        self.limits_alone = gauge("limits_alone", "Workers that count limits without Redis, though there is one.")
        self.waiting = gauge("calls_waiting", "Calls that wait to begin: more is asked than can be done.")
        self.paced = gauge("workers_paced", "Workers that let calls begin only as fast as they can begin them.")
        self.pace = gauge("calls_paced_per_second", "How many calls a second those workers let begin.")
        self.refused = counter("calls_refused_total", "Requests sent away since too many wait, by the bound.", ["kind"])
        self.written = counter("ledger_written_total", "Records written.")
        self.dropped = counter("ledger_dropped_total", "Records lost: too many waited, or the database refused one.")
        self.pending = gauge("ledger_pending", "Records that wait to be written.")
        self.lost_calls = counter(
            "holds_lost_total", "Calls under way in a process that died, charged what was reserved for them."
        )
        self.budget_asks = counter("budget_asks_total", "Times Redis was asked for more of a budget.")
        self.budgets_alone = gauge("budgets_alone", "Workers whose machine is granted nothing: Redis is out.")
        self.over_budget = counter("budget_refused_total", "Calls that a budget refused.", ["budget"])
        self.failing = gauge("ledger_failing", "Workers whose last attempt to write records failed.")

        self._tallied: tuple[_Counts | _Times, ...] = (
            *(self._requests, self._of_model, self._tokens, self._cost, self._unpriced),
            *(self._saved, self._saved_unknown),
            *(self._seconds, self._first_seconds, self._part_seconds, self._loop_lag),
            *(self._asked, self._asked_seconds),
        )
        self._dialects, self._tiers = _Words(MOST_DIALECTS), _Words(MOST_TIERS)
        self._outcomes, self._parts = _Words(MOST_OUTCOMES), _Words(MOST_PARTS)
        self.providers = _Words(MOST_PROVIDERS)
        self.limits, self.budgets = _Words(MOST_LIMITS), _Words(MOST_LIMITS)
        self._models = _Words(MOST_MODELS, _models_in(folder) if folder else ())

    def answered(self, one: Answered) -> None:
        """A request came to its end."""
        dialect, tier = self._dialects(one.request.dialect), self._tiers(one.tier or "none")
        self._requests.add(1, dialect, tier, self._outcomes(one.outcome))
        self._seconds.add(one.total_s, dialect, tier)
        spent_s = 0.0
        for part, seconds in one.laps.items():
            self._part_seconds.add(seconds, self._parts(part))
            spent_s += seconds
        if one.first_s is not None:
            self._first_seconds.add(one.first_s, tier)
            if tier in WAITED:
                self._part_seconds.add(max(one.first_s - spent_s, 0.0), "engine")
                spent_s = one.first_s
            self._part_seconds.add(max(one.total_s - spent_s, 0.0), "answer")
        for attempt in one.attempts:
            self._asked.add(1, self.providers(attempt.provider), self._outcomes(attempt.outcome))
        if one.provider and tier in CALLED and one.outcome in ENDED_WELL:  # else its attempt was counted
            provider = self.providers(one.provider)
            self._asked.add(1, provider, self._outcomes(one.outcome))
            if one.engine_first_s is not None:
                self._asked_seconds.add(one.engine_first_s, provider)
        if one.model and one.first_s is not None:  # it is there: a caller may make up any number of names
            model = self._models(one.model)
            self._of_model.add(1, model)
            saved = "" if tier in CALLED else SAVED
            self._tokens.add(one.usage.prompt_tokens, f"prompt{saved}", model)
            self._tokens.add(one.usage.completion_tokens, f"completion{saved}", model)
            cost = one.cost_microusd
            if cost is None:
                self._unpriced.add(1, model)
            elif cost:
                self._cost.add(cost / 1e6, model)
            self._was_saved(one.saved, tier)

    def _was_saved(self, saved: Saved | None, tier: str) -> None:
        if saved is not None and saved.microusd is None:
            self._saved_unknown.add(1, tier)
        elif saved is not None and saved.microusd:
            self._saved.add(saved.microusd, tier)

    def sent_away(self, dialect: str, outcome: str) -> None:
        """A request was refused before anything was done for it; there is no record of it."""
        self._requests.add(1, self._dialects(dialect), self._tiers("none"), self._outcomes(outcome))

    def settled(self, seconds: float) -> None:
        """The last piece of an answer was held for `seconds`, for its record and for the cache."""
        self._part_seconds.add(seconds, "settle")

    def woke(self, late_s: float) -> None:
        """The event loop woke `late_s` seconds after it was to."""
        self._loop_lag.add(max(late_s, 0.0))

    def replayed(
        self,
        dialect: str,
        tier: str,
        model: str,
        durations_s: Sequence[float],
        outcome: str = "done",
        *,
        prompt_tokens: int = 0,
        completion_tokens: int = 0,
        saved: Sequence[int | None] = (),
    ) -> None:
        """Answers from cache that went the short way, many at once; from any thread.

        durations_s  one for each.    prompt_tokens, completion_tokens  of all of them together.
        saved        millionths of a dollar, one for each that claims it; None where that is not known.
        """
        dialect, tier, model = self._dialects(dialect), self._tiers(tier), self._models(model)
        self._requests.add_now(len(durations_s), dialect, tier, self._outcomes(outcome))
        self._of_model.add_now(len(durations_s), model)
        self._tokens.add_now(prompt_tokens, f"prompt{SAVED}", model)
        self._tokens.add_now(completion_tokens, f"completion{SAVED}", model)
        self._seconds.add_now(durations_s, dialect, tier)
        if amount := sum(one or 0 for one in saved):
            self._saved.add_now(amount, tier)
        if unknown := sum(one is None for one in saved):
            self._saved_unknown.add_now(unknown, tier)

    def hand_over(self) -> None:
        """Let every worker see what this one has tallied."""
        for tallied in self._tallied:
            tallied.hand_over()

    def up_to(self, counter: Counter, total: float, *labels: str) -> None:
        """Count as far as somebody else's count in this process has come."""
        series = counter.labels(*labels) if labels else counter
        name = (series._name, *labels)
        series.inc(max(total - self._totals.get(name, 0.0), 0.0))
        self._totals[name] = total

    async def page(self, accept: str, asked: Callable[[], Iterable[Metric]] = tuple) -> tuple[bytes, str]:
        """All figures, in what `accept` prefers of text and OpenMetrics; and the content type.

        asked  finds out what is known for this page only, in a thread.
        Raises Busy when too many pages are asked for at once, TimeoutError.
        """
        return await self._pages.run(PAGE_DEADLINE_S, self._page, accept, asked)

    async def kept(self) -> Mapping[str, tuple[int, int]] | None:
        """How many answers are in the memory of all workers, and of how many bytes, by tier; None without a folder.

        As each worker put down last, within the last seconds. Raises Busy, TimeoutError.
        """
        return await self._pages.run(PAGE_DEADLINE_S, self._kept) if self._folder else None

    def close(self) -> None:
        """End the thread that makes pages."""
        self._pages.close()

    def _page(self, accept: str, asked: Callable[[], Iterable[Metric]]) -> tuple[bytes, str]:
        counted = MultiProcessCollector(None, str(self._folder)) if self._folder else self._registry
        registry = CollectorRegistry()
        registry.register(_Families([*counted.collect(), *asked()]))
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type

    def _kept(self) -> Mapping[str, tuple[int, int]]:
        files = [str(file) for file in cast(Path, self._folder).glob("gauge_livesum_*.db")]
        figures = {
            (family.name, sample.labels["tier"]): int(sample.value)
            for family in MultiProcessCollector.merge(files)
            if family.name in {ENTRIES, BYTES}
            for sample in family.samples
        }
        tiers = [tier for name, tier in figures if name == ENTRIES]
        return {tier: (figures[ENTRIES, tier], figures.get((BYTES, tier), 0)) for tier in tiers}


class _Words:
    """The values of one label: the first `most` that come, or are `known`; the others are one."""

    def __init__(self, most: int, known: Iterable[str] = ()) -> None:
        self._most = most
        self._known = set(known)

    def __call__(self, word: str) -> str:
        if word in self._known:
            return word
        if len(self._known) >= self._most:
            return OTHER
        self._known.add(word)
        return word


class _Counts:
    """A counter. `add` only tallies, which takes a tenth of the time; `hand_over` lets the others see it."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._values: dict[tuple[str, ...], Any] = {}
        self._tally: dict[tuple[str, ...], float] = {}

    def add(self, amount: float, *labels: str) -> None:
        self._tally[labels] = self._tally.get(labels, 0) + amount

    def add_now(self, amount: float, *labels: str) -> None:
        """From any thread."""
        value = self._values.get(labels)
        if value is None:  # asking the library each time takes longer than counting
            value = self._values[labels] = self._counter.labels(*labels)._value
        value.inc(amount)

    def hand_over(self) -> None:
        for labels, amount in self._tally.items():
            self.add_now(amount, *labels)
        self._tally.clear()


@dataclass(slots=True)
class _Series:
    """The library's values of one histogram series, and what they do not hold yet."""

    total: Any
    buckets: list[Any]
    seconds: float
    counts: list[int]


class _Times:
    """A histogram of seconds, tallied in the same way."""

    def __init__(
        self,
        name: str,
        help: str,
        labels: Sequence[str],
        bounds_s: Sequence[float] = BOUNDS_S,
        *,
        registry: CollectorRegistry,
    ) -> None:
        self._histogram = Histogram(name, help, labels, namespace="orchestrator", buckets=bounds_s, registry=registry)
        self._bounds_s = bounds_s
        self._series: dict[tuple[str, ...], _Series] = {}

    def add(self, seconds: float, *labels: str) -> None:
        series = self._series.get(labels) or self._find(labels)
        series.seconds += seconds
        series.counts[bisect_left(self._bounds_s, seconds)] += 1

    def add_now(self, seconds: Sequence[float], *labels: str) -> None:
        """Many, from any thread."""
        series = self._series.get(labels) or self._find(labels)
        series.total.inc(sum(seconds))
        for place, count in Tally(map(partial(bisect_left, self._bounds_s), seconds)).items():
            series.buckets[place].inc(count)

    def hand_over(self) -> None:
        for series in list(self._series.values()):  # another thread may add one
            if series.seconds:
                series.total.inc(series.seconds)
                series.seconds = 0.0
            for place, count in enumerate(series.counts):
                if count:
                    series.buckets[place].inc(count)
                    series.counts[place] = 0

    def _find(self, labels: tuple[str, ...]) -> _Series:
        known: Any = self._histogram.labels(*labels) if labels else self._histogram
        return self._series.setdefault(labels, _Series(known._sum, known._buckets, 0.0, [0] * len(known._buckets)))


class _Families(Collector):
    """What was collected already, by name."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = sorted(families, key=lambda family: family.name)

    def collect(self) -> Iterable[Metric]:
        return self._families


def open_metrics(folder: Path, worker: str) -> Metrics:
    """The figures that the web workers of this machine share; this process's own where it has no number.

    worker  the number that no other process has while this one runs; empty: none.
    """
    if not worker:
        return Metrics()
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        for kind, size in RESERVED.items():
            _reserve(folder / f"{kind}_{worker}.db", size, afresh=kind.startswith("gauge"))
    except OSError as error:
        log.warning("%s cannot be used (%s): /metrics leaves out what this worker does", folder, error.strerror)
        return Metrics()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: worker)
    return Metrics(folder)


def _reserve(file: Path, size: int, *, afresh: bool) -> None:
    """Make sure that the file can be read, and that all of it is on the disk; empty it when `afresh`.

    The values are a memory map, and writing to one that a full disk has no room for ends the process.
    """
    if not afresh and _is_sound(file, size):
        return
    draft = file.with_suffix(".draft")  # nobody reads half of it
    with draft.open("wb") as new:
        new.write(bytes(size))
    draft.replace(file)


def _is_sound(file: Path, size: int) -> bool:
    try:
        used = int.from_bytes(file.read_bytes()[:4], sys.byteorder, signed=True)
        for _ in MmapedDict.read_all_values_from_file(str(file)):
            pass
    except (OSError, RuntimeError, ValueError, struct.error):
        return False
    return 0 < used <= size == file.stat().st_size


def _models_in(folder: Path) -> Iterable[str]:
    """The models that the workers have counted so far, so that a new one does not add as many again."""
    files = [str(file) for file in folder.glob("counter_*.db")]
    return {
        sample.labels["model"]
        for family in MultiProcessCollector.merge(files)
        if family.name == "orchestrator_model_requests"
        for sample in family.samples
    }
