"""How many may wait: so many in all, shared evenly by the tenants when it gets tight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.core.turns import Turn


class NoSeat(Exception):  # never reaches a caller as it is
    """There is no place to wait.

    bound     the word for those who have a bound in common, and use it up; empty: all places are taken.
    is_share  the tenant has as many of them as any other.
    """

    def __init__(self, bound: str = "", *, is_share: bool = False) -> None:
        super().__init__(bound)
        self.bound = bound
        self.is_share = is_share


@dataclass(slots=True, eq=False)
class Seat:
    """A place to wait. `lost` is called when it goes to another tenant, who has fewer."""

    turn: Turn
    lost: Callable[[], None]
    _seats: Seats
    is_taken: bool = field(default=True)

    def leave(self) -> None:
        """Give it back; a second time does nothing."""
        if self.is_taken:
            self._seats._free(self)


class Seats:
    """The places to wait.

    One tenant alone may have them all. When all are taken and somebody comes of a tenant that has fewer than
    another, the newest of the tenant that has most makes room: so a tenant that floods takes no place from one
    that does not. Every step takes the same time, however many wait.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._of: dict[int, dict[Seat, None]] = {}  # by tenant, oldest first
        self._having: dict[int, dict[int, None]] = {}  # tenants by how many they have
        self._longest = 0
        self._bounded: Counter[str] = Counter()
        self._taken = 0

    def __len__(self) -> int:
        return self._taken

    def of(self, tenant: int) -> int:
        """How many a tenant has."""
        return len(self._of.get(tenant, ()))

    def refusal(self, turn: Turn) -> NoSeat | None:
        """Why there is no place; None when there is one, or would be made."""
        for bound, most in turn.bounds:
            if self._bounded[bound] >= most:
                return NoSeat(bound)
        if self._taken >= self.most:
            own = self.of(turn.tenant)
            if self._longest <= own + 1:
                return NoSeat(is_share=own > 0 and len(self._of) > 1)
        return None

    def take(self, turn: Turn, lost: Callable[[], None]) -> Seat:
        """A place; see `Seat` for `lost`. Raises NoSeat."""
        if no := self.refusal(turn):
            raise no
        if self._taken >= self.most:
            newest = next(reversed(self._of[next(iter(self._having[self._longest]))]))
            self._free(newest)
            newest.lost()
        seat = Seat(turn, lost, self)
        seats = self._of.setdefault(turn.tenant, {})
        seats[seat] = None
        self._moved(turn.tenant, len(seats) - 1, len(seats))
        self._taken += 1
        self._bounded.update(bound for bound, _ in turn.bounds)
        return seat

    def _free(self, seat: Seat) -> None:
        seat.is_taken = False
        tenant = seat.turn.tenant
        seats = self._of[tenant]
        del seats[seat]
        if not seats:
            del self._of[tenant]
        self._moved(tenant, len(seats) + 1, len(seats))
        self._taken -= 1
        for bound, _ in seat.turn.bounds:
            self._bounded[bound] -= 1
            if not self._bounded[bound]:
                del self._bounded[bound]

    def _moved(self, tenant: int, before: int, after: int) -> None:
        """A tenant has one more or one fewer."""
        if before:
            del self._having[before][tenant]
            if not self._having[before]:
                del self._having[before]
        if after:
            self._having.setdefault(after, {})[tenant] = None
        if after > self._longest or self._longest not in self._having:
            self._longest = after
