"""`manage.py evaluate routing`: how well the router tells which questions need the stronger of two models.

Nothing is asked of questions that were learned from. Where questions of the file are among those that the shipped
priors were made from, the priors are made again without them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from routing import measures
from routing.analysis.analyse import analysed
from routing.analysis.reading import read
from routing.deciding import decide
from routing.decision import CandidateView, DecisionInputs
from routing.graded import Graded, graded
from routing.measures import Numbers
from routing.predictor.features import surface_of
from routing.predictor.places import packed, unpacked
from routing.predictor.predict import LEAST, MOST, Predictor
from routing.predictor.priors import Priors, hash_of, shipped, without
from routing.predictor.standing import standing_of, tier_of
from routing.predictor.state import correction, learn
from routing.predictor.types import Array, Outcome, State
from routing.predictor.vectors import embedded_once

Rows = npt.NDArray[np.int64]

FOLDS = 10
DRAWS = 200  # orders by chance, of which the mean is told
TIMED = 200  # questions whose decision is timed


@dataclass(frozen=True, slots=True)
class Pair:
    """The weaker and the stronger model, by their columns."""

    weak: str
    strong: str


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A file, made ready."""

    texts: Sequence[str]
    surfaces: Array
    vectors: Array
    weak: Numbers
    strong: Numbers
    pair: Pair
    abilities: Array
    hashes: npt.NDArray[np.uint64]
    groups: npt.NDArray[np.str_] | None


def grade(
    path: Path,
    vectors: Path,
    weak: str | None = None,
    strong: str | None = None,
    labels: int = 0,
    seed: int = 0,
    group: str | None = None,
    priors: Priors | None = None,
) -> dict[str, Any]:
    """The figures of one file. Raises ValueError where it cannot be graded, with the reason.

    vectors  a folder in which vectors are kept, so that each file is embedded once.
    """
    task = _task(graded(path), Pair(weak or "", strong or ""), group, vectors)
    known = priors or shipped()
    count = len(task.texts)
    if not 0 <= labels < count:
        raise ValueError(f"there are {count} rows; --labels is 0 to {count - 1}")
    places = unpacked(packed(known.frame.places(task.surfaces, task.vectors)))
    if labels:
        order = np.random.default_rng(seed).permutation(count)
        tested = _untaught(task, order[:labels], order[labels:])
        said, how, learned = _learned(known, task, places, order[:labels], tested)
    else:
        said, how, tested = _from_priors(known, task, places)
        learned = State()
    score, lengths = (said[:, 1] - said[:, 0]).astype(np.float64), np.array([float(len(text)) for text in task.texts])
    w, s = task.weak[tested], task.strong[tested]
    curve = measures.pgr(score, w, s)
    good = np.concatenate([w, s])
    brier, error = measures.calibration(said.T.reshape(-1).astype(np.float64), good)
    low, high = measures.interval(score, w, s, seed)
    rng = np.random.default_rng(seed)
    chance = [measures.apgr(measures.pgr(rng.random(len(w)), w, s)) for _ in range(DRAWS)]
    return {
        "rows": len(tested),
        "labels": labels,
        "apgr": _rounded(measures.apgr(curve)),
        "cpt50": _rounded(measures.cpt(curve, 0.5)),
        "cpt80": _rounded(measures.cpt(curve, 0.8)),
        "baselines": {
            "random": _rounded(np.mean(chance)),
            "length": _rounded(measures.apgr(measures.pgr(lengths[tested], w, s))),
            "oracle": _rounded(measures.apgr(measures.pgr(s - w, w, s))),
        },
        "ms_p95": _rounded(_ms_p95(known, learned, task)),
        "apgr_95": [_rounded(low), _rounded(high)],
        "accuracy": {"weak": _rounded(w.mean()), "strong": _rounded(s.mean())},
        "brier": _rounded(brier),
        "calibration_error": _rounded(error),
        "weak": task.pair.weak,
        "strong": task.pair.strong,
        "priors": how,
    }


def _rounded(number: Any) -> float:
    return round(float(number), 4)


def _task(source: Graded, wanted: Pair, group: str | None, vectors: Path) -> Task:
    pair = Pair(_column(source, wanted.weak, "weak"), _column(source, wanted.strong, "strong"))
    if group is not None and group not in source.columns:
        raise ValueError(f"there is no column {group!r} to group by; there are {', '.join(source.columns)}")
    readings = [read(text) for text in source.texts]
    surfaces = [surface_of(one, analysed(one, text)) for one, text in zip(readings, source.texts, strict=True)]
    return Task(
        texts=source.texts,
        surfaces=np.stack(surfaces),
        vectors=embedded_once(source.texts, vectors),
        weak=np.array(source.good[pair.weak], np.float64),
        strong=np.array(source.good[pair.strong], np.float64),
        pair=pair,
        abilities=_abilities(pair),
        hashes=np.array([hash_of(text) for text in source.texts], np.uint64),
        groups=None if group is None else np.array(source.columns[group]),
    )


def _column(source: Graded, wanted: str, kind: str) -> str:
    if wanted:
        if wanted not in source.good:
            raise ValueError(f"there is no column {wanted!r} of outcomes; there are {', '.join(source.good)}")
        return wanted
    found = [name for name in source.good if name.startswith(f"{kind}_")]
    if len(found) != 1:
        raise ValueError(f"say which is the {kind} model with --{kind}; there are {', '.join(source.good)}")
    return found[0]


def _abilities(pair: Pair) -> Array:
    """By their names; the strong one stands above the weak one, whatever those say: the operator says so."""
    weak = standing_of(pair.weak.removeprefix("weak_")).ability
    strong = standing_of(pair.strong.removeprefix("strong_")).ability
    return np.array([weak, max(strong, weak + 0.25)], np.float32)


def _untaught(task: Task, taught: Rows, rest: Rows) -> Rows:
    """Those of the rest whose question is none of the taught ones. Raises ValueError where there is none."""
    tested = rest[~np.isin(task.hashes[rest], task.hashes[taught])]
    if not len(tested):
        raise ValueError(f"every row beyond those that --labels {len(taught)} takes repeats a question of these")
    return tested


def _learned(known: Priors, task: Task, places: Array, taught: Rows, tested: Rows) -> tuple[Array, str, State]:
    """What the product says after it has seen outcomes of both models for the taught questions."""
    fresh = without(known, task.hashes)
    outcomes = [
        Outcome(name, float(ability), "", places[row], float(good[row]))
        for name, ability, good in zip(("weak", "strong"), task.abilities, (task.weak, task.strong), strict=True)
        for row in taught
    ]
    state = learn(State(), outcomes, fresh)
    said = fresh.good(places[tested], task.abilities)
    for column, name in enumerate(("weak", "strong")):
        said[:, column] += correction(state.models[name], places[tested])
    how = "shipped" if fresh is known else "made without the questions of this file"
    return np.clip(said, LEAST, MOST), how, state


def _from_priors(known: Priors, task: Task, places: Array) -> tuple[Array, str, Rows]:
    """What the priors say alone, of questions they were not made from."""
    seen = np.isin(task.hashes, known.sized.hashes) | np.isin(task.hashes, known.examined.hashes)
    if task.groups is None and not seen.all():
        tested = np.flatnonzero(~seen)
        left = f"shipped; {int(seen.sum())} rows that they were made from are left out" if seen.any() else "shipped"
        return known.good(places[tested], task.abilities), left, tested
    folds = _folds(task, len(places))
    kind = "group" if task.groups is not None else f"one of {FOLDS} parts"
    how = (
        f"made for each {kind} without the rows in it; {int(seen.sum())} of {len(places)} rows are in the shipped ones"
    )
    every = np.arange(len(places))
    said = np.zeros((len(places), 2), np.float32)
    for fold in np.unique(folds):
        block = folds == fold
        group = str(task.groups[block][0]) if task.groups is not None else None
        said[block] = without(known, task.hashes[block], group).good(places[block], task.abilities)
    return said, how, every


def _folds(task: Task, count: int) -> Rows:
    if task.groups is not None:
        return np.unique(task.groups, return_inverse=True)[1].astype(np.int64)
    return np.random.default_rng(0).permutation(count) % FOLDS


def _ms_p95(known: Priors, state: State, task: Task) -> float:
    """Milliseconds of a whole decision beyond the embedding, which the model host makes: the 95th of a hundred.

    Each is made three times, and the quickest counts, so that it says what a decision takes and not who else computes.
    """
    names = [("weak", float(task.abilities[0])), ("strong", float(task.abilities[1]))]
    predictor = Predictor(state, known)

    def once(row: int) -> float:
        began = time.perf_counter()
        good = predictor.good(predictor.place(task.texts[row], task.vectors[row]), names)
        views = [
            CandidateView(name, name, name == "weak", tier_of(ability), one, cost_micros=int(name == "strong"))
            for (name, ability), one in zip(names, good, strict=True)
        ]
        decide(DecisionInputs(tuple(views), threshold=0.1, band=0.02))
        return (time.perf_counter() - began) * 1000

    return float(np.percentile([min(once(row) for _ in range(3)) for row in range(min(TIMED, len(task.texts)))], 95))
