"""What is said of a question: a kind, a language, a size, and six numbers that show how they came about."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

Task = Literal[
    "chat",
    "writing",
    "summary",
    "translation",
    "extraction",
    "classification",
    "code",
    "maths",
    "reasoning",
    "knowledge",
]
DimensionName = Literal["reasoning", "knowledge", "constraints", "creativity", "context", "code_maths"]
TASKS: tuple[Task, ...] = get_args(Task)
DIMENSIONS: tuple[DimensionName, ...] = get_args(DimensionName)

# What each dimension can do to the whole by itself: 1 would mean that it alone makes a question as hard as can be.
SHARES: dict[DimensionName, float] = {
    "reasoning": 0.60,
    "knowledge": 0.35,
    "constraints": 0.35,
    "creativity": 0.20,
    "context": 0.30,
    "code_maths": 0.50,
}


@dataclass(frozen=True, slots=True)
class Term:
    """One reason for a number: what was seen, and how much it adds (or takes)."""

    name: str
    weight: float
    because: str


@dataclass(frozen=True, slots=True)
class Dimension:
    """One of the six, 0 to 1: the sum of its terms, held between the two."""

    name: DimensionName
    score: float
    terms: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Analysis:
    """A question, looked at.

    language    as ISO 639-1 writes it; "und" where it cannot be told.
    tokens      an estimate, with the system prompt.
    dimensions  all six, in the order of `DIMENSIONS`.
    complexity  0 to 1: `combined` of the six.
    characters  how long the text is; `read` of them were looked at: the head and the tail of a long one.
    notes       sentences about the look itself, such as that a part of the text was passed over.
    """

    task: Task
    task_because: str
    language: str
    tokens: int
    dimensions: tuple[Dimension, ...]
    complexity: float
    characters: int
    read: int
    notes: tuple[str, ...] = ()

    def score(self, name: DimensionName) -> float:
        """One of the six."""
        return self.dimensions[DIMENSIONS.index(name)].score


def score_of(terms: tuple[Term, ...]) -> float:
    """The number that `terms` make together."""
    return min(1.0, max(0.0, math.fsum(term.weight for term in terms)))


def combined(dimensions: tuple[Dimension, ...]) -> float:
    """How hard it is on the whole: 1 − Π (1 − share · score), so one that is high suffices, and each adds something."""
    left = 1.0
    for one in dimensions:
        left *= 1.0 - SHARES[one.name] * one.score
    return 1.0 - left
