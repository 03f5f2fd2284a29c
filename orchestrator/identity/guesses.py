"""Wrong credentials by address: whoever shows many waits, and those who show right ones do not."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

from orchestrator.core.clock import Clock
from orchestrator.core.errors import TooMany
from orchestrator.core.limits import network_of

MOST_WRONG = 30  # within
WITHIN_S = 60.0
TRY_EVERY_S = 1.0  # so often a credential that was never seen is looked up for an address that has to wait
MOST_ADDRESSES = 10_000


@dataclass(slots=True)
class _Wrong:
    since: float  # monotonic seconds
    count: int = 0
    tried_at: float = -math.inf


class Guesses:
    """Counts wrong credentials, in the memory of one process. Of more addresses than it holds it forgets the oldest."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, _Wrong] = OrderedDict()  # by address, the longest silent first

    def wrong(self, address: str) -> None:
        """A credential that does not hold was shown from there."""
        customer, now = network_of(address), self._clock.monotonic()
        known = self._wrong.get(customer)
        if known is None or now >= known.since + WITHIN_S:
            known = self._wrong[customer] = _Wrong(now)
        known.count += 1
        self._wrong.move_to_end(customer)
        if len(self._wrong) > MOST_ADDRESSES:
            self._wrong.popitem(last=False)

    def check(self, address: str) -> None:
        """Raises TooMany where too many were shown from there within a minute."""
        known = self._wrong.get(network_of(address)) if self._wrong else None
        if known is None or known.count < MOST_WRONG:
            return
        wait_s = known.since + WITHIN_S - self._clock.monotonic()
        if wait_s > 0:
            raise TooMany(
                "Too many wrong credentials came from this address; wait, and show a right one.",
                retry_after_s=math.ceil(wait_s),
            )

    def check_new(self, address: str) -> None:
        """The same for a credential that is not known to be wrong: one a second may be tried in any case.

        So somebody whose neighbour shows wrong ones all day comes in with a right one.
        """
        try:
            self.check(address)
        except TooMany:
            known, now = self._wrong[network_of(address)], self._clock.monotonic()
            if now < known.tried_at + TRY_EVERY_S:
                raise
            known.tried_at = now
