"""`python -m bench.routing.nested`: are the settings of the priors only good for the questions they were chosen on?

Subjects of the exam file are parted in eight. For each part the settings are chosen by leaving out subjects among the
other seven parts alone, and then asked about the eighth. What that gives beside the settings that ship is how much
of their figure is luck of choosing.
"""

from __future__ import annotations

import itertools
import json

import numpy as np

from bench.routing.priors import EXAMINED, EXAMS, SIZED
from routing import measures
from routing.graded import graded
from routing.predictor import fitting, places
from routing.predictor.fitting import fit_base, places_of
from routing.predictor.priors import basis, exam_residuals, shipped

PARTS = 8
GRID = tuple(itertools.product((2.0, 5.0, 15.0), (1.0, 3.0, 10.0), (0.75, 1.5, 3.0)))  # base, exam, fall


def main() -> None:
    """Print one line: APGR and its interval, nested and as it ships."""
    priors = shipped()
    source = graded(EXAMS)
    weak, strong = (np.array(source.good[name]) for name in EXAMINED)
    subjects = np.unique(source.columns["domain"], return_inverse=True)[1]
    part = np.random.default_rng(0).permutation(subjects.max() + 1)[subjects] % PARTS
    exams, sized = places_of(priors.examined), places_of(priors.sized)
    said: dict[tuple[float, float, float], tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    for base_ridge, exam_ridge, fall in GRID:
        fitting.BASE_RIDGE, fitting.EXAM_RIDGE, places.FALL = base_ridge, exam_ridge, fall
        base = fit_base(basis(sized, priors.centres), priors.sized.good)
        residuals = exam_residuals(exams, priors.centres, base, priors.examined.good)
        near = places.nearness(exams, exams).astype(np.float64)
        said[base_ridge, exam_ridge, fall] = priors.examined.good - residuals, residuals, near
    nested, fixed = np.zeros(len(exams)), np.zeros(len(exams))
    chosen = []
    for one in range(PARTS):
        inside, outside = np.flatnonzero(part != one), np.flatnonzero(part == one)
        best = max(GRID, key=lambda at: _inner(at, said[at], inside, subjects, weak, strong))
        chosen.append(best)
        nested[outside] = _outer(best, said[best], inside, outside)
        fixed[outside] = _outer(SHIPPED, said[SHIPPED], inside, outside)
    figures = {}
    for name, score in (("nested", nested), ("as shipped", fixed)):
        low, high = measures.interval(score, weak, strong, seed=0)
        area = measures.apgr(measures.pgr(score, weak, strong))
        figures[name] = {"apgr": round(area, 4), "apgr_95": [round(low, 4), round(high, 4)]}
    print(json.dumps(figures | {"chosen": chosen, "sizes": [SIZED.name, EXAMS.name]}))


SHIPPED = (fitting.BASE_RIDGE, fitting.EXAM_RIDGE, places.FALL)


def _inner(at: tuple, parts: tuple, inside: np.ndarray, subjects: np.ndarray, weak: np.ndarray, strong: np.ndarray):
    """APGR among `inside`, each subject left out in turn.

    Source: for a ridge on a kernel, leaving out a block costs one small system (An, Liu and Venkatesh 2007).
    """
    base, residuals, near = (some[inside] for some in parts)
    inverse = np.linalg.inv(near[:, inside] + at[1] * np.eye(len(inside)))
    solved = inverse @ residuals
    heads = base.copy()
    for subject in np.unique(subjects[inside]):
        block = np.flatnonzero(subjects[inside] == subject)
        heads[block] += residuals[block] - np.linalg.solve(inverse[np.ix_(block, block)], solved[block])
    return measures.apgr(measures.pgr(heads[:, 1] - heads[:, 0], weak[inside], strong[inside]))


def _outer(at: tuple, parts: tuple, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    base, residuals, near = parts
    learned = np.linalg.solve(near[np.ix_(inside, inside)] + at[1] * np.eye(len(inside)), residuals[inside])
    heads = base[outside] + near[np.ix_(outside, inside)] @ learned
    return heads[:, 1] - heads[:, 0]


if __name__ == "__main__":
    main()
