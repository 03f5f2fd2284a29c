"""Which model answers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.core.errors import ModelNotFound
from orchestrator.core.types import Model

# Stands in lists where callers look for models; it is never asked itself.
AUTO = Model(name="auto:latest", digest=hashlib.sha256(b"auto").hexdigest(), engine="router", family="auto")


@dataclass(frozen=True, slots=True)
class Route:
    """The choice, and the reason a caller and the record are told."""

    model: Model
    reason: str


def is_auto(name: str) -> bool:
    """Whether a caller who asks for `name` leaves the choice to us."""
    return name.lower().removesuffix(":latest") == "auto"


def choose_auto(local: Iterable[Model], cloud: Iterable[Model], able: str = "completion") -> Route:
    """Choose for a caller who leaves it to us: the first local model that is able to, else the first cloud model.

    Raises ModelNotFound when nothing can.
    """
    for models, reason in ((local, "auto: local first"), (cloud, "auto: nothing local")):
        for model in models:
            if able in model.capabilities:
                return Route(model, reason)
    raise ModelNotFound("There is no model to choose from: install one, or set a provider's key.")
