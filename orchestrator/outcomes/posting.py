"""Outcomes that come of traffic itself: noted without holding anybody up, and written a few at a time."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import DatabaseError
from django.db.models import F

from orchestrator.core.clock import Clock
from orchestrator.core.errors import Busy
from orchestrator.core.permissions import Reach
from orchestrator.core.tasks import end
from orchestrator.core.threads import WorkerThread
from orchestrator.core.types import Caller, ChatRequest
from orchestrator.models import AnswerOutcome, UnreadGrades
from orchestrator.outcomes.again import Again
from orchestrator.outcomes.saying import answered

log = logging.getLogger(__name__)
MOST_WAITING = 2_000  # what comes beyond is dropped: nothing depends on a single one
EVERY_S = 1.0
DEADLINE_S = 5.0


GOOD = {"retry": 0.2, "edit": 0.3}  # how good an answer is taken to have been that was followed by such a question


@dataclass(frozen=True, slots=True)
class Noted:
    """What traffic says of an answer.

    model  who gave it; empty: as its record says.    good  None: a judge was asked, and gave no grade.
    """

    tenant_id: int
    request_id: str
    model: str
    kind: str
    good: float | None
    by: str = ""
    note: str = ""


class Outcomes:
    """Those of one process, on their way to the ledger."""

    def __init__(self, clock: Clock, thread: WorkerThread) -> None:
        self._clock = clock
        self._thread = thread
        self._again = Again()
        self._waiting: deque[tuple[datetime, Noted]] = deque(maxlen=MOST_WAITING)
        self._writing: asyncio.Task[None] | None = None
        self._is_failing = False

    def note(self, noted: Noted) -> None:
        """Have it written, soon."""
        self._waiting.append((datetime.fromtimestamp(self._clock.now(), UTC), noted))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all(), name="outcomes")

    def heard(self, request: ChatRequest, caller: Caller) -> None:
        """A question came whose answerer we choose: perhaps it says that the answer before did not help."""
        before = self._again.asked(request, caller, self._clock.monotonic())
        if before is not None:
            self.note(Noted(caller.tenant_id, before.request_id, "", before.kind, GOOD[before.kind]))

    async def aclose(self) -> None:
        """Write what waits, if that can be."""
        if self._writing is not None:
            await end([self._writing])
        await self._write()

    async def _write_all(self) -> None:
        while self._waiting:
            await asyncio.sleep(EVERY_S)
            await self._write()

    async def _write(self) -> None:
        some = list(self._waiting)
        self._waiting.clear()
        if not some:
            return
        try:
            await self._thread.run(DEADLINE_S, write, some)
            self._is_failing = False
        except (TimeoutError, Busy, DatabaseError) as error:
            if not self._is_failing:
                log.warning("What traffic says of answers cannot be written, and is dropped: %s", error or "no answer")
            self._is_failing = True


def write(some: list[tuple[datetime, Noted]]) -> None:
    """Keep them; of the same answer, kind and speaker the last one. What nobody answered is passed over."""
    _count([(at, one) for at, one in some if one.good is None])
    some = [(at, one) for at, one in some if one.good is not None]
    models = _answered({(one.tenant_id, one.request_id) for _, one in some if not one.model})
    rows = {
        (one.tenant_id, one.request_id, one.kind, one.by): AnswerOutcome(
            tenant_id=one.tenant_id,
            request_id=one.request_id,
            at=at,
            model=(one.model or models[one.tenant_id, one.request_id])[:255],
            kind=one.kind,
            good=one.good or 0.0,
            by=one.by[:255],
            note=one.note[:500],
        )
        for at, one in some
        if one.model or (one.tenant_id, one.request_id) in models
    }
    AnswerOutcome.objects.bulk_create(
        rows.values(),
        update_conflicts=True,
        unique_fields=("tenant", "request_id", "kind", "by"),
        update_fields=("at", "model", "good", "note", "learned_in"),
    )


def _count(unread: list[tuple[datetime, Noted]]) -> None:
    """Answers of judges in which no grade could be read, by day."""
    for (tenant, day, judge), count in Counter((one.tenant_id, at.date(), one.by[:255]) for at, one in unread).items():
        rows = UnreadGrades.objects.of(Reach(frozenset({tenant})))
        row, _ = rows.get_or_create(tenant_id=tenant, day=day, judge=judge)
        rows.filter(pk=row.pk).update(count=F("count") + count)


def _answered(asked: set[tuple[int, str]]) -> dict[tuple[int, str], str]:
    """Who answered each of these requests, by tenant and id; the newest, where an id was used twice."""
    if not asked:
        return {}
    whose = Reach(frozenset(tenant for tenant, _ in asked))
    rows = answered(whose).filter(request_id__in={one for _, one in asked})
    found = rows.order_by("id").values_list("tenant_id", "request_id", "model")
    return {(tenant, request_id): model for tenant, request_id, model in found if (tenant, request_id) in asked}
