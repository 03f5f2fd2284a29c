"""What is told of providers' accounts. Amounts are decimal text: no digit of them is lost."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.api.answers.shape import Count, Moment, Shape

Day = Annotated[str, Field(json_schema_extra={"format": "date"})]
Amount = Annotated[str, Field(pattern=r"^-?\d+(\.\d+)?$")]
Figures = Literal[
    "cost_usd", "requests", "prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens", "model", "day"
]


class InvoiceTold(Shape):
    """An account that is kept."""

    number: Count
    provider: str
    form: str
    title: str = Field(description="The form in words.")
    name: str = Field(description="Of the file.")
    first_day: Day
    last_day: Day
    lines: Count
    sha256: str
    at: Moment
    by: str


class InvoiceImported(InvoiceTold):
    """One that was read in just now."""

    replaced: list[str] = Field(description="What older ones gave up for it, in words.")


class InvoicesTold(Shape):
    """Accounts, newest first."""

    invoices: list[InvoiceTold]
    next: Count | None


class FigureTold(Shape):
    """A figure on both sides."""

    figure: Figures
    theirs: Amount
    ours: Amount
    difference: Amount = Field(description="What they have more.")
    may_be_below: Amount = Field(description="By how much theirs may be below ours and still be the same.")
    may_be_above: Amount
    differs: bool


class DifferenceTold(Shape):
    """A day and a model."""

    day: Day
    model: str = Field(description="What its names have in common; empty: all models.")
    kind: Literal["only there", "only here", "differs"]
    is_midnight: bool = Field(description="Calls begun just before midnight count on the next day there; all fits.")
    figures: list[FigureTold]
    named_there: list[str]
    named_here: list[str]
    lines: Count = Field(description="Of the account.")
    calls: Count = Field(description="Charged here.")
    estimated: Count = Field(description="Of them: not all tokens were counted by who had them.")
    unpriced: Count = Field(description="Of them: nobody knows what they cost.")


class CallTold(Shape):
    """A call that both sides could know."""

    call: str = Field(description="The provider's name of it.")
    kind: Literal["only there", "only here", "twice there", "twice here", "differs"]
    day: Day
    day_here: Day | None
    lines: list[Count] = Field(description="Where it is in the file.")
    request_id: str
    model_there: str
    model_here: str
    differing: list[Figures]
    figures: list[FigureTold]


class Learned(Shape):
    """Names that calls show to be of one model."""

    there: str
    here: str


class DifferencesTold(Shape):
    """An account beside what was charged."""

    number: Count
    provider: str
    first_day: Day
    last_day: Day
    is_same: bool = Field(description="Nothing differs beyond what is tolerated and what went over midnight.")
    compared: list[Figures] = Field(description="What the account tells of these days.")
    by: Literal["day", "model"] = Field(description="`day`: it names no models.")
    totals: list[FigureTold] = Field(description="Only what is compared for every day and model.")
    lines: Count
    kept_from: Day | None = Field(description="Charges of days before are kept no longer. Null: those of all are.")
    calls_here: Count
    estimated: Count
    unpriced: Count
    learned: list[Learned]
    differences: list[DifferenceTold] = Field(description="The first 500.")
    differences_in_all: Count
    calls: list[CallTold] | None = Field(description="The first 500. Null: the account names no calls.")
    calls_in_all: Count
