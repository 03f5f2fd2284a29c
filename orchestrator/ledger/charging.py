"""Charges: what calls came to. Each function is a part of somebody's transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import models

from orchestrator.ledger import accounts, price_rows, reserving, spending
from orchestrator.ledger.accounts import Account, Used
from orchestrator.ledger.holds import Charged, Reservation
from orchestrator.ledger.sql import Cursor, columns, insert_all, moment, select_all, table
from orchestrator.models import Charge, Hold

COLUMNS = columns(Charge)
MOST = 2**63 - 1  # that the database holds


def charge(
    cursor: Cursor, charges: Sequence[Charged], at: str, unwritten: Mapping[str, Reservation] | None = None
) -> int:
    """Write them and end their holds; return how many are new. `at` is now.

    Each hold is charged once. What it had reserved is free again, what it cost is spent: of the budgets, and in the
    periods, that it was held for.

    unwritten  holds that no budget is about and that are over before they were written; they need not be any more.
    """
    unwritten = unwritten or {}
    rows = _rows(cursor, charges, unwritten)
    held = {one.hold for one in charges} - unwritten.keys()
    lines_of, count = reserving.end(cursor, held)
    if count < len(held):  # a hold that is there was not charged yet
        _forget_charged(cursor, rows)
    insert_all(cursor, Charge, COLUMNS, [[row.get(name) for name in COLUMNS] for row in rows.values()])
    moves: defaultdict[Account, Used] = defaultdict(Used)
    for hold, lines in lines_of.items():
        cost = rows[hold]["cost_microusd"] if hold in rows else None
        for account, _ in lines:
            if cost:
                moves[account] = Used(moves[account].spent + cost, 0)
    accounts.move(cursor, moves)
    accounts.tell_of_shares(cursor, list(moves), at) if moves else None
    spending.add_charges(cursor, rows.values())
    price_rows.note_used(cursor, ((row.get("price_id"), row["at"]) for row in rows.values()))
    return len(rows)


def _rows(
    cursor: Cursor, charges: Sequence[Charged], unwritten: Mapping[str, Reservation]
) -> dict[str, dict[str, Any]]:
    """The first word on each hold."""
    rows: dict[str, dict[str, Any]] = {}
    for one in charges:
        if not one.is_free and one.hold not in rows:
            rows[one.hold] = one.row | {"hold": one.hold, "at": moment(one.row["at"])}
    unknown = [hold for hold, row in rows.items() if row["cost_microusd"] is None]
    if unknown:
        amounts = {hold: unwritten[hold].amount for hold in unknown if hold in unwritten}
        reserved = (
            f"SELECT id, amount_microusd FROM {table(Hold)}"  # noqa: S608  # our own name
            " WHERE amount_microusd IS NOT NULL AND id IN (SELECT value FROM json_each(%s))"
        )
        amounts.update(select_all(cursor, reserved, [hold for hold in unknown if hold not in unwritten]))
        for hold, amount in amounts.items():
            if amount is not None:
                rows[hold] |= {"cost_microusd": amount, "source": Charge.Source.RESERVED, "is_estimated": True}
    return rows


def _forget_charged(cursor: Cursor, rows: dict[str, dict[str, Any]]) -> None:
    """Leave out what was charged before."""
    charged = f"SELECT hold FROM {table(Charge)} WHERE hold IN (SELECT value FROM json_each(%s))"  # noqa: S608  # our own name
    for (hold,) in select_all(cursor, charged, list(rows)):
        del rows[hold]


def lost(hold: str, at: str, amount: int | None, call: dict[str, Any]) -> Charged:
    """What a call is charged whose process died: as much as was reserved for it, since nobody knows what it cost."""
    source = Charge.Source.UNKNOWN if amount is None else Charge.Source.RESERVED
    row = call | {"at": at, "outcome": "lost", "cost_microusd": amount, "source": source, "is_estimated": True}
    return plain(Charged(hold, row))


def plain(charged: Charged) -> Charged:
    """The same, of values that the database takes whatever was said: money is not lost for a name that is too long."""
    row: dict[str, Any] = {}
    for field in Charge._meta.concrete_fields:
        if field.attname not in {"id", "hold"}:
            row[field.attname] = _taken(field, charged.row.get(field.attname))
    return Charged(charged.hold, row, charged.is_free)


def _taken(field: models.Field[Any, Any], value: Any) -> Any:
    if isinstance(field, models.DateTimeField):
        return moment(value) if isinstance(value, datetime | str) else "1970-01-01 00:00:00"
    if isinstance(field, models.BooleanField):
        return bool(value)
    if isinstance(field, models.IntegerField):
        if not isinstance(value, int):
            return None if field.null else 0
        return min(max(value, 0), MOST)
    return ("" if value is None else str(value)).encode("utf-8", "replace").decode()[: field.max_length]
