"""What is told of budgets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.api.answers.shape import Count, Moment, Shape

Dollars = Annotated[str, Field(pattern=r"^-?[0-9]+\.[0-9]{2,6}$")]
Day = Annotated[str, Field(json_schema_extra={"format": "date"})]


class StandingTold(Shape):
    """How far a budget is used, in the period that runs, by one of those that it counts apart."""

    counted: str = Field(
        description="The key's prefix, the team as tenant/name, the tenant, model or provider; empty: all."
    )
    spent_usd: Dollars = Field(description="By all machines that spend it, as far as this one has heard.")
    spent_here_usd: Dollars = Field(description="By this machine.")
    reserved_usd: Dollars = Field(description="For calls under way, on all of them.")
    free_usd: Dollars
    granted_here_usd: Dollars | None = Field(
        description="What this machine may spend without asking; null where there are no others."
    )
    share: Count = Field(description="Percent of it that is spent or reserved.")
    pace_usd: Dollars | None = Field(description="What will be spent at the end of the period, if it goes on so.")


class StatedTold(Shape):
    """Which amount a budget has on another machine, where it has another one."""

    machine: str
    amount_usd: Dollars


class BudgetTold(Shape):
    """A budget."""

    name: str
    period: Literal["day", "week", "month", "total"]
    each: Literal["key", "team", "tenant", "model", "provider", "all"]
    amount_usd: Dollars
    is_hard: bool
    shares: list[Count]
    tenant: str | None
    team: str | None
    key: str | None = Field(description="The key's prefix.")
    model: str
    provider: str
    is_off: bool
    is_given: bool = Field(description="Set by who manages every tenant; nobody else changes it.")
    stated_elsewhere: list[StatedTold] = Field(
        description="Other amounts that other machines have for it. The smallest holds."
    )
    begins: Day = Field(description="The first day of the period that runs, in UTC.")
    renewed_at: Moment | None
    standings: list[StandingTold] = Field(description="The most used first; in a list of budgets only that one.")


class BudgetsTold(Shape):
    """Budgets, by name."""

    budgets: list[BudgetTold]
    next: str | None


class AlertTold(Shape):
    """A share of a budget that was reached."""

    number: Count
    at: Moment
    budget: str
    tenant: str | None
    each: Literal["key", "team", "tenant", "model", "provider", "all"]
    counted: str
    period: Literal["day", "week", "month", "total"]
    begins: Day
    share: Count = Field(description="Percent.")
    amount_usd: Dollars = Field(description="What the budget allows by now.")
    spent_usd: Dollars = Field(description="As it was then.")
    is_hard: bool
    told_at: Moment | None = Field(description="When it was logged, and taken where alerts are sent.")
    tries: Count


class AlertsTold(Shape):
    """Alerts, newest first."""

    alerts: list[AlertTold]
    next: Count | None
