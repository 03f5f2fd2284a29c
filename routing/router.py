"""Which model answers."""

from dataclasses import dataclass

from orchestrator.core.errors import ModelNotFound
from orchestrator.core.types import Model

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Route:
    """The choice, and the reason a caller and the record are told."""

    model: Model
    reason: str


def choose_auto(models: list[Model]) -> Route:
    """Choose for a caller who leaves it to us: a local model when there is one, else a cloud model.

    models  in order of preference within their kind.
    Raises ModelNotFound when nothing can chat.
    """
    able = [model for model in models if "completion" in model.capabilities]
    for model in able:
        if not model.is_paid:
            return Route(model, "auto: local first")
    if able:
        return Route(able[0], "auto: nothing local")
    raise ModelNotFound("There is no model to choose from: install one, or set a provider's key.")
