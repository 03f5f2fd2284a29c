"""A tenth may be asked again, after a pause that nobody else has."""

from __future__ import annotations

import random

from routing.retries import LONGEST_PAUSE_S, RetryBudget, pause_s


def test_a_tenth_of_what_was_asked_may_be_asked_again() -> None:
    budget = RetryBudget()
    granted = 0
    for _ in range(1000):
        budget.called()
        granted += budget.take()
    assert 100 <= granted <= 103


def test_quiet_hours_earn_no_storm() -> None:
    budget = RetryBudget()
    for _ in range(100_000):
        budget.called()
    assert sum(budget.take() for _ in range(1000)) == 10


def test_the_pause_is_any_time_up_to_one_that_doubles() -> None:
    rng = random.Random(3)
    for repetition, most_s in ((1, 0.2), (2, 0.4), (3, 0.8), (9, LONGEST_PAUSE_S)):
        pauses = [pause_s(repetition, None, rng) or 0.0 for _ in range(500)]
        assert 0 <= min(pauses) < most_s / 10
        assert most_s * 0.9 < max(pauses) <= most_s


def test_what_the_provider_asks_for_is_kept_to_or_not_waited_for() -> None:
    rng = random.Random(3)
    assert 1.0 <= (pause_s(1, 1.0, rng) or 0.0) <= 1.1
    assert pause_s(1, 2.5, rng) is None
