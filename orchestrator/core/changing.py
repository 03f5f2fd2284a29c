"""What is changed by several at once: who does it, and how it is read as it was at one moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
MOST_READINGS = 5  # while others go on changing it


@dataclass(frozen=True, slots=True)
class By:
    """Who changes it, and why."""

    name: str
    reason: str = ""
    actor: str = ""  # as the audit has it, where that is not the name
    request_id: str = ""
    must_still: Callable[[], object] = lambda: None  # asked when it is written; raises where they may not any more


def of_one(newest: Callable[[], int], ask: Callable[[int], T]) -> tuple[int, T]:
    """A number that changes count up, and what `ask` finds, asked again when it changed meanwhile.

    A transaction would hold off who writes, and who reads after them.
    """
    number = newest()
    for _ in range(MOST_READINGS):
        found = ask(number)
        before, number = number, newest()
        if number == before:
            break
    return before, found
