"""A day in every way there is. Each setting is chosen before noon alone, and told of the afternoon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from routing.day.arrivals import Day
from routing.day.measuring import quality, told
from routing.day.questions import Questions
from routing.day.ways import Knowing, Run, Slider, fixed, routed

STEPS = 20  # of the slider
SHARES = tuple(step / STEPS for step in range(STEPS + 1))
KEPT = (1.0, 0.95)  # of the strong model's quality


def compared(day: Day, asked: Questions, usual: Slider) -> dict[str, Any]:
    """All ways, by name, in the order they are to be read.

    usual  the slider, but for where it stands.
    """
    strong = _always(day, asked, asked.strong, keeps=False)
    small = _best_small(day, asked)
    runs = {"always strong": strong}
    if asked.dearest != asked.strong:
        runs["always dearest"] = _always(day, asked, asked.dearest, keeps=False)
    runs[f"always {asked.candidates[small].name.rpartition('/')[2]}"] = _always(day, asked, small, keeps=False)
    if is_repeated := bool((day.first < np.arange(len(day.at))).any()):
        runs["cache alone"] = _always(day, asked, asked.strong, keeps=True)
    ways = {name: told(run, strong, day, asked) for name, run in runs.items()}
    for keeps, name in ((False, "router alone"), (True, "cache and router")):
        if keeps and not is_repeated:
            continue
        for kept, share in settings(day, asked, usual, keeps=keeps).items():
            if share is None:
                run = _always(day, asked, asked.strong, keeps=keeps)
            else:
                run = routed(day, asked, usual._replace(share=share), Knowing(asked), keeps=keeps)
            found = told(run, strong, day, asked) | {"slider": share}
            ways[f"{name}, {kept:.0%} wanted"] = found
            if not keeps and share is not None:
                luck = np.random.default_rng(day.seed).random(len(day.at)) < found["dear_share"]
                chance = fixed(day, asked, np.where(luck, asked.strong, small), keeps=False)
                ways[f"by chance, as often as at {kept:.0%}"] = told(chance, strong, day, asked)
    return ways


def settings(day: Day, asked: Questions, usual: Slider, *, keeps: bool) -> dict[float, float | None]:
    """Where the slider stands for each quality that is wanted: the cheapest setting that kept it before noon.

    None where none did: the strong model is asked for everything. What the router was told of is not looked at: it
    knows those questions too well when they come again.
    """
    some = ~np.isin(day.row, day.row[: day.noon][day.is_judged[: day.noon]])[: day.noon]
    if not some.any():
        return dict.fromkeys(KEPT)
    strong = _always(day, asked, asked.strong, keeps=keeps)
    best = float(quality(strong, day, asked)[: day.noon][some].mean())
    found = {}
    for share in SHARES:
        run = routed(day, asked, usual._replace(share=share), Knowing(asked), keeps=keeps, until=day.noon)
        found[share] = int(run.cost.sum()), float(quality(run, day, asked)[some].mean())
    return {kept: cheapest(found, kept * best) for kept in KEPT}


def cheapest(found: Mapping[float, tuple[int, float]], wanted: float) -> float | None:
    """Of settings with their cost and quality, the cheapest that is good enough."""
    able = [share for share, (_, good) in found.items() if good >= wanted]
    return min(able, key=lambda share: found[share][0], default=None)


def _always(day: Day, asked: Questions, who: int, *, keeps: bool) -> Run:
    return fixed(day, asked, np.full(len(day.at), who), keeps=keeps)


def _best_small(day: Day, asked: Questions) -> int:
    """Of the side that is not dear, whose answers were best before noon."""
    means = asked.good[day.row[: day.noon]].mean(0)
    return max(np.flatnonzero(~asked.is_dear).tolist(), key=lambda one: float(means[one]))
