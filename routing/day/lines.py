"""The slider's line through the newest gains, as `Scores.for_share` draws it, for many questions in a row."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections import deque

from routing.scores import MOST, Scores


class Line:
    """Keeps the newest gains in order, so that each line takes microseconds. A test compares it with `Scores`."""

    def __init__(self, share: float) -> None:
        """`share` of the questions are to go to the dear side."""
        self._share = share
        self._newest: deque[float] = deque()
        self._ordered: list[float] = []  # the least first

    def next(self) -> float:
        """The least gain for which the dear side is asked."""
        count = len(self._ordered)
        if not 0 < self._share < 1 or not count:
            return Scores().for_share(self._share)
        wanted = round(self._share * count)
        line = self._ordered[count - max(1, wanted)]
        reached = count - bisect_left(self._ordered, line)
        beyond = count - bisect_right(self._ordered, line)
        return line if reached - wanted <= wanted - beyond else math.nextafter(line, math.inf)

    def saw(self, gain: float) -> None:
        """One more; the oldest goes."""
        if len(self._newest) == MOST:
            oldest = self._newest.popleft()
            del self._ordered[bisect_left(self._ordered, oldest)]
        self._newest.append(gain)
        insort(self._ordered, gain)
