"""What this process holds of one rate: a lease taken in advance, and what it was last told of the whole.

A lease is charged in Redis when it is taken, so however it is used nothing passes twice; one that is lost, with its
process, is allowance that nobody uses.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from orchestrator.core.limits import Limit
from orchestrator.limits.meter import Meter, Rate, Receipt

LEASE_S = 1.0  # how long it may be used
AHEAD_S = 0.2  # of use that is leased at a time; while it lasts the next is fetched
SHRINKS_TO = 0.75  # of the last: after a pause it goes on at the pace it had
LEAST_GROWTH = 8  # a lease may grow to so many at once, and otherwise to four times the last
SHOWN_S = 0.05  # how old what is shown may be, but for the lease
REFUSED_S = 0.1  # how long a refusal is remembered: somebody else may have given back meanwhile


class State(Protocol):
    """Of the Redis that counts for all."""

    is_alone: bool


@dataclass(slots=True)
class Lease:
    """Allowance that is charged already."""

    size: int
    left: int
    until: float  # monotonic seconds
    receipt: Receipt  # in Redis' time
    life: str


class Bucket:
    """One thing that is counted apart, under one limit."""

    __slots__ = (
        "_alone",
        "_asked_at",
        "_next",
        "_renew",
        "_shared",
        "_shown_as",
        "_shown_left",
        "_shown_reset_s",
        "_shown_text",
        "_shown_until",
        "_size",
        "_used",
        "_workers",
        "is_asking",
        "key",
        "lease",
        "life",
        "limit",
        "meter",
        "over",
        "owed",
        "rate",
        "refused_until",
    )

    def __init__(
        self, key: str, limit: Limit, shared: State, workers: int, now: float, renew: Callable[[Bucket], None]
    ) -> None:
        """`renew` begins to fetch the next lease; it is asked while there is still some of this one."""
        self.key = key
        self.limit = limit
        self.rate = Rate(limit.amount, max(1, limit.per_s), limit.burst or limit.amount)
        self.meter = Meter(at=now)  # of the whole, as last told
        self.life = ""  # of what Redis remembers, when the meter was told
        self.owed = 0.0  # spent alone, which Redis does not know of
        self.lease: Lease | None = None
        self.over: list[Lease] = []  # that were not used up in time
        self.is_asking = False
        self.refused_until = 0.0
        self._alone: Meter | None = None  # of this process's share, since it was told nothing
        self._next: Lease | None = None
        self._shared = shared
        self._workers = workers
        self._renew = renew
        self._used = 0  # since the last lease was asked for
        self._asked_at = now
        self._size = 0
        self._shown_as = f'"{limit.name}";r='
        self._shown_left, self._shown_reset_s, self._shown_until = 0, 0.0, -math.inf
        self._shown_text = ""

    def take(self, now: float) -> bool:
        """Charge one from what is held here; False when Redis has to be asked, or one too many was asked for."""
        lease = self.lease
        if lease is None or not lease.left or now >= lease.until:
            lease = self._turn_over(now)
            if lease is None:
                self._used += 1
                return self._shared.is_alone and not self.take_alone(1, now)
        lease.left -= 1
        self._used += 1
        if self._next is None and not (self.is_asking or self._shared.is_alone):
            self._renew(self)
        return True

    def put_back(self) -> None:
        """What `take` charged was for nothing: another limit refuses the request."""
        self._used -= 1
        if self.lease is not None:
            self.lease.left += 1
        elif self._alone is not None:
            self._shown_until = -math.inf
            self._alone.level = max(0.0, self._alone.level - self._workers)
            self.owed = max(0.0, self.owed - 1)

    def take_alone(self, units: float, now: float) -> float:
        """Charge this process's share; where that does not do nothing is charged. Return the seconds to wait.

        A share has the rate and the burst divided by the number of workers, and one request at least. To divide both is
        to charge each unit as many times.
        """
        wait_s = self.wait_alone_s(units, now)
        if not wait_s:
            self.owe(units, now)
        return wait_s

    def wait_alone_s(self, units: float, now: float) -> float:
        """Seconds until this process's share has room for `units`."""
        return (self._alone or self.meter).wait_s(self.rate, units * self._workers, now)

    def owe(self, units: float, now: float) -> Receipt:
        """Charge `units`, whether they may be or not, and tell Redis when it is there."""
        self.owed += units
        if self._alone is None:
            self._alone = replace(self.meter)
        self._shown_left, self._shown_text = max(0, int(self._shown_left - units)), ""
        self._shown_reset_s += units * self._workers / self.rate.a_second
        return self._alone.charge(self.rate, units * self._workers, now)

    def given_back_alone(self, units: float, receipt: Receipt, now: float) -> None:
        """As `Meter.give_back`, of what was charged alone."""
        if self._alone is not None:  # else Redis was told, and what was too much drains
            self._shown_until = -math.inf
            back = self._alone.give_back(self.rate, units * self._workers, receipt, now)
            self.owed = max(0.0, self.owed - back / self._workers)

    @property
    def left(self) -> int:
        """How many are left, as `standing` last had it."""
        return self._shown_left + (self.lease.left if self.lease is not None else 0)

    def standing(self, now: float) -> str:
        """An item of `RateLimit`: how many are left, and in how many seconds all are again, or one where none is."""
        lease = self.lease
        if lease is None and self._shown_text and now < self._shown_until:
            return self._shown_text
        leased = 0 if lease is None else lease.left
        left = self._shown_left + leased
        if now >= self._shown_until or not left:
            self._look(now)
            left = self._shown_left + leased
        wait_s = self._shown_reset_s - leased / self.rate.a_second
        text = f"{self._shown_as}{left};t={math.ceil(wait_s) if wait_s > 0 else 0}"
        if lease is None:
            self._shown_text = text
        return text

    def _look(self, now: float) -> None:
        """Find out what is shown for a moment, in which nothing but the lease gets less."""
        rate, meter = self.rate, self._alone or self.meter
        level = meter.level - max(0.0, now - meter.at) * rate.a_second
        left = rate.burst - max(0.0, level)
        following = self._next.left if self._next is not None else 0
        share = self._workers if self._shared.is_alone else 1
        is_some = left >= share or following or (self.lease is not None and self.lease.left)
        self._shown_reset_s = (level - following if is_some else share - left) / rate.a_second
        left /= share
        self._shown_left = max(0, int(left + following + 1e-6))
        self._shown_until, self._shown_text = now + SHOWN_S, ""

    def wanted(self, now: float) -> int:
        """How many to lease: what will be used in a moment, at the pace since the last time that was asked."""
        pace = self._used / max(now - self._asked_at, 1e-3)
        size = min(math.ceil(pace * AHEAD_S), max(LEAST_GROWTH, 4 * self._size))
        self._size = max(1, size, int(self._size * SHRINKS_TO))
        self._used, self._asked_at = 0, now
        return self._size

    def told(self, life: str, level: float, given: float, now: float) -> None:
        """Redis says what is used of the whole."""
        self.life, self._alone, self._shown_until = life, None, -math.inf
        self.meter = Meter(level, now, given)

    def leased(self, size: int, receipt: Receipt, now: float) -> None:
        """There is a lease to be used next."""
        self._shown_until = -math.inf
        lease = Lease(size, size, now + LEASE_S, receipt, self.life)
        if self.lease is None:
            self.lease = lease
        elif self._next is None:
            self._next = lease
        else:
            self.over.append(lease)

    def expire(self, now: float) -> list[Lease]:
        """The leases whose time is over, with what was left of them."""
        if self.lease is not None and (not self.lease.left or now >= self.lease.until):
            self._turn_over(now)
        over, self.over = self.over, []
        return over

    def give_up(self) -> list[Lease]:
        """All leases: nothing more is charged to them."""
        over = [*self.over, *(lease for lease in (self.lease, self._next) if lease is not None and lease.left)]
        self.lease, self._next, self.over, self._shown_until = None, None, [], -math.inf
        return over

    def floor(self, now: float) -> float:
        """The level that it was last told, less what has drained since."""
        return max(0.0, self.rate.burst - self.meter.left(self.rate, now))

    def succeed(self, other: Bucket) -> None:
        """Go on from where `other` is, which counted the same before the limit was changed."""
        self.meter, self.life, self.owed, other.owed = other.meter, other.life, other.owed, 0.0
        self._alone = other._alone

    def is_quiet(self, now: float) -> bool:
        """Whether a new one would know as much."""
        is_unused = (self._alone or self.meter).left(self.rate, now) >= self.rate.burst
        return is_unused and self.lease is None and not (self.owed or self.over or self.is_asking)

    def _turn_over(self, now: float) -> Lease | None:
        """Go on with the next lease, if there is one that may be used."""
        while self.lease is not None and (not self.lease.left or now >= self.lease.until):
            if self.lease.left:
                self.over.append(self.lease)
            self.lease, self._next, self._shown_until = self._next, None, -math.inf
        return self.lease
