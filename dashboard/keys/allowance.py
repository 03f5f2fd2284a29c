"""How much of each limit is used at this moment, as the page of a key or of a tenant tells it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboard import formats
from dashboard.keys import words
from dashboard.running import used_of
from orchestrator.identity.keys import limit_of
from orchestrator.models import ApiKey, Limit

COUNTED = ("requests", "tokens", "concurrent")  # by all processes together; the others are looked at as they come


@dataclass(frozen=True, slots=True)
class LimitRow:
    """A limit, in words, and what of it is used."""

    limit: Limit
    allows: str
    whose: str
    used: str = ""  # 37 of 60 used; empty where it counts apart what the page is not about, or nobody says
    share: float = 0.0  # per cent


async def limit_rows(limits: Sequence[Limit], tenant_id: int, key: ApiKey | None = None) -> list[LimitRow]:
    """Those limits as they stand for a key, or for a tenant. Asks the counters once, and waits two seconds at most."""
    asked = [(row, whom) for row in limits if (whom := _whom(row, tenant_id, key)) is not None]
    found = await used_of([(limit_of(row), whom) for row, whom in asked]) or ()
    used = {row.pk: level for (row, _), level in zip(asked, found, strict=False)}
    return [_row(row, used.get(row.pk)) for row in limits]


def _whom(row: Limit, tenant_id: int, key: ApiKey | None) -> str | None:
    """Under which value it counts what the page is about; None where that is several, or nothing is counted."""
    if row.kind not in COUNTED or row.is_off or not row.amount:
        return None
    match row.each:
        case "all":
            return ""
        case "tenant":
            return str(tenant_id)
        case "team":
            team = key.team_id if key else row.team_id
            return str(team) if team else None
        case "key":
            return str(key.pk) if key else None
    return None


def _row(row: Limit, used: float | None) -> LimitRow:
    allows, whose = words.limit(row), words.whose(row)
    if used is None:
        return LimitRow(row, allows, whose)
    most = row.amount if row.kind == "concurrent" else row.burst or row.amount
    said = f"{formats.count(used)} of {formats.count(most)} {'now' if row.kind == 'concurrent' else 'used'}"
    return LimitRow(row, allows, whose, said, min(100.0, 100 * used / most))
