"""What is reserved for calls that cost money, and what they were charged: the words for it.

A call's way through the ledger: its hold is written, on disk where a hard budget is about it, before a provider is
asked; its charge is written with the record of its request, in one transaction, and ends the hold. A process that
dies leaves its holds behind, and a sibling charges them at what was reserved.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, NamedTuple


class Line(NamedTuple):
    """A budget that a call counts against, in the period that its request came in."""

    budget_id: int
    name: str
    under: str  # which key, team, tenant, model or provider; empty: all together
    begins: date
    is_hard: bool


class Reservation(NamedTuple):
    """What is to be reserved for one asking of a provider. `amount` is None where no price is known."""

    hold: str
    at: datetime
    amount: int | None
    lines: tuple[Line, ...]
    call: dict[str, Any]  # the columns of its charge that are known already


class Charged(NamedTuple):
    """What one asking came to. `row` has a value for each column of `Charge`; `cost` is None where nobody knows.

    Where nobody knows and something was reserved, that is what it is charged. Of two charges of one hold the first
    counts.

    is_free  nothing was made: the hold is released, and no charge is written.
    """

    hold: str
    row: dict[str, Any]
    is_free: bool = False


def released(hold: str) -> Charged:
    """That nothing came of a hold."""
    return Charged(hold, {}, is_free=True)
