"""Chance that is no chance: the same rule and the same word come to the same number, in every process and always."""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

from routing.rules.document import Arm
from routing.rules.facts import Facts


def draw(rule: str, word: str) -> float:
    """A number from 0 to below 1, as even over words as a hash is."""
    said = blake2b(f"{len(rule)}:{rule}{word}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(said) >> 11) / 2**53


def word_of(facts: Facts, by: Literal["request", "conversation", "key", "tenant"]) -> str:
    """What stays on one side of a split. Who showed no key is told apart by conversation."""
    if by == "request":
        return f"request:{facts.request}"
    if by == "tenant":
        return f"tenant:{facts.tenant}"
    if by == "key" and facts.key:
        return f"key:{facts.tenant}/{facts.key}"
    return f"conversation:{facts.sticky}"


def arm_of(arms: list[Arm], drawn: float) -> Arm:
    """The arm that a number falls to, by weight."""
    left = drawn * sum(arm.weight for arm in arms)
    for arm in arms[:-1]:
        if left < arm.weight:
            return arm
        left -= arm.weight
    return arms[-1]
