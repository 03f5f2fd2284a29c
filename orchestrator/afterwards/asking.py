"""Asks a model something for ourselves: within the budgets of whoever caused it, and charged under its own purpose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from orchestrator.choosing.ruled import Ruled
from orchestrator.choosing.ways import within
from orchestrator.core.errors import Busy, EngineError, NoneAvailable, NotTaken, OrchestratorError
from orchestrator.core.tasks import end
from orchestrator.core.types import CacheControl, Chunk, Chunks, Reply, ReplyBuilder
from orchestrator.failover import Plan, fitted, is_free
from orchestrator.ledger.bills import Bill, Purpose
from orchestrator.ledger.writer import Entry
from orchestrator.parts import Parts
from orchestrator.routes import choose, plans_for


@dataclass(frozen=True, slots=True)
class Said:
    """What a model said, how long it took, in seconds, and what it cost, in millionths of a dollar; None: unknown."""

    model: str
    reply: Reply
    took_s: float
    cost_microusd: int | None


async def ask(model: str, said: Ruled, entry: Entry, parts: Parts, purpose: Purpose) -> Said:
    """The answer of the first place of `model` to what is `said`. It is asked once; nothing is kept in the cache.

    It takes nobody's place: it is left out where calls wait or the provider is asked as much as it may be, and given up
    when a caller's question wants its place. Its answer is made what was asked for, as the caller's was. The place's
    breaker is not told what becomes of it: no caller is sent elsewhere for a question that none asked.

    said   with what rules say of who may be asked: a question that stays on this machine stays here now as well.
    entry  of the request that caused it: its caller's key, scopes and budgets hold for this, too.
    Raises OrchestratorError, of which ForbiddenByRule is one.
    """
    alone = replace(said.request, model=model, control=CacheControl(read=False, write=False))
    route = within(await choose(alone, entry.caller, parts), alone, said.verdict, parts)
    context = said.verdict.context if purpose == "shadow" else None  # what a judge is shown is ours
    plan = plans_for(replace(route, is_chosen=True), alone, entry.caller, parts, context)[0]
    place = parts.places.place(plan.candidate)
    if place.shut() is not None:
        raise NoneAvailable(f"{plan.name} is not well at the moment.")
    if parts.gate.waiting or not parts.gate.pace.is_open or parts.places.is_full(place.provider):
        raise Busy(f"{place.provider} is left to those who wait for an answer.")
    if plan.request.turn is not None:
        plan = replace(plan, request=replace(plan.request, turn=replace(plan.request.turn, weight=1)))
    asking = asyncio.create_task(_asked(plan, entry, parts, purpose), name=purpose)
    try:
        with parts.places.beside(place, asking.cancel):
            await asyncio.wait({asking})
    finally:
        await end([asking])
    if asking.cancelled():
        raise Busy(f"{place.provider} was wanted for somebody who waits for an answer.")
    return asking.result()


async def _asked(plan: Plan, entry: Entry, parts: Parts, purpose: Purpose) -> Said:
    model, began = plan.candidate.model, parts.clock.monotonic()
    bill = Bill(entry, model, plan.request, parts.ledger, parts.clock, purpose) if model.is_paid else None
    if bill is not None:
        await bill.reserve()
    outcome, was_refused = "cancelled", False
    try:
        chunks = _seen(plan.engine.chat(bill.request if bill else plan.request, model), bill)
        if bill is not None:
            bill.asked()
        builder = await _heard(plan, chunks, parts.most_answer_bytes)
        outcome = "done"
    except OrchestratorError as error:
        outcome, was_refused = error.kind, is_free(error)
        raise
    except Exception:
        outcome = OrchestratorError.kind
        raise
    finally:
        cost = bill.settle(outcome, is_free=was_refused) if bill is not None else 0
    reply = builder.reply()
    if reply is None:
        raise EngineError(f"{plan.name} ended its answer before its end.")
    return Said(plan.candidate.stands_for.name, reply, parts.clock.monotonic() - began, cost)


async def _heard(plan: Plan, chunks: Chunks, most_bytes: int) -> ReplyBuilder:
    """The answer, made what was asked for."""
    builder = ReplyBuilder(plan.name, most_bytes)
    for step in plan.steps:
        chunks = step(chunks)
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                builder.add(chunk)
    except NotTaken as error:  # nobody else is asked, so it is what the caller would have had
        if not error.kept:
            raise
        builder = ReplyBuilder(plan.name, most_bytes)
        for chunk in await fitted(error.kept, plan.steps):
            builder.add(chunk)
    return builder


async def _seen(chunks: Chunks, bill: Bill | None) -> AsyncGenerator[Chunk, None]:
    """What the place says, which is what is charged, whatever is made of it."""
    async with aclosing(chunks):
        async for chunk in chunks:
            if bill is not None:
                bill.saw(chunk)
            yield chunk
