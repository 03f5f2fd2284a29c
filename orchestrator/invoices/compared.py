"""The days and models of an account beside those charged here: what differs, and what only went over midnight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Literal

from orchestrator.invoices.sums import COST, EXACT, Figure, Room, Sums, comparable, figures

ONLY_THERE, ONLY_HERE, BOTH = "only there", "only here", "differs"
_DAY = timedelta(days=1)
Place = tuple[date, str]  # a day, and a model


@dataclass(frozen=True, slots=True)
class Difference:
    """What is not the same on a day for a model, with all that was compared.

    model        by the name its names have in common; empty: all of them
    is_midnight  calls begun just before a midnight are counted on the next day there, and all else is the same
    """

    day: date
    model: str
    kind: Literal["only there", "only here", "differs"]
    figures: tuple[Figure, ...]
    theirs: Sums
    ours: Sums
    is_midnight: bool = False

    @property
    def differing(self) -> tuple[Figure, ...]:
        """Those that are not the same."""
        return tuple(figure for figure in self.figures if not figure.is_same)


def differences(
    theirs: Mapping[Place, Sums],
    ours: Mapping[Place, Sums],
    told: tuple[str, ...],
    rounded: Decimal,
    late: Mapping[Place, Sums],
) -> list[Difference]:
    """By day and model. `late` is what was begun here just before the end of a day."""
    found: dict[Place, Difference] = {}
    sides: dict[Place, tuple[Figure, ...]] = {}
    for place in theirs.keys() | ours.keys():
        there, here = theirs.get(place), ours.get(place)
        names = comparable(there or Sums(), told)
        sides[place] = figures(there or Sums(), here or Sums(), names, rounded)
        if all(figure.is_same for figure in sides[place]):
            continue
        kind = ONLY_HERE if there is None else ONLY_THERE if here is None else BOTH
        found[place] = Difference(*place, kind, sides[place], there or Sums(), here or Sums())  # type: ignore[arg-type]  # one of three
    explained: set[Place] = set()
    for place in sorted(found):
        if place not in explained:
            explained |= _over_midnight(place, sides, late) & found.keys()
    return [replace(found[place], is_midnight=place in explained) for place in sorted(found)]


def _over_midnight(first: Place, sides: Mapping[Place, tuple[Figure, ...]], late: Mapping[Place, Sums]) -> set[Place]:
    """Days in a row, of one model, of which each lacks what the next has too much, to the last token. None: no days.

    What goes over is no more than was begun just before that midnight, and nothing is left over in the end.
    """
    day, model = first
    chain: set[Place] = set()
    over: dict[str, Decimal] = {}
    within = EXACT
    while place_sides := sides.get((day, model)):
        chain.add((day, model))
        over = {figure.name: over.get(figure.name, Decimal(0)) - figure.difference for figure in place_sides}
        within += next((figure.room for figure in place_sides if figure.name == COST), EXACT)
        if _is_nothing(over, within):
            return chain if len(chain) > 1 else set()
        if not _is_of(over, late.get((day, model), Sums()), within):
            break
        day += _DAY
    return set()


def _is_nothing(over: Mapping[str, Decimal], within: Room) -> bool:
    return all(-within.above <= amount <= within.below if name == COST else not amount for name, amount in over.items())


def _is_of(over: Mapping[str, Decimal], late: Sums, within: Room) -> bool:
    return late.entries > 0 and all(
        (-within.above if name == COST else 0) <= amount <= getattr(late, name) + (within.below if name == COST else 0)
        for name, amount in over.items()
    )
