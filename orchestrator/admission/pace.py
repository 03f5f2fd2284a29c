"""How many calls a process may begin in a second, by how late its event loop is.

Nothing holds calls back while the loop is well: one that waits for its provider takes no processor time, and ten
thousand of them are no load. What costs is to begin a call and to settle it. So it is not calls at a time that are
bounded but calls begun, and only while the loop is late for longer than a moment: then they begin as fast as keeps it
late by `TARGET_S`, which says that the processor is always busy and that nobody waits long for a turn of the loop.

The pace has a base that changes slowly, since what a call costs comes in part when it ends; what answers a lateness at
once swings around the base. A base alone would have to move fast, and swing itself.
"""

from __future__ import annotations

from math import inf

TARGET_S = 0.02  # of lateness. A call has about ten turns, so this is a fifth of a second for each
LEAST = 20.0  # calls a second: however late the loop is, something is tried
SWING = 0.2  # of the base, for a lateness that is off by as much as the target
SLOWLY, QUICKLY = 0.05, 0.4  # what a look changes the base by then: once the target was met, and before
FAR, DROP = -2.0, 0.8  # with a lateness further off than this, by as much
CALM = 5  # looks in a row without lateness and without anybody waiting, after which nothing is held back


class Pace:
    """The pace. `look` is to be called every so often, with what was seen since."""

    def __init__(self) -> None:
        self.per_s = inf
        self._base = inf
        self._has_met = False  # the target
        self._calm = 0

    @property
    def is_open(self) -> bool:
        """Nothing is held back."""
        return self.per_s == inf

    def look(self, late_s: float, begun_per_s: float, *, is_awaited: bool) -> None:
        """Settle the pace up to the next look.

        late_s       how late the loop was, in the mean.
        begun_per_s  how many calls were begun.
        is_awaited   somebody waits to begin one.
        """
        off = max(1 - late_s / TARGET_S, 2 * FAR)  # 1: not late at all
        if self.is_open and off >= 0:
            return
        if self.is_open:
            self._base, self._has_met, self._calm = begun_per_s, False, 0
        elif off < FAR:
            self._base *= DROP
        elif off < 0 or is_awaited:  # or it would grow for want of calls
            self._has_met = self._has_met or off < 0
            self._base *= 1 + (SLOWLY if self._has_met else QUICKLY) * off
        self._base = max(self._base, LEAST)
        self.per_s = max(self._base * (1 + SWING * off), LEAST)
        self._calm = 0 if is_awaited or off < 0 else self._calm + 1
        if self._calm >= CALM:
            self.per_s = inf
