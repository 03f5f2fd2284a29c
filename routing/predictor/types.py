"""What the predictor learns from, and what it has learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

Tier = Literal["small", "mid", "strong"]
Array = npt.NDArray[np.float32]
Place = npt.NDArray[np.float32]  # where a question lies: `Priors.place`

# How much one signal of each kind says, beside a person's own verdict.
SignalKind = Literal["feedback", "judge", "edit", "retry"]
WEIGHTS: Mapping[SignalKind, float] = {
    "feedback": 1.0,
    "judge": 0.7,
    "edit": 0.4,
    "retry": 0.3,
}


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """How one answer turned out.

    model       the model that answered, by the name it is known by; `ability` is where it starts from (`standing_of`).
    tenant      whose question it was; "" when nobody's.
    place       where the question lies: what P(good) was predicted from.
    good        0 to 1.
    weight      how much the signal says: `WEIGHTS` by its kind, or another.
    propensity  how likely the model was to be asked; its inverse, clipped, weighs the outcome.
    """

    model: str
    ability: float
    tenant: str
    place: Place
    good: float
    weight: float = 1.0
    propensity: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class ModelState:
    """What was learned of one model beyond its prior: residuals `good − prior`, as sums and as a memory.

    precision  of the linear correction: prior and Σ w z zᵀ. `moment` is Σ w z r, `mean` is what both make.
    places     of the newest outcomes, as `Priors.packed` has them; beside each its residual and its weight.
    told       how corrections compared with what then came: Σ w c r and Σ w c² of outcomes not yet learned from.
    tenants    Σ w and Σ w r of what the correction leaves over, by tenant; the one heard of last comes last.
    seen       Σ w of what counts for all tenants.
    """

    ability: float
    precision: Array
    moment: Array
    mean: Array
    places: npt.NDArray[np.int8]
    residuals: Array
    weights: Array
    seen: float
    told: tuple[float, float] = (0.0, 0.0)
    tenants: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """Everything that was learned, as one snapshot that never changes: `learn` makes the next.

    version  counts the batches. `priors` is the hash of the priors that it corrects.
    models   the one heard of last comes last; the first is forgotten when there are too many.
    """

    version: int = 0
    priors: str = ""
    models: Mapping[str, ModelState] = field(default_factory=dict)
