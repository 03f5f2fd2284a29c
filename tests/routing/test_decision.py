"""Who is asked, and why: the same inputs, also read from JSON, make the same decision."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.deciding import UNKNOWN_MICROS, decide
from routing.decision import (
    Bar,
    CandidateView,
    Decision,
    DecisionInputs,
    decision_from_json,
    inputs_from_json,
    to_json,
)
from routing.scores import MOST, Score, Scores

LOCAL = CandidateView("tiny", "here", True, "small", 0.6, cost_micros=0, first_token_s=0.1)
CLOUD = CandidateView("big", "cloud", False, "strong", 0.9, cost_micros=10_000, first_token_s=1.0)
UNKNOWN = CandidateView("odd", "cloud", False, "mid", 0.7, cost_micros=None)

FINITE = st.floats(0, 1, allow_nan=False)
CANDIDATES = st.builds(
    CandidateView,
    name=st.text(max_size=6),
    provider=st.text(max_size=6),
    is_local=st.booleans(),
    tier=st.sampled_from(["small", "mid", "strong"]),
    p_good=FINITE,
    cost_micros=st.none() | st.integers(0, 10**9),
    first_token_s=st.none() | st.floats(0, 1e3, allow_nan=False),
    health=st.sampled_from(["well", "unknown", "slow", "failing", "down"]),
    bars=st.lists(st.builds(Bar, st.sampled_from(["context", "tools", "forbidden"]), st.text(max_size=9))).map(tuple),
)
INPUTS = st.builds(
    DecisionInputs,
    candidates=st.lists(CANDIDATES, max_size=6, unique_by=lambda one: one.name).map(tuple),
    cost_weight=st.floats(0, 100, allow_nan=False),
    latency_weight=FINITE,
    is_local_only=st.booleans(),
    threshold=st.none() | st.floats(-2, 2, allow_nan=False),
    band=st.sampled_from([0.0, 0.02, 0.3]),
    explore_share=st.sampled_from([0.0, 0.02, 0.5]),
    explore_draw=st.tuples(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True)),
)


@settings(max_examples=40, deadline=None)
@given(INPUTS)
def test_a_decision_is_made_again_from_its_json(inputs: DecisionInputs) -> None:
    read = inputs_from_json(to_json(inputs))
    assert read == inputs
    assert decide(read) == decide(inputs)
    assert decision_from_json(to_json(decide(inputs))) == decide(inputs)


@settings(max_examples=40, deadline=None)
@given(INPUTS)
def test_everyone_has_a_reason_and_nobody_passes_a_hard_rule(inputs: DecisionInputs) -> None:
    said = decide(inputs)
    assert sorted(choice.name for choice in said.choices) == sorted(one.name for one in inputs.candidates)
    assert all(choice.why for choice in said.choices)
    assert [choice.place for choice in said.choices if choice.place is not None] == list(range(len(said.names)))
    by_name = {one.name: one for one in inputs.candidates}
    for choice in said.choices:
        one = by_name[choice.name]
        if choice.place is None:
            assert choice.bars
            continue
        assert sum(part.value for part in choice.parts) == pytest.approx(choice.score)
        assert not one.bars
        assert one.is_local or not inputs.is_local_only
        assert one.health != "down"
    assert (0 < said.propensity <= 1) if said.names else said.propensity == 0


def chosen(**changes: object) -> Decision:
    return decide(replace(DecisionInputs((LOCAL, CLOUD)), **changes))  # type: ignore[arg-type]


def test_quality_money_and_time_are_weighed() -> None:
    assert chosen().names == ("big", "tiny")
    assert chosen(cost_weight=29.0).names == ("big", "tiny")
    assert chosen(cost_weight=31.0).names == ("tiny", "big")
    assert chosen(latency_weight=0.34).names == ("tiny", "big")


def test_an_unknown_price_is_dear() -> None:
    asked = decide(DecisionInputs((LOCAL, UNKNOWN), cost_weight=1.0)).choices[0]
    assert asked.name == "odd"
    assert asked.parts[1].value == pytest.approx(-UNKNOWN_MICROS / 1e6)
    assert "unknown" in asked.parts[1].name


def test_the_line_of_the_slider_says_which_side_leads() -> None:
    assert chosen(threshold=0.29).names == ("big", "tiny")
    assert chosen(threshold=0.31).names == ("tiny", "big")
    assert chosen(threshold=0.31, cost_weight=0.0).gain == pytest.approx(0.3)
    assert chosen(threshold=0.31).cheap_good == 0.6


def test_the_gain_is_that_of_who_would_be_asked() -> None:
    mini = CandidateView("mini", "cloud", False, "mid", 0.55, cost_micros=300)
    big = replace(CLOUD, cost_micros=50_000)
    said = decide(DecisionInputs((LOCAL, mini, big), cost_weight=10.0, threshold=0.1))
    assert said.gain == pytest.approx(-0.05), "a dollar is worth so much that big would not be asked"
    assert said.names == ("tiny", "mini", "big")
    said = decide(DecisionInputs((LOCAL, mini, big), cost_weight=1.0, threshold=0.1))
    assert (said.names[0], said.gain) == ("big", pytest.approx(0.3))
    worse = replace(LOCAL, name="local", p_good=0.7, first_token_s=9.0)
    said = decide(DecisionInputs((LOCAL, worse, CLOUD), latency_weight=0.1, threshold=0.1))
    assert said.cheap_good == 0.6


@settings(max_examples=100, deadline=None)
@given(INPUTS)
def test_nobody_is_asked_in_place_of_another_for_less_than_the_line(inputs: DecisionInputs) -> None:
    said = decide(replace(inputs, band=0.0, explore_share=0.0))
    if inputs.threshold is None or said.gain is None:
        return
    good = {one.name: one.p_good for one in inputs.candidates}
    if said.gain >= inputs.threshold:
        assert good[said.names[0]] == pytest.approx((said.cheap_good or 0.0) + said.gain)
    else:
        assert good[said.names[0]] == said.cheap_good


def test_where_there_is_little_between_them_the_local_one_answers_first() -> None:
    said = chosen(threshold=0.29, band=0.02)
    assert said.names == ("tiny", "big")
    assert said.cascade is not None
    assert (said.cascade.first, said.cascade.then) == ("tiny", "big")
    assert chosen(threshold=0.25, band=0.02).cascade is None
    assert chosen(cost_weight=30.0, band=0.01).cascade is not None
    assert chosen(threshold=0.29, band=0.02, is_local_only=True).cascade is None


@pytest.mark.parametrize("threshold", [0.05, 0.065])
@pytest.mark.parametrize("band", [0.0, 0.05])
def test_nobody_comes_before_a_better_one_for_being_local(threshold: float, band: float) -> None:
    free = CandidateView("x:free", "x", False, "mid", 0.8)
    paid = replace(CLOUD, p_good=0.86)
    said = decide(DecisionInputs((replace(LOCAL, p_good=0.4), free, paid), threshold=threshold, band=band))
    assert said.names == (("big", "x:free", "tiny") if threshold < 0.06 else ("x:free", "tiny", "big"))
    assert said.cascade is None


def test_who_is_asked_after_the_local_one_is_who_was_to_do_better() -> None:
    free = CandidateView("x:free", "x", False, "mid", 0.55)
    said = decide(DecisionInputs((LOCAL, free, CLOUD), threshold=0.31, band=0.02))
    assert said.names == ("tiny", "big", "x:free")
    assert said.cascade is not None
    assert (said.cascade.first, said.cascade.then) == ("tiny", "big")


@settings(max_examples=100, deadline=None)
@given(INPUTS.filter(lambda inputs: inputs.threshold is not None))
def test_with_a_slider_a_cascade_goes_from_the_first_of_one_side_to_the_first_of_the_other(
    inputs: DecisionInputs,
) -> None:
    said = decide(replace(inputs, explore_share=0.0))
    if said.cascade is None or said.gain is None:
        return
    good = {one.name: one.p_good for one in inputs.candidates}
    assert good[said.cascade.first] == said.cheap_good
    assert good[said.cascade.then] - good[said.cascade.first] == said.gain
    assert said.names[:2] == (said.cascade.first, said.cascade.then)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.01, 0.9))
def test_propensities_of_all_who_may_come_first_sum_to_one(share: float) -> None:
    three = (LOCAL, CLOUD, UNKNOWN)
    firsts = {}
    for draw in (0.0, 0.999999):
        for which in (0.1, 0.5, 0.9):
            said = decide(DecisionInputs(three, explore_share=share, explore_draw=(draw if draw else 0.0, which)))
            firsts[said.names[0]] = said.propensity
    assert set(firsts) == {"tiny", "big", "odd"}
    assert sum(firsts.values()) == pytest.approx(1)


def test_what_is_not_one_is_refused() -> None:
    with pytest.raises(ValueError, match="one name"):
        decide(DecisionInputs((LOCAL, LOCAL)))
    with pytest.raises(ValueError, match="P\\(good\\)"):
        decide(DecisionInputs((replace(LOCAL, p_good=float("nan")),)))
    for data in (b"", b"[]", b'{"candidates": 3}', to_json(DecisionInputs((LOCAL,)))[:-1]):
        with pytest.raises(ValueError, match="DecisionInputs"):
            inputs_from_json(data)


def test_the_slider_keeps_a_share_and_a_quality() -> None:
    scores = Scores()
    for number in range(MOST + 200):
        scores = scores.plus(Score(0.5, (number * 37 % 1000) / 1000))
    assert len(scores.kept) == MOST
    for share in (0.1, 0.3, 0.75):
        line = scores.for_share(share)
        assert sum(score.gain >= line for score in scores.kept) == pytest.approx(share * MOST, abs=1)
    line = scores.for_quality(0.7)
    reached = [score.cheap + (score.gain if score.gain >= line else 0) for score in scores.kept]
    assert sum(reached) / MOST == pytest.approx(0.7, abs=0.001)
    assert scores.for_share(0) > 1
    assert scores.for_share(1) < -1
    assert scores.for_quality(0.4) > 1
    assert scores.for_quality(1.2) < -1
    assert 0 < Scores().for_share(0.9) < Scores().for_share(0.1) < 0.3


@pytest.mark.parametrize(
    ("share", "reached"), [(0.04, 0), (0.1, 10), (0.3, 10), (0.39, 10), (0.41, 70), (0.8, 70), (0.95, 100)]
)
def test_equal_gains_go_to_one_side_the_nearer_one(share: float, reached: int) -> None:
    gains = [0.3] * 10 + [0.2] * 60 + [0.1] * 30
    line = Scores(tuple(Score(0.5, gain) for gain in gains)).for_share(share)
    assert sum(gain >= line for gain in gains) == reached
