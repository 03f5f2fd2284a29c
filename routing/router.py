"""Which model answers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from orchestrator.core.errors import ModelNotFound
from orchestrator.core.types import Candidate, Model, Route
from orchestrator.modelhost.names import as_compared

# Stands in lists where callers look for models; it is never asked itself.
AUTO = Model(name="auto:latest", digest=hashlib.sha256(b"auto").hexdigest(), engine="router", family="auto")


MOST_AUTO = 3  # places that are asked in turn


def is_auto(name: str) -> bool:
    """Whether a caller who asks for `name` leaves the choice to us."""
    return as_compared(name) == "auto"


def choose_auto(local: Iterable[Model], cloud: Iterable[Model], able: str = "completion") -> Route:
    """Choose for a caller who leaves it to us: the first local model that is able to, else the first cloud model.

    Those after it are asked when it does not answer. Raises ModelNotFound when nothing can.
    """
    here, there = ([model for model in models if able in model.capabilities] for models in (local, cloud))
    able_ones = [*here, *there][:MOST_AUTO]
    if not able_ones:
        raise ModelNotFound("There is no model to choose from: install one, or set a provider's key.")
    reason = "auto: local first" if here else "auto: nothing local"
    return in_turn(able_ones, reason)


def in_turn(models: Iterable[Model], reason: str) -> Route:
    """A route to the first of `models`, and to each of the others when those before it do not answer."""
    candidates = tuple(Candidate(model=model, stands_for=model, rank=rank) for rank, model in enumerate(models))
    return Route(model=candidates[0].model, reason=reason, candidates=candidates)
