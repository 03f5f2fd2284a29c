"""A batch of what waits to be written, as one transaction: all of it or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import connections, transaction

from orchestrator.core.errors import OrchestratorError
from orchestrator.ledger import charging, decisions, price_rows, reserving, shares, spending
from orchestrator.ledger.decisions import Decided
from orchestrator.ledger.holds import Charged, Reservation
from orchestrator.ledger.machines import Own
from orchestrator.ledger.reserving import Wanted
from orchestrator.ledger.rows import ALIAS, Repeat, insert, insert_repeats
from orchestrator.ledger.shares import Grant
from orchestrator.ledger.sql import Cursor
from orchestrator.ledger.waiting import Waiter
from orchestrator.sqlite.base import written_directly


@dataclass(slots=True, eq=False)
class Pending:
    """Something that waits to be written: a record, what it was charged, what is to be reserved, or was granted.

    decided   why who was asked was asked, beside a record.
    waiter    hears what became of it. A reservation with one may be refused, and is nothing once nobody waits.
    is_again  it was tried before, and may have been written all the same.
    may_ask   it may be refused for a share that is too small: then other machines are asked.
    granted   by Redis, to the machine that comes first.
    """

    row: dict[str, Any] | None = None
    charges: tuple[Charged, ...] = ()
    reservation: Reservation | None = None
    waiter: Waiter | None = None
    is_again: bool = False
    decided: Decided | None = None
    may_ask: bool = False
    granted: tuple[Own, Sequence[Grant]] | None = None

    def again(self) -> Pending | None:
        """What is left to do when it could not be written, and who waited was told so."""
        if self.granted or (self.reservation and self.waiter):
            return None
        return Pending(self.row, self.charges, self.reservation, decided=self.decided, is_again=True)


def write(batch: Sequence[Pending], holder: str, now: float, at: str, file: str = "") -> list[OrchestratorError | None]:
    """Write it; return for each what its reservation was refused for. Raises what the database raises.

    file  that the ledger is in, where several machines spend its budgets.

    Charges come before reservations, so that what they free is there for these. What is reserved and released in one
    batch is neither; where no budget is about it, what is reserved and charged in one batch is charged alone.
    """
    rows = [pending.row for pending in batch if pending.row is not None]
    charges = [charged for pending in batch for charged in pending.charges]
    saved = [row for row in rows if row["saved_why"] is not None]
    decided = decisions.rows_of([pending.decided for pending in batch if pending.decided is not None])
    refused: list[OrchestratorError | None] = [None] * len(batch)
    if len(rows) == len(batch) and not (charges or saved or decided):
        insert(rows)
        return refused
    released = {charged.hold for charged in charges if charged.is_free}
    unwritten = _over_already(batch, charges)
    over = released | unwritten.keys()
    held = [(place, one) for place, one in enumerate(batch) if one.reservation and one.reservation.hold not in over]
    told = [(place, one) for place, one in held if one.waiter is None]
    asked = [(place, one) for place, one in held if one.waiter is not None]
    with written_directly(ALIAS) as cursor:
        for pending in batch:
            if pending.granted:
                shares.adopt(cursor, *pending.granted)
        for some, after in ((told, charges), (asked, [])):
            wanted = [_wanted(one) for _, one in some]
            if wanted:
                for (place, _), refusal in zip(some, reserving.reserve(cursor, holder, wanted, now, file), strict=True):
                    refused[place] = refusal
            if after:
                charging.charge(cursor, after, at, unwritten)
        _insert(cursor, rows, saved, decided)
    return refused


def _insert(cursor: Cursor, rows: list[dict[str, Any]], saved: list[dict[str, Any]], decided: list[list[Any]]) -> None:
    """Records, what the days' sums say of them, and decisions."""
    if saved:
        spending.add_savings(cursor, ((row, 1) for row in saved))
        price_rows.note_used(cursor, ((row["saved_price_id"], row["at"]) for row in saved))
    if rows:
        insert(rows, cursor)
    if decided:
        decisions.insert(decided, cursor)


def _wanted(pending: Pending) -> Wanted:
    assert pending.reservation is not None
    return Wanted(pending.reservation, pending.waiter is not None, pending.is_again, pending.may_ask)


def _over_already(batch: Sequence[Pending], charges: Sequence[Charged]) -> dict[str, Reservation]:
    """What is reserved and over in one batch, for calls that no budget is about."""
    over = {charged.hold for charged in charges}
    return {
        one.reservation.hold: one.reservation
        for one in batch
        if one.reservation and not (one.reservation.lines or one.is_again) and one.reservation.hold in over
    }


def write_repeats(repeats: Sequence[Repeat]) -> None:
    """Write a row for each and what they saved, all or none. Raises what the database raises."""
    if all(repeat.line.row["saved_why"] is None for repeat in repeats):
        insert_repeats(repeats)
        return
    with transaction.atomic(using=ALIAS), connections[ALIAS].cursor() as cursor:
        saved = _saved(repeats)
        spending.add_savings(cursor, saved)
        last = datetime.fromtimestamp(repeats[-1].at / 1e6, UTC)
        price_rows.note_used(cursor, ((row["saved_price_id"], last) for row, _ in saved))
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
