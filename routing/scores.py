"""The operator's slider: what the last thousand questions had to gain, and where the line through them lies.

A decision takes the line as an input, so that it can be made again; here is where the line comes from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

MOST = 1000


@dataclass(frozen=True, slots=True)
class Score:
    """One question: P(good) of the first of the cheap side by its score, and what the dear side's first would add."""

    cheap: float
    gain: float


@dataclass(frozen=True, slots=True)
class Scores:
    """Of one tenant, the newest last; adding one makes another."""

    kept: tuple[Score, ...] = ()

    def plus(self, score: Score) -> Scores:
        """With one more; the oldest goes."""
        return Scores((*self.kept[-(MOST - 1) :], score))

    def for_share(self, share: float) -> float:
        """The least gain for which the dear side is asked, so that it would have got this share of them.

        Until anything was seen it is a guess: gains beyond 0.2 are rare.
        """
        if share <= 0:
            return 2.0  # more than any gain
        if share >= 1:
            return -2.0
        if not self.kept:
            return 0.2 * (1.0 - share)
        gains = sorted((score.gain for score in self.kept), reverse=True)
        wanted = round(share * len(gains))
        line = gains[max(0, wanted - 1)]
        # Many may have just that gain: then all of them or none, whichever is nearer to the share.
        reached, beyond = sum(gain >= line for gain in gains), sum(gain > line for gain in gains)
        return line if reached - wanted <= wanted - beyond else math.nextafter(line, math.inf)

    def for_quality(self, quality: float) -> float:
        """The highest line at which the mean P(good) of the last questions would have been `quality`.

        Where even the dear side for all of them does not reach it: one that sends all there.
        """
        if not self.kept:
            return 0.0
        total = sum(score.cheap for score in self.kept)
        wanted = quality * len(self.kept)
        if total >= wanted:
            return 2.0
        for score in sorted(self.kept, key=lambda score: -score.gain):
            if score.gain <= 0:
                break
            total += score.gain
            if total >= wanted:
                return score.gain
        return -2.0
