"""Each model of each provider has a breaker, a rest and a load of its own."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from orchestrator.core.breaker import Breaker, Turn
from orchestrator.core.types import Candidate, Model
from routing.health import FAILURES, LONGEST_REST_S, MOST_PLACES, SHORTEST_TOLD_S, Health, Place
from tests.fakes import SetClock


@dataclass(frozen=True)
class Planned:
    candidate: Candidate
    unsupported: tuple[str, ...] = ()


def plan(engine: str, rank: int = 0, unsupported: tuple[str, ...] = (), remote: str = "m", of: str = "m") -> Planned:
    model = Model(name=f"{engine}/{remote}", digest="d", engine=engine, remote_name=remote)
    stands_for = Model(name=of, digest="d", engine="")
    return Planned(Candidate(model=model, stands_for=stands_for, rank=rank), unsupported)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def health(clock: SetClock) -> Health:
    return Health(clock, random.Random(1))


def fail(place: Place, times: int = int(FAILURES)) -> None:
    for _ in range(times):
        place.failed(place.breaker.turn(), "HTTP 500")


def test_a_model_that_fails_says_nothing_of_its_providers_others(health: Health) -> None:
    fail(health.place(plan("a", remote="bad").candidate))
    assert health.place(plan("a", remote="bad").candidate).breaker.turn() is Turn.NONE
    assert health.place(plan("a", remote="good").candidate).breaker.turn() is Turn.CALL
    assert [(one.provider, one.model, one.why) for one in health.open()] == [("a", "a/bad", "HTTP 500")]


def test_what_fails_every_other_time_stays_in_use(health: Health) -> None:
    place = health.place(plan("a").candidate)
    for _ in range(100):
        place.failed(place.breaker.turn(), "HTTP 500")
        place.answered(place.breaker.turn())
    assert place.breaker.turn() is Turn.CALL


@pytest.mark.parametrize(("asked_s", "rests_s"), [(7.0, 7.0), (0.01, 1.0), (1e9, LONGEST_REST_S), (None, 1.0)])
def test_a_place_rests_as_long_as_it_asks_for_within_reason(
    health: Health, clock: SetClock, asked_s: float | None, rests_s: float
) -> None:
    place = health.place(plan("a").candidate)
    place.rest(asked_s, "too many")
    assert (place.rests, place.waits_s) == (True, rests_s)
    clock.pass_(rests_s)
    assert not place.rests


def test_a_rest_is_told_of_with_its_end_unless_it_is_short(health: Health, clock: SetClock) -> None:
    place, other = (health.place(plan(name).candidate) for name in ("a", "b"))
    place.rest(30, "too many")
    other.rest(SHORTEST_TOLD_S - 1, "too many")
    began = round(clock.now())
    clock.pass_(10)
    for _ in range(2):
        (told,) = health.open()
        assert (told.provider, told.opened_at, told.why, told.until) == ("a", began, "too many", began + 30)
    fail(place)
    assert [one.until for one in health.open()] == [None], "an open breaker says more"
    health.reset("a")
    assert not health.open()


def test_the_order_is_rank_then_what_is_left_out_and_the_down_come_last(health: Health) -> None:
    health.down = frozenset({"down"})
    plans = [plan("later", 1), plan("down"), plan("lacks", 0, ("seed",)), plan("best"), plan("other", 2, of="another")]
    assert [one.candidate.model.engine for one in health.in_order(plans, "latency")] == [
        *("best", "lacks", "later", "down", "other")
    ]


def test_an_answer_of_late_speaks_against_looks(health: Health, clock: SetClock) -> None:
    health.down = frozenset({"down"})
    place = health.place(plan("down").candidate)
    place.answered(place.breaker.turn())
    assert not health.is_down(plan("down").candidate)
    clock.pass_(61)
    assert health.is_down(plan("down").candidate)


def test_a_provider_takes_so_many_calls_at_once(health: Health) -> None:
    health.most_calls = {"a": 2}
    place = health.place(plan("a").candidate)
    health.began(place)
    assert not health.is_full("a")
    health.began(health.place(plan("a", remote="other").candidate))
    assert health.is_full("a")
    assert not health.is_full("b")
    health.ended(place)
    assert not health.is_full("a")


def test_an_operator_may_say_that_it_is_well(health: Health) -> None:
    broken, tired, other = (health.place(plan(*of).candidate) for of in (("a", 0), ("a", 0, (), "n"), ("b", 0)))
    fail(broken)
    tired.rest(30, "too many")
    fail(other)
    health.reset("a")
    assert [place.breaker.is_open or place.rests for place in (broken, tired, other)] == [False, False, True]


def test_names_that_callers_make_up_are_forgotten_and_what_is_broken_is_not(health: Health) -> None:
    fail(health.place(plan("a", remote="bad").candidate))
    for number in range(MOST_PLACES + 10):
        health.place(plan("a", remote=f"m{number}").candidate)
    assert len(health._places) == MOST_PLACES
    assert health.open()


def test_places_that_all_fail_do_not_keep_a_new_one_out(health: Health) -> None:
    for number in range(MOST_PLACES + 5):
        fail(health.place(plan("openai", remote=f"m{number}").candidate), times=1)
    assert len(health._places) == MOST_PLACES
    newest = health.place(plan("openai", remote=f"m{MOST_PLACES + 4}").candidate)
    assert not newest.breaker.is_quiet, "it is known"
    assert health.place(plan("openai", remote="m0").candidate).breaker.is_quiet, "the oldest was forgotten"


def test_a_new_name_takes_no_longer_however_many_places_fail(health: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(MOST_PLACES):
        fail(health.place(plan("openai", remote=f"m{number}").candidate), times=1)
    looks = 0
    is_quiet = Breaker.is_quiet.fget
    assert is_quiet

    def look(breaker: Breaker) -> bool:
        nonlocal looks
        looks += 1
        return is_quiet(breaker)

    monkeypatch.setattr(Breaker, "is_quiet", property(look))
    health.place(plan("openai", remote="made up").candidate)
    assert 0 < looks < 100
    assert len(health._places) == MOST_PLACES


def test_what_is_being_asked_is_not_forgotten_however_old(health: Health) -> None:
    asked = [health.place(plan("openai", remote=f"asked{number}").candidate) for number in range(100)]
    for place in asked:
        health.began(place)
    for number in range(2 * MOST_PLACES):
        health.place(plan("openai", remote=f"m{number}").candidate)
    assert len(health._places) < MOST_PLACES + len(asked)
    for number, place in enumerate(asked):
        assert health.place(plan("openai", remote=f"asked{number}").candidate) is place
