"""P(good): shipped priors that are what they were made from, and what is seen here, kept apart and in no order."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.routing.files import write_npz
from bench.routing.priors import DATA
from routing.predictor import features
from routing.predictor.places import packed, unpacked
from routing.predictor.predict import Predictor
from routing.predictor.priors import FILE, hash_of, made_from, shipped, without
from routing.predictor.snapshot import from_bytes, to_bytes
from routing.predictor.standing import standing_of
from routing.predictor.state import FREELY, MEMORY, MOST_MODELS, MOST_TENANTS, correction, learn, slope
from routing.predictor.types import Outcome, State

PRIORS = shipped()
PLACES = unpacked(PRIORS.sized.places)
MODELS = [("a", 0.0), ("b", 1.0), ("c", 2.0)]

OUTCOMES = st.lists(
    st.builds(
        Outcome,
        model=st.sampled_from(["a", "b"]),
        ability=st.sampled_from([0.0, 1.0]),
        tenant=st.sampled_from(["", "x", "y"]),
        place=st.integers(0, 300).map(lambda row: PLACES[row]),
        good=st.floats(0, 1),
        weight=st.floats(0, 2),
        propensity=st.floats(0.001, 1),
    ),
    min_size=1,
    max_size=12,
)


def said(state: State, tenant: str = "") -> list[list[float]]:
    predictor = Predictor(state)
    return [predictor.good(place, MODELS, tenant) for place in PLACES[:40:10]]


def test_the_shipped_priors_are_those_of_the_manifest() -> None:
    manifest = json.loads(FILE.with_name("manifest.json").read_text())
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() == manifest["sha256"] == PRIORS.digest
    for name, digest in manifest["sources"].items():
        assert hashlib.sha256((DATA / name).read_bytes()).hexdigest() == digest
    assert manifest["surface"] == list(features.NAMES)
    assert manifest["questions"] == {"sized": len(PRIORS.sized.hashes), "examined": len(PRIORS.examined.hashes)}
    assert FILE.stat().st_size < 3_000_000


def test_the_priors_can_be_made_again_from_what_ships(tmp_path: Path) -> None:
    made = made_from(PRIORS.frame, PRIORS.centres, PRIORS.sized, PRIORS.examined)
    np.testing.assert_allclose(made.base, PRIORS.base, atol=2e-3)
    np.testing.assert_allclose(made.added, PRIORS.added, atol=2e-3)
    for name in ("one", "two"):
        write_npz(tmp_path / name, {"base": made.base, "added": made.added})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_what_was_left_out_says_nothing() -> None:
    assert without(PRIORS, np.array([], np.uint64)) is PRIORS
    bare = without(without(PRIORS, PRIORS.examined.hashes), PRIORS.sized.hashes)
    chances = bare.good(PLACES[:3], np.array([0.0, 1.0], np.float32))
    np.testing.assert_allclose(chances, [[0.5, 0.6]] * 3, atol=1e-6)
    law = without(PRIORS, np.array([], np.uint64), "professional_law")
    assert len(law.examined.hashes) == len(PRIORS.examined.hashes) - 170
    assert hash_of(" What  is\nthis? ") == hash_of("What is this?")


def test_an_abler_model_is_never_expected_to_be_worse_beyond_exams() -> None:
    chances = replace(PRIORS, exams=PRIORS.exams[:0]).good(PLACES[:200], np.array([-1, 0, 1, 2], np.float32))
    assert (np.diff(chances, axis=1) >= 0).all()
    assert ((chances > 0) & (chances < 1)).all()


@pytest.mark.parametrize(
    ("name", "more", "tier"),
    [
        ("smollm2:135m", {}, "small"),
        ("llama3.1:8b", {}, "small"),
        ("weak_mixtral_8x7b", {}, "mid"),
        ("llama3.3:70b-instruct-q4_0", {}, "mid"),
        ("openai/gpt-4.1", {}, "strong"),
        ("openai/gpt-4o-mini", {}, "mid"),
        ("strong_gpt4_1106", {}, "strong"),
        ("anything", {"parameters": 3e9}, "small"),
        ("anything", {"usd_per_million": 15.0}, "strong"),
        ("anything", {"is_local": True}, "small"),
        ("anything", {}, "mid"),
    ],
)
def test_where_a_model_starts_from(name: str, more: dict[str, float], tier: str) -> None:
    standing = standing_of(name, **more)  # type: ignore[arg-type]
    assert standing.tier == tier
    assert standing.because


def test_without_outcomes_it_is_exactly_the_priors() -> None:
    abilities = np.array([ability for _, ability in MODELS], np.float32)
    for place, chances in zip(PLACES[:40:10], said(State()), strict=True):
        np.testing.assert_allclose(chances, PRIORS.good(place[None], abilities)[0], atol=1e-5)
    assert learn(State(), []).models == {}


@settings(max_examples=8, deadline=None)
@given(OUTCOMES, st.randoms())
def test_the_order_within_a_batch_makes_no_difference(batch: list[Outcome], rng: random.Random) -> None:
    shuffled = list(batch)
    rng.shuffle(shuffled)
    assert to_bytes(learn(State(), batch)) == to_bytes(learn(State(), shuffled))


@settings(max_examples=8, deadline=None)
@given(OUTCOMES)
def test_one_model_says_nothing_of_another(batch: list[Outcome]) -> None:
    alone = learn(State(), [one for one in batch if one.model == "a"])
    both = learn(State(), batch)
    assert [row[0] for row in said(both, "x")] == [row[0] for row in said(alone, "x")]
    assert [row[2] for row in said(both)] == [row[2] for row in said(State())]


@settings(max_examples=8, deadline=None)
@given(OUTCOMES)
def test_a_state_is_kept_as_bytes(batch: list[Outcome]) -> None:
    state = learn(learn(State(), batch), batch)
    read = from_bytes(to_bytes(state))
    assert to_bytes(read) == to_bytes(state)
    assert (read.version, read.priors) == (2, PRIORS.digest)
    assert said(read, "y") == said(state, "y")
    with pytest.raises(ValueError, match="no state"):
        from_bytes(to_bytes(state)[:-3])


def outcomes(model: str, good: float, count: int, tenant: str = "", **more: float) -> list[Outcome]:
    return [Outcome(model, 1.0, tenant, PLACES[row], good, **more) for row in range(count)]


def test_what_is_seen_moves_it_little_by_little() -> None:
    before = said(State())[0][1]
    few, many = (said(learn(State(), outcomes("b", 0.0, count)))[0][1] for count in (2, 200))
    assert many < few < before
    assert many < 0.25
    light = said(learn(State(), outcomes("b", 0.0, 2, weight=0.1)))[0][1]
    assert few < light < before


def test_a_rare_draw_counts_for_more_and_not_for_everything() -> None:
    rare, rarer, sure = (
        learn(State(), outcomes("b", 0.0, 1, propensity=share)).models["b"].seen for share in (0.1, 1e-6, 1.0)
    )
    assert (rare, rarer, sure) == (pytest.approx(10), 10, 1)


def test_a_tenants_own_outcomes_are_its_own() -> None:
    state = learn(State(), outcomes("b", 1.0, 300) + outcomes("b", 0.0, 300, "picky"))
    assert said(state, "picky")[0][1] < said(state, "other")[0][1] - 0.2


def test_no_tenant_has_more_say_in_what_holds_for_all_than_the_others_together() -> None:
    quiet = [one for tenant in ("x", "y", "z") for one in outcomes("b", 1.0, 40, tenant)]
    loud = outcomes("b", 0.0, 200, "loud")
    once = learn(State(), quiet + loud)
    often = learn(learn(once, loud), loud)
    assert once.models["b"].seen == often.models["b"].seen == pytest.approx(2 * 120)
    assert (once.models["b"].mean == often.models["b"].mean).all()
    assert said(often, "x")[0][1] > said(State())[0][1] - 0.3
    assert said(often, "loud")[0][1] < said(once, "loud")[0][1], "of itself it is believed"
    later = learn(often, [one for tenant in ("x", "y", "z") for one in outcomes("b", 1.0, 400, tenant)])
    assert learn(later, loud).models["b"].seen == pytest.approx(later.models["b"].seen + 200)


def test_who_is_alone_is_believed_in_all_and_who_is_new_in_what_is_little() -> None:
    assert learn(State(), outcomes("b", 0.0, 300)).models["b"].seen == 300
    others = learn(State(), outcomes("a", 1.0, 3, "x") + outcomes("b", 0.0, 300, "first"))
    assert others.models["b"].seen == pytest.approx(FREELY)


def test_corrections_are_believed_as_far_as_they_held_good() -> None:
    rng = np.random.default_rng(0)
    told = [replace(one, good=float(one.place[40] > 0)) for one in outcomes("b", 1.0, 400)]
    chance = [replace(one, good=float(rng.random() < 0.6)) for one in outcomes("c", 1.0, 400)]
    state = learn(State(), told + chance)
    assert slope(state.models["c"]) < 1 < slope(state.models["b"])
    assert slope(learn(State(), told[:3]).models["b"]) == 1


def test_what_was_learned_over_other_priors_is_begun_anew() -> None:
    old = replace(learn(State(), outcomes("b", 0.0, 50)), priors="of another release")
    assert said(old) == said(State())
    after = learn(old, outcomes("c", 1.0, 1))
    assert (list(after.models), after.version, after.priors) == (["c"], 2, PRIORS.digest)


def test_what_it_keeps_is_bounded() -> None:
    state = learn(State(), outcomes("first", 1.0, MEMORY + 50))
    assert len(state.models["first"].places) == MEMORY
    state = learn(state, [one for number in range(MOST_MODELS) for one in outcomes(f"m{number:03}", 1.0, 1)])
    assert len(state.models) == MOST_MODELS
    assert "first" not in state.models
    tenants = learn(State(), [outcomes("b", 1.0, 1, f"t{number}")[0] for number in range(MOST_TENANTS + 9)])
    assert len(tenants.models["b"].tenants) == MOST_TENANTS


@pytest.mark.parametrize(
    "wrong", [{"good": 1.1}, {"propensity": 0.0}, {"weight": -1.0}, {"good": float("nan")}, {"ability": 99.0}]
)
def test_an_outcome_out_of_bounds_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="out of bounds"):
        learn(State(), [replace(outcomes("b", 1.0, 1)[0], **wrong)])


def test_one_question_at_a_time_is_as_many_at_once() -> None:
    state = learn(State(), outcomes("b", 0.3, 30))
    together = PRIORS.good(PLACES[:9], np.array([1.0], np.float32))[:, 0] + correction(state.models["b"], PLACES[:9])
    alone = [Predictor(state).good(place, [("b", 1.0)], "nobody")[0] for place in PLACES[:9]]
    np.testing.assert_allclose(alone, np.clip(together, 0.01, 0.99), atol=1e-4)


def test_a_question_without_a_vector_has_a_place() -> None:
    place = PRIORS.place("Prove that there are infinitely many primes.")
    assert place.shape == PLACES[0].shape
    assert (packed(place[None])[0, len(features.NAMES) :] == 0).all()
    assert all(0 < chance < 1 for chance in Predictor(State()).good(place, MODELS))
