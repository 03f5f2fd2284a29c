"""Judges that give no grade: each is charged all the same, so one that never does is left alone for a while."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import date

from django.db.models import Sum

from orchestrator.core.clock import Clock
from orchestrator.core.permissions import Reach
from orchestrator.models import UnreadGrades

log = logging.getLogger(__name__)
MOST_UNREAD = 3  # in a row, before a judge is left alone
SHORTEST_S, LONGEST_S = 60.0, 3600.0  # for so long; each time twice as long
MOST_JUDGES = 20


@dataclass(frozen=True, slots=True)
class Unread:
    """So many answers of a judge in which no grade could be read."""

    judge: str
    count: int


@dataclass(slots=True)
class _Standing:
    """How one does: so many without a grade in a row, and when it is asked again."""

    unread: int = 0
    again_at: float = 0.0
    is_said: bool = False


class Judges:
    """How the judges of one process do."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._standings: dict[str, _Standing] = {}

    def may_ask(self, judge: str) -> bool:
        """Whether it is worth asking. Where one is left alone and its time is over, it is asked once more."""
        standing = self._standings.get(judge)
        return standing is None or standing.again_at <= self._clock.monotonic()

    def graded(self, judge: str) -> None:
        """It gave a grade."""
        standing = self._standings.pop(judge, None)
        if standing is not None and standing.is_said:
            log.info("The judge %s gives grades again.", judge)

    def unread(self, judge: str) -> None:
        """It answered, and no grade could be read."""
        standing = self._standings.setdefault(judge, _Standing())
        standing.unread += 1
        beyond = standing.unread - MOST_UNREAD
        if beyond < 0:
            return
        pause_s = min(SHORTEST_S * 2 ** min(beyond, 16), LONGEST_S)
        standing.again_at = self._clock.monotonic() + pause_s
        if not standing.is_said:
            standing.is_said = True
            log.warning(
                "The judge %s answered %d times without a grade that can be read: a whole number from 0 to 10. Each was"
                " charged; it is asked again in %g s, and then ever more seldom, up to once in %g s. Name another judge"
                " in the rules, or one that does not think first.",
                *(judge, standing.unread, pause_s, LONGEST_S),
            )


def unread_grades(reach: Reach, since: date) -> list[Unread]:
    """Answers of judges without a grade, since that day; the judges with most of them."""
    rows = UnreadGrades.objects.of(reach).filter(day__gte=since).order_by()
    summed = rows.values("judge").annotate(all=Sum("count")).order_by("-all", "judge")[:MOST_JUDGES]
    return [Unread(row["judge"], row["all"]) for row in summed]
