"""The rules as one JSON document, in the form that people write and read, in the order they are asked.

What is wrong with one field is told here, with its place; what does not fit together, in `checking`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_RULES, MOST_CONDITIONS, MOST_VALUES, MOST_ARMS = 2000, 32, 200, 16
LONGEST_NAME, LONGEST_NOTE, LONGEST_EXPRESSION, LONGEST_VALUE = 80, 1000, 2000, 255

Op = Literal["is", "is_not", "has", "has_not", "at_least", "below", "between", "contains", "contains_not", "within"]
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_VALUE)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


class Part(BaseModel):
    """An object of the document: these fields and no other, and no value is taken for what it is not."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Hours(Part):
    """When: some days of the week, from a time of day to another, in a zone."""

    days: Annotated[list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]], Field(max_length=7)] = []
    since: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = "00:00"
    until: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$|^24:00$")] = Field(
        "24:00", description="Earlier than `since`: over midnight."
    )
    zone: Annotated[str, Field(max_length=64)] = "UTC"


class Condition(Part):
    """One thing that has to be so. `fact` is a name in `facts.FACTS`; its kind says which `op` and `value` it takes.

    name    is, is_not: a list of names, any of which counts; * stands for anything
    words   has, has_not: a list, any of which counts
    flag    is: true or false
    number  at_least, below: a number; between: [from, below]
    text    contains, contains_not: a list of words or phrases, any of which counts, in letters of either size
    time    within: hours
    """

    fact: Name
    op: Op
    value: (
        bool
        | float
        | Hours
        | Annotated[list[float], Field(min_length=2, max_length=2)]
        | Annotated[list[Name], Field(min_length=1, max_length=MOST_VALUES)]
    )


class Arm(Part):
    """One side of a split."""

    name: Annotated[str, Field(min_length=1, max_length=40)]
    use: Annotated[list[Name], Field(min_length=1, max_length=8)]
    weight: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = 1.0


class Split(Part):
    """Requests are parted by weight; `by` is what stays on one side."""

    arms: Annotated[list[Arm], Field(min_length=2, max_length=MOST_ARMS)]
    by: Literal["request", "conversation", "key", "tenant"] = "conversation"


class Canary(Part):
    """A share of the requests goes to `use`; the others go on as if this were not here."""

    use: Annotated[list[Name], Field(min_length=1, max_length=8)]
    share: Share
    by: Literal["request", "conversation", "key", "tenant"] = "conversation"


class ShadowPart(Part):
    """A share of the requests is asked of another model too, afterwards, and paid for. Nobody waits."""

    model: Name
    share: Share


class AimPart(Part):
    """Where the router's slider stands: the share of calls for the dear side, or how good answers are to be."""

    share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    quality: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None


class CachePart(Part):
    """What the cache may do. Null: as it would."""

    read: bool | None = None
    write: bool | None = None
    ttl_s: Annotated[float, Field(ge=1, le=31_536_000, allow_inf_nan=False)] | None = None


class Actions(Part):
    """What becomes of a request. The first rule that says something of a thing decides it; later ones add the rest."""

    use: Annotated[list[Name], Field(max_length=8)] = Field(
        [], description="A model, and those that are asked after it when it does not answer. `auto` is the router."
    )
    split: Split | None = None
    canary: Canary | None = None
    shadow: ShadowPart | None = None
    forbid: Annotated[str, Field(max_length=500)] = Field("", description="Why: it is told to the caller.")
    local_only: bool = Field(False, description="Nothing leaves this machine.")
    only: Annotated[list[Name], Field(max_length=MOST_VALUES)] = Field([], description="Models that may answer.")
    never: Annotated[list[Name], Field(max_length=MOST_VALUES)] = Field([], description="Models that may not.")
    most_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(None, description="Of the answer.")
    most_cost: Annotated[str, Field(pattern=r"^\d{1,6}(\.\d{1,6})?$")] | None = Field(
        None, description="US dollars a call may cost."
    )
    aim: AimPart | None = None
    cascade: bool | None = Field(None, description="Whether a local answer may be tried first, and judged.")
    context: Literal["trim", "refuse"] | None = Field(None, description="What becomes of what is too long.")
    cache: CachePart | None = None
    is_last: bool = Field(False, description="No rule after this one is asked.")


class Rule(Part):
    """When a request is like this, that becomes of it. Without a condition it is about every request."""

    name: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
    note: Annotated[str, Field(max_length=LONGEST_NOTE)] = ""
    is_on: bool = True
    when: Annotated[list[Condition], Field(max_length=MOST_CONDITIONS)] = Field([], description="All of them.")
    expression: Annotated[str, Field(max_length=LONGEST_EXPRESSION)] = Field(
        "", description="In the Common Expression Language, besides the conditions: `tokens > 500 && 'eu' in tags`."
    )
    then: Actions = Field(default_factory=lambda: Actions.model_validate({}))


class JudgePart(Part):
    """A model that says how good a share of the answers were, for money; nobody waits for it."""

    model: Name
    share: Share


class AutoPart(Part):
    """How the router chooses for `auto`, where no rule says otherwise."""

    aim: AimPart = Field(default_factory=lambda: AimPart(share=0.5))
    cascade: bool = True
    explore: Annotated[float, Field(ge=0, le=0.2, allow_inf_nan=False)] = 0.02
    dollar_weight: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] = Field(
        10.0, description="How much of P(good) a dollar is worth: 10 means that a cent is worth 0.1."
    )
    second_weight: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = 0.01
    never: Annotated[list[Name], Field(max_length=MOST_VALUES)] = Field([], description="Models it does not choose.")
    judge: JudgePart | None = None


class Document(Part):
    """All rules, in the order they are asked, and how the router chooses."""

    version: Annotated[int, Field(ge=0)] | None = Field(
        None, description="When it is another one by now, the change is refused."
    )
    rules: Annotated[list[Rule], Field(max_length=MOST_RULES)] = []
    auto: AutoPart = Field(default_factory=lambda: AutoPart.model_validate({}))


def plain(document: Document) -> dict[str, Any]:
    """As JSON, without what goes without saying."""
    return document.model_dump(mode="json", exclude_defaults=True)
