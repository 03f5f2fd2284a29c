"""The story of a request: rules, route, cache, a call shared with whoever asks the same, record."""

from __future__ import annotations

from functools import partial

from cache.keys import keys_for
from orchestrator.afterwards.beginning import after
from orchestrator.answers import MOST_ROUTE, Answer, Stopwatch, charged_anyhow, failures_recorded
from orchestrator.calls import Call, Held, cut_off, expect, followed, join, led
from orchestrator.choosing.auto import auto_for, choose_among
from orchestrator.choosing.ruled import Ruled, ruled
from orchestrator.choosing.tried import on_trial
from orchestrator.choosing.ways import Way, way_of
from orchestrator.choosing.written import note
from orchestrator.core.errors import OnlyIfCached, TooMany
from orchestrator.core.types import Caller, ChatRequest
from orchestrator.kept import Sought, find, from_cache
from orchestrator.ledger.estimate import expected
from orchestrator.ledger.writer import Entry
from orchestrator.parts import Parts
from orchestrator.pictures import named
from orchestrator.routes import plans_for


async def answer(request: ChatRequest, caller: Caller, parts: Parts) -> Answer:
    """Begin to answer `request`, from the cache when it is there.

    Raises OrchestratorError when it cannot be begun; what goes wrong later is raised from the chunks.
    """
    entry = parts.ledger.begin(request, caller)
    if waited_s := parts.gate.waited_s():
        entry.started -= waited_s
        entry.laps["queue"] = waited_s
    stopwatch = Stopwatch(parts.clock, entry.laps)
    with failures_recorded(entry, parts):
        async with charged_anyhow(request, entry, parts):
            said = await ruled(request, caller, parts)
            way = await _way(said, entry, parts)
        if parts.outcomes is not None and (way.is_open or way.route.is_chosen):
            parts.outcomes.heard(request, caller)  # a rule that reads no cache asks nothing again
        stopwatch.lap("route")
        entry.charged = way.route.model.name
        standing = await parts.limiter.charge(caller, entry.charged, request.address)
        stopwatch.lap("limits")
        if named(request):  # not before it is charged
            said.request = await parts.pictures.fetched(said.request, caller.tenant_id)
            if not way.is_open:
                way.plans = plans_for(way.route, said.request, caller, parts, said.verdict.context)
            stopwatch.lap("pictures")

        sought = _sought(way, said, caller)
        entry.cache_key = sought.keys[0].hash
        since = parts.cache.generation()
        found = await find(sought, entry, parts)
        stopwatch.lap("cache")
        if found:
            answer = from_cache(found, entry, parts, stopwatch.laps)
            answer.standing = standing
            return answer
        if said.request.control.only_if_cached:
            raise OnlyIfCached

        if way.is_open:
            await _choose(way, said, entry, parts)
            stopwatch.lap("choice")
        note(said, entry, parts, is_asked=True)
        hold = await parts.limiter.hold(caller, entry.charged, request.address, partial(expected, way.plans[0].request))
        try:
            ttl_s = said.verdict.cache.ttl_s or parts.cache_ttl_s
            told = partial(after, said, entry, parts)
            call = Call(way.route, way.plans, since, entry, parts, sought, hold, ttl_s, told)
            chunks, leads = await join(call, parts)
        except BaseException:
            hold.release()
            raise
        begun = Answer(entry, chunks, timing=stopwatch.laps, standing=standing)
        heard = led(chunks, entry, parts) if leads else followed(chunks, call, begun, parts)
        cut = partial(cut_off, entry, parts)
        begun.chunks = parts.lifelines.tied(Held(heard, hold, entry), caller, said.request, entry.charged, cut)
        return begun


async def _way(said: Ruled, entry: Entry, parts: Parts) -> Way:
    """The places that may answer, and what each would be asked; the record says who is expected to, and why."""
    entry.request, entry.same_until = said.request, said.same_until
    note(said, entry, parts)
    way = await way_of(said, entry.caller, parts)
    note(said, entry, parts)  # by whom it was named is known only now
    entry.route = way.route.reason[:MOST_ROUTE]
    if not way.is_open:  # else nobody is expected to answer before the router has chosen
        expect(entry, way.plans[0])
    return way


def _sought(way: Way, said: Ruled, caller: Caller) -> Sought:
    """What is looked for in the cache: the answer of who is expected to give it, or whatever was chosen before."""
    if way.is_open:
        model = auto_for(said, caller)
        return Sought(said.request, keys_for(said.request, caller, model), model)
    plan = way.plans[0]
    places = tuple(one.candidate for one in way.plans)
    return Sought(plan.question or plan.request, plan.keys, plan.candidate.stands_for, places)


async def _choose(way: Way, said: Ruled, entry: Entry, parts: Parts) -> None:
    """Let the router choose, now that somebody has to be asked; the record says whom, and why."""
    said.choice = await choose_among(said, way.route.reason, entry.caller, parts)
    way.route = said.choice.route
    plans = plans_for(way.route, said.request, entry.caller, parts, said.verdict.context)
    way.plans = on_trial(plans, said, entry, parts)
    entry.route = way.route.reason[:MOST_ROUTE]
    await _charge_choice(way, said, entry, parts)
    expect(entry, way.plans[0])


async def _charge_choice(way: Way, said: Ruled, entry: Entry, parts: Parts) -> None:
    """Charge the request to who is asked first. A model whose limit is reached is passed over while another is left."""
    before = entry.charged
    while True:
        entry.charged = way.plans[0].candidate.stands_for.name
        try:
            await parts.limiter.charge(entry.caller, entry.charged, entry.request.address, besides=before)
            return
        except TooMany:
            left = [plan for plan in way.plans if plan.candidate.stands_for.name != entry.charged]
            if not left:
                raise
            said.notes.append(f"{entry.charged}: a limit on it is reached.")
            way.plans = left
