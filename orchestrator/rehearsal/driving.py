"""Asks the product every request of a day, and compares what it did with what was reckoned."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from django.db.models import Sum

from orchestrator.core.permissions import EVERYBODY
from orchestrator.core.types import Caller
from orchestrator.identity.keys import default_caller
from orchestrator.models import AnswerOutcome, Charge, RequestRecord
from orchestrator.outcomes.learning import with_places
from orchestrator.outcomes.posting import Noted, write
from orchestrator.parts import Parts
from orchestrator.pipeline import answer
from orchestrator.rehearsal.building import DayClock
from orchestrator.rehearsal.day import DayDiffers
from orchestrator.rehearsal.sold import question
from routing.day.arrivals import Day
from routing.day.questions import Questions
from routing.day.ways import LEARN_EVERY, Run
from routing.predictor.predict import Predictor
from routing.predictor.state import learn

TIERS = frozenset({"memory", "redis", "sqlite"})
LONGEST_S = 60.0  # that the ledger may take to write what it was handed


class Done(NamedTuple):
    """What the ledger says of a request."""

    model: str
    tier: str
    cost: int
    saved: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Ledgered:
    """A day as the ledger has it, and how long it took to ask."""

    done: Mapping[str, Done]
    seconds: float


async def driven(day: Day, asked: Questions, parts: Parts, clock: DayClock) -> Ledgered:
    """Ask one request after the other, and have the router learn when it was reckoned to.

    It learns by its own function from its own decisions and what was said of them, but here and not in its task: that
    one goes by the shipped priors, which have seen the questions.
    """
    caller = await parts.reads.run(LONGEST_S, default_caller)
    if caller is None:
        raise DayDiffers("nobody may ask without a key")
    edges = sorted({*range(0, len(day.at), LEARN_EVERY), day.noon})
    took, before = 0.0, 0
    for begin, end in zip(edges, [*edges[1:], len(day.at)], strict=True):
        await _written(begin, parts)
        if begin <= day.noon:
            await parts.managing.run(LONGEST_S, partial(_learn, day, asked, parts, caller, before, begin))
        began = time.perf_counter()
        for place in range(begin, end):
            clock.seconds = float(day.at[place])
            await _ask(place, day, asked, caller, parts)
        took, before = took + time.perf_counter() - began, begin
    await _written(len(day.at), parts)
    return Ledgered(await parts.reads.run(LONGEST_S, _done), took)


async def _ask(place: int, day: Day, asked: Questions, caller: Caller, parts: Parts) -> None:
    """What is another question beside one like it is so by its namespace, of which the router knows nothing."""
    request = replace(
        question(asked.texts[int(day.row[place])]),
        request_id=day.request_id(place),
        namespace=str(int(day.identity[place]) // len(asked.texts)),
    )
    begun = await answer(request, caller, parts)
    async with aclosing(begun.chunks):
        async for _ in begun.chunks:
            pass


async def _written(count: int, parts: Parts) -> None:
    async with asyncio.timeout(LONGEST_S):
        while parts.ledger.written < count:  # noqa: ASYNC110  # it tells nobody when it has written
            await asyncio.sleep(0.01)


def _learn(day: Day, asked: Questions, parts: Parts, caller: Caller, begin: int, end: int) -> None:
    """Say what the judged answers were worth that a model made, and learn from it."""
    some = {day.request_id(place): place for place in range(begin, end) if day.is_judged[place]}
    rows = RequestRecord.objects.of(EVERYBODY).filter(request_id__in=some).exclude(tier__in=TIERS)
    at = datetime.fromtimestamp(parts.clock.now(), UTC)
    column = {one.name: number for number, one in enumerate(asked.candidates)}
    said = [
        Noted(
            *(caller.tenant_id, request_id, model, "feedback"),
            good=float(asked.good[int(day.row[some[request_id]]), column[model]]),
        )
        for request_id, model in rows.values_list("request_id", "model")
    ]
    if not said or parts.router.predictor is None:
        return
    write([(at, one) for one in said])
    due = AnswerOutcome.objects.of(EVERYBODY).filter(learned_in__isnull=True)
    before = parts.router.predictor
    state = learn(before.state, [outcome for outcome, _ in with_places(list(due))], before.priors)
    due.update(learned_in=state.version)
    parts.router.predictor = Predictor(state, before.priors)


def _done() -> dict[str, Done]:
    """Of each request: who answered, from where, what its calls cost, and what it claims to have saved."""
    charges = Charge.objects.of(EVERYBODY).values_list("request_id").annotate(Sum("cost_microusd"))
    costs = dict(charges.order_by())
    rows = RequestRecord.objects.of(EVERYBODY).values_list("request_id", "model", "tier", "saved_microusd")
    return {request_id: Done(model, tier, costs.get(request_id, 0), saved) for request_id, model, tier, saved in rows}


def must_agree(found: Ledgered, run: Run, day: Day, asked: Questions) -> None:
    """Raises DayDiffers, with the first request of which the ledger says something else than was reckoned."""
    for place in range(len(day.at)):
        request_id = day.request_id(place)
        model, is_hit, cost = asked.candidates[int(run.who[place])].name, bool(run.is_hit[place]), int(run.cost[place])
        done = found.done.get(request_id)
        if done is None:
            raise DayDiffers(f"{request_id}: the ledger has no record of it")
        if (done.model, done.tier in TIERS, done.cost) != (model, is_hit, cost):
            raise DayDiffers(
                f"{request_id}: {model} {'from the cache' if is_hit else 'asked'} for {cost} millionths of a dollar was"
                f" reckoned; the ledger has {done.model} from {done.tier} for {done.cost}"
            )
