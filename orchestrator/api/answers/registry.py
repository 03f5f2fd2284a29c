"""What is told of the registry."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from orchestrator.api.answers.shape import Count, Moment, Shape
from orchestrator.core.documents import MOST_FAULTS

Dollars = Annotated[str, Field(pattern=r"^\d{1,6}(\.\d{1,6})?$", description="For a million tokens.")]


class KeyTold(Shape):
    """Of a key."""

    set: bool
    source: str | None = Field(alias="from", description="`registry`, or the variable it is from.")
    hint: str | None = Field(description="Its last characters, where it is long enough.")


class ProviderTold(Shape):
    """A provider as the registry has it; null: as the settings have it."""

    kind: str
    address: str = Field(description="Empty: from the environment, else the usual one of its kind.")
    key: KeyTold
    connect_timeout_s: float | None
    first_token_timeout_s: float | None
    token_timeout_s: float | None
    answer_timeout_s: float | None
    slow_after_s: float | None
    most_calls: Count | None
    is_paid: bool | None = Field(description="Null: as its kind does, and whoever is on the internet.")
    lists_models: bool
    extra_body: dict[str, Any]
    is_enabled: bool


class DeploymentTold(Shape):
    """One place where a model runs."""

    provider: str
    remote_name: str
    rank: Count
    weight: Count
    input_price: Dollars | None
    output_price: Dollars | None
    is_enabled: bool


class ModelTold(Shape):
    """A model as the registry has it."""

    aliases: list[str]
    tags: list[str]
    deployments: list[DeploymentTold] = Field(description="As they are asked.")
    balance: Literal["latency", "cost", "weight"]
    fallbacks: list[str]
    hedge_after_s: float | None
    context_length: Count | None
    capabilities: list[str]
    is_enabled: bool


class DocumentTold(Shape):
    """The whole registry, by name."""

    providers: dict[str, ProviderTold]
    models: dict[str, ModelTold]


class RegistryTold(DocumentTold):
    """The whole registry, as of a version."""

    version: Count


class ProvidersTold(Shape):
    """Every provider."""

    version: Count
    providers: dict[str, ProviderTold]
    off: dict[str, str] = Field(description="Those that are not asked, and why.")
    unpriced: dict[str, list[str]] = Field(description="Models that charge nobody knows what, of those that have any.")


class ModelsTold(Shape):
    """Every registered model."""

    version: Count
    models: dict[str, ModelTold]


class FaultTold(Shape):
    """What is wrong, and where."""

    path: str
    words: str


class ManagementError(Shape):
    """What went wrong, for whoever manages."""

    error: str = Field(min_length=1, description="Of several faults the first, and how many more there are.")
    faults: list[FaultTold] | None = Field(
        None,
        max_length=MOST_FAULTS,
        description="Of a document that cannot be so: what is wrong with it.",
    )


class Changed(Shape):
    """What a change did."""

    version: Count = Field(description="The newest one, by this change or before.")
    changes: list[str] = Field(description="What changed, a line for each field; empty when nothing did.")
    warnings: list[FaultTold] = Field(description="What can be so, and is hardly meant.")


class Checked(Shape):
    """What a document would do, or why it cannot be."""

    faults: list[FaultTold]
    warnings: list[FaultTold] = Field(description="What can be so, and is hardly meant.")
    changes: list[str]


class VersionLine(Shape):
    """A change."""

    number: Count
    at: Moment
    by: str
    reason: str
    changes: list[str]


class VersionTold(VersionLine):
    """A change, and the registry as it was afterwards."""

    document: DocumentTold


class VersionsTold(Shape):
    """Changes, newest first."""

    versions: list[VersionLine]
