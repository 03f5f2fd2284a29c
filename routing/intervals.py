"""How sure a figure is that was made of few: 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z = 1.959964  # two-sided, of a normal distribution


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


def mean(values: Sequence[float]) -> Interval | None:
    """A mean; None of nothing, and of one value anything is possible."""
    if not values:
        return None
    middle = math.fsum(values) / len(values)
    if len(values) == 1:
        return Interval(middle, -math.inf, math.inf, 1)
    variance = math.fsum((one - middle) ** 2 for one in values) / (len(values) - 1)
    half = _student(len(values) - 1) * math.sqrt(variance / len(values))
    return Interval(middle, middle - half, middle + half, len(values))


def median(values: Sequence[float]) -> Interval | None:
    """A median, between two of the values. Source: the binomial interval of order statistics."""
    if not values:
        return None
    ranked, count = sorted(values), len(values)
    half = Z * math.sqrt(count) / 2
    low, high = max(math.floor(count / 2 - half), 0), min(math.ceil(count / 2 + half), count - 1)
    middle = (ranked[(count - 1) // 2] + ranked[count // 2]) / 2
    return Interval(middle, ranked[low], ranked[high], count)


def differ(one: Interval | None, other: Interval | None) -> bool | None:
    """Whether two means or shares differ, by a test at 5 %; None where that cannot be told.

    From their own intervals: the difference's is √ of the sum of the squares of their halves.
    """
    if one is None or other is None or not all(map(math.isfinite, (one.low, one.high, other.low, other.high))):
        return None
    half = math.hypot((one.high - one.low) / 2, (other.high - other.low) / 2)
    return abs(one.value - other.value) > half


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
