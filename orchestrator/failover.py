"""Asks the places of a route in turn, until one gives the first piece of an answer.

Up to that piece nobody has heard anything, so another place can be asked. After it the answer is that
place's, to its end or to its error: what was said cannot be taken back.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Protocol

from cache.entries import CacheKey
from orchestrator.adaptation.fitting import Check, Step
from orchestrator.cascade import NotSure, Silent
from orchestrator.core.breaker import Turn
from orchestrator.core.clock import Clock
from orchestrator.core.errors import (
    BadRequest,
    Busy,
    CallLost,
    ContextTooLong,
    EngineError,
    EngineRefused,
    EngineTimeout,
    EngineUnavailable,
    EngineUnreachable,
    GenerationFailed,
    KeyRefused,
    LedgerUnavailable,
    ModelNotFound,
    NoneAvailable,
    NotTaken,
    OrchestratorError,
    Outraced,
    ParameterRefused,
    RateLimited,
    TooMany,
)
from orchestrator.core.tasks import end
from orchestrator.core.types import Candidate, ChatRequest, Chunk, Chunks, Done, Origin, Route
from orchestrator.engines.base import Engine
from orchestrator.ledger.bills import Bill
from routing.health import Health, Place
from routing.retries import pause_s

MOST_ATTEMPTS = 3
PROBE_S = 5.0  # how long a place that was out is waited for, where there is another
FAILED_S = 1.0  # what a failure counts as, at least, where the quicker place is chosen: to fail at once is not quick
MOST_WORDS = 600  # characters of what several places said together

# After these another place may do better.
ELSEWHERE = (EngineError, ModelNotFound, ContextTooLong, ParameterRefused, Busy, TooMany, LedgerUnavailable)
# After these the same place may, shortly: no part of an answer was heard, and as a rule none was made.
AGAIN = (EngineUnreachable, EngineUnavailable, RateLimited)
# These say nothing of how the place is.
NOT_ITS_FAULT = (
    *(BadRequest, Busy, TooMany, LedgerUnavailable, CallLost),
    *(RateLimited, EngineRefused, GenerationFailed),
)


# With these nothing was made, so nothing is charged, unless they came within an answer.
FREE = (
    *(*AGAIN, KeyRefused, EngineRefused, ModelNotFound, BadRequest),
    *(Busy, TooMany, LedgerUnavailable, NoneAvailable),
)

_closing: set[asyncio.Task[None]] = set()  # calls that were given up, until their connections are closed


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one place would be asked."""

    candidate: Candidate
    engine: Engine  # as it was when this was planned
    request: ChatRequest  # as this one can answer it
    unsupported: tuple[str, ...] = ()  # what was left out for that
    adapted: tuple[str, ...] = ()  # what is done in its place, or put to it in another way
    question: ChatRequest | None = None  # what its keys are of: that, with what is done here in its place
    keys: tuple[CacheKey, ...] = ()  # where its answer may be kept
    steps: tuple[Step, ...] = ()  # what is done with its answer, so that it is what was asked for
    check: Check | None = None  # whether its answer, which nobody saw to, may be kept
    trial: Step | None = None  # what decides whether its answer will do, where another could do better

    @property
    def name(self) -> str:
        """Who would answer."""
        return self.candidate.model.name


class Listener(Protocol):
    """Hears what becomes of a question."""

    async def asks(self, plan: Plan) -> Bill | None:
        """This place is about to be asked: the bill of that, where it charges. Raises OrchestratorError when not.

        A bill is settled, whatever becomes of the call.
        """
        ...

    def gave_up(self, plan: Plan, error: OrchestratorError, took_s: float) -> None:
        """It did not answer, or broke off."""
        ...

    def answers(self, plan: Plan, bill: Bill | None, took_s: float, instead_of: Sequence[tuple[Plan, str]]) -> None:
        """It has given its first piece, so long after it was asked.

        instead_of  others that come before it in the route, and a word why they did not.
        """
        ...


class Failover:
    """The way from a question to whoever answers it."""

    def __init__(self, clock: Clock, health: Health) -> None:
        self.clock = clock
        self.health = health

    async def answer(self, plans: Sequence[Plan], route: Route, listener: Listener) -> AsyncGenerator[Chunk, None]:
        """Yield the answer of the first place that gives one.

        `plans` begin with the one that is expected to answer; where another does, the first piece says who it is.
        Raises what the places raised, or RateLimited, Busy or NoneAvailable when none may be asked now.
        """
        attempt, first = await _Question(self, plans, route, listener).first_piece()
        plan = attempt.plan
        try:
            if plan is not plans[0]:
                model = plan.candidate.model
                origin = Origin(model=model.name, provider=model.engine, unsupported=plan.unsupported)
                first = replace(first, origin=origin)
            yield first
            async for chunk in attempt.chunks:
                if chunk.done is not None:
                    attempt.completed(chunk.done)
                elif chunk.usage is not None and not _says_something(chunk):
                    continue
                yield chunk
        except OrchestratorError as error:
            attempt.failed(error)
            listener.gave_up(plan, error, attempt.took_s)
            raise
        except Exception:
            attempt.settled(OrchestratorError.kind)
            raise
        finally:
            attempt.ended()
            await attempt.chunks.aclose()


async def closed() -> None:
    """Return when the connections of calls that were given up are closed."""
    if _closing:
        await asyncio.wait(_closing)


class _Attempt:
    """One place that is being asked. What becomes of it is told to its `Place` once, and settles its bill."""

    def __init__(self, failover: Failover, plan: Plan, place: Place, turn: Turn, bill: Bill | None) -> None:
        self.plan = plan
        self.place = place
        self.bill = bill
        self.is_complete = False
        self.first_s = 0.0  # until it spoke
        self._health = failover.health
        self._clock = failover.clock
        self._breaker = place.breaker
        self._turn = turn
        self._is_told = False  # that it was too slow
        self._began = self._clock.monotonic()
        self._is_over = False
        self.chunks = self._adapted(plan.engine.chat(bill.request if bill else plan.request, plan.candidate.model))
        self._health.began(place)

    @property
    def took_s(self) -> float:
        """Seconds since it began."""
        return self._clock.monotonic() - self._began

    async def first_piece(self, *, is_last: bool) -> Chunk:
        """Wait for it, and return it with what was told before it: what the question was counted as, as a rule.

        Where there is another place, one that was out is not waited for as long as others.
        """
        patience_s = None if is_last or self._turn is not Turn.PROBE else PROBE_S
        first = told = None
        if self.bill is not None:
            self.bill.asked()
        try:
            async with asyncio.timeout(patience_s):
                async for chunk in self.chunks:
                    told = chunk.usage or told
                    if _says_something(chunk):
                        first = chunk
                        break
        except TimeoutError:
            raise EngineTimeout(f"{self.place.provider} has not recovered: silent for {PROBE_S:g} s.") from None
        if first is None:
            raise EngineError(f"{self.place.provider} ended its answer before it began.")
        if first.done is not None:
            self.completed(first.done)
        if self._turn is Turn.PROBE:  # now: an answer may be long, and the others wait for this
            self._tell()
            self._turn = Turn.CALL
        return first if told is first.usage else replace(first, usage=told)

    def _adapted(self, chunks: Chunks) -> Chunks:
        """The place's answer as it is passed on."""
        chunks = self._seen(chunks)
        for step in (self.plan.trial, *self.plan.steps):
            if step is not None:
                chunks = step(chunks)
        return chunks

    async def _seen(self, chunks: Chunks) -> AsyncGenerator[Chunk, None]:
        """What the place says, which is what is charged and by what its quickness is measured, whoever hears it."""
        is_first = True
        async with aclosing(chunks):
            async for chunk in chunks:
                if self.bill is not None:
                    self.bill.saw(chunk)
                if is_first and _says_something(chunk):
                    is_first = False
                    self.first_s = self.took_s
                    self.place.load.took(self.first_s)
                yield chunk

    def completed(self, done: Done) -> None:
        """It has said all: its bill is settled before anybody hears the end, since the record says what it cost."""
        self.is_complete = True
        self.settled("cut" if done.reason == "length" else "done")

    def settled(self, outcome: str, *, is_free: bool = False) -> None:
        """Its bill is, if it was not already."""
        if self.bill is not None:
            self.bill.settle(outcome, is_free=is_free)

    def failed(self, error: OrchestratorError) -> None:
        """It did not answer, or broke off."""
        if self._is_over:
            return
        if isinstance(error, Silent):  # it may be loading, or dead: that it takes longer than this is all that is known
            self.place.load.missed(self.took_s)
            self.ended(error.kind)
            return
        if isinstance(error, NotTaken):  # it did what it was asked
            self.is_complete = True
            self.ended(error.kind)
            return
        self._over(error.kind, is_free=is_free(error))
        if isinstance(error, RateLimited):
            self.place.rest(error.retry_after_s, str(error), error.kind)
        if isinstance(error, NOT_ITS_FAULT):
            self._breaker.abandoned(self._turn)
            return
        self.place.load.missed(max(self.took_s, FAILED_S))
        if not self._is_told:
            self.place.failed(self._turn, str(error), error.kind, self._breaker)

    def outraced(self) -> None:
        """Another place spoke first."""
        self.place.load.missed(self.took_s)
        self.ended(Outraced.kind)

    def ended(self, outcome: str = "cancelled") -> None:
        """It is over, and did not fail: it said all, or nobody listens any more."""
        if self._is_over:
            return
        self._over(outcome)
        if not self.is_complete:
            self._breaker.abandoned(self._turn)
        elif not self._is_told:
            self._tell()

    def _tell(self) -> None:
        if self._health.is_slow(self.place.provider, self.first_s):
            self._is_told = True
            self.place.failed(self._turn, f"slow: {self.first_s:.1f} s to the first piece", "slow", self._breaker)
        else:
            self.place.answered(self._turn, self._breaker)

    def _over(self, outcome: str, *, is_free: bool = False) -> None:
        self._is_over = True
        self._health.ended(self.place)
        self.settled(outcome, is_free=is_free)


class _Question:
    """A question on its way from place to place."""

    def __init__(self, failover: Failover, plans: Sequence[Plan], route: Route, listener: Listener) -> None:
        self._failover = failover
        self._health = failover.health
        self._listener = listener
        self._hedge_after_s = route.hedge_after_s
        self._is_alone = len(plans) == 1
        self._left = deque(self._health.in_order(plans, route.balance))
        self._attempts = 0
        self._asked: set[int] = set()
        self._errors: list[tuple[Plan, OrchestratorError]] = []
        self._passed_over: list[tuple[Plan, OrchestratorError]] = []  # why they are not asked now
        self._not_taken: _Attempt | None = None  # of those whose answer would not do, the one to take if none does
        self._kept: Sequence[Chunk] = ()  # that answer, where it is whole
        self._has_form: bool | None = None  # whether it is in the form that was asked for, as far as is known

    async def first_piece(self) -> tuple[_Attempt, Chunk]:
        """The attempt that speaks first, and what it says. Raises when none does."""
        while True:
            attempt = await self._begin() or await self._begin_again()
            if attempt is None and self._kept:
                return await self._taken_after_all()
            attempt = attempt or await self._begin_untried()
            if attempt is None:
                raise self._failure()
            # Who is on trial is held back until it is known whether it will do: that is no silence.
            if self._hedge_after_s is not None and self._left and attempt.plan.trial is None:
                found = await self._race(attempt, self._hedge_after_s)
            else:
                found = await self._await(attempt)
            if found is not None:
                attempt, _ = found
                self._listener.answers(attempt.plan, attempt.bill, attempt.first_s, self._before(attempt.plan))
                return found

    async def _await(self, attempt: _Attempt) -> tuple[_Attempt, Chunk] | None:
        try:
            return attempt, await attempt.first_piece(is_last=not self._left)
        except OrchestratorError as error:
            self._failed(attempt, error)
            return None
        except BaseException:
            attempt.ended()
            await attempt.chunks.aclose()
            raise

    async def _race(self, first: _Attempt, hedge_after_s: float) -> tuple[_Attempt, Chunk] | None:
        """Ask a second place when the first has said nothing for so long. Who speaks first answers; None: neither."""
        racing = {asyncio.create_task(first.first_piece(is_last=False)): first}
        try:
            ready, _ = await asyncio.wait(racing, timeout=hedge_after_s)
            if not ready and first.place.budget.take() and (second := await self._begin()) is not None:
                if _has_spoken(*racing):  # while money was reserved for the second
                    second.ended(Outraced.kind)
                else:
                    racing[asyncio.create_task(second.first_piece(is_last=not self._left))] = second
            while racing:
                ready, _ = await asyncio.wait(racing, return_when=asyncio.FIRST_COMPLETED)
                spoke = next((task for task in ready if task.exception() is None), None)
                if spoke is not None:
                    return racing.pop(spoke), spoke.result()
                for task in ready:
                    error = task.exception()
                    if not isinstance(error, OrchestratorError):
                        assert error is not None
                        raise error
                    self._failed(racing.pop(task), error)
            return None
        finally:  # nothing is awaited here: a caller who leaves at this moment must not leave a call behind
            for task, attempt in racing.items():
                if (error := _error_of(task)) is not None:  # it was no loser: it failed in the same moment
                    attempt.failed(error)
                    self._errors.append((attempt.plan, error))
                    self._listener.gave_up(attempt.plan, error, attempt.took_s)
                elif sys.exception() is None:
                    attempt.outraced()
                    self._listener.gave_up(attempt.plan, Outraced(), attempt.took_s)
                attempt.ended()
                _close(task, attempt)

    async def _begin(self) -> _Attempt | None:
        """Ask the next place that may be asked; None when there is none, or it was asked often enough."""
        while self._left and self._attempts < MOST_ATTEMPTS:
            plan = self._left.popleft()
            if self._is_of_who_was_unsure(plan) or self._makes_way(plan):
                continue
            place = self._health.place(plan.candidate)
            breaker, turn = place.breaker, None
            try:
                turn = self._turn(plan, place)
                bill = await self._listener.asks(plan)
            except BaseException as error:  # whoever waits for a reservation may leave, too
                if turn is not None:
                    breaker.abandoned(turn)
                if not isinstance(error, OrchestratorError):
                    raise
                self._passed_over.append((plan, error))
                continue
            attempt = _Attempt(self._failover, plan, place, turn, bill)
            if id(plan) not in self._asked:
                place.budget.called()
            self._asked.add(id(plan))
            self._attempts += 1
            return attempt
        return None

    async def _begin_again(self) -> _Attempt | None:
        """Ask once more who failed last in passing, after a pause; None where that is not so, or was done too often."""
        if not self._errors or self._attempts >= MOST_ATTEMPTS:
            return None
        plan, error = self._errors[-1]
        if not isinstance(error, AGAIN):
            return None
        place = self._health.place(plan.candidate)
        wanted_s = place.waits_s if isinstance(error, RateLimited) else error.retry_after_s
        wait_s = pause_s(self._attempts, wanted_s, self._health.rng)
        if wait_s is None or not place.budget.take():
            return None
        await asyncio.sleep(wait_s)
        self._left.append(plan)
        return await self._begin()

    async def _taken_after_all(self) -> tuple[_Attempt, Chunk]:
        """Nobody did better than an answer that would not do: it is passed on."""
        attempt = self._not_taken
        assert attempt is not None
        kept = await fitted(self._kept, attempt.plan.steps)
        attempt.chunks = _each(kept[1:])
        self._listener.answers(attempt.plan, attempt.bill, attempt.first_s, self._before(attempt.plan))
        return attempt, kept[0]

    async def _begin_untried(self) -> _Attempt | None:
        """Ask once more whose answer was given up before it was whole, and take what it says."""
        if self._not_taken is None or self._not_taken.plan.trial is None:
            return None
        plan = replace(self._not_taken.plan, trial=None)
        self._not_taken = None
        self._left.appendleft(plan)
        self._attempts = min(self._attempts, MOST_ATTEMPTS - 1)
        return await self._begin()

    def _turn(self, plan: Plan, place: Place) -> Turn:
        """Leave to ask. Raises what a caller is told when there is none, and no other place.

        What a provider said of somebody's question is not said to others.
        """
        if getattr(plan.engine, "is_retired", False):
            raise NoneAvailable(f"{plan.name} was changed meanwhile; ask again.", retry_after_s=1)
        if self._is_alone and not plan.candidate.model.is_remote:
            return Turn.CALL  # a local model: its own host knows better how it is
        if any(_is_no_longer(plan, than) for than, error in self._errors if isinstance(error, ContextTooLong)):
            raise ContextTooLong(f"{plan.name} has no room for it either.")
        if place.rests:
            raise RateLimited(f"{plan.name} wants fewer requests for now.", retry_after_s=place.waits_s)
        if not self._health.has_room(place.provider):
            raise Busy(
                f"{place.provider} is asked as many questions at once as it may be; try again shortly.", retry_after_s=1
            )
        turn = place.breaker.turn()
        if turn is Turn.NONE:
            raise NoneAvailable(
                f"{plan.name} is not asked at the moment, since it kept failing ({place.kind}).",
                retry_after_s=max(place.waits_s, 1.0),
            )
        return turn

    def _is_of_who_was_unsure(self, plan: Plan) -> bool:
        """Whether it is another place of a model that was not sure; who was silent may have been loading."""
        model = plan.candidate.stands_for.name
        return plan.trial is not None and any(
            than.candidate.stands_for.name == model
            for than, error in self._errors
            if isinstance(error, NotSure) and not isinstance(error, Silent)
        )

    def _makes_way(self, plan: Plan) -> bool:
        """Whether it is another place of a model that was silent, and the last attempt is for another model."""
        if plan.trial is None or self._attempts < MOST_ATTEMPTS - 1:
            return False
        model = plan.candidate.stands_for.name
        was_silent = any(
            than.candidate.stands_for.name == model for than, error in self._errors if isinstance(error, Silent)
        )
        return was_silent and any(one.candidate.stands_for.name != model for one in self._left)

    def _failed(self, attempt: _Attempt, error: OrchestratorError) -> None:
        """Take note, so that another may be asked. Raises `error` where no other would do better."""
        # A name that a provider does not know is no failure of its own, where nobody registered it.
        if self._is_alone and (isinstance(error, ModelNotFound) or not attempt.plan.candidate.model.is_remote):
            attempt.settled(error.kind, is_free=is_free(error))
            attempt.ended()
        else:
            attempt.failed(error)
        _close(None, attempt)
        if not self._is_passed_over(error):
            raise error
        if isinstance(error, NotTaken) and (self._not_taken is None or self._is_better(attempt, error)):
            self._not_taken, self._kept, self._has_form = attempt, error.kept, error.has_form
        self._errors.append((attempt.plan, error))
        self._listener.gave_up(attempt.plan, error, attempt.took_s)

    def _is_passed_over(self, error: OrchestratorError) -> bool:
        """Whether others are heard after it: they may do better, or an answer is at hand that would not do."""
        if isinstance(error, BadRequest) and self._not_taken is not None:
            return True
        return isinstance(error, ELSEWHERE) and not (self._is_alone and isinstance(error, ParameterRefused))

    def _is_better(self, attempt: _Attempt, error: NotTaken) -> bool:
        """Whether an answer that would not do is the one to pass on, should nobody do better, instead of one before it.

        A whole one is, where the other is not. Of two that are whole the one in the form that was asked for is, where
        the other is not; else the first, unless it was on trial: that its model was not sure says more against it than
        against whoever was to do better. Of two that are not whole the first is, unless nothing was heard of it.
        """
        assert self._not_taken is not None
        if not error.kept and not self._kept:
            return not self._not_taken.first_s
        if not error.kept or not self._kept:
            return bool(error.kept)
        if None not in (error.has_form, self._has_form) and error.has_form != self._has_form:
            return bool(error.has_form)
        return self._not_taken.plan.trial is not None and attempt.plan.trial is None

    def _before(self, plan: Plan) -> list[tuple[Plan, str]]:
        """Who did not answer, and why."""
        told = [
            (one, error.kind)
            for one, error in (*self._passed_over, *self._errors)
            if one.candidate is not plan.candidate  # who is taken after all
        ]
        if not self._health.is_down(plan.candidate):
            told += [(one, "down") for one in self._left if self._health.is_down(one.candidate)]
        return told

    def _failure(self) -> OrchestratorError:
        """What the caller is told when nobody answered."""
        told = [*self._errors, *self._passed_over]
        told += [(plan, Busy(f"not asked: {MOST_ATTEMPTS} places are asked at most")) for plan in self._left]
        errors = [error for _, error in told]
        error = errors[0]
        if not isinstance(error, ParameterRefused):  # which the caller can mend, whatever became of the others
            error = next((one for one in errors if isinstance(one, EngineError)), error)
        if len({plan.name for plan, _ in told}) < 2:
            return self._errors[-1][1] if self._errors else error
        last_words = {plan.name: str(error) for plan, error in told}
        words = " | ".join(f"{name}: {said}" for name, said in last_words.items())
        waits = [one.retry_after_s for _, one in told if one.retry_after_s is not None]
        return type(error)(f"Nobody answered. {words}"[:MOST_WORDS], retry_after_s=min(waits, default=None))


def _close(task: asyncio.Task[Chunk] | None, attempt: _Attempt) -> None:
    """Have the connection of a call that was given up closed, whatever becomes of whoever asked."""
    closing = asyncio.create_task(_given_up(task, attempt.chunks))  # by then the attempt may have others, that are kept
    _closing.add(closing)
    closing.add_done_callback(_closing.discard)


async def _given_up(task: asyncio.Task[Chunk] | None, chunks: Chunks) -> None:
    if task is not None:
        await end([task])
        if not task.cancelled():
            task.exception()  # heard, so that nobody is told of it
    await chunks.aclose()


async def fitted(kept: Sequence[Chunk], steps: Sequence[Step]) -> Sequence[Chunk]:
    """A whole answer that was not taken, as it was wanted; where it cannot be made that, as it is."""
    chunks: Chunks = _each(kept)
    for step in steps:
        chunks = step(chunks)
    try:
        return [chunk async for chunk in chunks]
    except NotTaken as error:
        return error.kept or kept


async def _each(chunks: Sequence[Chunk]) -> AsyncGenerator[Chunk, None]:
    for chunk in chunks:
        yield chunk


def _says_something(chunk: Chunk) -> bool:
    """Whether a piece is one of the answer itself."""
    return bool(chunk.text or chunk.thinking or chunk.tool_calls or chunk.vectors or chunk.logprobs or chunk.done)


def _has_spoken(task: asyncio.Task[Chunk]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _error_of(task: asyncio.Task[Chunk]) -> OrchestratorError | None:
    """What a place said that did not answer; None where it is still asked, or spoke."""
    error = task.exception() if task.done() and not task.cancelled() else None
    return error if isinstance(error, OrchestratorError) else None


def is_free(error: OrchestratorError) -> bool:
    """Whether nothing was made before it, so that nothing is charged."""
    return isinstance(error, FREE) if error.has_made is None else not error.has_made


def _is_no_longer(plan: Plan, than: Plan) -> bool:
    """Whether a context is known to be no longer than another that was too short."""
    here, there = plan.candidate.model.context_length, than.candidate.model.context_length
    return 0 < here <= there
