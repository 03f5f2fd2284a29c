"""The tiers as people read them: order, names, how deep each lies."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.models import RequestRecord

Tier = RequestRecord.Tier

# Near to far. What comes after the tiers of the cache was answered by a model, or shared a call of one.
STACK = (Tier.MEMORY, Tier.REDIS, Tier.SQLITE, Tier.SEMANTIC, Tier.COLLAPSED, Tier.MISS, Tier.BYPASS)
ALWAYS_SHOWN = frozenset({Tier.MEMORY, Tier.REDIS, Tier.SQLITE, Tier.MISS})
FAR_FROM_CACHE = frozenset({Tier.COLLAPSED, Tier.MISS, Tier.BYPASS})
NAMES = {
    Tier.MEMORY: "Memory",
    Tier.REDIS: "Redis",
    Tier.SQLITE: "SQLite",
    Tier.SEMANTIC: "By meaning",
    Tier.COLLAPSED: "Shared a call",
    Tier.MISS: "Miss",
    Tier.BYPASS: "Not asked",
    Tier.NONE: "None",
}
STEPS = 5  # memory, Redis, SQLite, by meaning, a model
_DEPTH = {
    Tier.MEMORY: 0,
    Tier.REDIS: 1,
    Tier.SQLITE: 2,
    Tier.SEMANTIC: 3,
    Tier.COLLAPSED: 4,
    Tier.MISS: 4,
    Tier.BYPASS: 4,
}
_ASKED = frozenset({0, 1, 2})  # by meaning (3) is not built yet, so nobody asks it


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a depth mark: where it stands, and whether it was asked or answered."""

    x: int
    state: str  # asked, unasked, answered


def depth(tier: str) -> list[Step]:
    """The five steps of the depth mark of `tier`."""
    answered = _DEPTH.get(Tier(tier), STEPS)
    is_bypass = tier == Tier.BYPASS
    steps = []
    for position in range(STEPS):
        if position == answered:
            state = "answered"
        elif position < answered < STEPS and position in _ASKED and not is_bypass:
            state = "asked"
        else:
            state = "unasked"
        steps.append(Step(position * 7, state))
    return steps
