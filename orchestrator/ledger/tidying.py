"""The file of the ledger grows no further than it must."""

from __future__ import annotations

import time

from django.db import connections

from orchestrator.ledger.rows import ALIAS
from orchestrator.sqlite.base import turn

INCREMENTAL = 2  # as `PRAGMA auto_vacuum` has it
PAGES = 500  # 2 MB: what is given back in one transaction
SPARE = 10_000  # free pages that stay: what is deleted in a day is written in the next


def shrinks() -> bool:
    """Whether free pages can be given back. A file that was made without that has to be written anew for it."""
    return _number("PRAGMA auto_vacuum") == INCREMENTAL


def shrink(within_s: float, spare: int = SPARE, pages: int = PAGES) -> int:
    """Give pages back that are free, a few in each transaction, and return how many; all but `spare`."""
    began, given = time.monotonic(), 0
    if not shrinks():
        return 0
    while (free := _number("PRAGMA freelist_count") - spare) > 0 and time.monotonic() - began < within_s:
        some = min(free, pages)
        with turn(ALIAS), connections[ALIAS].cursor() as cursor:
            cursor.execute(f"PRAGMA incremental_vacuum({some})")
            cursor.fetchall()  # each row is a page
        given += some
    return given


def _number(question: str) -> int:
    with connections[ALIAS].cursor() as cursor:
        cursor.execute(question)
        return int(cursor.fetchone()[0])
