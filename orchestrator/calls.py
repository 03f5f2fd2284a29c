"""A call to whoever answers, shared by all who ask the same meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

from cache.entries import CacheKey
from cache.entries import Entry as Kept
from cache.inflight import Question
from cache.keys import key_to_keep
from orchestrator.answers import MOST_ROUTE, Answer, each, failures_recorded, outcome, saw
from orchestrator.choosing.tried import not_sure
from orchestrator.core.errors import CallLost, NotTaken, OrchestratorError, PriceUnknown, TooMany
from orchestrator.core.types import ChatRequest, Chunk, Chunks, Done, Origin, Reply, ReplyBuilder, Route
from orchestrator.failover import Failover, Plan
from orchestrator.kept import Sought, find, from_cache, mark_of
from orchestrator.ledger.bills import Bill, Purpose, is_capped
from orchestrator.ledger.savings import of_shared, signed
from orchestrator.ledger.writer import Entry
from orchestrator.limits.limiter import Hold
from orchestrator.parts import Parts


@dataclass(slots=True)
class Call:
    """A call to whoever answers, made for the first who asked. It keeps the record of what becomes of it."""

    route: Route
    plans: Sequence[Plan]  # the one that is expected to answer comes first
    since: int  # the cache's generation when it was asked: a later purge is about this answer too
    entry: Entry
    parts: Parts
    sought: Sought  # what the cache did not have
    hold: Hold  # of who asked first: its tokens are settled when the call is over, whoever still listens then
    ttl_s: float  # how long its answer is kept
    after: Callable[[Reply | None], None]  # is told the whole answer, once it is recorded
    plan: Plan = field(init=False)  # who answers
    charged: set[str] = field(default_factory=set)  # models, besides the one that was charged when it began
    is_second_best: bool = field(default=False, init=False)  # its answer would not do, and nobody did better
    given_up: list[tuple[Plan, OrchestratorError]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.plan = self.plans[0]

    @property
    def request(self) -> ChatRequest:
        """As who is expected to answer is asked."""
        return self.plans[0].request

    @property
    def keys(self) -> tuple[CacheKey, ...]:
        """Where the cache would have the answer."""
        return self.sought.keys

    @property
    def shared(self) -> str:
        """Equal for all who may hear it: the question's hash; where others may answer, who they are and their hashes.

        What a budget may cut is heard by those whose answers one may cut anyway, and what nobody checks by those who
        hear it as it comes. Of a choice that is left to us the first one's is everybody's: they would have been content
        with any.
        """
        names = tuple(dict.fromkeys(plan.name for plan in self.plans))
        may_be_cut = any(is_capped(plan.request, plan.candidate.model, self.entry.caller) for plan in self.plans)
        if self.sought.is_choice or names == (self.sought.model.name,):
            others: tuple[str, ...] = ()
        else:  # two questions that are one to the first may not be to those after it
            others = (*names, *dict.fromkeys(key.hash for plan in self.plans for key in plan.keys[-1:]))
        is_unchecked = any(plan.check is not None for plan in self.plans)
        if not (others or may_be_cut or is_unchecked):
            return self.keys[-1].hash
        marks = (*(("",) if may_be_cut else ()), *((" as it comes",) if is_unchecked else ()))
        said = "\n".join((self.keys[-1].hash, *others, *marks))
        return blake2b(said.encode("utf-8", "replace"), digest_size=32).hexdigest()

    async def asks(self, plan: Plan) -> Bill | None:
        """As in `failover.Listener`: what costs money is asked only while it can be written down, and is in budget."""
        model = plan.candidate.model
        await self._charge(plan)
        if not model.is_paid:
            return None
        purpose: Purpose = "answer" if plan.request.inputs is None else "embedding"
        bill = Bill(self.entry, model, plan.request, self.parts.ledger, self.parts.clock, purpose)
        began = self.parts.clock.monotonic()
        try:
            await bill.reserve()
        finally:
            self.entry.hold_s += self.parts.clock.monotonic() - began
        self.entry.is_paid = True
        return bill

    async def _charge(self, plan: Plan) -> None:
        """Limits of another model than the first count, too, where the choice is ours. Raises TooMany."""
        name, entry = plan.candidate.stands_for.name, self.entry
        if not self.route.is_chosen or name in self.charged or name == entry.charged:
            return
        await self.parts.limiter.charge(entry.caller, name, entry.request.address, besides=entry.charged)
        self.charged.add(name)

    def gave_up(self, plan: Plan, error: OrchestratorError, took_s: float) -> None:
        """As in `failover.Listener`."""
        self.entry.tried(plan.candidate.model, error, took_s)
        self.given_up.append((plan, error))

    def answers(self, plan: Plan, bill: Bill | None, took_s: float, instead_of: Sequence[tuple[Plan, str]]) -> None:
        """As in `failover.Listener`."""
        self.plan = plan
        self.is_second_best = any(
            one.candidate is plan.candidate for one, error in self.given_up if isinstance(error, NotTaken)
        )
        self.entry.engine_first_s = took_s
        if bill is not None:
            self.entry.answered_by, self.entry.cap = bill.hold, bill.cap
        self.entry.is_paid = plan.candidate.model.is_paid or self.entry.has_spent
        expect(self.entry, plan)
        if instead_of:
            other, why = instead_of[0]
            self.entry.route = f"{self.route.reason}; {why}: {other.name}"[:MOST_ROUTE]


async def join(call: Call, parts: Parts, *, is_again: bool = False) -> tuple[Chunks, bool]:
    """Join whoever asks the same, or begin the call. Return the chunks, and whether this request leads."""
    entry, control = call.entry, call.request.control
    # A purge parts those who asked before it from those who ask after it.
    shared, question = ("alone", id(call)), None
    if control.read:
        shared = (call.shared, call.since)
        question = Question(call.shared, lambda: parts.cache.generation() == call.since, is_again)
    chunks, leads = await parts.inflight.join(shared, lambda: _call(call, parts), question)
    if leads:
        entry.tier = "miss" if control.read else "bypass"
        sought = call.sought
        entry.missed = parts.cache.why_missed(sought.keys, sought.request.control, sought.request.cap)
    else:
        entry.tier, entry.is_paid = "collapsed", False
    return chunks, leads


async def _call(call: Call, parts: Parts) -> AsyncGenerator[Chunk, None]:
    """Ask who can answer; hold the last chunk until the record is safe and the cache is filled.

    Runs in a task of its own (`InFlight`), so a caller who hangs up does not reach in here.
    """
    entry, clock = call.entry, parts.clock
    builder = ReplyBuilder("", parts.most_answer_bytes)
    failover = Failover(clock, parts.places)
    with _tokens_settled(call), failures_recorded(entry, parts):
        waited_s = await parts.gate.enter(entry.caller.turn(entry.charged, entry.request.address))
        if waited_s:
            entry.laps["queue"] = entry.laps.get("queue", 0.0) + waited_s
        async with aclosing(failover.answer(call.plans, call.route, call)) as chunks:
            async for chunk in chunks:
                if chunk.origin:
                    chunk = replace(chunk, origin=replace(chunk.origin, route=entry.route))
                elif call.sought.is_choice and entry.first_s is None:  # others who hear it may have chosen otherwise
                    chunk = replace(chunk, origin=_origin(entry))
                entry.saw(chunk, clock.monotonic())
                builder.add(chunk)
                if chunk.done:
                    entry.ended(outcome(chunk.done), clock.monotonic())
                    builder.done = signed(chunk.done, call.request.request_id, entry.usage, entry.answer_charge)
                    _names_key(entry, _key_of(call, chunk.done))
                    chunk = replace(chunk, done=builder.done)
                    await _through(_settle(call, builder, parts))
                    not_sure(entry, call.given_up, call.plan, parts)
                    call.after(builder.reply())
                    parts.metrics.settled(clock.monotonic() - entry.started - entry.total_s)
                yield chunk


def _origin(entry: Entry) -> Origin:
    """Who answers, for whoever shares the call."""
    return Origin(model=entry.model, provider=entry.provider, route=entry.route, unsupported=entry.unsupported)


@contextmanager
def _tokens_settled(call: Call) -> Iterator[None]:
    """However the call ends, what models read and wrote for it is charged."""
    try:
        yield
    finally:
        call.hold.settle(call.entry.tokens)


async def _settle(call: Call, builder: ReplyBuilder, parts: Parts) -> None:
    """Record the call, on disk where it cost money, and keep the answer: at once, since both are waited for."""
    if not call.entry.is_paid:
        parts.ledger.post(call.entry)
        await _keep(call, builder, parts)
        return
    keeping = asyncio.create_task(_keep(call, builder, parts))
    try:
        await parts.ledger.commit(call.entry)
    finally:
        await keeping


async def _keep(call: Call, builder: ReplyBuilder, parts: Parts) -> None:
    builder.model = call.plan.name
    reply = builder.reply()
    if reply is None or not call.request.control.write:
        return
    if call.is_second_best:
        return  # another may do better by the time it is asked again
    if call.entry.cap is not None and reply.done.reason == "length":
        return  # a budget cut it, of which its question says nothing
    key = _key_of(call, reply.done)
    if key is None:
        return
    if call.plan.check is not None and not await call.plan.check(reply):
        return  # who asks for the whole is promised that it is what was asked for
    if call.sought.is_choice:
        reply = replace(reply, of=mark_of(call.plan.candidate.stands_for))
    now = parts.clock.now()
    kept = Kept(key, reply, now, now + call.ttl_s, call.entry.caller.cache_bytes)
    call.entry.is_stored = await parts.cache.put(kept, since=call.since)


def _key_of(call: Call, done: Done) -> CacheKey | None:
    """Where an answer that ended so is kept; None where it must not be."""
    # Of who answered: another model's answer is not the asked one's. What was left to us is kept as that.
    return key_to_keep(call.keys if call.sought.is_choice else call.plan.keys, done)


def _names_key(entry: Entry, key: CacheKey | None) -> None:
    """The record names the key under which its answer is kept: by that it is found, and purged."""
    if key is not None:
        entry.cache_key = key.hash


async def _through(work: Coroutine[Any, Any, None]) -> None:
    """Carry `work` to its end even when this task is cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


async def led(chunks: Chunks, entry: Entry, parts: Parts) -> AsyncGenerator[Chunk, None]:
    """Pass on what the leader of a call hears; the call itself keeps the record."""
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk
    except (asyncio.CancelledError, GeneratorExit):
        entry.ended("cancelled", parts.clock.monotonic())
        raise


def cut_off(entry: Entry, parts: Parts, error: OrchestratorError) -> None:
    """The answer is ended before its end: whoever keeps the record of it, that is what it says."""
    entry.failed(error, parts.clock.monotonic())


class Held:
    """An answer that has a place among its caller's until it is over.

    Who shares a call, or is answered from cache after all, had no model work for it, and gives back its tokens; those
    of who leads are the call's to settle, which goes on while others listen. No generator: one that is closed before
    it began would give nothing back.
    """

    def __init__(self, chunks: Chunks, hold: Hold, entry: Entry) -> None:
        self._chunks, self._hold, self._entry = chunks, hold, entry

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        try:
            return await anext(self._chunks)
        except BaseException:  # the end, too
            self._over()
            raise

    async def aclose(self) -> None:
        try:
            await self._chunks.aclose()
        finally:
            self._over()

    def _over(self) -> None:
        if self._entry.tier in {"miss", "bypass"}:
            self._hold.leave()
        else:
            self._hold.release()


async def followed(chunks: Chunks, call: Call, begun: Answer, parts: Parts) -> AsyncGenerator[Chunk, None]:
    """Pass on and record what another's call says. Lost or refused before it said anything, it is begun again.

    A whole answer is passed on when it is whole, so that it can be begun again up to its end. That is done twice at
    most: who looks in the cache, and comes to join when the answer was made meanwhile, has to look once more.
    """
    entry = call.entry
    passed_on = 0
    rest, is_followed = chunks, True
    for beginnings_left in (2, 1, 0):
        held: list[Chunk] = []
        with failures_recorded(entry, parts):
            try:
                async with aclosing(rest):
                    async for chunk in rest:
                        if chunk.origin:
                            entry.told(chunk.origin)
                        if chunk.done:
                            entry.saving = of_shared(chunk.done, call.plan.candidate.model)
                            _names_key(entry, _key_of(call, chunk.done))
                        saw(chunk, entry, parts)
                        if call.request.stream:
                            passed_on += 1
                            yield chunk
                        else:
                            held.append(chunk)
                rest, is_followed = each(*held), False
            except (CallLost, TooMany, PriceUnknown):  # by limits and budgets of the other, that may not be this one's
                if passed_on or not beginnings_left:
                    raise
                rest, is_followed = await _begin_again(call, begun, parts, is_last=beginnings_left == 1)
        if not is_followed:
            break
    # Not under what records failures: a call that this request now leads keeps the record itself.
    async with aclosing(rest):
        async for chunk in rest:
            yield chunk


async def _begin_again(call: Call, begun: Answer, parts: Parts, *, is_last: bool) -> tuple[Chunks, bool]:
    """Look in the cache again, where the answer may be by now; else join again, perhaps to lead.

    Return the chunks, and whether they are another's again, so that this request records them.
    """
    entry = call.entry
    entry.first_s, entry.pieces = None, 0
    call = replace(call, since=parts.cache.generation())
    if found := await find(call.sought, entry, parts):
        begun.hit = found.hit
        return from_cache(found, entry, parts, begun.timing).chunks, False
    chunks, leads = await join(call, parts, is_again=is_last)
    return (led(chunks, entry, parts), False) if leads else (chunks, True)


def expect(entry: Entry, plan: Plan) -> None:
    """`plan` is who answers, as far as is known."""
    model = plan.candidate.model
    entry.model, entry.provider = model.name, model.engine
    entry.unsupported, entry.adapted = plan.unsupported, plan.adapted
