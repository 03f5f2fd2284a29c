"""What each day cost and saved, added up as it is written: `SpendDay`, which outlives records and charges."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

from orchestrator.ledger.sql import Cursor, columns, insert_all, moment
from orchestrator.models import SpendDay

DAY_US = 86_400_000_000
Place = tuple[str, int, int, str, str]  # day, tenant, key, provider, model

_PLACE = ("day", "tenant_id", "key_id", "provider", "model")
_SUMS = [name for name in columns(SpendDay) if name not in _PLACE]
_TOKENS = ("prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens")
_ADD = f"ON CONFLICT ({', '.join(_PLACE)}) DO UPDATE SET " + ", ".join(
    f"{name} = {name} + excluded.{name}" for name in _SUMS
)


def add_charges(cursor: Cursor, rows: Iterable[dict[str, Any]]) -> None:
    """What calls cost."""
    sums: defaultdict[Place, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in rows:
        of_day = sums[_place(row)]
        of_day["calls"] += 1
        of_day["unpriced"] += row["cost_microusd"] is None
        of_day["cost_microusd"] += row["cost_microusd"] or 0
        for name in _TOKENS:
            of_day[name] += row[name]
    _add(cursor, sums)


def add_savings(cursor: Cursor, rows: Iterable[tuple[dict[str, Any], int]]) -> None:
    """What calls would have cost that were spared, by their records, and how many there are of each."""
    sums: defaultdict[Place, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row, count in rows:
        of_day = sums[_place(row)]
        of_day["saved_calls"] += count
        of_day["saved_microusd"] += (row["saved_microusd"] or 0) * count
    _add(cursor, sums)


def day(number: int) -> str:
    """A day by its number since the epoch."""
    return (date(1970, 1, 1) + timedelta(days=number)).isoformat()


def _place(row: dict[str, Any]) -> Place:
    return moment(row["at"])[:10], row["tenant_id"], row["key_id"] or 0, row["provider"], row["model"]


def _add(cursor: Cursor, sums: dict[Place, defaultdict[str, int]]) -> None:
    rows = [(*place, *(of_day[name] for name in _SUMS)) for place, of_day in sorted(sums.items())]
    insert_all(cursor, SpendDay, (*_PLACE, *_SUMS), rows, _ADD)
