"""Which answers are followed by something, decided by the request's own id: the same request, the same again."""

from __future__ import annotations

from hashlib import blake2b

from orchestrator.afterwards.judge import judge, shown
from orchestrator.afterwards.shadow import Answered, shadow
from orchestrator.choosing.ruled import Ruled
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.types import Reply
from orchestrator.ledger.writer import Entry
from orchestrator.parts import Parts
from orchestrator.routes import find_route
from routing.rules.document import JudgePart
from routing.rules.verdict import Shadow


def after(said: Ruled, entry: Entry, parts: Parts, reply: Reply | None) -> None:
    """Begin what follows an answer, now that it is recorded. Nobody waits for it."""
    runner, wanted = parts.afterwards, said.verdict.shadow
    if runner is None or reply is None or reply.done.reason not in {"stop", "length"} or reply.vectors:
        return
    judging = said.rules.document.auto.judge if said.rules is not None else None
    is_judged = judging is not None and said.choice is not None and is_drawn(entry, judging.share, "judge")
    if wanted is not None and not is_drawn(entry, wanted.share, "shadow"):
        wanted = None
    if wanted is not None or is_judged:
        answered = Answered(said, reply, entry, _took_s(entry), _cost(entry))
        runner.begin(lambda: _follow(answered, wanted, judging, parts, is_judged=is_judged))


async def _follow(
    answered: Answered, wanted: Shadow | None, judging: JudgePart | None, parts: Parts, *, is_judged: bool
) -> None:
    """Ask the shadow; where there is none, or it is who answered, the judge."""
    if wanted is not None and not await _has_answered(wanted.model, answered.entry, parts):
        await shadow(answered, wanted, judging, parts)
    elif is_judged and judging is not None:
        await judge(answered.said, shown(answered.reply), judging.model, answered.entry, parts)


async def _has_answered(name: str, entry: Entry, parts: Parts) -> bool:
    """Whether a place of the model that is called so gave the answer."""
    try:
        route = await find_route(name, parts)
    except OrchestratorError:
        return False
    places = () if route is None else (one for one in route.candidates if one.stands_for.name == route.model.name)
    return any(one.model.name == entry.model for one in places)


def _took_s(entry: Entry) -> float:
    """How long the answer took from when whoever gave it was asked, which is what is told of a shadow."""
    if entry.first_s is None or entry.engine_first_s is None:
        return entry.total_s
    return max(entry.total_s - entry.first_s + entry.engine_first_s, 0.0)


def _cost(entry: Entry) -> int | None:
    """What the answer cost, in millionths of a dollar, without those that were asked and did not give it."""
    charge = entry.answer_charge
    return 0 if charge is None else charge["cost_microusd"]


def is_drawn(entry: Entry, share: float, purpose: str) -> bool:
    """Whether it is one of the share."""
    drawn = blake2b(entry.request.request_id.encode(), digest_size=8, person=purpose.encode()[:16]).digest()
    return int.from_bytes(drawn) < share * 2**64
