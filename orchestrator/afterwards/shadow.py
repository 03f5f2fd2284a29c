"""The same question to another model, to see what it would have said, how soon, and for how much."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.afterwards.asking import Said, ask
from orchestrator.afterwards.judge import judged
from orchestrator.choosing.ruled import Ruled
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.types import Reply
from orchestrator.ledger.writer import Entry
from orchestrator.models import ShadowRun
from orchestrator.parts import Parts
from routing.rules.document import JudgePart
from routing.rules.verdict import Shadow

DEADLINE_S = 5.0


@dataclass(frozen=True, slots=True)
class Answered:
    """What a caller was answered, and on what question."""

    said: Ruled
    reply: Reply
    entry: Entry
    took_s: float


async def shadow(answered: Answered, wanted: Shadow, judge: JudgePart | None, parts: Parts) -> None:
    """Ask the other model, and keep what came of it: texts are compared, and not kept."""
    entry = answered.entry
    row = ShadowRun(
        request_id=entry.request.request_id,
        tenant_id=entry.caller.tenant_id,
        at=datetime.fromtimestamp(parts.clock.now(), UTC),
        rule=wanted.rule,
        model=entry.model,
        shadow=wanted.model,
        cost_microusd=entry.cost_microusd if entry.is_paid else 0,
        took_us=round(answered.took_s * 1e6),
    )
    try:
        said = await ask(wanted.model, answered.said, entry, parts, "shadow")
    except OrchestratorError as error:
        row.failed = error.kind
    else:
        row.shadow_cost_microusd = said.cost_microusd
        row.shadow_took_us = round(said.took_s * 1e6)
        row.likeness = await likeness(answered.reply.text, said.reply.text, parts)
        if judge is not None:
            row.good, row.shadow_good = await _both(answered, said, judge, parts)
    await parts.managing.run(DEADLINE_S, row.save)


async def _both(answered: Answered, said: Said, judge: JudgePart, parts: Parts) -> tuple[float | None, float | None]:
    """How good either is; None where the judge cannot say."""
    entry, question = answered.entry, answered.said
    return (
        await judged(question, answered.reply.text, judge.model, entry, parts),
        await judged(question, said.reply.text, judge.model, entry, parts),
    )


async def likeness(one: str, other: str, parts: Parts) -> float | None:
    """How much two texts mean the same: the cosine of their vectors; None where there are none."""
    if one.strip() == other.strip():
        return 1.0
    found = [(await parts.router.meanings.of(text, parts.local)).vector for text in (one, other)]
    if found[0] is None or found[1] is None:
        return None
    left, right = array("f", found[0]), array("f", found[1])
    sizes = math.sqrt(math.fsum(x * x for x in left)) * math.sqrt(math.fsum(x * x for x in right))
    return math.fsum(x * y for x, y in zip(left, right, strict=True)) / sizes if sizes else None
