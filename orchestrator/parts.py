"""Everything an answer is made with, and how well each part is."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Literal

from django.db import DatabaseError

from cache.generation import Generation
from cache.inflight import InFlight
from cache.tiered import TieredCache
from orchestrator.adaptation.fitting import Wish
from orchestrator.admission.gate import Gate
from orchestrator.capabilities import Policy
from orchestrator.catalogue import Catalogue
from orchestrator.core.background import Background
from orchestrator.core.clock import Clock
from orchestrator.core.errors import Busy
from orchestrator.core.threads import WorkerThread
from orchestrator.engines.llamacpp import LlamaCpp
from orchestrator.identity.callers import Identity
from orchestrator.identity.keys import ensure_default_tenant
from orchestrator.ledger.together import Together
from orchestrator.ledger.writer import Ledger
from orchestrator.lifelines import Lifelines
from orchestrator.limits.limiter import Limiter
from orchestrator.metrics import Metrics
from orchestrator.outcomes.judges import Judges
from orchestrator.outcomes.posting import Outcomes
from orchestrator.pictures import Pictures
from orchestrator.ruling.watch import RuleWatch
from orchestrator.watching import RegistryWatch
from orchestrator.weighing.learned import LearnedWatch
from orchestrator.weighing.router import Router
from routing.health import Health as Places

log = logging.getLogger(__name__)
PROBE_DEADLINE_S = 2.0


@dataclass(frozen=True, slots=True)
class Health:
    """How one part is."""

    name: str
    state: Literal["ok", "slow", "down", "off"]
    words: str
    is_vital: bool = False  # without it nothing can be answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of one process, strangers to each other."""

    clock: Clock
    generation: Generation  # of purges and of policy, for all processes of this machine
    identity: Identity
    catalogue: Catalogue
    local: LlamaCpp
    cache: TieredCache
    inflight: InFlight
    ledger: Ledger
    lifelines: Lifelines
    reads: WorkerThread  # the ORM, away from the event loop
    managing: WorkerThread  # the same for calls of management, which may take seconds
    cache_ttl_s: float
    most_answer_bytes: int
    unsupported: Policy = "contract"  # what becomes of what a model cannot do
    adapts: Wish = "chosen"  # for which models questions are put in another way
    metrics: Metrics = field(default_factory=Metrics)
    watch: RegistryWatch | None = None  # keeps the catalogue up with what operators change
    rules: RuleWatch | None = None  # what operators say becomes of requests; None: nothing
    places: Places = field(default_factory=lambda: Places(Clock()))  # how each model of each provider does
    limiter: Limiter = field(default_factory=Limiter)
    gate: Gate = field(default_factory=Gate)
    pictures: Pictures = field(default_factory=Pictures)
    outcomes: Outcomes | None = None  # what traffic says of answers; None: it is not asked
    afterwards: Background | None = None  # what is asked when a caller has their answer; None: nothing
    judges: Judges = field(default_factory=lambda: Judges(Clock()))  # of what was answered: how they do
    learned: LearnedWatch | None = None  # keeps it up with what is learned
    router: Router = field(default_factory=lambda: Router(Clock()))  # what it goes by where the choice is ours
    together: Together | None = None  # with other machines that spend the same budgets

    async def health(self) -> list[Health]:
        """Ask each part how it is; none is waited for longer than two seconds."""
        models, ledger, tiers = await asyncio.gather(self._models(), self._ledger(), self.cache.answering())
        shown = [_tier(name, answers) for name, answers in tiers.items() if name != "memory"]
        return [Health("web", "ok", "answering"), models, ledger, *shown]

    async def _models(self) -> Health:
        try:
            is_ready = await asyncio.wait_for(self.local.ready(), PROBE_DEADLINE_S)
        except TimeoutError:
            return Health("models", "slow", f"silent for {PROBE_DEADLINE_S:g} s")
        return Health("models", "ok", "running") if is_ready else Health("models", "down", "not running")

    async def _ledger(self) -> Health:
        if self.ledger.failure is not None:
            return Health("ledger", "slow", "cannot be written")
        try:
            await self.reads.run(PROBE_DEADLINE_S, ensure_default_tenant)
        except (TimeoutError, DatabaseError, Busy) as error:
            log.warning("the ledger cannot be read: %s", str(error) or "no answer in time")
            return Health("ledger", "down", "cannot be read", is_vital=True)
        return Health("ledger", "ok", "readable and writable", is_vital=True)


def _tier(name: str, answers: bool | None) -> Health:
    if answers is None:
        return Health(name, "off", "none")
    return Health(name, "ok", "answering") if answers else Health(name, "down", "going on without")
