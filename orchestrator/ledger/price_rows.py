"""The rows of prices that charges were booked by."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db.models import F, Q, Window
from django.db.models.functions import RowNumber

from orchestrator.ledger.sql import Cursor, moment, table
from orchestrator.models import PriceRow

MOST_ROWS = 2_000
_USED = (
    f"UPDATE {table(PriceRow)} SET last_used_at = %s WHERE id = %s"  # noqa: S608  # our own name
    " AND (last_used_at IS NULL OR last_used_at < datetime(%s, '-1 minute'))"
)


def rows_of(numbers: Iterable[int]) -> dict[int, PriceRow]:
    """The row of each model that was used last, and those of `numbers` besides, by number. One query.

    Those used last come first. A model that was only asked for has none.
    """
    used = PriceRow.objects.filter(last_used_at__isnull=False)
    place = Window(RowNumber(), partition_by=("provider", "model"), order_by=("-last_used_at", "-pk"))
    last = used.annotate(place=place).filter(place=1).values("pk")
    rows = PriceRow.objects.filter(Q(pk__in=last) | Q(pk__in=set(numbers)))
    return {row.pk: row for row in rows.order_by(F("last_used_at").desc(nulls_last=True), "-pk")[:MOST_ROWS]}


def note_used(cursor: Cursor, used: Iterable[tuple[int | None, datetime | str]]) -> None:
    """Write when prices were used, each once a minute at most. It is a part of somebody's transaction.

    used  a price's number, if there is one, and when the call came.
    """
    latest: dict[int, str] = {}
    for number, at in used:
        if number is not None:
            latest[number] = max(latest.get(number, ""), moment(at))
    for number, then in latest.items():
        cursor.execute(_USED, [then, number, then])


def name_of(row: PriceRow) -> str:
    """The model's full name, as charges have it."""
    return f"{row.provider}/{row.model}"
