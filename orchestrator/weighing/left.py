"""How much callers have left of their budgets, as rules ask it: looked up once a second for each, at most."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from django.db import DatabaseError

from orchestrator.budgeting.standing import least_left
from orchestrator.core.clock import Clock
from orchestrator.core.errors import Busy
from orchestrator.core.threads import WorkerThread
from orchestrator.core.types import Caller

log = logging.getLogger(__name__)
LOOK_EVERY_S = 1.0
DEADLINE_S = 0.25
MOST_CALLERS = 2_000
MOST_BUDGETS = 32  # of one caller


class BudgetsLeft:
    """What was found of late."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[tuple[int, int | None], tuple[float, float | None]] = {}  # until when, and the share
        self._looking: dict[tuple[int, int | None], asyncio.Task[float | None]] = {}

    async def of(self, caller: Caller, reads: WorkerThread) -> float | None:
        """The share that is left, 0 to 1, and 1 without a budget; None when nobody can tell in time."""
        if not caller.budgets:
            return 1.0
        who = caller.tenant_id, caller.key_id
        known = self._known.get(who)
        if known is not None and self._clock.monotonic() < known[0]:
            return known[1]
        looking = self._looking.get(who)
        if looking is None:  # whoever else asks meanwhile waits for the same look
            looking = self._looking[who] = asyncio.create_task(self._look(caller, reads), name="budgets left")
            looking.add_done_callback(lambda _: self._looking.pop(who, None))
        return await asyncio.shield(looking)

    async def _look(self, caller: Caller, reads: WorkerThread) -> float | None:
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        try:
            left: float | None = await reads.run(DEADLINE_S, least_left, caller.budgets[:MOST_BUDGETS], caller, now)
        except (TimeoutError, Busy, DatabaseError) as error:
            log.warning("What is left of budgets cannot be told to the rules: %s", str(error) or "no answer in time")
            left = None
        if len(self._known) >= MOST_CALLERS:
            self._known.clear()
        self._known[caller.tenant_id, caller.key_id] = self._clock.monotonic() + LOOK_EVERY_S, left
        return left
