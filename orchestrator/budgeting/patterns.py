"""Whether a pattern of models can be about any call that is charged for."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase

from orchestrator.core.limits import is_named
from orchestrator.core.presets import BY_NAME
from orchestrator.registry.entries import LOCAL, ModelEntry
from orchestrator.registry.models import Provider
from orchestrator.registry.reading import read_without_keys

MOST_PLACES = 5  # that are named


def counts_nothing(pattern: str, provider: str = "") -> str:
    """Why a budget about those models, at that provider or any, would never count anything; empty where it may.

    What is charged for is called as its provider calls it, `openai/gpt-4o`, also where it was asked for by the name
    of a registered model.
    """
    if not pattern:
        return ""
    providers = [provider] if provider else [*BY_NAME, *Provider.objects.values_list("name", flat=True)]
    if _may_begin(pattern, providers):
        return ""
    models = read_without_keys().models
    registered = [one for one in models if any(is_named(name, pattern) for name in (one.name, *one.aliases))]
    if places := _places(registered):
        return f"budgets go by the places that are asked; {pattern!r} is registered with {places}, so name these"
    example = f"{provider or 'openai'}/gpt-4o"
    return f"what is charged for is called as {example}, so {pattern!r} would count nothing; openai/* is a pattern"


def _may_begin(pattern: str, providers: Iterable[str]) -> bool:
    """Whether the pattern can match a name that begins with one of these providers: a part of it has to match that."""
    wanted = pattern.lower()
    return any(
        fnmatchcase(f"{provider.lower()}/", wanted[:end]) for provider in providers for end in range(1, len(wanted) + 1)
    )


def _places(models: Collection[ModelEntry]) -> str:
    """The places of these that may be charged for, as they are called."""
    names = sorted(
        {f"{one.provider}/{one.remote_name}" for entry in models for one in entry.deployments if one.provider != LOCAL}
    )
    more = f" and {len(names) - MOST_PLACES:,} more" if len(names) > MOST_PLACES else ""
    return ", ".join(names[:MOST_PLACES]) + more
