"""The registry as the rest of the product sees it: plain values that do not change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from orchestrator.core.prices import Stated
from orchestrator.core.types import Balance

LOCAL = "local"  # the provider that is this machine


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderEntry:
    """Where models run, and how it is asked. Everything is settled: what the registry leaves open was filled in."""

    name: str  # its models are `name/…`
    kind: str  # a key of `core.presets.KINDS`
    address: str
    key: str = field(default="", repr=False)
    address_from: str = ""  # where an operator changes it: OPENAI_BASE_URL, or words for the registry
    key_from: str = ""
    connect_timeout_s: float | None = None  # None: as the settings have it
    first_token_timeout_s: float | None = None
    token_timeout_s: float | None = None
    answer_timeout_s: float | None = None
    slow_after_s: float | None = None  # a first token later than this counts against it
    most_calls: int | None = None  # at once, from each process
    is_paid: bool = True
    is_paid_by_default: bool = False  # nobody said so: whoever is at a public address is taken to charge
    lists_models: bool = True  # its own list is shown beside what is registered
    extra_body: Mapping[str, Any] = field(default_factory=dict)  # sent along with each question
    reset_at: float = 0.0  # when an operator last said that it is well again, seconds since the epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentEntry:
    """One place where a registered model runs."""

    provider: str  # `LOCAL` for this machine
    remote_name: str  # what it is called there
    rank: int = 0  # lower ranks are asked first; among equals `ModelEntry.balance` decides
    weight: int = 1
    input_price: Decimal | None = None  # US dollars for a million tokens; None: as the provider tells, or unknown
    output_price: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """A model under a name of ours, and every place where it can be had."""

    name: str
    aliases: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    deployments: tuple[DeploymentEntry, ...] = ()  # those that are on
    is_off: bool = False  # nobody may ask for it under any of its names
    is_deployed: bool = False  # it has deployments, on or off; else it is the model that is called so anyway
    balance: Balance = "latency"
    fallbacks: tuple[str, ...] = ()  # names of other models, asked in this order when no deployment answers
    hedge_after_s: float | None = None  # ask a second place when the first has said nothing for so long
    context_length: int | None = None  # None: as the provider tells
    capabilities: frozenset[str] = frozenset()  # empty: as the provider tells

    def __post_init__(self) -> None:
        if self.deployments and not self.is_deployed:
            object.__setattr__(self, "is_deployed", True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """All that is on, as of a version, and the names of models that are switched off."""

    version: int = 0
    providers: tuple[ProviderEntry, ...] = ()
    models: tuple[ModelEntry, ...] = ()
    stated: tuple[Stated, ...] = ()  # what operators say that models charge, the later word after the earlier one
