"""What is told of rules."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from orchestrator.api.answers.registry import FaultTold, VersionLine
from orchestrator.api.answers.shape import Count, Moment, Shape

PLAIN = "As they are sent, without what goes without saying."


class RulesKept(Shape):
    """All rules, in the order they are asked, and how the router chooses."""

    rules: list[dict[str, Any]] = Field(description=PLAIN)
    auto: dict[str, Any]


class RulesOfVersion(RulesKept):
    """The same, as of a version."""

    version: Count = Field(description="0: none was published.")


class TouchedTold(Shape):
    """Who changed a rule last."""

    by: str
    at: Moment


class RulesDrafted(Shape):
    """The draft of the rules."""

    draft: RulesOfVersion = Field(description="Its version is the one that it was made from.")
    edition: Count = Field(description="Another number after each change: its ETag.")
    touched: dict[str, TouchedTold] = Field(description="Who changed which rule last, by its name.")


class RulesChanged(RulesDrafted):
    """The draft after a change."""

    warnings: list[FaultTold] = Field(
        description="What can be so, and is hardly meant: of the rule that was added or changed, or of all of them."
    )


class RulesTold(RulesDrafted):
    """What requests go by, and the draft."""

    live: RulesOfVersion
    changes: list[str] = Field(description="What publishing the draft would change; empty where it has faults.")
    faults: list[FaultTold] = Field(description="Why the draft cannot be published.")


class RulesPublished(Shape):
    """What publishing did."""

    version: Count = Field(description="The newest one, by this or before.")
    changes: list[str] = Field(description="Empty: nothing changed, and there is no new version.")
    warnings: list[FaultTold] = Field(description="What can be so, and is hardly meant.")
    lost: list[str] = Field(description="What the draft had that was not published, where it is gone by this.")


class RulesVersion(VersionLine):
    """A version, and the rules as they were then."""

    document: RulesKept


class MoveTold(Shape):
    """Requests that another model would have had."""

    instead_of: str = Field(description="Who was asked; empty: nobody.")
    to: str = Field(description="Empty: nobody, it would have been refused.")
    requests: Count
    cost_before: int = Field(description="Millionths of a US dollar, of those where both are known.")
    cost_after: int


class SampleTold(Shape):
    """One of them."""

    request_id: str
    at: Moment
    tenant: str
    model: str = Field(description="As the caller wrote it.")
    instead_of: str
    to: str
    rules: list[str] = Field(description="Those that would have caught it.")
    cost_before: int | None = Field(description="Null: nobody knows.")
    cost_after: int | None


class DryRunTold(Shape):
    """What rules would have done. Costs are in millionths of a US dollar, where both are known."""

    decisions: Count = Field(description="That were looked at.")
    requests: Count = Field(description="That these stand for: of those that no rule caught only a sample is kept.")
    unread: Count = Field(description="That could not be.")
    since: Moment | None = Field(description="When the oldest of them came.")
    is_cut: bool = Field(description="The time was over before all of them were looked at.")
    caught: dict[str, Count] = Field(description="How many each rule catches.")
    did: dict[str, Count] = Field(description="How many it has a say in.")
    failed: dict[str, Count] = Field(description="How often its expression could not be answered.")
    unheard: dict[str, Count] = Field(description="How often it is about a text that was not kept.")
    caught_any: Count
    uncaught: Count
    moved: Count = Field(description="How many another model would have had, or nobody.")
    refused: Count
    uncertain: Count = Field(description="How many the router would have chosen for by another aim.")
    moves: list[MoveTold] = Field(description="The most first.")
    samples: list[SampleTold] = Field(description="Some of those that moved, newest first.")
    cost_before: int
    cost_after: int
    saved_micros: int
    unpriced: Count = Field(description="How many cost nobody knows what, before or after.")
