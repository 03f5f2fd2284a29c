"""Where the time of a request went before a model had its turn, as its record has it.

`queue 1200;route 412;limits 88;memory 21;redis 390;sqlite 730;cache 12;choice 905;hold 780`: whole microseconds, one
after the other from the beginning. What was answered from memory has none: there is nothing to tell apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

MOST = 300  # characters of a record
LOOKED_UP = "cache"  # the lap that the tiers are a part of


class Stage(NamedTuple):
    """One stage: since the request came, and how long it took, in microseconds."""

    name: str
    begin_us: int
    took_us: int


def written(laps: Mapping[str, float], tiers: Mapping[str, float], hold_s: float) -> str | None:
    """The text of a record; None when nothing was measured.

    laps    seconds by part, in order.    tiers  of each tier that was asked, in order; together with what is left
            over they are the lap `cache`.    hold_s  that it took to reserve what the call may cost.
    """
    found: list[tuple[str, float]] = []
    for name, seconds in laps.items():
        if name == LOOKED_UP:
            found += tiers.items()
            seconds = max(0.0, seconds - sum(tiers.values()))
        found.append((name, seconds))
    if hold_s:
        found.append(("hold", hold_s))
    return ";".join(f"{name} {round(seconds * 1e6)}" for name, seconds in found)[:MOST] or None


def read(text: str | None) -> list[Stage]:
    """The stages of a record's text, in order; none where it has none."""
    stages: list[Stage] = []
    begin = 0
    for part in (text or "").split(";"):
        name, _, took = part.rpartition(" ")
        if not name or not took.isdecimal():  # cut off, or written by a version to come
            break
        stages.append(Stage(name, begin, int(took)))
        begin += int(took)
    return stages
