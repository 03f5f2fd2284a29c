"""The stretches of time that requests are added up by, how long each is kept, and which of them make up a window."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400
LENGTHS = (MINUTE_S, 900, HOUR_S, 6 * HOUR_S, DAY_S)  # each a multiple of the one before
KEPT_DAYS = {MINUTE_S: 2, 900: 10, HOUR_S: 62, 6 * HOUR_S: 400}  # days stay


class Stretches(NamedTuple):
    """Stretches of one length, side by side: from the first second until before the last."""

    length: int
    first: int
    until: int


def finest(at: int, now: float) -> int:
    """The shortest length that is still kept of what was at `at`."""
    return next((length for length, days in KEPT_DAYS.items() if at >= now - days * DAY_S), DAY_S)


def longest_within(step: int) -> int:
    """The longest length that makes up steps of `step` seconds."""
    return next(length for length in reversed(LENGTHS) if step % length == 0)


def covering(first: int, until: int) -> Iterator[Stretches]:
    """As few as make up a window that begins and ends at whole minutes."""
    at, run = first, None
    while at < until:
        length = next(one for one in reversed(LENGTHS) if at % one == 0 and (at + one <= until or one == MINUTE_S))
        if run is not None and run.length == length:
            run = run._replace(until=at + length)
        else:
            if run is not None:
                yield run
            run = Stretches(length, at, at + length)
        at += length
    if run is not None:
        yield run
