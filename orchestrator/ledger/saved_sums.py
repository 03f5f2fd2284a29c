"""What answers that took no call have saved, as their records claim it, added up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from orchestrator.core.permissions import EVERYBODY, Reach
from orchestrator.ledger import rolled
from orchestrator.ledger.tallies import Cell
from orchestrator.models import Tenant

A_DAY_S = 86400
BY: Mapping[str, Callable[[Cell, int, str], Any]] = {
    "day": lambda cell, start, tenant: date(1970, 1, 1) + timedelta(days=start // A_DAY_S),
    "tier": lambda cell, start, tenant: cell.tier,
    "model": lambda cell, start, tenant: cell.model,
    "tenant": lambda cell, start, tenant: tenant,
}
SUMS = {"answers": "answers", "free": "free", "unknown": "unknown", "microusd": "saved"}


def saved_sums(since: date, until: date, by: Sequence[str], reach: Reach) -> list[dict[str, Any]]:
    """The claims of the days from `since` until before `until`, in UTC, of the tenants in `reach`.

    by  what is told apart, of BY.
    Of so many answers some are free, since a call costs nothing, and of some it is unknown what they saved.
    """
    begin, end = (int(datetime.combine(day, time(), UTC).timestamp()) for day in (since, until))
    names = dict(Tenant.objects.values_list("pk", "name")) if "tenant" in by else {}
    whose = names.keys() if names and reach == EVERYBODY else reach.tenants
    found: defaultdict[tuple[Any, ...], dict[str, int]] = defaultdict(lambda: dict.fromkeys(SUMS, 0))
    for tenant, start, tally in rolled.read_days(begin, end, whose):
        for cell, sums in tally.of_cells():
            if "answers" in sums:
                of_group = found[tuple(BY[name](cell, start, names.get(tenant, "")) for name in by)]
                for name, kept in SUMS.items():
                    of_group[name] += sums.get(kept, 0)
    return [dict(zip(by, group, strict=True)) | sums for group, sums in sorted(found.items())]
