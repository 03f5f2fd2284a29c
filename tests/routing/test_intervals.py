"""How sure a figure is, against values from tables."""

from __future__ import annotations

import math
import random

import pytest

from routing.intervals import Interval, _student, differ, mean, median, share


@pytest.mark.parametrize(
    ("yes", "of", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (50, 100, 0.4038, 0.5962)],
)
def test_a_share(yes: int, of: int, low: float, high: float) -> None:
    found = share(yes, of)
    assert found is not None
    assert math.isclose(found.low, low, abs_tol=1e-4)
    assert math.isclose(found.high, high, abs_tol=1e-4)


@pytest.mark.parametrize(
    ("freedom", "value"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (5, 2.5706), (10, 2.2281), (30, 2.0423), (1000, 1.9623)],
)
def test_students_t(freedom: int, value: float) -> None:
    assert math.isclose(_student(freedom), value, rel_tol=0.01)


def test_a_mean_and_a_median_hold_what_they_should() -> None:
    """Of 400 samples 95 % have the true value within: 5 % ± 3 standard deviations, of one seed."""
    rng = random.Random(5)
    missed = [0, 0]
    for _ in range(400):
        values = [rng.gauss(3.0, 2.0) for _ in range(20)]
        for place, found in enumerate((mean(values), median(values))):
            assert found is not None
            missed[place] += not found.low <= 3.0 <= found.high
    assert all(one <= 400 * 0.05 + 3 * math.sqrt(400 * 0.05 * 0.95) for one in missed)


def test_little_says_little() -> None:
    assert (share(0, 0), mean([]), median([])) == (None, None, None)
    one = mean([1.0])
    assert one is not None
    assert (one.low, one.high) == (-math.inf, math.inf)
    assert differ(one, mean([2.0, 2.1])) is None
    assert differ(None, one) is None


def test_two_that_differ() -> None:
    one, other = Interval(0.5, 0.45, 0.55, 100), Interval(0.7, 0.65, 0.75, 100)
    assert differ(one, other)
    assert not differ(one, Interval(0.52, 0.47, 0.57, 100))
