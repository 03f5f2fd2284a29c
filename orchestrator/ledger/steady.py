"""Whether the clock can be believed: one that jumps ahead would open new periods, with all of their money."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, date, datetime

from orchestrator.core.clock import Clock
from orchestrator.core.errors import LedgerUnavailable
from orchestrator.ledger.holds import Line

log = logging.getLogger(__name__)

JUMP_S = 3600.0  # more at once is no correction of a clock that was right
STEADY_S = 60.0  # without another jump, and it is believed


class Steady:
    """Compares the clock of the day with the one that only moves forward."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = clock.now() - clock.monotonic()
        self._last_day = date.max  # that is believed
        self._steady_at = 0.0  # monotonic

    def must_be_known(self, lines: Iterable[Line]) -> None:
        """Raises LedgerUnavailable where a hard budget would be counted in a period that a jump has opened."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        offset = now - monotonic
        ahead_s = offset - self._offset
        if ahead_s > JUMP_S:
            if monotonic >= self._steady_at:  # else the day from before the first jump is the one that is believed
                self._last_day = datetime.fromtimestamp(now - ahead_s, UTC).date()
            self._steady_at = monotonic + STEADY_S
            log.error("the clock jumped ahead by %.0f s; new periods of budgets begin in %g s", ahead_s, STEADY_S)
        self._offset = offset
        if monotonic < self._steady_at and any(line.is_hard and line.begins > self._last_day for line in lines):
            raise LedgerUnavailable(
                "The clock jumped ahead, into a period of budgets that has not begun as far as is known; it is"
                f" believed when it is steady for {STEADY_S:g} s.",
                retry_after_s=self._steady_at - monotonic,
            )
