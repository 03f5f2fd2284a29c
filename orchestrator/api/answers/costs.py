"""What is told of what was spent."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.api.answers.shape import Count, Moment, Shape

Day = Annotated[str, Field(json_schema_extra={"format": "date"})]
Dollars = Annotated[str, Field(pattern=r"^-?[0-9]+\.[0-9]{6}$", description="To the millionth.")]


class CostSums(Shape):
    """What some calls came to."""

    calls: Count = Field(description="Each place that was asked and may charge.")
    unpriced: Count = Field(description="Of them: nobody knows what they cost. They are in no sum of money.")
    prompt_tokens: Count
    completion_tokens: Count
    cached_tokens: Count = Field(description="Of the question's: read from a provider's cache.")
    cache_write_tokens: Count = Field(description="Of the question's: written there.")
    cost_microusd: int = Field(description="Millionths of a US dollar.")
    cost_usd: Dollars
    saved_calls: Count = Field(description="Answers without a call; of tags and purposes it is not known, and 0.")
    saved_microusd: int
    saved_usd: Dollars


class CostGroup(CostSums):
    """The same under a name."""

    name: str
    id: str = Field(description="What it is kept under: a number for keys and tenants.")


class CostsTold(Shape):
    """Costs of some days."""

    by: Literal["day", "model", "provider", "tenant", "key", "tag", "purpose"]
    from_: Day = Field(alias="from")
    to: Day
    total: CostSums
    groups: list[CostGroup] = Field(description="Those that cost most; of days, the last.")
    has_more: bool
    since: Moment | None = Field(
        description="By tag and purpose: the groups are of single charges from then on; null: of all that was charged."
    )
