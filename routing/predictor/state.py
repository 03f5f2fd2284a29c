"""What was seen here corrects the priors: one snapshot after the other, each made from the last and a batch.

Of each model there is a linear correction (Bayesian, on places), the residuals of its newest outcomes near the
question, and an offset for each tenant; all of them begin at nothing and grow with what is seen, so that a State
without outcomes is exactly the priors. Where there are several tenants, none has more say in what holds for all than
the others together (`for_all`). How far corrections are believed goes by how they did with outcomes that they were not
made from. Nothing that one model does changes what is said of another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from routing.predictor.places import Packed, nearness, packed, unpacked
from routing.predictor.priors import Priors, shipped
from routing.predictor.types import Array, ModelState, Outcome, State

MOST_MODELS = 64
MOST_TENANTS = 256  # of each model
MEMORY = 1000  # outcomes of each model
MOST_INVERSE = 10.0  # of a propensity: one lucky draw is not worth more outcomes than that
LINEAR_PRIOR = 40.0
LEVEL_PRIOR = 4.0  # of how good a model is at all: outcomes until half of what is seen is believed
NEAR_PRIOR = 1.0  # the same of what is near a question
SHARPNESS = 2  # how much nearer, than for exams, a remembered question must be: a power of nearness
TENANT_PRIOR = 20.0
FREELY = 100.0  # of a tenant's outcomes of a model, by weight, that count for all; of more, as much as all others' do
SLOPE_PRIOR = 1.0
LEAST_SLOPE, MOST_SLOPE = 0.5, 2.0
PARTS = 5


def correction(model: ModelState, places: Array) -> Array:
    """What was seen of `model` adds to its prior for each of the questions at `places`."""
    linear = with_one(places) @ model.mean
    kept = unpacked(model.places)
    near = nearness(places, kept) ** SHARPNESS * model.weights
    left = model.residuals - with_one(kept) @ model.mean
    said: Array = slope(model) * (linear + near @ left / (near.sum(1) + NEAR_PRIOR))
    return said


def slope(model: ModelState) -> float:
    """By how much corrections are to be multiplied: 1 until enough was seen to know better."""
    met, spread = model.told
    return min(MOST_SLOPE, max(LEAST_SLOPE, (met + SLOPE_PRIOR) / (spread + SLOPE_PRIOR)))


def learn(state: State, outcomes: Iterable[Outcome], priors: Priors | None = None) -> State:
    """The next snapshot. In which order the outcomes of one batch come makes no difference.

    Raises ValueError where an outcome is not what it says it is: good beyond 0 to 1, a place of another size.
    """
    known = priors or shipped()
    batch = sorted(outcomes, key=_order)
    if not batch:
        return state
    models = dict(current(state, known).models)
    tenants = {one.tenant for one in batch}.union(*(model.tenants for model in models.values()))
    for name, some in groupby(batch, key=lambda one: one.model):
        seen = list(some)
        before = models.pop(name, None) or unseen(seen[-1].ability, len(known.frame.mean) + known.frame.axes.shape[1])
        shares = for_all(before.tenants, seen) if len(tenants) > 1 else np.ones(len(seen), np.float32)
        models[name] = _next(before, seen, shares, known)
    for name in list(models)[: max(0, len(models) - MOST_MODELS)]:
        del models[name]
    return State(state.version + 1, known.digest, models)


def current(state: State, priors: Priors) -> State:
    """`state`, or one that knows nothing where it was learned over other priors, whose places mean something else."""
    return state if state.priors in ("", priors.digest) else State(state.version, priors.digest)


def unseen(ability: float, width: int) -> ModelState:
    """A model of which nothing was seen."""
    precision = np.eye(width + 1, dtype=np.float32) * LINEAR_PRIOR
    precision[0, 0] = LEVEL_PRIOR
    nothing = np.zeros(0, np.float32)
    zeros = np.zeros(width + 1, np.float32)
    return ModelState(ability, precision, zeros, zeros, np.zeros((0, width), np.int8), nothing, nothing, 0.0)


def for_all(before: Mapping[str, tuple[float, float]], seen: Sequence[Outcome]) -> Array:
    """The share of each outcome that counts for all tenants: whatever one says, it does not outweigh the others.

    before  what was heard of each tenant already, as `ModelState.tenants` has it.
    """
    had = {tenant: weight for tenant, (weight, _) in before.items()}
    brought: dict[str, float] = defaultdict(float)
    for one in seen:
        brought[one.tenant] += weight_of(one)
    everybody = sum(had.values()) + sum(brought.values())
    limits = {name: max(FREELY, everybody - had.get(name, 0.0) - more) for name, more in brought.items()}
    shares = []
    for one in seen:
        weight, so_far = weight_of(one), had.get(one.tenant, 0.0)
        shares.append(min(1.0, max(0.0, (limits[one.tenant] - so_far) / weight)) if weight else 0.0)
        had[one.tenant] = so_far + weight
    return np.array(shares, np.float32)


def _next(before: ModelState, seen: Sequence[Outcome], shares: Array, priors: Priors) -> ModelState:
    points = packed(np.stack([one.place for one in seen]))
    places = unpacked(points)
    abilities = np.array([one.ability for one in seen], np.float32)[:, None]
    residuals = np.array([one.good for one in seen], np.float32) - priors.good(places, abilities)[:, 0]
    weights = np.array([weight_of(one) for one in seen], np.float32)
    after = replace(before, ability=seen[-1].ability)
    if (some := shares > 0).any():
        shared = points[some], residuals[some], weights[some] * shares[some]
        after = replace(_fitted(after, *shared), told=_told(before, *shared))
    left = residuals - correction(after, places)
    return replace(after, tenants=_tenants(before.tenants, seen, weights, left))


def _told(before: ModelState, points: Packed, residuals: Array, weights: Array) -> tuple[float, float]:
    """How corrections do with outcomes that they were not made from, added to what was known of that.

    Each fifth of a batch is told by the rest of it. Of a small one, all by what was known before.
    """
    plain = replace(before, told=(0.0, 0.0))
    met, spread = before.told
    parts = PARTS if len(points) >= PARTS * PARTS else 1
    for part in range(parts):
        some = np.arange(len(points)) % parts == part
        teacher = plain if parts == 1 else _fitted(plain, points[~some], residuals[~some], weights[~some])
        said = correction(teacher, unpacked(points[some]))
        met += float((weights[some] * said * residuals[some]).sum())
        spread += float((weights[some] * said**2).sum())
    return met, spread


def _fitted(before: ModelState, points: Packed, residuals: Array, weights: Array) -> ModelState:
    """`before`, with these outcomes in its linear correction and its memory."""
    rows = with_one(unpacked(points)).astype(np.float64)
    precision = before.precision + (rows * weights[:, None]).T @ rows
    moment = before.moment + rows.T @ (weights * residuals)
    return replace(
        before,
        precision=precision.astype(np.float32),
        moment=moment.astype(np.float32),
        mean=np.linalg.solve(precision, moment).astype(np.float32),
        places=np.concatenate([before.places, points])[-MEMORY:],
        residuals=np.concatenate([before.residuals, residuals])[-MEMORY:],
        weights=np.concatenate([before.weights, weights])[-MEMORY:],
        seen=before.seen + float(weights.sum()),
    )


def _tenants(
    before: Mapping[str, tuple[float, float]], seen: Sequence[Outcome], weights: Array, left: Array
) -> dict[str, tuple[float, float]]:
    sums = dict(before)
    for one, weight, rest in zip(seen, weights.tolist(), left.tolist(), strict=True):
        total, moment = sums.pop(one.tenant, (0.0, 0.0))
        sums[one.tenant] = (total + weight, moment + weight * rest)
    for tenant in list(sums)[: max(0, len(sums) - MOST_TENANTS)]:
        del sums[tenant]
    return sums


def weight_of(one: Outcome) -> float:
    """How much an outcome counts: by its signal, and by how unlikely its model was to be asked."""
    return one.weight * min(MOST_INVERSE, 1.0 / one.propensity)


def _order(one: Outcome) -> tuple[str, bytes, str, float, float, float, float]:
    """An order that depends on what the outcomes are. Raises ValueError for one that cannot be."""
    if not (0 <= one.good <= 1 and 0 < one.propensity <= 1 and 0 <= one.weight <= 100 and abs(one.ability) < 10):
        raise ValueError(f"an outcome of {one.model} is out of bounds: {one.good}, {one.weight}, {one.propensity}")
    if not np.isfinite(one.place).all():
        raise ValueError(f"an outcome of {one.model} lies nowhere")
    place = one.place.astype("<f4").tobytes()
    return one.model, place, one.tenant, one.good, one.weight, one.propensity, one.ability


def with_one(places: Array) -> Array:
    """Places with a 1 before each, for the level."""
    return np.concatenate([np.ones((len(places), 1), np.float32), places], axis=1)
