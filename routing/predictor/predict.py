"""P(good | question, model), one question at a time: priors, and what a State adds to them.

What does not depend on the question is made ready once for each State, so that ten models take less than two
milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from routing.predictor.places import Near, near_to, packed_place, unpacked
from routing.predictor.priors import Priors, along, shipped
from routing.predictor.state import NEAR_PRIOR, SHARPNESS, TENANT_PRIOR, current, slope, with_one
from routing.predictor.types import Array, ModelState, Place, State

LEAST, MOST = 0.01, 0.99


@dataclass(frozen=True, slots=True, eq=False)
class _Ready:
    """A model's corrections."""

    mean: Array
    near: Near
    left: Array
    weights: Array
    slope: float
    model: ModelState

    def correction(self, place: Place) -> float:
        """As `state.correction` has it."""
        near = self.near.of(place) ** SHARPNESS * self.weights
        linear = float(self.mean[0] + np.einsum("i,i->", self.mean[1:], place))
        return self.slope * (linear + float(np.einsum("i,i->", near, self.left) / (near.sum() + NEAR_PRIOR)))


class Predictor:
    """One State over the priors. It never changes; the next State makes another."""

    def __init__(self, state: State, priors: Priors | None = None) -> None:
        self.priors = priors or shipped()
        self.state = current(state, self.priors)
        self._centres = near_to(self.priors.centres)
        self._exams = near_to(self.priors.exams)
        self._models = {name: _ready(model) for name, model in self.state.models.items()}

    def place(self, text: str, vector: Array | None = None) -> Place:
        """Where a question lies. `vector` is its embedding, where there is one."""
        return self.priors.place(text, vector)

    def packed(self, place: Place) -> bytes:
        """The point, to be kept until it is known how the answer turned out."""
        return packed_place(place, self.priors.digest)

    def good(self, place: Place, models: Sequence[tuple[str, float]], tenant: str = "") -> list[float]:
        """P(good) of each of `models`, which are names with abilities (`standing_of`)."""
        base = self.priors.base
        heads = np.concatenate(
            [base[0] + self._centres.of(place) @ base[1:], self._exams.of(place) @ self.priors.added]
        )
        said = along(heads[None], np.array([ability for _, ability in models], np.float32))[0].tolist()
        for column, (name, _) in enumerate(models):
            if (ready := self._models.get(name)) is not None:
                said[column] += ready.correction(place) + offset(ready.model, tenant)
        return [min(MOST, max(LEAST, one)) for one in said]

    def seen(self, name: str) -> float:
        """How much was seen of a model: the sum of the weights of its outcomes."""
        model = self.state.models.get(name)
        return model.seen if model else 0.0


def offset(model: ModelState, tenant: str) -> float:
    """What `tenant`'s own outcomes add, shrunk to nothing while there are few."""
    weight, moment = model.tenants.get(tenant, (0.0, 0.0))
    return moment / (weight + TENANT_PRIOR)


def _ready(model: ModelState) -> _Ready:
    places = unpacked(model.places)
    left = model.residuals - with_one(places) @ model.mean
    return _Ready(model.mean, near_to(places), left, model.weights, slope(model), model)
