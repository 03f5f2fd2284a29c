"""A batch of what waits to be written, as one transaction: all of it or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connections, transaction

from orchestrator.core.errors import OrchestratorError
from orchestrator.ledger import charging, reserving, spending
from orchestrator.ledger.holds import Charged, Reservation
from orchestrator.ledger.reserving import Wanted
from orchestrator.ledger.rows import ALIAS, Repeat, insert, insert_repeats
from orchestrator.ledger.waiting import Waiter


@dataclass(slots=True, eq=False)
class Pending:
    """Something that waits to be written: a record, what it was charged, or what is to be reserved.

    waiter  hears what became of it. A reservation with one may be refused, and is nothing once nobody waits.
    """

    row: dict[str, Any] | None = None
    charges: tuple[Charged, ...] = ()
    reservation: Reservation | None = None
    waiter: Waiter | None = None

    def again(self) -> Pending | None:
        """What is left to do when it could not be written, and who waited was told so."""
        return None if self.reservation and self.waiter else Pending(self.row, self.charges, self.reservation)


def write(batch: Sequence[Pending], holder: str, now: float, at: str) -> list[OrchestratorError | None]:
    """Write it; return for each what its reservation was refused for. Raises what the database raises.

    Charges come before reservations, so that what they free is there for these. What is reserved and released in one
    batch is neither.
    """
    rows = [pending.row for pending in batch if pending.row is not None]
    charges = [charged for pending in batch for charged in pending.charges]
    saved = [row for row in rows if row["saved_why"] is not None]
    refused: list[OrchestratorError | None] = [None] * len(batch)
    if len(rows) == len(batch) and not (charges or saved):
        insert(rows)
        return refused
    over = {charged.hold for charged in charges if charged.is_free}
    held = [(place, one) for place, one in enumerate(batch) if one.reservation and one.reservation.hold not in over]
    told = [(place, one) for place, one in held if one.waiter is None]
    asked = [(place, one) for place, one in held if one.waiter is not None]
    with transaction.atomic(using=ALIAS), connections[ALIAS].cursor() as cursor:
        for some, after in ((told, charges), (asked, [])):
            wanted = [Wanted(one.reservation, one.waiter is not None) for _, one in some if one.reservation]
            if wanted:
                for (place, _), refusal in zip(some, reserving.reserve(cursor, holder, wanted, now), strict=True):
                    refused[place] = refusal
            if after:
                charging.charge(cursor, after, at)
        if saved:
            spending.add_savings(cursor, ((row, 1) for row in saved))
        if rows:
            insert(rows)
    return refused


def write_repeats(repeats: Sequence[Repeat]) -> None:
    """Write a row for each and what they saved, all or none. Raises what the database raises."""
    if all(repeat.line.row["saved_why"] is None for repeat in repeats):
        insert_repeats(repeats)
        return
    with transaction.atomic(using=ALIAS), connections[ALIAS].cursor() as cursor:
        spending.add_savings(cursor, _saved(repeats))
        insert_repeats(repeats)


def _saved(repeats: Sequence[Repeat]) -> list[tuple[dict[str, Any], int]]:
    """What they have in common, on which day, and how many there are of each."""
    counts: dict[tuple[int, int], int] = {}
    lines = {id(repeat.line): repeat.line for repeat in repeats}
    for repeat in repeats:
        if repeat.line.row["saved_why"] is not None:
            place = (id(repeat.line), repeat.at // spending.DAY_US)
            counts[place] = counts.get(place, 0) + 1
    return [(lines[line].row | {"at": spending.day(number)}, count) for (line, number), count in counts.items()]
