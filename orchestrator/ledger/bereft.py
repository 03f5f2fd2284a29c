"""Holds whose process is dead are charged: at what was reserved, since nobody knows what the calls came to."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from django.db import DatabaseError, connections, transaction

from orchestrator.ledger import charging, lives
from orchestrator.ledger.holds import Charged
from orchestrator.ledger.sql import Cursor, select_all, table
from orchestrator.models import Hold

log = logging.getLogger(__name__)

MOST_AT_ONCE = 500  # in one transaction, while others wait for their turn


def charge_the_dead(alias: str, folder: Path, own: str, at: str) -> int:
    """Charge every hold of a process that is gone, and return how many there were. `own` is the asker's name.

    Raises DatabaseError and OSError; what is not done then is done the next time.
    """
    count = 0
    with connections[alias].cursor() as cursor:
        holders = {holder for (holder,) in select_all(cursor, f"SELECT DISTINCT holder FROM {table(Hold)}")}  # noqa: S608  # our own name
    for holder in sorted(holders | set(lives.left_behind(folder))):
        if holder == own:
            continue
        with lives.dead(folder, holder) as is_dead:
            if is_dead:
                charged = _charge(alias, holder, at) if holder in holders else 0
                lives.forget(folder, holder)
                count += charged
                if charged:
                    log.error("%d calls were under way in a process that died; they are charged as reserved", charged)
    return count


def has_holds(alias: str, holder: str) -> bool:
    """Whether some are left of a process; also where that cannot be read."""
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute(f"SELECT 1 FROM {table(Hold)} WHERE holder = %s LIMIT 1", [holder])  # noqa: S608  # our own name
            return cursor.fetchone() is not None
    except DatabaseError:
        return True


def _charge(alias: str, holder: str, at: str) -> int:
    count = 0
    while True:
        with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
            charges = _lost(cursor, holder)
            charging.charge(cursor, charges, at)
        count += len(charges)
        if len(charges) < MOST_AT_ONCE:
            return count


def _lost(cursor: Cursor, holder: str) -> list[Charged]:
    cursor.execute(
        f"SELECT id, CAST(at AS TEXT), amount_microusd, call FROM {table(Hold)} WHERE holder = %s LIMIT {MOST_AT_ONCE}",  # noqa: S608  # our own name and number
        [holder],
    )
    return [charging.lost(hold, at, amount, json.loads(call)) for hold, at, amount, call in cursor.fetchall()]
