"""The way to the engines: as many calls as this process can begin, tenants in turn, the rest sent away at once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

from orchestrator.admission.pace import Pace
from orchestrator.core.clock import Clock
from orchestrator.core.errors import Busy, OrchestratorError, TooMany
from orchestrator.core.seats import NoSeat, Seat, Seats
from orchestrator.core.turns import FairQueue, Turn

MOST_WAITING = 1024
WAITS_S = 10.0
BEAT_S = 0.005  # how often it looks how long a turn of the loop is, and lets calls begin
LOOK_S, FIRST_LOOK_S = 0.2, 0.06  # how often the pace is settled; the other while nothing is held back
MOST_AT_ONCE_S = 0.1  # a loop that is very late lets in what is due in so long: all of it would make it later still
MOST_IN_A_TURN = 64  # requests let on in one turn of the loop, in any case
STANDING_S = 1.0  # a queue that lasts is made no longer than is served in so long
LEAST_WAITING = 16
IDLE_S = 2.0  # without a call it looks no more

Refused = Literal["full", "share", "limit", "late"]
REFUSED: tuple[Refused, ...] = ("full", "share", "limit", "late")


def _never() -> bool:
    return False


log = logging.getLogger(__name__)
_arrival: ContextVar[Arrival | None] = ContextVar("arrival", default=None)


class Gone(Exception):  # nobody is told: there is nobody left
    """Who waited has hung up."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Somebody who has a place in the queue; `arrive` goes on when it is their turn."""

    since: float  # on the clock
    future: asyncio.Future[None] | None = None  # None: it is their turn
    seat: Seat | None = None


@dataclass(slots=True)
class Arrival:
    """A request that had its turn before anything was done for it: the call it leads to needs none."""

    waited_s: float
    is_over: bool = False  # what is begun in its task later, such as the connection's next request, is another one

    def over(self) -> None:
        """Its turn is had."""
        self.is_over = True


class Gate:
    """Lets calls through.

    most     how many may wait.
    waits_s  how long one may.
    """

    def __init__(
        self, clock: Clock | None = None, most: int = MOST_WAITING, waits_s: float = WAITS_S, pace: Pace | None = None
    ) -> None:
        self.refused: Counter[Refused] = Counter()
        self._clock = clock or Clock()
        self._most, self._waits_s = most, waits_s
        self._pace = pace or Pace()
        self._seats = Seats(most)
        self._queue: FairQueue[asyncio.Future[None]] = FairQueue()
        self._is_gone: dict[asyncio.Future[None], Callable[[], bool]] = {}  # of those who wait
        self._credit = 0.0  # calls that may be begun before the next beat
        self._beating: asyncio.TimerHandle | None = None
        self._due = self._looked_at = self._called_at = 0.0  # on the clock
        self._standing_since: float | None = None
        self._worked_s = self._worked_at_look_s = 0.0  # of processor time by this thread, at the last beat and look
        self._turns: list[float] = []  # the processor time of the loop's turns beyond a beat
        self._begun = 0
        self._in_turn = 0  # requests that were let on since the last beat, while nothing is held back

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._queue)

    @property
    def pace(self) -> Pace:
        """How fast calls may begin."""
        return self._pace

    async def enter(self, turn: Turn) -> float:
        """Return when a call may be begun, and how many seconds that was waited for. Raises TooMany, Busy."""
        self._watch()
        if self._arrival() is not None:  # it had its turn
            return 0.0
        if self._pace.is_open:
            self._begins()
            return 0.0
        return await self._turn_of(self._line_up(turn, _never))

    def knock(self, turn: Turn, is_gone: Callable[[], bool]) -> Waiting | None:
        """A request comes that may lead to a call: it gets its place in the queue before anything is done for it.

        None where nothing is held back; else `arrive` is to follow. Raises TooMany, Busy.

        is_gone  says that nobody is left who waits.
        """
        self._watch()
        # A loop that is given a thousand at once knows that it is late when all of them have begun.
        if self._pace.is_open and (self._in_turn < MOST_IN_A_TURN or len(self._seats) >= self._most):
            self._in_turn += 1
            return None
        return self._line_up(turn, is_gone)

    async def arrive(self, waiting: Waiting) -> Arrival:
        """Return when it is the turn of who knocked. Raises TooMany, Busy; and Gone when nobody is left."""
        arrival = Arrival(await self._turn_of(waiting))
        _arrival.set(arrival)
        return arrival

    def waited_s(self) -> float:
        """How long the request of this task has waited for its turn."""
        arrival = self._arrival()
        return arrival.waited_s if arrival is not None else 0.0

    @staticmethod
    def _arrival() -> Arrival | None:
        arrival = _arrival.get()
        return None if arrival is None or arrival.is_over else arrival

    def _line_up(self, turn: Turn, is_gone: Callable[[], bool]) -> Waiting:
        came = self._clock.monotonic()
        if not self._queue and self._credit >= 1:
            self._begins()
            return Waiting(came)
        if no := self._seats.refusal(turn):  # before anything is made: nine of ten end here when it matters
            raise self._refused(no)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def lost() -> None:
            if self._queue.drop(future) and not future.done():
                future.set_exception(self._count("share", self._shared()))

        seat = self._seats.take(turn, lost)
        self._queue.put(future, turn)
        self._is_gone[future] = is_gone
        return Waiting(came, future, seat)

    async def _turn_of(self, waiting: Waiting) -> float:
        """Return when it is their turn, and how many seconds they have waited."""
        if waiting.future is None or waiting.seat is None:
            return 0.0
        try:
            async with asyncio.timeout(self._waits_s):
                await waiting.future
        except TimeoutError:
            told = f"The wait took longer than {self._waits_s:g} s; try again later."
            raise self._count("late", Busy(told, retry_after_s=self._retry_after_s())) from None
        finally:
            self._queue.drop(waiting.future)
            del self._is_gone[waiting.future]
            waiting.seat.leave()
        return self._clock.monotonic() - waiting.since

    def _refused(self, no: NoSeat) -> OrchestratorError:
        if no.bound:
            name = no.bound.partition(" ")[0]
            told = f"As many wait as the limit {name} allows; try again later."
            return self._count("limit", TooMany(told, retry_after_s=self._retry_after_s()))
        if no.is_share:
            return self._count("share", self._shared())
        told = "The server is busy, and as many wait as may; try again later."
        return self._count("full", Busy(told, retry_after_s=self._retry_after_s()))

    def _shared(self) -> TooMany:
        told = "The server is busy, and others wait as well: your share of the queue is taken; try again later."
        return TooMany(told, retry_after_s=self._retry_after_s())

    def _count(self, why: Refused, error: OrchestratorError) -> OrchestratorError:
        self.refused[why] += 1
        return error

    def _retry_after_s(self) -> float:
        """About when all who wait now have begun."""
        return max(1.0, len(self._queue) / self._pace.per_s)

    def _begins(self) -> None:
        self._begun += 1
        if not self._pace.is_open:
            self._credit -= 1

    # The beat: while calls come, and as long as somebody waits.

    def _watch(self) -> None:
        self._called_at = now = self._clock.monotonic()
        if self._beating is not None:
            return
        self._looked_at, self._begun = now, 0
        self._worked_s = self._worked_at_look_s = time.thread_time()
        self._turns.clear()
        self._wait_for_beat(now)

    def _wait_for_beat(self, now: float) -> None:
        self._due = now + BEAT_S
        self._beating = asyncio.get_running_loop().call_later(BEAT_S, self._beat)

    def _beat(self) -> None:
        now, worked_s = self._clock.monotonic(), time.thread_time()
        self._turns.append(max(worked_s - self._worked_s - BEAT_S, 0.0))
        self._worked_s = worked_s
        if now - self._looked_at >= (FIRST_LOOK_S if self._pace.is_open else LOOK_S):
            self._look(now)
        self._let_in(now - self._due + BEAT_S)
        if self._pace.is_open and not self._queue and now - self._called_at > IDLE_S:
            self._beating = None
        else:
            self._wait_for_beat(now)

    def _look(self, now: float) -> None:
        """Settle the pace, and how many may wait for it; let those go who have hung up."""
        for future in [future for future, is_gone in self._is_gone.items() if not future.done() and is_gone()]:
            self._queue.drop(future)
            future.set_exception(Gone())
        was_open = self._pace.is_open
        seconds = now - self._looked_at
        self._pace.look(
            self._late_s(),
            self._begun / seconds,
            is_awaited=bool(self._queue),
            busy=min((self._worked_s - self._worked_at_look_s) / seconds, 1.0),
        )
        self._looked_at, self._worked_at_look_s, self._begun = now, self._worked_s, 0
        self._turns.clear()
        if was_open != self._pace.is_open:
            log.info("More is asked than can be done: calls wait" if was_open else "Calls wait no longer")
        if not self._queue:
            self._standing_since = None
        elif self._standing_since is None:
            self._standing_since = now
        is_standing = self._standing_since is not None and now - self._standing_since > STANDING_S
        served = max(LEAST_WAITING, int(min(self._pace.per_s * STANDING_S, self._most)))
        self._seats.most = min(self._most, served) if is_standing else self._most

    def _late_s(self) -> float:
        """How long the turn is that somebody meets who comes at any moment, beyond a beat: long ones are met most."""
        lengths = [BEAT_S + turn for turn in self._turns]
        return sum(length * length for length in lengths) / sum(lengths) - BEAT_S

    def _let_in(self, seconds: float) -> None:
        """Let those begin whose turn it is."""
        if self._pace.is_open:
            self._credit, self._in_turn = 0.0, 0
            while self._queue and self._in_turn < MOST_IN_A_TURN:
                self._admit()
                self._in_turn += 1
            return
        earned = self._pace.per_s * min(seconds, MOST_AT_ONCE_S)
        # What was not used is no credit for later, but for the fraction of a call.
        self._credit = min(self._credit + earned, max(earned, 1.0))
        while self._queue and self._credit >= 1:
            self._admit()

    def _admit(self) -> None:
        future = self._queue.take()
        if not future.done():  # it is when its caller left just now
            self._begins()
            future.set_result(None)
