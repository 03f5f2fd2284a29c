"""How the priors come from questions and outcomes: a few linear systems, and nothing by chance.

The base is a ridge on how near a question is to some centres, from models of two sizes. What exams say
beyond it of a middling and a strong model is a kernel ridge on the places of their questions, so it fades with the
distance from them: exam labels say little of other talk.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from routing.predictor.places import nearness, unpacked
from routing.predictor.types import Array

Wide = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

CENTRES = 256
BASE_RIDGE = 5.0
EXAM_RIDGE = 3.0
UNKNOWN = (0.5, 0.6)  # P(good) of the two sizes, where there is nothing to learn it from


@dataclass(frozen=True, slots=True, eq=False)
class Questions:
    """Questions of one source, and how often models of two kinds were right.

    places   packed. `good` has one column for each kind: small and mid, or mid and strong.
    hashes   of the texts, and groups by name, so that some can be left out.
    """

    places: npt.NDArray[np.int8]
    good: Array
    hashes: npt.NDArray[np.uint64]
    groups: npt.NDArray[np.str_]

    def only(self, kept: Mask) -> Questions:
        """Those that are marked."""
        return Questions(self.places[kept], self.good[kept], self.hashes[kept], self.groups[kept])


def basis(places: Array, centres: Array) -> Wide:
    """What the base is linear in: 1, and the nearness to each centre. Far from all of them it says one thing."""
    return np.concatenate([np.ones((len(places), 1)), nearness(places, centres)], axis=1).astype(np.float64)


def centres_of(places: Array) -> Array:
    """Some of the places, spread out: each next one is the furthest from those before it."""
    if not len(places):
        return places
    chosen = [int(np.argmin((places**2).sum(1)))]
    furthest = ((places - places[chosen[0]]) ** 2).sum(1)
    while len(chosen) < min(CENTRES, len(places)):
        chosen.append(int(furthest.argmax()))
        furthest = np.minimum(furthest, ((places - places[chosen[-1]]) ** 2).sum(1))
    return places[chosen]


def fit_base(rows: Wide, good: Array) -> Wide:
    """Weights of `basis`, a column for each of the two sizes."""
    weights = np.zeros((rows.shape[1], good.shape[1]))
    if not len(rows):
        weights[0] = UNKNOWN
        return weights
    ridge = np.eye(rows.shape[1]) * BASE_RIDGE
    ridge[0, 0] = 1e-6  # how good they are at all is learned freely
    solved: Wide = np.linalg.solve(rows.T @ rows + ridge, rows.T @ good.astype(np.float64)).astype(np.float64)
    return solved


def fit_exams(places: Array, residuals: Wide) -> Wide:
    """How much each exam question adds to questions near it, a column for mid and one for strong."""
    if not len(places):
        return np.zeros((0, 2))
    near = nearness(places, places).astype(np.float64)
    solved: Wide = np.linalg.solve(near + EXAM_RIDGE * np.eye(len(places)), residuals).astype(np.float64)
    return solved


def places_of(questions: Questions) -> Array:
    """Their places, as numbers to reckon with."""
    return unpacked(questions.places)
