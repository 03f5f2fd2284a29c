"""Who is served next: tenants in turn by weight, first come first served within each."""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

MOST_WEIGHT = 10
WHOLE = 2520  # what one turn costs at weight 1: every weight divides it, so shares are exact

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Whose turn it is to be.

    bounds  how many may wait of those who have a bound in common: a word for them, and the number.
    """

    tenant: int = 0
    weight: int = 5  # 1 to 10: how often this tenant is served among others
    bounds: tuple[tuple[str, int], ...] = ()


@dataclass(slots=True)
class _Line:
    """Those of one tenant who wait, and when its first of them is due, in virtual time."""

    tenant: int
    due: int
    items: OrderedDict[Hashable, int] = field(default_factory=OrderedDict)  # and the weight each came with


class FairQueue(Generic[T]):
    """Start-time fair queueing (Goyal, Vin and Cheng, 1996), for turns that cost the same.

    Virtual time is the due time of who was served last. A tenant's next is due 1/weight after its last was, and who
    comes anew is due now: being away saves up nothing, and nobody is overtaken twice by a newcomer. What is charged
    is a turn that was had, so who leaves before it costs its tenant nothing.
    """

    def __init__(self) -> None:
        self._now = 0
        self._lines: dict[int, _Line] = {}
        # A line stays here when it is empty, until it is due: coming back early is no way to be served more often.
        self._heap: list[tuple[int, int, _Line]] = []
        self._count = itertools.count()  # among equals, who was served longest ago
        self._line_of: dict[T, _Line] = {}

    def __len__(self) -> int:
        return len(self._line_of)

    def put(self, item: T, turn: Turn) -> None:
        """Let `item` wait, which does not wait yet."""
        line = self._lines.get(turn.tenant)
        if line is None:
            line = self._lines[turn.tenant] = _Line(turn.tenant, self._now)
            heapq.heappush(self._heap, (line.due, next(self._count), line))
        line.items[item] = min(max(turn.weight, 1), MOST_WEIGHT)
        self._line_of[item] = line

    def take(self) -> T:
        """Who is next. Raises IndexError when nobody waits."""
        if not self._line_of:
            raise IndexError("nobody waits")
        while True:
            due, _, line = self._heap[0]
            if line.items:
                break
            heapq.heappop(self._heap)
            del self._lines[line.tenant]
        item, weight = line.items.popitem(last=False)
        self._now, line.due = due, due + WHOLE // weight
        heapq.heapreplace(self._heap, (line.due, next(self._count), line))
        del self._line_of[item]  # type: ignore[arg-type]  # it is one of those that were put
        return item  # type: ignore[return-value]

    def drop(self, item: T) -> bool:
        """Let `item` wait no longer; False when it did not."""
        line = self._line_of.pop(item, None)
        if line is None:
            return False
        del line.items[item]
        return True
