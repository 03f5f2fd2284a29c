"""The ledger's thread: it takes what waits and writes it, many at once, whatever happens on the way."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from django.db import DataError, IntegrityError, connections

from orchestrator.core.clock import Clock
from orchestrator.core.errors import BudgetSpent, LedgerUnavailable
from orchestrator.ledger import batch as batches
from orchestrator.ledger.batch import Pending, write_repeats
from orchestrator.ledger.bereft import charge_the_dead, has_holds
from orchestrator.ledger.charging import plain
from orchestrator.ledger.lives import Life
from orchestrator.ledger.rows import ALIAS, Attempted, Repeat, insert_attempts, write_used
from orchestrator.ledger.sql import moment
from orchestrator.ledger.waiting import answer
from orchestrator.sqlite.base import turn

T = TypeVar("T")
log = logging.getLogger(__name__)

BATCH_EVERY_S = 0.2
HOLDS_WITHIN_S = 0.01  # for which nobody waits: until then they go with what somebody waits for, if they are not over
MOST_PENDING = 50_000
MOST_A_COMMIT = 2_000
MOST_REPEATS_A_COMMIT = 20_000
CLOSE_DEADLINE_S = 8.0
RETRY_S = 1.0
USED_EVERY_S = 60.0  # how exactly it is known when a key was used last
LOOK_EVERY_S = 1.0  # for processes that died
REFUSALS = (IntegrityError, DataError, OverflowError, TypeError, ValueError, KeyError)  # of these rows, now and always


class Writing:
    """What waits, and the thread that writes it."""

    def __init__(
        self, clock: Clock, repeated: Callable[[Sequence[Repeat]], None], holds_dir: Path, file: str = ""
    ) -> None:
        """`file` is the one that the ledger is in, where several machines spend its budgets."""
        self._clock = clock
        self._repeated = repeated
        self._holds_dir = holds_dir
        self._file = file
        self._pending: deque[Pending] = deque()
        self._repeats: deque[Repeat] = deque()
        self._attempts: deque[Attempted] = deque(maxlen=MOST_PENDING)
        self._used: deque[int] = deque(maxlen=MOST_PENDING)  # keys, by number
        self._used_at: dict[int, float] = {}  # when that was written last, monotonic seconds
        self._is_urgent = False  # somebody waits for what is pending
        self._first_hold: Pending | None = None  # of those that are pending and nobody waits for
        self._wake = threading.Condition()
        self._is_closing = False
        self._is_closed = False  # nothing more is written
        self._failure: str | None = None
        self._life: Life | None = None  # from the first hold on
        self._looked_at: float | None = None  # for the dead
        self.written = 0
        self.dropped = 0
        self.lost_calls = 0  # of processes that died, and were charged here
        self.over_budget: Counter[str] = Counter()  # reservations that were refused, by the budget's name
        self._thread = threading.Thread(target=self._write_until_closed, name="ledger", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """What waits to be written."""
        return len(self._pending) + len(self._repeats)

    @property
    def failure(self) -> str | None:
        """Why the last attempt to write failed; None when it went well."""
        if not self._thread.is_alive() and not self._is_closing:
            return "its thread has ended; restart this process"
        return self._failure

    def close(self) -> None:
        """Write what waits and end the thread."""
        with self._wake:
            self._is_closing = True
            self._wake.notify()
        self._thread.join(timeout=CLOSE_DEADLINE_S)
        if self._thread.is_alive():
            log.error("%d request records are not written after %g s", self.pending, CLOSE_DEADLINE_S)

    def _add(self, pending: Pending, *, is_urgent: bool) -> None:
        with self._wake:
            if self._is_closed:
                self._lost([pending], "it came after the end")
                self._answer([pending], LedgerUnavailable("The ledger is closed: this process ends."))
                return
            if len(self._pending) >= MOST_PENDING and not is_urgent:
                self.dropped += 1
                return
            self._pending.append(pending)
            self._is_urgent = self._is_urgent or is_urgent
            if is_urgent or len(self._pending) == MOST_A_COMMIT:
                self._wake.notify()

    def _add_hold(self, pending: Pending) -> None:
        """Write within HOLDS_WITHIN_S. Called on an event loop, whose alarm costs less than to wake the thread."""
        with self._wake:
            if self._is_closed:
                self._lost([pending], "it came after the end")
                return
            self._pending.append(pending)
            if self._first_hold is None:
                self._first_hold = pending
                asyncio.get_running_loop().call_later(HOLDS_WITHIN_S, self._hurry, pending)

    def _hurry(self, hold: Pending) -> None:
        """It is due, unless it went with what somebody waited for."""
        with self._wake:
            if self._first_hold is hold:
                self._is_urgent = True
                self._wake.notify()

    def _write_until_closed(self) -> None:
        while True:
            with self._wake:
                if self._failure is not None:
                    self._wake.wait_for(lambda: self._is_closing, RETRY_S)
                elif not self._is_closing and not self._is_urgent and len(self._pending) < MOST_A_COMMIT:
                    self._wake.wait(BATCH_EVERY_S)
                is_last = self._is_closing
            self._write_what_waits()
            if not is_last:
                self._look_for_the_dead()
            elif not (self._pending or self._repeats) or self._failure is not None:
                self._end()
                return

    def _write_what_waits(self) -> None:
        if not (self._pending or self._repeats or self._attempts or self._used):
            return
        try:
            with turn(ALIAS):  # what comes while we wait for it is in the batch
                if batch := self._take():
                    self._write(batch)
                if self._repeats:
                    self._write_repeats()
                while self._attempts and self._failure is None:  # all: who sees a request sees who did not answer it
                    self._write_attempts()
                if self._used and self._failure is None:
                    self._write_used()
        except Exception as error:  # noqa: BLE001  # it is not our turn, for whatever reason: the thread must live
            self._not_now(self._take(), error)

    def _take(self) -> list[Pending]:
        with self._wake:
            batch = [self._pending.popleft() for _ in range(min(len(self._pending), MOST_A_COMMIT))]
            self._is_urgent = self._is_urgent and bool(self._pending)
            if not self._pending:
                self._first_hold = None
        return batch

    def _write(self, batch: list[Pending]) -> None:
        refusals: dict[int, Exception | None] = {}

        def write(some: list[Pending]) -> None:
            now = self._clock.now()
            refused = batches.write(some, self._holder(some), now, moment(datetime.fromtimestamp(now, UTC)), self._file)
            refusals.update(zip(map(id, some), refused, strict=True))

        for some, error in _write_in_parts(batch, write, id):
            if error is None:
                self._is_well(sum(pending.row is not None for pending in some))
                refused = [refusals[id(one)] for one in some]
                self.over_budget.update(
                    error.budget for error in refused if isinstance(error, BudgetSpent) and error.budget
                )
                answer((one.waiter, refusals[id(one)]) for one in some if one.waiter)
            elif isinstance(error, REFUSALS):
                self._lost(some, error)
                self._settle_without(some, write)
                self._answer(some, LedgerUnavailable(f"The record of this call was refused: {error}."))
            else:
                self._not_now(some, error)

    def _settle_without(self, refused: list[Pending], write: Callable[[list[Pending]], None]) -> None:
        """What was refused is not written; what its calls cost is, one by one, as far as it can be."""
        charges = [charged for pending in refused for charged in pending.charges]
        for as_said in charges:
            for charged in (as_said, plain(as_said)):
                only = Pending(charges=(charged,))
                try:
                    write([only])
                except REFUSALS as error:
                    # Its hold stays, and is charged as reserved when this process is gone.
                    log.error("What a call cost was refused (%s): %s", error, charged)
                except Exception as error:  # noqa: BLE001  # whatever it is: it is tried again
                    self._not_now([only], error)
                    break
                else:
                    break

    def _not_now(self, some: list[Pending], error: Exception) -> None:
        """It is not written, for a reason that is not its own."""
        self._fell_ill(error)
        with self._wake:
            self._pending.extendleft(later for pending in reversed(some) if (later := pending.again()))
        self._answer(some, LedgerUnavailable(f"The record of this call could not be written: {error}."))

    def _answer(self, some: Sequence[Pending], error: LedgerUnavailable) -> None:
        answer((pending.waiter, error) for pending in some if pending.waiter)

    def _holder(self, some: Sequence[Pending]) -> str:
        """The name that holds of this process go by: it lives, before there is one."""
        if self._life is None and any(pending.reservation for pending in some):
            self._life = Life(self._holds_dir)
        return self._life.holder if self._life else ""

    def _look_for_the_dead(self) -> None:
        now = self._clock.monotonic()
        if self._failure is not None or (self._looked_at is not None and now - self._looked_at < LOOK_EVERY_S):
            return
        self._looked_at = now
        own = self._life.holder if self._life else ""
        try:
            at = moment(datetime.fromtimestamp(self._clock.now(), UTC))
            self.lost_calls += charge_the_dead(ALIAS, self._holds_dir, own, at)
        except Exception as error:  # noqa: BLE001  # whatever it is: the thread must live, and look again
            log.warning("It could not be seen whether holds were left behind: %s", error)
            connections[ALIAS].close()

    def _write_repeats(self) -> None:
        batch = [self._repeats.popleft() for _ in range(min(len(self._repeats), MOST_REPEATS_A_COMMIT))]
        for some, error in _write_in_parts(batch, write_repeats, lambda repeat: id(repeat.line)):
            if error is None:
                self._is_well(len(some))
                self._tell(self._repeated, some)
            elif isinstance(error, REFUSALS):
                self._lost(some, error)
            else:
                self._fell_ill(error)
                self._repeats.extendleft(reversed(some))

    def _write_attempts(self) -> None:
        """Who did not answer. Unlike requests they are no accounts: what the database refuses is left out."""
        batch = [self._attempts.popleft() for _ in range(min(len(self._attempts), MOST_A_COMMIT))]
        try:
            insert_attempts(batch)
        except Exception as error:  # noqa: BLE001  # whatever it is: the thread must live
            log.error("%d attempts could not be written and are lost: %s", len(batch), error)
            connections[ALIAS].close()

    def _write_used(self) -> None:
        """When keys were used. Nobody waits for it: what cannot be written now is written when they are used again."""
        now = self._clock.monotonic()
        shown = {self._used.popleft() for _ in range(len(self._used))}
        due = [key for key in shown if now - self._used_at.get(key, -USED_EVERY_S) >= USED_EVERY_S]
        if not due:
            return
        if len(self._used_at) > MOST_PENDING:
            self._used_at.clear()
        self._used_at.update(dict.fromkeys(due, now))
        try:
            write_used(due, datetime.fromtimestamp(self._clock.now(), UTC))
        except Exception as error:  # noqa: BLE001  # whatever it is: the thread must live
            log.warning("It could not be written that %d keys are used: %s", len(due), error)
            connections[ALIAS].close()

    def _end(self) -> None:
        with self._wake:
            self._is_closed = True
            if self.pending:
                self._lost([*self._pending, *self._repeats], self._failure or "the process ends")
                self._answer(self._pending, LedgerUnavailable("The ledger is closed: this process ends."))
        if self._life is not None:
            self._life.end(is_empty=self._failure is None and not has_holds(ALIAS, self._life.holder))
        connections[ALIAS].close()

    def _lost(self, what: Sequence[Pending | Repeat], why: object) -> None:
        records = sum(isinstance(one, Repeat) or one.row is not None for one in what)
        if records:
            log.error("%d request records could not be written and are lost: %s", records, why)
        if records < len(what):
            log.error("%d holds or charges could not be written: %s", len(what) - records, why)
        self.dropped += records

    def _tell(self, listener: Callable[[T], None], news: T) -> None:
        """What goes wrong there is no matter of the record."""
        try:
            listener(news)
        except Exception:
            log.exception("What listens to the ledger failed in a way it should not.")

    def _is_well(self, written: int) -> None:
        self.written += written
        if self._failure is not None:
            log.warning("the ledger can be written again")
            self._failure = None

    def _fell_ill(self, error: Exception) -> None:
        if self._failure is None:
            log.error("the ledger cannot be written, calls that cost money are refused: %s", error)
        self._failure = str(error) or type(error).__name__
        connections[ALIAS].close()  # after a failed write nothing is assumed of it


def _write_in_parts(
    batch: list[T], write: Callable[[list[T]], None], part_of: Callable[[T], object]
) -> Iterator[tuple[list[T], Exception | None]]:
    """Write `batch`, part by part where the database refuses it: one is at fault, and the others shall pass.

    Yields what there was to write and what became of it: nothing went wrong; one of REFUSALS; or it is not
    written now, nor is anything after it, for a reason that is not its own.
    """
    left = [batch]
    while left:
        some = left.pop()
        try:
            write(some)
        except REFUSALS as error:
            parts: dict[object, list[T]] = {}
            for one in some:
                parts.setdefault(part_of(one), []).append(one)
            if len(parts) > 1:
                left.extend(reversed(parts.values()))
            else:
                yield some, error
        except Exception as error:  # noqa: BLE001  # whatever it is: the thread must live, and the records be tried again
            yield [*some, *(one for part in reversed(left) for one in part)], error
            return
        else:
            yield some, None
