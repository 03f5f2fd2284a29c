"""What is told of decisions."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from orchestrator.api.answers.shape import Count, Moment, Shape

FACTS = "The request as rules saw it, without what goes without saying; never its text."
VERDICT = "What the rules said, all together, without what goes without saying."


DECISION = "Null: the choice was not the router's, or another release wrote it in a way that cannot be read."


class TermTold(Shape):
    """One reason for a number."""

    name: str
    weight: float
    because: str


class DimensionTold(Shape):
    """One of the six."""

    name: str
    score: float
    terms: list[TermTold]


class AnalysisTold(Shape):
    """A question, looked at."""

    task: str
    task_because: str
    language: str = Field(description="As ISO 639-1 writes it; `und` where it cannot be told.")
    tokens: Count
    dimensions: list[DimensionTold]
    complexity: float = Field(description="0 to 1, of the six together.")
    characters: Count
    read: Count = Field(description="How many of them were looked at: the head and the tail of a long text.")
    notes: list[str]


class BarTold(Shape):
    """A hard rule that excludes a model."""

    word: str
    why: str


class PartTold(Shape):
    """One part of a score."""

    name: str
    value: float


class CandidateTold(Shape):
    """A model that was weighed."""

    name: str
    provider: str
    is_local: bool
    tier: str
    p_good: float = Field(description="How likely its answer was good, as far as was known.")
    cost_micros: int | None = Field(description="Expected, in millionths of a US dollar; null: nobody knew.")
    first_token_s: float | None
    health: str
    bars: list[BarTold]
    place: int | None = Field(description="0 for the one that is asked first; null: excluded.")
    score: float | None
    parts: list[PartTold]
    why: str


class CascadeTold(Shape):
    """Ask one first, and another where it is not sure."""

    first: str
    then: str
    why: str


class DecisionTold(Shape):
    """The router's choice."""

    why: str
    propensity: float = Field(description="How likely the first was to be the first.")
    is_explored: bool = Field(description="Chance put it there.")
    gain: float | None = Field(description="What the dear side was expected to add.")
    cascade: CascadeTold | None
    weighed: dict[str, Any] = Field(description="The weights, and what else it depended on.")
    candidates: list[CandidateTold]


class ReplayTold(Shape):
    """Whether the inputs of then come to the same now."""

    is_same: bool | None = Field(description="Null: it cannot be told.")
    why: str | None = Field(None, description="Why it cannot be told.")
    now: dict[str, Any] | None = Field(None, description="What they come to now, where that is something else.")
    kept: dict[str, Any] | None = Field(None, description="What the router's choice came to, where it cannot be read.")


class ReplaysTold(Shape):
    """Of rules, and of the router."""

    rules: ReplayTold
    decision: ReplayTold | None


class TriedTold(Shape):
    """A place that was asked and did not answer."""

    provider: str
    model: str
    outcome: str
    error: str
    took_us: Count


class OfRequest(Shape):
    """What became of the request."""

    asked_model: str
    model: str
    provider: str
    route: str
    tier: str
    status: int
    outcome: str
    error: str
    cost_microusd: int | None
    total_us: Count


class Weighed(Shape):
    """What was known, and what followed."""

    facts: dict[str, Any] = Field(description=FACTS)
    verdict: dict[str, Any] = Field(description=VERDICT)
    notes: list[str] = Field(description="What else is to be known of how it was decided.")
    decision: DecisionTold | None = Field(description=DECISION)


class TrialTold(Shape):
    """What the last look at an answer on trial came to."""

    model: str
    before: float = Field(description="How likely it was good before the look.")
    after: float = Field(description="How likely it was good once it was seen.")
    floor: float = Field(description="How likely it had to be.")
    is_taken: bool = Field(description="It was; else another was asked.")


class DecisionExplained(Weighed):
    """Why a model was asked."""

    request_id: str
    tenant: str
    at: Moment
    trial: TrialTold | None = Field(description="Null: no answer was on trial.")
    replay: ReplaysTold
    request: OfRequest | None = Field(description="Null: its record is gone, or not written yet.")
    tried: list[TriedTold]


class PlaceAsked(Shape):
    """Somebody who would be asked."""

    model: str
    provider: str


class RefusedTold(Shape):
    """Why nobody would."""

    status: int
    why: str


class WouldAsk(Weighed):
    """Who would be asked."""

    model: str | None = Field(description="The first of them; null: nobody.")
    places: list[PlaceAsked]
    route: str | None
    refused: RefusedTold | None
