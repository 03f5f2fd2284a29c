"""How the parts of this process are, as figures: put down every second, and once more for each page."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import platform
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from django.db import DatabaseError
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

from cache.entries import Holding
from orchestrator import __version__
from orchestrator.admission.gate import REFUSED
from orchestrator.budgeting import standing
from orchestrator.core.errors import OrchestratorError
from orchestrator.engines.llamacpp import LoadedModel
from orchestrator.parts import Parts
from orchestrator.processes import Use, running, use

log = logging.getLogger(__name__)

WAKE_EVERY_S = 0.25
WAKES_A_SAMPLE = 4
HOST_DEADLINE_S = 0.25
BUDGETS_DEADLINE_S = 0.5


class Sampler:
    """Looks at the parts while they are in use."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._sample_for_ever(), name="sampler")
        self._task.add_done_callback(_say_why)

    async def aclose(self) -> None:
        """Look once more, and end."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait({self._task})
        await sample(self._parts)

    async def _sample_for_ever(self) -> None:
        metrics = self._parts.metrics
        while True:
            for _ in range(WAKES_A_SAMPLE):
                due = time.monotonic() + WAKE_EVERY_S
                await asyncio.sleep(WAKE_EVERY_S)
                metrics.woke(time.monotonic() - due)
                metrics.hand_over()
            await sample(self._parts)


def _say_why(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("the figures of this process in /metrics stand still until it is restarted", exc_info=error)


async def sample(parts: Parts) -> None:
    """Put down how the parts are. Takes a fraction of a millisecond and waits for nothing."""
    metrics, ledger = parts.metrics, parts.ledger
    for tier, stats in parts.cache.stats().items():
        metrics.up_to(metrics.lookups, stats.hits, tier, "hit")
        metrics.up_to(metrics.lookups, stats.misses, tier, "miss")
        metrics.up_to(metrics.errors, stats.errors, tier)
        metrics.up_to(metrics.skipped, stats.skipped, tier)
        metrics.up_to(metrics.invalid, stats.invalid, tier)
        metrics.breakers.labels(tier).set(stats.is_out)
    for tier, held in (await parts.cache.holding_here()).items():
        metrics.entries.labels(tier).set(held.entries)
        metrics.bytes.labels(tier).set(held.bytes)
    open_by_provider = Counter(place.provider for place in parts.places.open() if place.until is None)
    for provider, calls in parts.places.calls():
        metrics.provider_calls.labels(metrics.providers(provider)).set(calls)
        metrics.provider_breakers.labels(metrics.providers(provider)).set(open_by_provider[provider])
    pace = parts.gate.pace
    metrics.waiting.set(parts.gate.waiting)
    metrics.paced.set(not pace.is_open)
    metrics.pace.set(0 if pace.is_open else pace.per_s)
    for why in REFUSED:
        metrics.up_to(metrics.refused, parts.gate.refused[why], why)
    metrics.calls.set(len(parts.inflight))
    metrics.listeners.set(parts.inflight.listeners)
    refused: Counter[tuple[str, str]] = Counter()
    for (name, kind), count in parts.limiter.refused.items():
        refused[metrics.limits(name), kind] += count
    for (name, kind), count in refused.items():
        metrics.up_to(metrics.limited, count, name, kind)
    metrics.up_to(metrics.leases, parts.limiter.leases)
    metrics.limits_alone.set(parts.limiter.is_alone)
    if parts.together is not None:
        metrics.up_to(metrics.budget_asks, parts.together.asking.asked)
        metrics.budgets_alone.set(parts.together.is_alone)
    metrics.up_to(metrics.written, ledger.written)
    metrics.up_to(metrics.dropped, ledger.dropped)
    metrics.pending.set(ledger.pending)
    metrics.failing.set(ledger.failure is not None)
    metrics.up_to(metrics.lost_calls, ledger.lost_calls)
    over_budget: Counter[str] = Counter()
    for name, count in ledger.over_budget.copy().items():  # its thread adds to it
        over_budget[metrics.budgets(name)] += count
    for name, count in over_budget.items():
        metrics.up_to(metrics.over_budget, count, name)
    metrics.hand_over()


async def page(parts: Parts, run_dir: Path, accept: str) -> tuple[bytes, str]:
    """Every figure of every worker, in what `accept` prefers; and the content type.

    Raises Busy when too many ask, TimeoutError when the disk is stuck.
    """
    await sample(parts)
    loaded, (budgets, holds) = await asyncio.gather(_loaded(parts), _budgets(parts))

    def asked() -> Iterator[Metric]:
        yield InfoMetricFamily(
            "orchestrator_build", "What runs.", {"version": __version__, "python": platform.python_version()}
        )
        yield from _of_budgets(budgets, holds)
        yield from _of_models(loaded)
        yield from _of_processes(run_dir, loaded or ())

    return await parts.metrics.page(accept, asked)


async def kept(parts: Parts) -> Mapping[str, Holding] | None:
    """What the memory of all workers of this machine keeps, by tier; None where this one tells for itself alone.

    Raises Busy when too many ask, TimeoutError when the disk is stuck.
    """
    await sample(parts)
    found = await parts.metrics.kept()
    return None if found is None else {tier: Holding(entries, size) for tier, (entries, size) in found.items()}


async def _loaded(parts: Parts) -> list[LoadedModel] | None:
    """What the model host has loaded; None when it does not say so at once."""
    with contextlib.suppress(TimeoutError, OrchestratorError):
        async with asyncio.timeout(HOST_DEADLINE_S):
            return await parts.local.ps()
    return None


async def _budgets(parts: Parts) -> tuple[list[standing.Figures], int | None]:
    """How budgets stand, and how many calls hold money; nothing when the database does not say so at once."""
    try:
        return await parts.reads.run(BUDGETS_DEADLINE_S, lambda: (standing.figures(), standing.holds()))
    except (TimeoutError, DatabaseError, OrchestratorError):
        return [], None


def _of_budgets(budgets: Iterable[standing.Figures], holds: int | None) -> Iterator[Metric]:
    if holds is not None:
        yield GaugeMetricFamily("orchestrator_holds", "Calls under way for which money is reserved.", holds)
    spent = GaugeMetricFamily(
        "orchestrator_budget_spent_dollars", "Spent in the period that runs, by all it counts apart.", labels=["budget"]
    )
    used = GaugeMetricFamily(
        "orchestrator_budget_taken_ratio", "Spent and reserved of the amount, where it is used most.", labels=["budget"]
    )
    alerts = GaugeMetricFamily(
        "orchestrator_budget_alerts", "Shares that were reached in the period that runs.", labels=["budget"]
    )
    for one in budgets:
        spent.add_metric([one.name], one.spent_usd)
        used.add_metric([one.name], one.used)
        alerts.add_metric([one.name], one.alerts)
    yield from (spent, used, alerts)


def _of_models(loaded: list[LoadedModel] | None) -> Iterator[Metric]:
    yield GaugeMetricFamily("orchestrator_model_host_up", "Whether the model host answers.", loaded is not None)
    if loaded is None:
        return
    yield GaugeMetricFamily("orchestrator_models_loaded", "Local models in memory.", len(loaded))
    slots = _by_model("slots", "Answers a loaded model makes at once.")
    busy = _by_model("slots_busy", "Answers a loaded model makes now.")
    waiting = _by_model("waiting", "Requests that wait for a slot of a loaded model.")
    pace = _by_model("tokens_per_second", "Pace of all answers of a loaded model together; 0 when idle.")
    memory = _by_model("memory_bytes", "Memory a loaded model takes, estimated.")
    for one in loaded:
        name = [one.model.name]
        slots.add_metric(name, one.slots)
        busy.add_metric(name, one.busy)
        waiting.add_metric(name, one.waiting)
        pace.add_metric(name, one.tokens_per_s)
        memory.add_metric(name, one.size)
    yield from (slots, busy, waiting, pace, memory)


def _by_model(name: str, help: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"orchestrator_model_{name}", help, labels=["model"])


def _of_processes(run_dir: Path, loaded: Iterable[LoadedModel]) -> Iterator[Metric]:
    ours = running(run_dir)
    if ours is None:
        return
    pids = {("supervisor", "supervisor"): ours.supervisor}
    pids |= {(child.role, child.name): child.pid for child in ours.processes if child.pid}
    if any(role == "models" for role, _ in pids):  # else they are elsewhere, and their numbers mean others here
        pids |= {("model", one.model.name): one.pid for one in loaded}
    uses: dict[tuple[str, str], Use] = {name: found for name, pid in pids.items() if (found := use(pid))}
    labels = ["role", "process"]
    memory = GaugeMetricFamily("orchestrator_process_resident_memory_bytes", "Resident memory.", labels=labels)
    fds = GaugeMetricFamily("orchestrator_process_open_fds", "Open file descriptors.", labels=labels)
    cpu = CounterMetricFamily("orchestrator_process_cpu_seconds", "Processor time spent.", labels=labels)
    restarts = CounterMetricFamily("orchestrator_process_restarts", "Times it was started again.", labels=labels)
    for name, taken in uses.items():
        memory.add_metric(name, taken.resident_bytes)
        fds.add_metric(name, taken.open_fds)
        cpu.add_metric(name, taken.cpu_s)
    for child in ours.processes:
        restarts.add_metric([child.role, child.name], child.restarts)
    yield from (memory, fds, cpu, restarts)
