"""A State as bytes and back: numbers and names alone, so that nothing in them can be run."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from routing.predictor.state import MEMORY, MOST_MODELS, MOST_TENANTS
from routing.predictor.types import ModelState, State

FORM = 1


class _Model(msgspec.Struct, frozen=True, array_like=True):
    name: str
    ability: float
    width: int
    precision: bytes
    moment: bytes
    mean: bytes
    places: bytes
    residuals: bytes
    weights: bytes
    seen: float
    told: tuple[float, float]
    tenants: list[tuple[str, float, float]]


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    form: int
    version: int
    priors: str
    models: list[_Model]


def to_bytes(state: State) -> bytes:
    """`state`, in a form that `from_bytes` reads on any machine."""
    models = [
        _Model(
            name=name,
            ability=model.ability,
            width=len(model.mean),
            precision=_bytes(model.precision),
            moment=_bytes(model.moment),
            mean=_bytes(model.mean),
            places=model.places.tobytes(),
            residuals=_bytes(model.residuals),
            weights=_bytes(model.weights),
            seen=model.seen,
            told=model.told,
            tenants=[(tenant, *sums) for tenant, sums in model.tenants.items()],
        )
        for name, model in state.models.items()
    ]
    return msgspec.msgpack.encode(_Kept(FORM, state.version, state.priors, models))


def from_bytes(data: bytes) -> State:
    """The State that was kept. Raises ValueError when `data` is none, or of another form."""
    try:
        kept = msgspec.msgpack.decode(data, type=_Kept)
        if kept.form != FORM or len(kept.models) > MOST_MODELS:
            raise ValueError(f"it is of form {kept.form}, with {len(kept.models)} models")
        models = {model.name: _model(model) for model in kept.models}
    except (msgspec.MsgspecError, ValueError) as error:
        raise ValueError(f"this is no state of the router: {error}") from None
    return State(kept.version, kept.priors, models)


def _model(kept: _Model) -> ModelState:
    width = kept.width
    if len(kept.tenants) > MOST_TENANTS:
        raise ValueError(f"{kept.name} has {len(kept.tenants)} tenants")
    sums = [one for _, weight, moment in kept.tenants for one in (weight, moment)]
    if not all(map(math.isfinite, (kept.ability, kept.seen, *kept.told, *sums))):
        raise ValueError(f"not all sums of {kept.name} are finite")
    residuals = _floats(kept.residuals)
    places = np.frombuffer(kept.places, np.int8).reshape(-1, width - 1)
    weights = _floats(kept.weights)
    if not len(residuals) == len(places) == len(weights) <= MEMORY:
        raise ValueError(f"{kept.name} remembers {len(places)} places, {len(residuals)} residuals")
    return ModelState(
        ability=kept.ability,
        precision=_floats(kept.precision).reshape(width, width),
        moment=_floats(kept.moment).reshape(width),
        mean=_floats(kept.mean).reshape(width),
        places=places,
        residuals=residuals,
        weights=weights,
        seen=kept.seen,
        told=kept.told,
        tenants={tenant: (weight, moment) for tenant, weight, moment in kept.tenants},
    )


def _bytes(array: npt.NDArray[Any]) -> bytes:
    return array.astype("<f4").tobytes()


def _floats(data: bytes) -> npt.NDArray[np.float32]:
    array = np.frombuffer(data, "<f4").astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError("not all of its numbers are finite")
    return array
