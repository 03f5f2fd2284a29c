"""How much of a rate is used: the generic cell rate algorithm, as arithmetic without a clock or a network.

This is its second form in ITU-T I.371, the continuous-state leaky bucket: a level that rises by what is charged and
drains at the rate. It lets through exactly what the first form does, a theoretical arrival time, which is when the
level will be nothing; but it counts in whole units, and adding a microsecond to a date a billion times does not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

ROUNDING = 1e-12  # of the burst: what dividing by a rate may cost


@dataclass(frozen=True, slots=True)
class Rate:
    """`amount` in `per_s` seconds, up to `burst` at once. The amount is at least one."""

    amount: int
    per_s: int
    burst: int
    a_second: float = field(init=False)  # so much drains

    def __post_init__(self) -> None:
        object.__setattr__(self, "a_second", self.amount / self.per_s)


class Receipt(NamedTuple):
    """What the meter said after a charge; with it some of the charge may be given back."""

    level: float
    at: float  # seconds
    given: float


@dataclass(slots=True)
class Meter:
    """What of a rate is used, as of `at`.

    given  all that was ever given back: what makes a receipt worth less.
    """

    level: float = 0.0
    at: float = 0.0
    given: float = 0.0

    def drain(self, rate: Rate, now: float) -> None:
        """Let the time up to `now` pass. A clock that goes back takes nothing away, and adds nothing."""
        self.level = max(0.0, self.level - max(0.0, now - self.at) * rate.a_second)
        self.at = now

    def left(self, rate: Rate, now: float) -> float:
        """How much may be charged now; less than nothing when more was charged than may be."""
        return rate.burst - max(0.0, self.level - max(0.0, now - self.at) * rate.a_second)

    def wait_s(self, rate: Rate, units: float, now: float) -> float:
        """Seconds until `units` may be charged; 0 when they may be now.

        What is more than the burst may be charged when nothing is used, and is a debt then.
        """
        missing = min(units, rate.burst) - self.left(rate, now)
        return 0.0 if missing <= rate.burst * ROUNDING else missing / rate.a_second

    def charge(self, rate: Rate, units: float, now: float) -> Receipt:
        """Charge `units`, whether they may be or not."""
        self.drain(rate, now)
        self.level += units
        return Receipt(self.level, now, self.given)

    def give_back(self, rate: Rate, units: float, receipt: Receipt, now: float) -> float:
        """Take back up to `units` of the charge that `receipt` is of; return how many.

        What has drained since is not given back: the time it would have been free in has passed. How much of the
        charge that is, nobody knows; two bounds hold, and the better one counts. The receipt says how much was there to
        drain, less what others were given back since, which may have been below it. And no more of it drained than
        did of all.
        """
        self.drain(rate, now)
        drained = max(0.0, now - receipt.at) * rate.a_second
        since = max(0.0, self.given - receipt.given)
        undrained = max(receipt.level - drained - since, units - drained)
        back = max(0.0, min(units, undrained, self.level))
        self.level -= back
        self.given += back
        return back
