"""What stands on a provider's page: how it is asked and where that is set, its models, the last looks and failures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from django.conf import settings
from django.db import close_old_connections

from dashboard import formats
from dashboard.providers.rows import Providers, Row
from orchestrator.core.permissions import Reach
from orchestrator.core.presets import KINDS
from orchestrator.models import Attempt
from orchestrator.registry.entries import DeploymentEntry, ModelEntry, ProviderEntry, Registry
from orchestrator.registry.models import ProviderCheck
from orchestrator.registry.settled import ITS_ADDRESS, ITS_KEY

MOST_LOOKS = 10
MOST_FAILURES = 8
REGISTRY = "the registry"
GUESSED = "nobody said so, and it is on the internet"


@dataclass(frozen=True, slots=True)
class Setting:
    """How a provider is asked: a value, and where an operator changes it."""

    name: str
    value: str
    source: str
    is_code: bool = False

    @property
    def is_variable(self) -> bool:
        """Whether it is from the environment."""
        return self.source.isupper()


@dataclass(frozen=True, slots=True)
class Place:
    """A model that runs here, under its own name or one of ours."""

    model: ModelEntry
    deployment: DeploymentEntry
    others: int  # places of the same model elsewhere
    stands_in_for: tuple[str, ...]  # models that fall back on it


def settings_of(row: Row) -> list[Setting]:
    """Everything that says how it is asked."""
    entry = row.entry
    if entry is None:
        return []
    kind = KINDS.get(entry.kind)
    limit = "no limit" if entry.most_calls is None else formats.count(entry.most_calls)
    return [
        Setting("Kind", kind.title if kind else entry.kind, REGISTRY),
        Setting("Address", entry.address, _address_from(entry), is_code=True),
        Setting("Key", "set" if entry.key else "none", _from(entry.key_from) if entry.key else "it needs none"),
        *_patience(entry),
        Setting("Calls at once, each process", limit, REGISTRY),
        Setting(
            "Charges for calls", "yes" if entry.is_paid else "no", GUESSED if entry.is_paid_by_default else REGISTRY
        ),
        Setting("Its list is shown", "yes" if entry.lists_models else "no", REGISTRY),
        *(
            [Setting("Sent along", json.dumps(dict(entry.extra_body)), REGISTRY, is_code=True)]
            if entry.extra_body
            else []
        ),
    ]


def _from(source: str) -> str:
    return REGISTRY if source in {ITS_ADDRESS, ITS_KEY} else source


def _address_from(entry: ProviderEntry) -> str:
    kind = KINDS.get(entry.kind)
    is_usual = kind is not None and entry.address == kind.address and entry.address_from == ITS_ADDRESS
    return "its usual one" if is_usual else _from(entry.address_from)


def _patience(entry: ProviderEntry) -> Iterator[Setting]:
    for name, own, usual, variable in (
        ("To connect", entry.connect_timeout_s, settings.CONNECT_TIMEOUT_S, "ORCHESTRATOR_CONNECT_TIMEOUT_S"),
        (
            "To the first token",
            entry.first_token_timeout_s,
            settings.FIRST_TOKEN_TIMEOUT_S,
            "ORCHESTRATOR_FIRST_TOKEN_TIMEOUT_S",
        ),
        ("Between two tokens", entry.token_timeout_s, settings.TOKEN_TIMEOUT_S, "ORCHESTRATOR_TOKEN_TIMEOUT_S"),
        ("For a whole answer", entry.answer_timeout_s, settings.ANSWER_TIMEOUT_S, "ORCHESTRATOR_ANSWER_TIMEOUT_S"),
    ):
        yield Setting(name, _seconds(own or usual), REGISTRY if own else variable)
    patience_s = entry.first_token_timeout_s or settings.FIRST_TOKEN_TIMEOUT_S
    yield Setting(
        "Slow after",
        _seconds(entry.slow_after_s or patience_s / 2),
        REGISTRY if entry.slow_after_s else "half the time to the first token",
    )


def places_at(name: str, registry: Registry) -> list[Place]:
    """The registered models that run at a provider."""
    return [
        Place(
            model=model,
            deployment=deployment,
            others=len(model.deployments) - 1,
            stands_in_for=tuple(other.name for other in registry.models if model.name in other.fallbacks),
        )
        for model in registry.models
        for deployment in model.deployments
        if deployment.provider == name
    ]


def newest_looks(name: str) -> list[ProviderCheck]:
    """What came of the last looks, the newest first."""
    close_old_connections()
    return list(ProviderCheck.objects.filter(provider=name).order_by("-id")[:MOST_LOOKS])


def newest_failures(name: str, found: Providers, reach: Reach) -> list[Attempt]:
    """The last calls it did not answer within the period, the newest first."""
    close_old_connections()
    failures = Attempt.objects.of(reach).filter(at__gte=found.at - found.period.length, provider=name)
    return list(failures.order_by("-at")[:MOST_FAILURES])


def _seconds(number: float) -> str:
    return f"{number:g}{formats.NARROW}s"
