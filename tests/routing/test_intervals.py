"""How sure a figure is, against values from tables."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from routing.intervals import FEW, Interval, _student, differ, mean, median, rate, share


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


def test_few_that_are_all_the_same_say_little() -> None:
    praised, blamed = rate([1.0, 1.0]), rate([0.0, 0.0])
    assert praised is not None
    assert praised.low < 0.4
    assert differ(praised, blamed) is None
    for found in (mean([1.0] * (FEW - 1)), median([3.0]), median([1.0, 2.0, 3.0, 4.0, 5.0])):
        assert found is not None
        assert (found.low, found.high) == (-math.inf, math.inf)
    assert differ(mean([1.0] * (FEW - 1)), mean([2.0] * FEW)) is None
    assert differ(rate([1.0] * FEW), rate([0.0] * FEW))


def test_a_rate_is_as_sure_as_a_share_of_as_many() -> None:
    assert rate([]) is None
    assert rate([0.5, 1.0, 0.0, 0.5]) == share(2, 4)


@pytest.mark.parametrize("count", [6, 7, 8, 12, 21, 26, 100])
def test_between_what_a_median_is(count: int) -> None:
    found = median([float(place) for place in range(count)])
    assert found is not None
    within = range(int(found.low) + 1, int(found.high) + 1)
    assert sum(math.comb(count, below) for below in within) / 2**count > 0.947


@pytest.mark.parametrize(("one", "other"), [(FEW, FEW), (FEW, 40), (FEW, 200), (40, 40)])
@pytest.mark.parametrize("good", [0.05, 0.5, 0.8, 0.95])
def test_sides_that_are_the_same_are_seldom_said_to_differ(one: int, other: int, good: float) -> None:
    """All that can come of it, by how likely each is."""
    wrong = 0.0
    for yes, more in itertools.product(range(one + 1), range(other + 1)):
        if differ(share(yes, one), share(more, other)):
            likely = math.comb(one, yes) * good**yes * (1 - good) ** (one - yes)
            wrong += likely * math.comb(other, more) * good**more * (1 - good) ** (other - more)
    assert wrong < 0.06


def test_two_that_differ() -> None:
    one, other = Interval(0.5, 0.45, 0.55, 100), Interval(0.7, 0.65, 0.75, 100)
    assert differ(one, other)
    assert not differ(one, Interval(0.52, 0.47, 0.57, 100))
