"""What a way cost, and how good its answers were, beside those of the strong model."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from routing.day.arrivals import Day
from routing.day.questions import Mask, Numbers, Questions
from routing.day.ways import Run

DRAWS = 1000


def quality(run: Run, day: Day, asked: Questions) -> Numbers:
    """What each answer was worth."""
    good: Numbers = asked.good[day.row[: len(run.who)], run.who]
    return good


def told(run: Run, strong: Run, day: Day, asked: Questions) -> dict[str, Any]:
    """The figures of the afternoon. Intervals draw graded questions, not requests: repeats are not news."""
    some = np.arange(len(day.at)) >= day.noon
    good, best = quality(run, day, asked)[some], quality(strong, day, asked)[some]
    size = len(asked.good)
    sums = [np.bincount(day.row[some], values, size) for values in (good, best, np.ones(len(good)))]
    mine, theirs, count = (_draws(day.seed, size) @ one for one in sums)
    cost, full = int(run.cost[some].sum()), int(strong.cost[some].sum())
    return {
        "usd": cost / 1_000_000,
        "saved": round(1 - cost / full, 4),
        "quality": round(float(good.mean()), 4),
        "quality_95": _ends(mine / count),
        "to_strong": round(float(good.mean() - best.mean()), 4),
        "to_strong_95": _ends((mine - theirs) / count),
        "dear_share": round(_dear_share(run, asked, some), 4),
        "hits": round(float(run.is_hit[some].mean()), 4),
    }


def _dear_share(run: Run, asked: Questions, some: Mask) -> float:
    """Of the requests that a model was asked."""
    return float(asked.is_dear[run.who[some & ~run.is_hit]].mean())


@lru_cache(maxsize=4)
def _draws(seed: int, size: int) -> Numbers:
    """How often each graded question is drawn, draw by draw."""
    return np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), DRAWS).astype(np.float64)


def _ends(drawn: Numbers) -> list[float]:
    return [round(float(one), 4) for one in np.percentile(drawn, [2.5, 97.5])]
