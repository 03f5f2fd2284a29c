"""What is told of how answers turned out."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orchestrator.api.answers.shape import Count, Moment, Shape

FIRST = "of all sides by name"


class FeedbackKept(Shape):
    """What was said of an answer."""

    request_id: str
    model: str = Field(description="Who gave it.")
    good: float = Field(ge=0, le=1)


class IntervalTold(Shape):
    """A figure, and between what it is with 95 % certainty; an end that may be anywhere is null."""

    value: float
    low: float | None
    high: float | None
    of: Count = Field(description="It was made of so many.")


class SideTold(Shape):
    """One side of a split."""

    arm: str
    requests: Count = Field(description="That called a model.")
    answered: IntervalTold | None = Field(description="Share of them that ended well.")
    good: IntervalTold | None = Field(description="Mean of what was said of the answers, 0 to 1.")
    cost_usd: IntervalTold | None = Field(description="Mean, where it is known.")
    took_s: IntervalTold | None = Field(description="Median.")
    differs: list[Literal["answered", "good", "cost_usd"]] = Field(
        description=f"In what it differs from the first {FIRST}."
    )


class SplitTold(Shape):
    """A split or a canary."""

    rule: str
    sides: list[SideTold]


class BesideTold(Shape):
    """A shadow beside whoever answered: means of differences, of the same questions."""

    rule: str
    model: str = Field(description="Who answered.")
    shadow: str
    runs: Count
    failed: IntervalTold | None
    likeness: IntervalTold | None = Field(description="How much both mean the same: 1 is the same.")
    cost_usd: IntervalTold | None = Field(description="What the shadow costs more.")
    took_s: IntervalTold | None = Field(description="How much longer it takes.")
    good: IntervalTold | None = Field(description="How much better a judge finds it.")


class UnreadTold(Shape):
    """Answers of a judge in which no grade could be read. Each was charged."""

    judge: str
    count: Count


class ResultsTold(Shape):
    """How splits and shadows did."""

    splits: list[SplitTold]
    shadows: list[BesideTold]
    unread_grades: list[UnreadTold] = Field(description="Of judges whose answers had no grade; most first.")


class ModelLearned(Shape):
    """A model that something was learned of."""

    model: str
    ability: float = Field(description="Where it started: 0 is a model of 8 billion parameters, 2 the best there are.")
    seen: float = Field(description="Outcomes, by how much each counts.")
    level: float = Field(description="By how much its answers are better, or worse, than was expected.")


class LearnedTold(Shape):
    """What the router goes by beyond what is known of models before they are seen."""

    version: Count = Field(description="0: nothing was learned.")
    at: Moment | None
    outcomes: Count
    waiting: Count = Field(description="What was said and is not learned yet.")
    models: list[ModelLearned]
