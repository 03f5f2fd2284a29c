"""The ways a day can be answered: always by one model, by chance, by the router, each with and without a cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from routing.day.arrivals import Day
from routing.day.lines import Line
from routing.day.questions import Mask, Numbers, Questions, Rows
from routing.deciding import MICROS, draws_of
from routing.predictor.places import packed, unpacked
from routing.predictor.predict import LEAST, MOST, Predictor, offset
from routing.predictor.state import correction, learn
from routing.predictor.types import WEIGHTS, Array, Outcome, State

LEARN_EVERY = 500  # requests
TENANT = "1"  # the only one there is


class Slider(NamedTuple):
    """What the router is told: the share of calls for the dear side, what a dollar is worth, and how many calls are
    left to chance."""

    share: float
    dollar_weight: float
    explore: float


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What became of each request: its cost in millionths of a dollar, who answered, and whether the cache did."""

    cost: Rows
    who: Rows
    is_hit: Mask


class Knowing:
    """How good each candidate's answers are expected to be, by what is known up to now."""

    def __init__(self, asked: Questions) -> None:
        self._asked = asked
        self._state = State()

    def learn(self, outcomes: Sequence[Outcome]) -> None:
        """Go by these, too."""
        self._state = learn(self._state, outcomes, self._asked.priors)

    def place(self, row: int) -> Array:
        """Where a question lies, as decisions are written."""
        place: Array = self._asked.places[row]
        return place

    def good(self, rows: Rows) -> Numbers:
        """P(good) of each candidate for some of the questions."""
        said = self._asked.said[rows].astype(np.float64)
        for column, one in enumerate(self._asked.candidates):
            if (model := self._state.models.get(one.name)) is not None:
                said[:, column] += correction(model, self._asked.places[rows]) + offset(model, TENANT)
        return np.clip(said, LEAST, MOST)


class KnowingExactly(Knowing):
    """The same, question by question as the product reckons it, from places that were not packed: to the last bit."""

    def __init__(self, asked: Questions, places: Array) -> None:
        super().__init__(asked)
        self._places = places
        self._models = [(one.name, one.ability) for one in asked.candidates]
        self._predictor = Predictor(self._state, asked.priors)

    def learn(self, outcomes: Sequence[Outcome]) -> None:
        """As above."""
        super().learn(outcomes)
        self._predictor = Predictor(self._state, self._asked.priors)

    def place(self, row: int) -> Array:
        """As above."""
        return unpacked(packed(self._places[row]))

    def good(self, rows: Rows) -> Numbers:
        """As above."""
        return np.array([self._predictor.good(self._places[row], self._models, TENANT) for row in rows.tolist()])


def fixed(day: Day, asked: Questions, who: Rows, *, keeps: bool) -> Run:
    """Whoever `who` says is asked, except for what is kept."""
    is_hit = _hits(day, keeps=keeps)
    who = np.where(is_hit, who[day.first], who)
    return Run(_charged(day, who, is_hit), who, is_hit)


def routed(day: Day, asked: Questions, slider: Slider, knows: Knowing, *, keeps: bool, until: int | None = None) -> Run:
    """The router chooses for what is not kept. What is judged is all that it hears of answers, until noon.

    until  the first request that is not looked at any more; None: all are.
    """
    count = len(day.at) if until is None else until
    is_hit, who = _hits(day, keeps=keeps)[:count], np.zeros(count, np.int64)
    line, heard = Line(slider.share), list[Outcome]()
    edges = sorted({*range(0, count, LEARN_EVERY), min(day.noon, count), count})
    for begin, end in pairwise(edges):
        if heard:
            knows.learn(heard)
            heard = []
        new = begin + np.flatnonzero(~is_hit[begin:end])
        sides = _Sides(asked, slider, knows, np.unique(day.row[new]))
        for place in new.tolist():
            usual = sides.usual(int(day.row[place]), line)
            chosen, propensity = _drawn(usual, day.request_id(place), slider.explore, asked)
            who[place] = chosen
            if day.is_judged[place] and place < day.noon:
                heard.append(_outcome(int(day.row[place]), chosen, propensity, asked, knows))
    who = np.where(is_hit, who[day.first[:count]], who)
    return Run(_charged(day, who, is_hit), who, is_hit)


class _Sides:
    """The first of either side by its score for each of some questions, and what the dear one is expected to add."""

    def __init__(self, asked: Questions, slider: Slider, knows: Knowing, rows: Rows) -> None:
        good = knows.good(rows) if len(rows) else np.zeros((0, len(asked.candidates)))
        # In this order of operations, as `routing.deciding` adds the parts of a score: to the last bit.
        scores = good + -slider.dollar_weight * asked.expected[rows] / MICROS
        sides = [np.flatnonzero(mask) for mask in (~asked.is_dear, asked.is_dear)]
        best = [side[scores[:, side].argmax(1)] for side in sides]
        cheap, dear = (good[np.arange(len(rows)), one] for one in best)
        told = zip((dear - cheap).tolist(), *(one.tolist() for one in best), strict=True)
        self._of: dict[int, tuple[float, int, int]] = dict(zip(rows.tolist(), told, strict=True))

    def usual(self, row: int, line: Line) -> int:
        """Who is asked where chance does not say otherwise."""
        gain, cheap, dear = self._of[row]
        chosen = dear if gain >= line.next() else cheap
        line.saw(gain)
        return chosen


def _drawn(usual: int, request_id: str, share: float, asked: Questions) -> tuple[int, float]:
    """Who is asked, and how likely that was: as `routing.deciding` has it."""
    count = len(asked.candidates)
    if not share:
        return usual, 1.0
    draw, which = draws_of(request_id)
    chosen = usual
    if draw < share:
        by_name = sorted(range(count), key=lambda one: asked.candidates[one].name)
        chosen = by_name[min(count - 1, int(which * count))]
    return chosen, (1 - share if chosen == usual else 0.0) + share / count


def _outcome(row: int, who: int, propensity: float, asked: Questions, knows: Knowing) -> Outcome:
    one, good = asked.candidates[who], float(asked.good[row, who])
    ability = round(one.ability, 4)  # as decisions are written
    return Outcome(one.name, ability, TENANT, knows.place(row), good, WEIGHTS["feedback"], propensity)


def _hits(day: Day, *, keeps: bool) -> Mask:
    places = np.arange(len(day.at))
    found: Mask = day.first < places if keeps else np.zeros(len(places), np.bool_)
    return found


def _charged(day: Day, who: Rows, is_hit: Mask) -> Rows:
    costs: Rows = np.where(is_hit, 0, day.costs[np.arange(len(who)), who])
    return costs
