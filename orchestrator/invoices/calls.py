"""Call by call, where the provider names each and its name was kept here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Literal

from orchestrator.invoices.compared import BOTH, ONLY_HERE, ONLY_THERE
from orchestrator.invoices.sums import Figure, Sums, comparable, figures

LATE = timedelta(minutes=15)  # a call begun so shortly before midnight may be counted on the next day
TWICE_THERE, TWICE_HERE = "twice there", "twice here"
MODEL, DAY = "model", "day"
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class There:
    """A line that is about one call."""

    number: int
    day: date
    model: str
    sums: Sums


@dataclass(frozen=True, slots=True)
class Here:
    """A charge with the provider's name of its call."""

    ref: str
    request_id: str
    at: datetime
    model: str
    sums: Sums

    @property
    def day(self) -> date:
        """In UTC."""
        return self.at.date()

    @property
    def is_late(self) -> bool:
        """Whether it was begun so shortly before midnight that it may count on the next day."""
        return (self.at + LATE).date() > self.day

    def day_there(self, theirs: Iterable[There]) -> date:
        """The day it is to be counted on: theirs where it went over midnight, else its own."""
        return self.day + _DAY if self.is_late and any(one.day == self.day + _DAY for one in theirs) else self.day


@dataclass(frozen=True, slots=True)
class CallDifference:
    """A call that is not the same on both sides. `lines` are where it is in the file."""

    ref: str
    kind: Literal["only there", "only here", "twice there", "twice here", "differs"]
    day: date
    day_here: date | None
    lines: tuple[int, ...]
    request_id: str
    model_there: str
    model_here: str
    differing: tuple[str, ...]  # figures, `model`, `day`
    figures: tuple[Figure, ...]


def call_differences(
    theirs: Mapping[str, Sequence[There]],
    ours: Mapping[str, Sequence[Here]],
    told: tuple[str, ...],
    rounded: Decimal,
    name: Callable[[str], str],
) -> list[CallDifference]:
    """By day and name. `name` gives what the names of a model have in common."""
    found = []
    for ref in theirs.keys() | ours.keys():
        one = _difference(ref, theirs.get(ref, ()), ours.get(ref, ()), told, rounded, name)
        if one is not None:
            found.append(one)
    return sorted(found, key=lambda one: (one.day, one.ref))


def _difference(
    ref: str,
    there: Sequence[There],
    here: Sequence[Here],
    told: tuple[str, ...],
    rounded: Decimal,
    name: Callable[[str], str],
) -> CallDifference | None:
    first, mine = (there[0] if there else None), (here[0] if here else None)
    theirs = _sum(there)
    sides = figures(theirs, _sum(here), comparable(theirs, told), rounded)
    differing = [figure.name for figure in sides if not figure.is_same]
    if first is None:
        kind = ONLY_HERE
    elif mine is None:
        kind = ONLY_THERE
    else:
        differing += [MODEL] if name(first.model) != name(mine.model) else []
        differing += [DAY] if any(one.day_there(there) != first.day for one in here) else []
        kind = TWICE_THERE if len(there) > len(here) else TWICE_HERE if len(here) > len(there) else BOTH
        if kind == BOTH and not differing:
            return None
    return CallDifference(
        ref,
        kind,  # type: ignore[arg-type]  # one of the five
        first.day if first else here[0].day,
        mine.day_there(there) if mine else None,
        tuple(one.number for one in there),
        mine.request_id if mine else "",
        first.model if first else "",
        mine.model if mine else "",
        tuple(differing),
        sides,
    )


def _sum(entries: Iterable[There | Here]) -> Sums:
    total = Sums()
    for one in entries:
        total.add(one.sums)
    return total
