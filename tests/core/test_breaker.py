"""The breaker opens after three failures, tries with one call, and closes when that works."""

import pytest

from orchestrator.core.breaker import Breaker, Turn
from tests.cache.conftest import HandClock


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def opened(clock: HandClock) -> Breaker:
    breaker = Breaker(clock)
    assert [breaker.failed(breaker.turn()) for _ in range(3)] == [False, False, True]
    return breaker


def test_what_fails_once_in_a_hundred_calls_stays_in_use(clock: HandClock):
    breaker = Breaker(clock)
    for _ in range(100):
        breaker.failed(breaker.turn())
        for _ in range(99):
            breaker.succeeded(breaker.turn())
    assert not breaker.is_open


def test_what_fails_now_and_then_is_out_as_well(clock: HandClock):
    breaker = Breaker(clock)
    for _ in range(3):
        breaker.failed(breaker.turn())
        for _ in range(9):
            breaker.succeeded(breaker.turn())
    assert not breaker.is_open
    breaker.failed(breaker.turn())
    assert breaker.is_open


def test_while_it_is_open_nobody_may_go(clock: HandClock):
    breaker = opened(clock)
    clock.advance(0.9)
    assert breaker.turn() is Turn.NONE


def test_then_exactly_one_may_go_and_see(clock: HandClock):
    breaker = opened(clock)
    clock.advance(1)
    assert [breaker.turn() for _ in range(3)] == [Turn.PROBE, Turn.NONE, Turn.NONE]


def test_a_probe_that_works_closes_it_and_tells_how_long_it_was_open(clock: HandClock):
    breaker = opened(clock)
    clock.advance(2)
    assert breaker.succeeded(breaker.turn()) == 2
    assert breaker.turn() is Turn.CALL


def test_the_pauses_double_up_to_less_than_five_seconds(clock: HandClock):
    breaker = opened(clock)
    pauses = []
    for _ in range(5):
        began = clock.monotonic()
        while (turn := breaker.turn()) is Turn.NONE:
            clock.advance(0.5)
        pauses.append(clock.monotonic() - began)
        breaker.failed(turn)
    assert pauses == [1, 2, 4, 4, 4]


def test_a_probe_given_up_by_its_caller_leaves_the_place_to_another(clock: HandClock):
    breaker = opened(clock)
    clock.advance(1)
    breaker.abandoned(breaker.turn())
    assert breaker.turn() is Turn.PROBE


def test_an_answer_to_a_call_from_before_it_opened_does_not_close_it(clock: HandClock):
    breaker = Breaker(clock)
    early = breaker.turn()
    for _ in range(3):
        breaker.failed(breaker.turn())
    breaker.succeeded(early)
    assert breaker.is_open


def test_failures_of_long_ago_do_not_count(clock: HandClock):
    breaker = Breaker(clock, memory_s=60)
    for _ in range(2):
        breaker.failed(breaker.turn())
    clock.advance(61)
    assert not breaker.failed(breaker.turn())
    assert [breaker.failed(breaker.turn()) for _ in range(2)] == [False, True]


def test_how_much_success_forgives_is_for_its_owner_to_say(clock: HandClock):
    breaker = Breaker(clock, failures=5, forgiven=1)
    for _ in range(50):
        breaker.failed(breaker.turn())
        breaker.succeeded(breaker.turn())
    assert not breaker.is_open
    for _ in range(5):
        breaker.failed(breaker.turn())
    assert (breaker.is_open, breaker.retry_in_s) == (True, 1.0)
