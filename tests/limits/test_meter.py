"""Never more than the burst and the rate let through, whatever is charged, given back, and when."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.limits.meter import Meter, Rate

MONTH_S = 31 * 86400
rates = st.builds(
    Rate,
    amount=st.integers(1, 10**12),
    per_s=st.integers(1, MONTH_S),
    burst=st.integers(1, 10**12),
)
small = st.builds(Rate, amount=st.integers(1, 50), per_s=st.integers(1, 60), burst=st.integers(1, 20))
steps = st.lists(st.tuples(st.floats(0, 30), st.integers(1, 8), st.floats(0, 1), st.integers(0, 5)), max_size=40)


@given(rate=small, steps=steps)
@settings(max_examples=300, deadline=None)
def test_no_window_lets_more_through(rate: Rate, steps: list[tuple[float, int, float, int]]) -> None:
    """Also when parts of charges are given back, some time later and in any order."""
    meter, now = Meter(), 0.0
    passed: list[tuple[float, float]] = []  # when, and how much of it was used in the end
    open_charges = []
    for pause_s, units, share, which in steps:
        now += pause_s
        if not meter.wait_s(rate, units, now) and units <= rate.burst:
            passed.append((now, units))
            open_charges.append((len(passed) - 1, meter.charge(rate, units, now)))
        if open_charges and share:
            place, receipt = open_charges.pop(which % len(open_charges))
            when, charged = passed[place]
            # All of that was never used, whatever the meter makes of it.
            unused = int(charged * share)
            meter.give_back(rate, unused, receipt, now)
            passed[place] = when, charged - unused
    for first, (start, _) in enumerate(passed):
        for end_, total in zip(
            [when for when, _ in passed[first:]], accumulate(used for _, used in passed[first:]), strict=True
        ):
            assert total <= rate.burst + rate.a_second * (end_ - start) + 1e-6


@given(rate=rates, units=st.integers(1, 10**6))
def test_who_waits_as_long_as_is_said_may_ask(rate: Rate, units: int) -> None:
    meter = Meter()
    meter.charge(rate, rate.burst, 0.0)
    wait_s = meter.wait_s(rate, units, 0.0)
    assert wait_s > 0
    assert meter.wait_s(rate, units, wait_s) == 0


@given(rate=st.builds(Rate, amount=st.integers(1, 10**6), per_s=st.integers(1, MONTH_S), burst=st.integers(1, 2000)))
def test_exactly_the_burst_passes_at_once(rate: Rate) -> None:
    meter, passed = Meter(at=1e9), 0
    while not meter.wait_s(rate, 1, 1e9):
        meter.charge(rate, 1, 1e9)
        passed += 1
    assert passed == rate.burst


def test_a_token_of_a_million_millions_a_month_counts() -> None:
    rate = Rate(10**12, MONTH_S, 10**12)
    meter = Meter(at=1.8e9)
    for _ in range(1000):
        meter.charge(rate, 1, 1.8e9)
    assert meter.left(rate, 1.8e9) == 10**12 - 1000
    assert meter.left(rate, 1.8e9 + MONTH_S) == 10**12


def test_what_was_given_back_may_be_asked_again() -> None:
    rate = Rate(60, 60, 10)
    meter = Meter()
    receipt = meter.charge(rate, 10, 0.0)
    assert meter.wait_s(rate, 1, 0.0) == pytest.approx(1)
    assert meter.give_back(rate, 4, receipt, 0.0) == 4
    assert meter.left(rate, 0.0) == 4


def test_calls_that_end_in_any_order_give_back_what_they_did_not_use() -> None:
    rate, meter = Rate(1_000_000, 31 * 86400, 1_000_000), Meter()
    receipts = [meter.charge(rate, 4000, 0.0) for _ in range(50)]
    for receipt in reversed(receipts):
        meter.give_back(rate, 3900, receipt, 10.0)
    assert meter.left(rate, 10.0) == pytest.approx(1_000_000 - 50 * 100, abs=200)


def test_what_has_drained_is_not_given_back() -> None:
    rate = Rate(60, 60, 10)
    meter = Meter()
    receipt = meter.charge(rate, 5, 0.0)
    meter.charge(rate, 3, 4.0)
    assert meter.give_back(rate, 5, receipt, 4.0) == 1
    assert meter.left(rate, 4.0) == 7


def test_more_than_the_burst_passes_when_nothing_is_used_and_is_a_debt() -> None:
    rate = Rate(60, 60, 10)
    meter = Meter()
    assert meter.wait_s(rate, 25, 0.0) == 0
    meter.charge(rate, 25, 0.0)
    assert meter.wait_s(rate, 1, 0.0) == pytest.approx(16)
    assert meter.wait_s(rate, 25, 5.0) == pytest.approx(20)


def test_a_clock_that_goes_back_neither_gives_nor_takes() -> None:
    rate = Rate(60, 60, 10)
    meter = Meter(at=1000.0)
    meter.charge(rate, 10, 1000.0)
    assert meter.left(rate, 10.0) == 0
    meter.drain(rate, 10.0)
    assert meter.left(rate, 15.0) == pytest.approx(5)
