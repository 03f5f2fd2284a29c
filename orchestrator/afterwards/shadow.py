"""The same question to another model, to see what it would have said, how soon, and for how much."""

from __future__ import annotations

import json
import math
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.afterwards.asking import Said, ask
from orchestrator.afterwards.judge import judged, shown
from orchestrator.choosing.ruled import Ruled
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.types import Reply, ToolCall
from orchestrator.ledger.writer import Entry
from orchestrator.models import ShadowRun
from orchestrator.parts import Parts
from routing.rules.document import JudgePart
from routing.rules.verdict import Shadow

DEADLINE_S = 5.0


@dataclass(frozen=True, slots=True)
class Answered:
    """What a caller was answered, and on what question.

    took_s         since whoever answered was asked.
    cost_microusd  of their answer alone; None: unknown.
    """

    said: Ruled
    reply: Reply
    entry: Entry
    took_s: float
    cost_microusd: int | None


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
        cost_microusd=answered.cost_microusd,
        took_us=round(answered.took_s * 1e6),
    )
    try:
        said = await ask(wanted.model, answered.said, entry, parts, "shadow")
    except OrchestratorError as error:
        row.failed = error.kind
    else:
        row.shadow_cost_microusd = said.cost_microusd
        row.shadow_took_us = round(said.took_s * 1e6)
        row.likeness = await likeness(answered.reply, said.reply, parts)
        if judge is not None:
            row.good, row.shadow_good = await _both(answered, said, judge, parts)
    await parts.managing.run(DEADLINE_S, row.save)


async def _both(answered: Answered, said: Said, judge: JudgePart, parts: Parts) -> tuple[float | None, float | None]:
    """How good either is; None where the judge cannot say."""
    entry, question = answered.entry, answered.said
    return (
        await judged(question, shown(answered.reply), judge.model, entry, parts),
        await judged(question, shown(said.reply), judge.model, entry, parts),
    )


async def likeness(one: Reply, other: Reply, parts: Parts) -> float | None:
    """How much two answers mean the same, at most 1; None where that cannot be told.

    Of calls the share that both make, with the same arguments, whatever is said beside them; else the cosine of the
    texts' vectors.
    """
    if one.tool_calls or other.tool_calls:
        return _calls_alike(one.tool_calls, other.tool_calls)
    if one.text.strip() == other.text.strip():
        return 1.0
    found = [(await parts.router.meanings.of(text, parts.local)).vector for text in (one.text, other.text)]
    if found[0] is None or found[1] is None:
        return None
    left, right = array("f", found[0]), array("f", found[1])
    sizes = math.sqrt(math.fsum(x * x for x in left)) * math.sqrt(math.fsum(x * x for x in right))
    return math.fsum(x * y for x, y in zip(left, right, strict=True)) / sizes if sizes else None


def _calls_alike(some: Sequence[ToolCall], others: Sequence[ToolCall]) -> float:
    left, right = _counted(some), _counted(others)
    return (left & right).total() / (left | right).total()


def _counted(calls: Sequence[ToolCall]) -> Counter[str]:
    return Counter(json.dumps([call.name, dict(call.arguments)], sort_keys=True) for call in calls)
