"""How many calls a process may begin in a second, by how late its own work makes its event loop.

Nothing holds calls back while the loop is well: one that waits for its provider takes no processor time, and ten
thousand of them are no load. What costs is to begin a call and to settle it. So it is not calls at a time that are
bounded but calls begun, and only while the loop's turns are long for more than a moment: then they begin as fast as
keeps it late by `TARGET_S`, which says that the loop always has work and that nobody waits long for a turn of it.

Lateness is counted in processor time. By the clock a loop is late as well whose processor others use: to begin fewer
calls would not mend that, and would go on until none begin.

The pace has a base that changes slowly, since what a call costs comes in part when it ends; what answers a lateness at
once swings around the base. A base alone would have to move fast, and swing itself.
"""

from __future__ import annotations

from math import inf

TARGET_S = 0.02  # of lateness. A call has about ten turns, so this is a fifth of a second for each
LEAST = 20.0  # calls a second: however late the loop is, something is tried
SWING = 0.2  # of the base, for a lateness that is off by as much as the target
SLOWLY, QUICKLY = 0.05, 0.2  # what a look changes the base by then; the other until the target was met, and
IDLE, IDLES = 0.9, 6  # when the loop has been further below it than this, so many looks in a row
FORGETS = 0.98  # what a look leaves of the most that was begun, while nothing is held back
SMOOTHLY = 0.06  # what a look counts for in what a call costs: about a second of looks decides
CREEP = 0.02  # what a look adds to what can be done, when the loop is not late at that
BUSY = 0.3  # of a processor: below it what costs is not the calls
FAR, DROP = -2.0, 0.8  # with a lateness further off than this, by as much
CALM = 5  # looks in a row without lateness and without anybody waiting, after which nothing is held back


class Pace:
    """The pace. `look` is to be called every so often, with what was seen since."""

    def __init__(self) -> None:
        self.per_s = inf
        self._base = inf
        self._has_met = False  # the target
        self._idle = 0
        self._most = 0.0
        self._calm = 0
        self._begun_per_s = self._busy = 0.0  # in the mean
        self._can_per_s = inf  # calls that a whole processor begins and settles in a second, when last it was busy

    @property
    def is_open(self) -> bool:
        """Nothing is held back."""
        return self.per_s == inf

    def look(self, late_s: float, begun_per_s: float, *, is_awaited: bool, busy: float = 0.0) -> None:
        """Settle the pace up to the next look.

        late_s       how late the loop was, in the mean.
        begun_per_s  how many calls were begun.
        is_awaited   somebody waits to begin one.
        busy         how much of a processor the loop's own work took; 0 to 1.
        """
        off = max(1 - late_s / TARGET_S, 2 * FAR)  # 1: not late at all
        if self.is_open:
            self._most = max(begun_per_s, self._most * FORGETS)
            self._learn(begun_per_s, busy)
            if off >= 0:
                return
        self._idle = self._idle + 1 if off > IDLE else 0
        if self.is_open:
            self._base, self._has_met, self._calm = min(self._most, self._can_per_s), False, 0
        elif off < FAR:
            self._base *= DROP
        elif off < 0 or is_awaited:  # or it would grow for want of calls
            self._has_met = self._has_met or off < 0
            is_near = self._has_met and self._idle < IDLES
            self._base *= 1 + (SLOWLY if is_near else QUICKLY) * off
        if self._base > self._can_per_s:  # what was begun has yet to cost what it will
            # Unless calls cost less now; or other work was taken for theirs, and the loop is idle by what it lacks.
            spare = 1 - busy if self._idle >= IDLES else 0.0
            self._can_per_s *= 1 + max(CREEP, QUICKLY * spare) * max(off, 0.0)
            self._base = self._can_per_s
        self._base = max(self._base, LEAST)
        self.per_s = max(self._base * (1 + SWING * off), LEAST)
        self._calm = 0 if is_awaited or off < 0 else self._calm + 1
        if self._calm >= CALM:
            self.per_s = inf

    def _learn(self, begun_per_s: float, busy: float) -> None:
        """What a call costs: what is begun in a burst says nothing of it, since most of the cost comes later."""
        self._begun_per_s += SMOOTHLY * (begun_per_s - self._begun_per_s)
        self._busy += SMOOTHLY * (busy - self._busy)
        if self._busy >= BUSY:
            self._can_per_s = max(self._begun_per_s / self._busy, LEAST)
