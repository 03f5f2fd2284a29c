"""What is answered by endpoints that are nobody's but ours."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.api.answers.shape import Count, Moment, Shape

Share = Annotated[float, Field(ge=0, le=1)]
# The names that requests without a tier and without a call have among the others.
TierName = Literal["memory", "redis", "sqlite", "semantic", "collapsed", "miss", "bypass", "none"]
WithoutACall = Literal["memory", "redis", "sqlite", "semantic", "collapsed"]


class Alive(Shape):
    """It is."""

    status: Literal["ok"]


class Readiness(Shape):
    """Whether any question could be answered, and how each part is."""

    ready: bool
    parts: dict[str, Literal["ok", "slow", "down", "off"]]


class Milliseconds(Shape):
    """Percentiles; null where nothing is known."""

    p50: float | None
    p95: float | None
    p99: float | None


class TokenSums(Shape):
    """Tokens."""

    prompt: Count
    completion: Count


class Savings(Shape):
    """What answers saved that took no call, in millionths of a US dollar."""

    microusd: Count
    unknown: Count = Field(description="Answers of which nobody knows how much they saved.")
    by_tier: dict[WithoutACall, Count]


class TierFigures(Shape):
    """What one tier answered."""

    requests: Count
    total_ms: Milliseconds


class ModelSums(Shape):
    """What one model answered, from cache or freshly."""

    model: str
    requests: Count
    errors: Count
    tokens: TokenSums
    total_ms: Milliseconds


class Step(Shape):
    """One step of a chart."""

    start: Moment
    requests: Count
    by_tier: dict[TierName, Count]


class Stats(Shape):
    """What the records add up to."""

    since: Moment
    until: Moment
    requests: Count
    errors: Count = Field(description="Failed on our side or a model's.")
    refused: Count = Field(description="Answered 4xx.")
    hit_rate: Share | None = Field(description="Of what the cache was asked for; null when it was asked for nothing.")
    hit_rate_by_tier: dict[WithoutACall, Share | None]
    tokens: TokenSums
    saved: Savings
    total_ms: Milliseconds = Field(description="Until the last piece.")
    first_ms: Milliseconds = Field(description="Until the first piece, of what a model answered.")
    by_tier: dict[TierName, TierFigures]
    by_model: list[ModelSums] = Field(description="Busiest first.")
    behind_s: float = Field(description="How old the oldest request is that is not added up yet; 0: none is missing.")
    bucket_s: Count = Field(description="Seconds that each of the `buckets` is long.")
    buckets: list[Step] = Field(description="Oldest first, without gaps.")


class HeldByTier(Shape):
    """What a tier holds."""

    entries: Count
    bytes: Count


class HeldAnswers(Shape):
    """By tier; null when one cannot say."""

    tiers: dict[str, HeldByTier | None]


class PurgedAnswers(Shape):
    """What was forgotten."""

    purged: dict[str, Count] = Field(description="Answers, by tier.")
    unreached: dict[str, str] = Field(description="Tiers and machines that may still hold some, and why.")
