"""How sure a figure is that was made of few: 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z = 1.959964  # two-sided, of a normal distribution
FEW = 10  # with fewer on a side, two that are the same are said to differ more often than once in twenty
LEAST_RANKED = 6  # of fewer values not even the least and the greatest have the median between them in 95 of 100 cases


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure, and between what it is, as far as can be told. `of` so many."""

    value: float
    low: float
    high: float
    of: int


def share(yes: float, of: int) -> Interval | None:
    """A share of so many, 0 to 1; None of nothing. Source: Wilson 1927."""
    if not of:
        return None
    part, square = yes / of, Z * Z
    middle = (part + square / (2 * of)) / (1 + square / of)
    half = Z * math.sqrt(part * (1 - part) / of + square / (4 * of * of)) / (1 + square / of)
    return Interval(part, max(middle - half, 0.0), min(middle + half, 1.0), of)


def rate(values: Sequence[float]) -> Interval | None:
    """A mean of values from 0 to 1; None of nothing. As a share: no values of that mean are spread wider."""
    return share(math.fsum(values), len(values))


def mean(values: Sequence[float]) -> Interval | None:
    """A mean; None of nothing. Of one value anything is possible, and of a few that are all the same."""
    if not values:
        return None
    middle = math.fsum(values) / len(values)
    if len(values) == 1 or (len(values) < FEW and min(values) == max(values)):
        return Interval(middle, -math.inf, math.inf, len(values))
    variance = math.fsum((one - middle) ** 2 for one in values) / (len(values) - 1)
    half = _student(len(values) - 1) * math.sqrt(variance / len(values))
    return Interval(middle, middle - half, middle + half, len(values))


def median(values: Sequence[float]) -> Interval | None:
    """A median, between two of the values; of few anything is possible.

    Source: the binomial interval of order statistics.
    """
    if not values:
        return None
    ranked, count = sorted(values), len(values)
    middle = (ranked[(count - 1) // 2] + ranked[count // 2]) / 2
    if count < LEAST_RANKED:
        return Interval(middle, -math.inf, math.inf, count)
    half = Z * math.sqrt(count) / 2
    low, high = max(math.floor(count / 2 - half), 0), min(math.ceil(count / 2 + half), count - 1)
    return Interval(middle, ranked[low], ranked[high], count)


def differ(one: Interval | None, other: Interval | None) -> bool | None:
    """Whether two means or shares differ, by a test at 5 %; None where that cannot be told.

    From their own intervals: what the lesser may be more, and the greater less. Source: Newcombe 1998, method 10.
    """
    if one is None or other is None or not all(map(math.isfinite, (one.low, one.high, other.low, other.high))):
        return None
    if min(one.of, other.of) < FEW:
        return None
    less, more = sorted((one, other), key=lambda each: each.value)
    return more.value - less.value > math.hypot(more.value - more.low, less.high - less.value)


def _student(freedom: int) -> float:
    """Student's t, two-sided 95 %, by Cornish and Fisher's expansion: from two on it errs by less than 0.5 %."""
    if freedom == 1:
        return 12.706205
    z, n = Z, freedom
    return (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * n**4)
    )
