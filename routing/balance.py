"""In which order equal places are asked: by weight, by cost, or the quicker of two.

Source of the last: power of two choices over a peak-sensitive moving average (Finagle's Peak EWMA).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from decimal import Decimal

from orchestrator.core.clock import Clock
from orchestrator.core.types import Balance, Candidate

DECAY_S = 10.0  # after so long two thirds of what was seen count no more
BUSY_AND_UNKNOWN_S = 1e6  # of a place that has not answered yet but is being asked: one question finds out
INPUT_SHARE = Decimal(3)  # tokens of a question to one of an answer, where prices are compared


class Load:
    """How quickly a place answers, and how many wait for it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._average_s = 0.0
        self._seen_at = 0.0
        self.waiting = 0

    def took(self, seconds: float) -> None:
        """It gave its first piece after `seconds`. A worse time counts at once, a better one bit by bit."""
        faded = self._faded()
        if seconds > faded:
            self._average_s = seconds
        else:
            share = self._remembered()
            self._average_s = self._average_s * share + seconds * (1 - share)
        self._seen_at = self._clock.monotonic()

    def missed(self, seconds: float) -> None:
        """Nothing came of it in so long: it would have taken that at least."""
        if seconds > self._faded():
            self.took(seconds)

    @property
    def first_s(self) -> float:
        """What it lately took, in seconds; it fades, so that a place that was slow is tried again."""
        return self._faded()

    @property
    def score_s(self) -> float:
        """What one more question would wait here: lower is better."""
        first_s = self._faded()
        if first_s < 1e-6 and self.waiting:
            return BUSY_AND_UNKNOWN_S * self.waiting
        return first_s * (self.waiting + 1)

    def _faded(self) -> float:
        return self._average_s * self._remembered()

    def _remembered(self) -> float:
        return math.exp(-(self._clock.monotonic() - self._seen_at) / DECAY_S)


def order(
    equals: Sequence[Candidate],
    balance: Balance,
    load_of: Callable[[Candidate], Load],
    rng: random.Random,
) -> list[Candidate]:
    """Places of one rank in the order they are asked."""
    if len(equals) < 2:
        return list(equals)
    match balance:
        case "weight":
            # Each has its chance by weight, and so has each of the rest. Source: Efraimidis and Spirakis 2006.
            return sorted(equals, key=lambda one: -(rng.random() ** (1 / one.weight)))
        case "cost":
            return sorted(equals, key=lambda one: (_dollars(one), load_of(one).score_s))
        case "latency":
            ranked = sorted(equals, key=lambda one: load_of(one).score_s / one.weight)
            # The best of all would be everybody's choice at once, in every process.
            two = sorted(rng.sample(range(len(ranked)), 2))
            first = ranked.pop(two[0])
            return [first, *ranked]


def _dollars(one: Candidate) -> Decimal:
    """What questions and answers of the usual lengths cost there; what nobody knows comes last."""
    if not one.model.is_paid:
        return Decimal(0)
    price = one.model.price
    return Decimal("Infinity") if price is None else price.input * INPUT_SHARE + price.output
