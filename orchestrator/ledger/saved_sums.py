"""What answers that took no call have saved, as their records claim it, added up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, cast

from django.db.models import Count, F, Q, Sum, Value

from orchestrator.core.permissions import Reach
from orchestrator.ledger.grouping import Epoch, whole
from orchestrator.ledger.savings import FREE, UNKNOWN
from orchestrator.models import RequestRecord

A_DAY_S = 86400
BY = {
    "day": whole(Epoch(F("at")) / Value(A_DAY_S)),
    "tier": F("tier"),
    "model": F("model"),
    "tenant": F("tenant__name"),
}


def saved_sums(since: date, until: date, by: Sequence[str], reach: Reach) -> list[dict[str, Any]]:
    """The claims of the days from `since` until before `until`, in UTC, of the tenants in `reach`.

    by  what is told apart, of BY.
    Of so many answers some are free, since a call costs nothing, and of some it is unknown what they saved.
    """
    begin, end = (datetime.combine(day, time(), UTC) for day in (since, until))
    rows = RequestRecord.objects.of(reach, by_tenant=False).filter(at__gte=begin, at__lt=end, saved_why__isnull=False)
    apart = {f"by_{name}": BY[name] for name in by}
    sums = (
        rows.order_by()
        .values(**apart)
        .annotate(
            answers=Count("pk"),
            free=Count("pk", filter=Q(saved_why=FREE)),
            unknown=Count("pk", filter=Q(saved_why=UNKNOWN)),
            microusd=Sum("saved_microusd", default=0),
        )
    )
    found = []
    for row in cast(Iterable[dict[str, Any]], sums.order_by(*apart)):
        named = {name: row[f"by_{name}"] for name in by}
        if "day" in named:
            named["day"] = date(1970, 1, 1) + timedelta(days=named["day"])
        found.append(named | {name: row[name] for name in ("answers", "free", "unknown", "microusd")})
    return found
