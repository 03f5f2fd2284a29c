"""The story of a request: route, cache, a call shared with whoever asks the same, record."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from typing import Any

from cache.entries import CacheKey, Hit
from cache.entries import Entry as Kept
from cache.inflight import Question
from cache.keys import key_to_keep
from orchestrator.capabilities import full_name, settle
from orchestrator.core.clock import Clock
from orchestrator.core.errors import (
    BadRequest,
    Busy,
    CallLost,
    EngineError,
    OnlyIfCached,
    OrchestratorError,
    PriceUnknown,
    TooMany,
    Unsupported,
)
from orchestrator.core.limits import NO_LIMIT, Standing
from orchestrator.core.types import Caller, ChatRequest, Chunk, Chunks, Done, Model, Reply, ReplyBuilder, Route, Usage
from orchestrator.failover import Failover, Plan
from orchestrator.ledger.bills import Bill, Purpose, is_capped, price_of
from orchestrator.ledger.estimate import expected
from orchestrator.ledger.savings import of_hit, of_shared, signed
from orchestrator.ledger.writer import Entry
from orchestrator.limits.limiter import Hold
from orchestrator.modelhost.gotemplate.syntax import TemplateError, parse
from orchestrator.parts import Parts
from orchestrator.pictures import named
from orchestrator.routes import choose, granted_keys, plans_for
from routing.router import is_auto

log = logging.getLogger(__name__)
MOST_ROUTE = 64  # characters, as many as a record has room for
MOST_SHOWN = 255  # characters of a name that is none: what was asked is not said again at length


@dataclass(slots=True)
class Answer:
    """An answer that has begun: where it comes from, and its chunks as they arrive.

    `chunks` must be closed (`aclose`) when it is not read to its end.
    """

    entry: Entry
    chunks: Chunks
    hit: Hit | None = None  # what was found in the cache
    timing: dict[str, float] = field(default_factory=dict)  # seconds by part, in order
    standing: Standing = NO_LIMIT  # with the caller's limits


async def answer(request: ChatRequest, caller: Caller, parts: Parts) -> Answer:
    """Begin to answer `request`, from the cache when it is there.

    Raises OrchestratorError when it cannot be begun; what goes wrong later is raised from the chunks.
    """
    entry = parts.ledger.begin(request, caller)
    if waited_s := parts.gate.waited_s():
        entry.started -= waited_s
        entry.laps["queue"] = waited_s
    stopwatch = _Stopwatch(parts.clock, entry.laps)
    with _failures_recorded(entry, parts):
        async with _charged_anyhow(request, entry, parts):
            route, plans = await _planned(request, entry, parts)
        stopwatch.lap("route")
        entry.charged = route.model.name
        standing = await parts.limiter.charge(caller, route.model.name, request.address)
        stopwatch.lap("limits")
        if named(request):  # not before it is charged
            plans = plans_for(route, await parts.pictures.fetched(request, caller.tenant_id), caller, parts)
            stopwatch.lap("pictures")

        request, keys = plans[0].request, plans[0].keys
        entry.cache_key = keys[0].hash
        since = parts.cache.generation()
        hit = await _find(plans[0], entry, parts)
        stopwatch.lap("cache")
        if hit:
            found = _from_cache(hit, entry, parts, stopwatch.laps, plans)
            found.standing = standing
            return found
        if request.control.only_if_cached:
            raise OnlyIfCached

        hold = await parts.limiter.hold(caller, route.model.name, request.address, partial(expected, request))
        try:
            call = _Call(route, plans, since, entry, parts, hold)
            chunks, leads = await _join(call, parts)
        except BaseException:
            hold.release()
            raise
        begun = Answer(entry, chunks, timing=stopwatch.laps, standing=standing)
        heard = _heard(chunks, entry, parts) if leads else _shared(chunks, call, begun, parts)
        cut = partial(_cut, entry, parts)
        begun.chunks = parts.lifelines.tied(_Held(heard, hold, entry), caller, request, route.model.name, cut)
        return begun


async def load(request: ChatRequest, caller: Caller, parts: Parts) -> Answer:
    """Load the model, or with a `keep_alive` of 0 unload it: what a request without a question means."""
    entry = parts.ledger.begin(request, caller)
    with _failures_recorded(entry, parts):
        model = await _chosen(request, entry, parts)
        is_local = model.engine == parts.local.name
        is_unload = request.keep_alive_s == 0
        if not is_unload:  # who lets a model go asks nothing of it
            request, entry.unsupported = settle(request, model, parts.unsupported)
        if is_local and is_unload:
            await parts.local.unload(model)
        elif is_local:
            await parts.local.load(model, request.keep_alive_s, request.options)
        done = Done(reason="unload" if is_unload else "load")
        return Answer(entry, _recorded(_each(Chunk(done=done)), entry, parts))


async def preview(request: ChatRequest, caller: Caller, parts: Parts) -> Answer:
    """The prompt that the model would be given, as the text of an answer that nobody makes."""
    entry = parts.ledger.begin(request, caller)
    with _failures_recorded(entry, parts):
        model = await _chosen(request, entry, parts)
        request, entry.unsupported = settle(request, model, parts.unsupported)
        if model.engine != parts.local.name:
            raise Unsupported(f"{full_name(model)} is a cloud model: only its provider knows the prompt it is given")
        shown = await parts.local.preview(request, model)
        return Answer(entry, _unasked(shown.text, entry, parts))


async def count(request: ChatRequest, caller: Caller, parts: Parts) -> Answer:
    """How many tokens the question has, as the text of an answer that nobody makes; empty where nobody can say.

    That is so for models that run elsewhere or are not loaded, for `auto`, and for what the model cannot take.
    """
    entry = parts.ledger.begin(request, caller)
    with _failures_recorded(entry, parts):
        tokens = None
        model = await _chosen(request, entry, parts)
        if model.engine == parts.local.name and not is_auto(request.model):
            with suppress(BadRequest, Busy, EngineError):
                request, entry.unsupported = settle(request, model, parts.unsupported)
                tokens = await parts.local.count(request, model)
        said = "" if tokens is None else str(tokens)
        return Answer(entry, _unasked(said, entry, parts))


async def _unasked(text: str, entry: Entry, parts: Parts) -> AsyncGenerator[Chunk, None]:
    """What was said without asking a model: it is recorded, and no tokens with it."""
    entry.ended("done", parts.clock.monotonic())
    parts.ledger.post(entry)
    yield Chunk(text=text, done=Done(reason="stop"))


async def _chosen(request: ChatRequest, entry: Entry, parts: Parts) -> Model:
    """The model that is asked first, for what is done with one model; the record says it. It counts as a request."""
    async with _charged_anyhow(request, entry, parts):
        route = await choose(request, entry.caller, parts)
        await _check_template(request, route.model)
    model = route.candidates[0].model
    entry.model, entry.provider, entry.route = model.name, model.engine, route.reason[:MOST_ROUTE]
    await parts.limiter.charge(entry.caller, route.model.name, request.address)
    return model


@asynccontextmanager
async def _charged_anyhow(request: ChatRequest, entry: Entry, parts: Parts) -> AsyncIterator[None]:
    """What fails before its model is settled counts as well: else it would be free to ask for what there is not."""
    try:
        yield
    except OrchestratorError:
        await parts.limiter.charge(entry.caller, "", request.address)
        raise


async def _planned(request: ChatRequest, entry: Entry, parts: Parts) -> tuple[Route, list[Plan]]:
    """The places that may answer and what each would be asked; the record says who is expected to."""
    route = await choose(request, entry.caller, parts)
    entry.route, entry.model, entry.provider = route.reason[:MOST_ROUTE], route.model.name, route.model.engine
    await _check_template(request, route.model)
    plans = plans_for(route, request, entry.caller, parts)
    _expect(entry, plans[0])
    return route, plans


async def _check_template(request: ChatRequest, model: Model) -> None:
    """Raises BadRequest that says where a template cannot be read, before any model is loaded for it."""
    if request.template and request.prompt is None and "template" in model.takes:
        try:
            await asyncio.to_thread(parse, request.template)
        except TemplateError as error:
            raise BadRequest(str(error)) from None


def _expect(entry: Entry, plan: Plan) -> None:
    """`plan` is who answers, as far as is known."""
    model = plan.candidate.model
    entry.model, entry.provider, entry.unsupported = model.name, model.engine, plan.unsupported


async def _find(plan: Plan, entry: Entry, parts: Parts) -> Hit | None:
    """What is kept: the caller's own, else what a tenant keeps that lets it read; that stays the owner's."""
    request = plan.request
    hit = await parts.cache.find(plan.keys, request.control, request.cap)
    if hit is None and request.control.read:
        for owner, keys in granted_keys(plan, entry.caller):
            if hit := await parts.cache.find(keys, request.control, request.cap):
                entry.granted_by = owner
                break
    return hit


def _from_cache(hit: Hit, entry: Entry, parts: Parts, timing: dict[str, float], plans: Sequence[Plan]) -> Answer:
    entry.tier = hit.tier
    entry.model = hit.entry.reply.model
    entry.provider = next((plan.candidate.model.engine for plan in plans if plan.name == entry.model), "")
    model = plans[0].candidate.model
    entry.saving = of_hit(hit.entry.reply.done, model, price_of(model))
    spent_ns = max(round((parts.clock.monotonic() - entry.started) * 1e9), 1)
    chunks = _each(*as_of_now(hit.entry.reply, spent_ns).chunks())
    return Answer(entry, _recorded(chunks, entry, parts), hit=hit, timing=timing)


def as_of_now(reply: Reply, spent_ns: int) -> Reply:
    """The kept answer with the durations of this request, in nanoseconds; its counts stay."""
    kept = reply.done.usage
    usage = Usage(
        is_estimated=kept.is_estimated,
        prompt_tokens=kept.prompt_tokens,
        completion_tokens=kept.completion_tokens,
        load_ns=1,
        prompt_ns=spent_ns,
        eval_ns=spent_ns,
    )
    return replace(reply, done=replace(reply.done, usage=usage))


async def _each(*chunks: Chunk) -> AsyncGenerator[Chunk, None]:
    for chunk in chunks:
        yield chunk


@dataclass(slots=True)
class _Call:
    """A call to whoever answers, made for the first who asked. It keeps the record of what becomes of it."""

    route: Route
    plans: Sequence[Plan]  # the one that is expected to answer comes first
    since: int  # the cache's generation when it was asked: a later purge is about this answer too
    entry: Entry
    parts: Parts
    hold: Hold  # of who asked first: its tokens are settled when the call is over, whoever still listens then
    plan: Plan = field(init=False)  # who answers

    def __post_init__(self) -> None:
        self.plan = self.plans[0]

    @property
    def request(self) -> ChatRequest:
        return self.plans[0].request

    @property
    def keys(self) -> tuple[CacheKey, ...]:
        return self.plans[0].keys

    @property
    def shared(self) -> str:
        """Equal for all who may hear it: the question's hash, with which models may answer where there are others.

        What a budget may cut is heard by those whose answers one may cut anyway.
        """
        names = tuple(dict.fromkeys(plan.candidate.stands_for.name for plan in self.plans))
        may_be_cut = any(is_capped(plan.request, plan.candidate.model, self.entry.caller) for plan in self.plans)
        if len(names) == 1 and not may_be_cut:
            return self.keys[-1].hash
        said = "\n".join((self.keys[-1].hash, *names, *(("",) if may_be_cut else ())))
        return blake2b(said.encode("utf-8", "replace"), digest_size=32).hexdigest()

    async def asks(self, plan: Plan) -> Bill | None:
        """As in `failover.Listener`: what costs money is asked only while it can be written down, and is in budget."""
        model = plan.candidate.model
        if not model.is_paid:
            return None
        purpose: Purpose = "answer" if plan.request.inputs is None else "embedding"
        bill = Bill(self.entry, model, plan.request, self.parts.ledger, self.parts.clock, purpose)
        await bill.reserve()
        self.entry.is_paid = True
        return bill

    def gave_up(self, plan: Plan, error: OrchestratorError, took_s: float) -> None:
        """As in `failover.Listener`."""
        self.entry.tried(plan.candidate.model, error, took_s)

    def answers(self, plan: Plan, bill: Bill | None, took_s: float, instead_of: Sequence[tuple[Plan, str]]) -> None:
        """As in `failover.Listener`."""
        self.plan = plan
        self.entry.engine_first_s = took_s
        if bill is not None:
            self.entry.answered_by, self.entry.cap = bill.hold, bill.cap
        self.entry.is_paid = plan.candidate.model.is_paid or self.entry.has_spent
        _expect(self.entry, plan)
        if instead_of:
            other, why = instead_of[0]
            self.entry.route = f"{self.route.reason}; {why}: {other.name}"[:MOST_ROUTE]


async def _join(call: _Call, parts: Parts, *, is_again: bool = False) -> tuple[Chunks, bool]:
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
    else:
        entry.tier, entry.is_paid = "collapsed", False
    return chunks, leads


async def _call(call: _Call, parts: Parts) -> AsyncGenerator[Chunk, None]:
    """Ask who can answer; hold the last chunk until the record is safe and the cache is filled.

    Runs in a task of its own (`InFlight`), so a caller who hangs up does not reach in here.
    """
    entry, clock = call.entry, parts.clock
    builder = ReplyBuilder("", parts.most_answer_bytes)
    failover = Failover(clock, parts.places)
    with _tokens_settled(call), _failures_recorded(entry, parts):
        waited_s = await parts.gate.enter(entry.caller.turn(entry.charged, entry.request.address))
        if waited_s:
            entry.laps["queue"] = waited_s
        async with aclosing(failover.answer(call.plans, call.route, call)) as chunks:
            async for chunk in chunks:
                if chunk.origin:
                    chunk = replace(chunk, origin=replace(chunk.origin, route=entry.route))
                entry.saw(chunk, clock.monotonic())
                builder.add(chunk)
                if chunk.done:
                    entry.ended(_outcome(chunk.done), clock.monotonic())
                    builder.done = signed(chunk.done, call.request.request_id, entry.usage, entry.answer_charge)
                    chunk = replace(chunk, done=builder.done)
                    await _through(_settle(call, builder, parts))
                    parts.metrics.settled(clock.monotonic() - entry.started - entry.total_s)
                yield chunk


@contextmanager
def _tokens_settled(call: _Call) -> Iterator[None]:
    """However the call ends, what models read and wrote for it is charged."""
    try:
        yield
    finally:
        call.hold.settle(call.entry.tokens)


async def _settle(call: _Call, builder: ReplyBuilder, parts: Parts) -> None:
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


async def _keep(call: _Call, builder: ReplyBuilder, parts: Parts) -> None:
    builder.model = call.plan.name
    reply = builder.reply()
    if reply is None or not call.request.control.write:
        return
    if call.entry.cap is not None and reply.done.reason == "length":
        return  # a budget cut it, of which its question says nothing
    key = key_to_keep(call.plan.keys, reply)  # of who answered: another model's answer is not the asked one's
    if key is None:
        return
    now = parts.clock.now()
    kept = Kept(key, reply, now, now + parts.cache_ttl_s, call.entry.caller.cache_bytes)
    call.entry.is_stored = await parts.cache.put(kept, since=call.since)


async def _through(work: Coroutine[Any, Any, None]) -> None:
    """Carry `work` to its end even when this task is cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


async def _heard(chunks: Chunks, entry: Entry, parts: Parts) -> AsyncGenerator[Chunk, None]:
    """Pass on what the leader of a call hears; the call itself keeps the record."""
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk
    except (asyncio.CancelledError, GeneratorExit):
        entry.ended("cancelled", parts.clock.monotonic())
        raise


def _cut(entry: Entry, parts: Parts, error: OrchestratorError) -> None:
    """The answer is ended before its end: whoever keeps the record of it, that is what it says."""
    entry.failed(error, parts.clock.monotonic())


class _Held:
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


async def _shared(chunks: Chunks, call: _Call, begun: Answer, parts: Parts) -> AsyncGenerator[Chunk, None]:
    """Pass on and record what another's call says. Lost or refused before it said anything, it is begun again.

    A whole answer is passed on when it is whole, so that it can be begun again up to its end. That is done twice at
    most: who looks in the cache, and comes to join when the answer was made meanwhile, has to look once more.
    """
    entry = call.entry
    passed_on = 0
    rest, is_followed = chunks, True
    for beginnings_left in (2, 1, 0):
        held: list[Chunk] = []
        with _failures_recorded(entry, parts):
            try:
                async with aclosing(rest):
                    async for chunk in rest:
                        if chunk.origin:
                            entry.told(chunk.origin)
                        if chunk.done:
                            entry.saving = of_shared(chunk.done, call.plan.candidate.model)
                        _saw(chunk, entry, parts)
                        if call.request.stream:
                            passed_on += 1
                            yield chunk
                        else:
                            held.append(chunk)
                rest, is_followed = _each(*held), False
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


async def _begin_again(call: _Call, begun: Answer, parts: Parts, *, is_last: bool) -> tuple[Chunks, bool]:
    """Look in the cache again, where the answer may be by now; else join again, perhaps to lead.

    Return the chunks, and whether they are another's again, so that this request records them.
    """
    entry = call.entry
    entry.first_s, entry.pieces = None, 0
    call = replace(call, since=parts.cache.generation())
    if hit := await _find(call.plans[0], entry, parts):
        found = _from_cache(hit, entry, parts, begun.timing, call.plans)
        begun.hit = hit
        return found.chunks, False
    chunks, leads = await _join(call, parts, is_again=is_last)
    return (_heard(chunks, entry, parts), False) if leads else (chunks, True)


async def _recorded(chunks: Chunks, entry: Entry, parts: Parts) -> AsyncGenerator[Chunk, None]:
    """Pass on chunks that cost nothing, and record what the caller got."""
    with _failures_recorded(entry, parts):
        async with aclosing(chunks):
            async for chunk in chunks:
                _saw(chunk, entry, parts)
                yield chunk


def _saw(chunk: Chunk, entry: Entry, parts: Parts) -> None:
    """Note a chunk that cost nothing; with the last one the record is complete."""
    entry.saw(chunk, parts.clock.monotonic())
    if chunk.done:
        entry.ended(_outcome(chunk.done), parts.clock.monotonic())
        parts.ledger.post(entry)


def _outcome(done: Done) -> str:
    return "cut" if done.reason == "length" else "done"


@contextmanager
def _failures_recorded(entry: Entry, parts: Parts) -> Iterator[None]:
    """Record a request that fails or is given up within. What is no error of ours becomes one, and is logged.

    The ledger takes each entry once, so what was recorded already stays as it is.
    """
    try:
        yield
    except OrchestratorError as error:
        entry.failed(error, parts.clock.monotonic())
        parts.ledger.post(entry)
        raise
    except (asyncio.CancelledError, GeneratorExit):
        entry.ended("cancelled", parts.clock.monotonic())
        parts.ledger.post(entry)
        raise
    except Exception as error:
        request_id = entry.request.request_id
        log.exception("request %s failed", request_id)
        fault = OrchestratorError(f"internal error; the log has more under {request_id}")
        entry.failed(fault, parts.clock.monotonic())
        parts.ledger.post(entry)
        raise fault from error


class _Stopwatch:
    """Seconds between laps."""

    def __init__(self, clock: Clock, laps: dict[str, float]) -> None:
        self._clock = clock
        self._last = clock.monotonic()
        self.laps = laps

    def lap(self, name: str) -> None:
        now = self._clock.monotonic()
        self.laps[name] = now - self._last
        self._last = now
