"""A replayed day: what is counted, that it is the same again, and that it chooses as the product's functions do."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.rehearsal.sold import ASKED, DATA, TRACE, USUAL, expected
from routing.day.arrivals import DAY_S, Day, day_of
from routing.day.lines import Line
from routing.day.questions import Questions, questions_of
from routing.day.replaying import cheapest, settings
from routing.day.ways import LEARN_EVERY, TENANT, Knowing, KnowingExactly, Slider, _Sides, fixed, routed
from routing.deciding import decide, draws_of
from routing.decision import CandidateView, DecisionInputs
from routing.predictor.priors import hash_of
from routing.predictor.standing import tier_of
from routing.predictor.types import Outcome
from routing.scores import Score, Scores

NAMES = list(ASKED)


def asked_of(name: str) -> Questions:
    source = ASKED[name]
    return questions_of(DATA / source.file, source.candidates(datetime.now(UTC)), source.share, 0, expected)


def some_day(asked: Questions, requests: int = 1400, repeats: float = 0.3, feedback: float = 0.2) -> Day:
    return day_of(TRACE, asked, requests, repeats, feedback, 0)


def _replayed(*options: str) -> str:
    out = StringIO()
    call_command("evaluate", "day", "--requests", "200", *options, stdout=out, stderr=StringIO())
    return out.getvalue()


def test_the_same_day_makes_the_same_line() -> None:
    options = ("--questions", "mmlu", "--repeats", "0", "--repeats", "0.5")
    line = _replayed(*options)
    assert line == _replayed(*options)
    figures = json.loads(line)
    assert [case["repeats"] for case in figures["cases"]] == [0.0, 0.5]
    assert "cache alone" not in figures["cases"][0]["ways"]
    assert "cache alone" in figures["cases"][1]["ways"]
    for case in figures["cases"]:
        for way in case["ways"].values():
            assert set(way) >= {"usd", "saved", "quality", "quality_95", "to_strong_95", "dear_share", "hits"}
        assert case["ways"]["always strong"]["saved"] == 0


def test_all_questions_are_asked_unless_some_are_named() -> None:
    figures = json.loads(_replayed("--repeats", "0.3", "--feedback", "0"))
    assert [case["questions"] for case in figures["cases"]] == NAMES


@pytest.mark.parametrize("wrong", [("--requests", "1"), ("--feedback", "2"), ("--repeats", "-1")])
def test_a_day_that_cannot_be_is_refused(wrong: tuple[str, str]) -> None:
    with pytest.raises(CommandError, match="at least two requests"):
        _replayed(*wrong)


@pytest.mark.parametrize("name", NAMES)
def test_it_chooses_as_the_products_own_functions_do(name: str) -> None:
    asked = asked_of(name)
    day = some_day(asked)
    slider = Slider(0.4, dollar_weight=10.0, explore=0.1)
    run = routed(day, asked, slider, Knowing(asked), keeps=True)
    assert run.is_hit.any()
    scores, knows, heard, kept = Scores(), Knowing(asked), list[Outcome](), dict[int, int]()
    for place in range(len(day.at)):
        if place % LEARN_EVERY == 0 or place == day.noon:
            if heard:
                knows.learn(heard)
            heard = []
        identity, row = int(day.identity[place]), int(day.row[place])
        assert bool(run.is_hit[place]) == (identity in kept)
        if identity not in kept:
            inputs = _inputs(asked, row, knows, scores.for_share(slider.share), slider, day.request_id(place))
            decision = decide(inputs)
            assert decision.gain is not None
            assert decision.cheap_good is not None
            scores = scores.plus(Score(decision.cheap_good, decision.gain))
            kept[identity] = [one.name for one in asked.candidates].index(decision.names[0])
            if day.is_judged[place] and place < day.noon:
                one, good = asked.candidates[kept[identity]], float(asked.good[row, kept[identity]])
                ability = round(one.ability, 4)
                heard.append(Outcome(one.name, ability, TENANT, asked.places[row], good, 1.0, decision.propensity))
        assert run.who[place] == kept[identity], place
        one = asked.candidates[kept[identity]]
        charged = one.price.of(day.usage(place)) if one.price is not None and not run.is_hit[place] else 0
        assert run.cost[place] == charged


def test_of_two_on_the_dear_side_the_gain_is_that_of_who_would_be_asked() -> None:
    asked = asked_of("nine")
    expected = np.zeros_like(asked.expected)
    expected[:, -2:] = 300, 50_000
    asked = replace(asked, expected=expected, is_dear=expected[0] > 0)
    slider, knows, rows = Slider(0.4, dollar_weight=10.0, explore=0.0), Knowing(asked), np.arange(40)
    sides = _Sides(asked, slider, knows, rows)
    for row in rows.tolist():
        gain, cheap, dear = sides._of[row]
        names = [asked.candidates[one].name for one in (cheap, dear)]
        for line, first in ((gain, names[1]), (np.nextafter(gain, 2.0), names[0])):
            decision = decide(_inputs(asked, row, knows, float(line), slider, "r"))
            assert (decision.gain, decision.names[0]) == (gain, first)


def _inputs(asked: Questions, row: int, knows: Knowing, line: float, slider: Slider, request_id: str) -> DecisionInputs:
    good = knows.good(np.array([row]))[0].tolist()
    views = [
        CandidateView(
            one.name,
            "local" if one.is_local else "cloud",
            one.is_local,
            tier_of(one.ability),
            good[column],
            cost_micros=int(asked.expected[row, column]),
        )
        for column, one in enumerate(asked.candidates)
    ]
    return DecisionInputs(
        tuple(views),
        cost_weight=slider.dollar_weight,
        threshold=line,
        explore_share=slider.explore,
        explore_draw=draws_of(request_id),
    )


@given(st.lists(st.sampled_from([-0.2, 0.0, 0.1, 0.2, 0.3]) | st.floats(-1, 1), max_size=20), st.floats(0, 1))
def test_the_line_is_that_of_the_scores(gains: list[float], share: float) -> None:
    line, scores = Line(share), Scores()
    for gain in gains:
        assert line.next() == scores.for_share(share)
        line.saw(gain)
        scores = scores.plus(Score(0.5, gain))


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95, 1.0])
def test_the_line_forgets_the_oldest_as_the_scores_do(share: float) -> None:
    gains = np.random.default_rng(3).normal(size=1100).round(1).tolist()
    line, scores = Line(share), Scores(tuple(Score(0.5, gain) for gain in gains[:1000]))
    for gain in gains[:1000]:
        line.saw(gain)
    for gain in gains[1000:]:
        assert line.next() == scores.for_share(share)
        line.saw(gain)
        scores = scores.plus(Score(0.5, gain))


@pytest.mark.parametrize("name", NAMES)
def test_the_priors_have_seen_nothing_of_what_is_asked(name: str) -> None:
    asked = asked_of(name)
    hashes = [hash_of(text) for text in asked.texts]
    assert len(set(hashes)) == len(hashes)
    assert not set(hashes) & {*asked.priors.sized.hashes.tolist(), *asked.priors.examined.hashes.tolist()}


def test_what_is_new_after_noon_was_not_asked_before() -> None:
    asked = asked_of("mmlu")
    day = some_day(asked, 2000, repeats=0.0)
    assert not set(day.row[:1000]) & set(day.row[1000:])
    assert np.all(np.diff(day.at) >= 0)
    assert day.at[-1] == DAY_S


def test_what_is_asked_again_is_as_long_as_it_was() -> None:
    asked = asked_of("mmlu")
    day = some_day(asked, repeats=0.7)
    assert np.array_equal(day.prompt, day.prompt[day.first])
    assert np.array_equal(day.completion, day.completion[day.first])
    assert np.array_equal(day.identity, day.identity[day.first])
    always = fixed(day, asked, np.full(len(day.at), asked.strong), keeps=True)
    assert always.cost.sum() == day.costs[day.first == np.arange(len(day.at)), asked.strong].sum()


def test_no_setting_hangs_on_what_came_after_noon() -> None:
    asked = asked_of("nine")
    day = some_day(asked)
    chosen = settings(day, asked, USUAL, keeps=True)
    good = asked.good.copy()
    good[np.setdiff1d(day.row[day.noon :], day.row[: day.noon])] = 0.0
    assert settings(day, replace(asked, good=good), USUAL, keeps=True) == chosen
    good[day.row[: day.noon]] = 0.0
    good[:, asked.strong] = 1.0
    assert settings(day, replace(asked, good=good), USUAL, keeps=True)[1.0] is None


def test_the_cheapest_setting_that_is_good_enough_is_taken() -> None:
    found = {0.0: (0, 0.5), 0.5: (10, 0.7), 0.75: (8, 0.6), 1.0: (20, 0.8)}
    assert [cheapest(found, wanted) for wanted in (0.9, 0.75, 0.65, 0.55, 0.1)] == [None, 1.0, 0.5, 0.75, 0.0]


def test_question_by_question_it_is_the_same_but_for_the_last_bits() -> None:
    asked = asked_of("nine")
    rows = np.arange(40)
    heard = [
        Outcome(one.name, round(one.ability, 4), TENANT, asked.places[row], float(asked.good[row, column]))
        for column, one in enumerate(asked.candidates)
        for row in range(50, 90)
    ]
    many, single = Knowing(asked), KnowingExactly(asked, asked.places)
    for _ in range(2):
        assert np.allclose(many.good(rows), single.good(rows), atol=1e-5)
        many.learn(heard)
        single.learn(heard)


def test_a_file_that_is_not_there_is_named_once() -> None:
    with pytest.raises(CommandError, match=r"^/none/such\.csv cannot be read: No such file or directory$"):
        call_command("evaluate", "routing", "/none/such.csv")
