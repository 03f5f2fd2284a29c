"""How good an order of questions is for deciding which of them a strong model gets.

PGR(c) = (A(c) − A_weak) / (A_strong − A_weak), where A(c) is how good answers are when the strong model gets the
share c with the highest scores. APGR is its area over c = 0, 0.1 … 1 by trapezoids: 0.5 for an order by chance.
CPT(x) is the least share at which PGR reaches x. Source: RouteLLM, arXiv 2406.18665.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
_TENTHS = np.arange(11) / 10


def pgr(score: Numbers, weak: Numbers, strong: Numbers) -> Numbers:
    """PGR at each share 0, 1/n … 1. Equal scores count as if they came in every order: by their mean.

    Raises ValueError where the strong model is no better than the weak one: there is no gap to close.
    """
    gains = strong - weak
    gap = gains.sum()
    if gap <= 0:
        raise ValueError("the strong model is not better than the weak one on these questions")
    order = np.argsort(-score, kind="stable")
    begins = np.flatnonzero(np.concatenate([[True], np.diff(score[order]) != 0]))
    sizes = np.diff(np.concatenate([begins, [len(score)]]))
    means = np.add.reduceat(gains[order], begins) / sizes
    curve: Numbers = np.concatenate([[0.0], np.cumsum(np.repeat(means, sizes))]) / gap
    return curve


def apgr(curve: Numbers) -> float:
    """The area under what `pgr` found."""
    shares = np.linspace(0, 1, len(curve))
    return float(np.trapezoid(np.interp(_TENTHS, shares, curve), _TENTHS))


def cpt(curve: Numbers, wanted: float) -> float:
    """The least share at which PGR is `wanted`. All of them reach 1."""
    return float(np.argmax(curve >= wanted - 1e-12)) / (len(curve) - 1)


def interval(score: Numbers, weak: Numbers, strong: Numbers, seed: int, draws: int = 1000) -> tuple[float, float]:
    """Between which two numbers APGR lies, at 95 %: the questions drawn again and again, with replacement.

    Draws in which the strong model is no better are left out; there are none among files that are worth grading.
    """
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        some = rng.integers(0, len(score), len(score))
        if (strong[some] - weak[some]).sum() > 0:
            found.append(apgr(pgr(score[some], weak[some], strong[some])))
    low, high = np.percentile(found or [float("nan")], [2.5, 97.5])
    return float(low), float(high)


def calibration(said: Numbers, good: Numbers) -> tuple[float, float]:
    """Brier score, and the expected error of calibration over ten bins of equal counts."""
    bins = np.array_split(np.argsort(said, kind="stable"), 10)
    error = sum(len(some) * abs(said[some].mean() - good[some].mean()) for some in bins if len(some)) / len(said)
    return float(np.mean((said - good) ** 2)), float(error)
