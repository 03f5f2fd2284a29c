"""How much may be asked again: what is repeated must not add to what makes a provider fail."""

from __future__ import annotations

import random

SHARE = 0.1  # of the calls that were asked for
RESERVE = 3.0  # that a place with little traffic may always have
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0


class RetryBudget:
    """A tenth of a retry is earned with each call, and a whole one is spent with each retry."""

    def __init__(self) -> None:
        self._left = RESERVE

    def called(self) -> None:
        """A question came that was not asked here before."""
        self._left = min(self._left + SHARE, max(RESERVE, 100 * SHARE))

    def take(self) -> bool:
        """Whether something may be asked again; if so, it counts."""
        if self._left < 1:
            return False
        self._left -= 1
        return True


def pause_s(repetition: int, wanted_s: float | None, rng: random.Random) -> float | None:
    """How long to wait before the first, second … repetition; None when it would be too long for whoever waits.

    wanted_s  what the provider asked for. Without that: up to twice as long each time, any time of that, so that
    those who failed together do not come back together. Source: "full jitter", AWS Architecture Blog 2015.
    """
    if wanted_s is not None:
        return wanted_s + rng.uniform(0, FIRST_PAUSE_S) if wanted_s <= LONGEST_PAUSE_S else None
    return rng.uniform(0, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**repetition))
