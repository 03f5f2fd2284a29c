"""Why requests missed, and how often kept answers were asked for: counted over the newest records, a bounded number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import BooleanField, Count, Max, Sum
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce

from cache import missed
from orchestrator.core.permissions import EVERYBODY, Reach
from orchestrator.ledger.stats import FROM_CACHE
from orchestrator.models import RequestRecord

MOST_MISSES = 10_000
MOST_HITS = 20_000  # requests, of which those from cache are counted
UNKNOWN = "unknown"
WORDS: Mapping[str, str] = {
    missed.NEW: "Not asked before",
    missed.GONE: "Kept once, made room",
    missed.EXPIRED: "Kept too long ago",
    missed.PURGED: "Purged",
    missed.TOO_OLD: "Too old for its caller",
    missed.TOO_LONG: "Longer than its caller wants",
    missed.NOT_ASKED: "A fresh one was wanted",
    UNKNOWN: "Unknown",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason, how many missed for it, and their share of all, 0 to 1."""

    name: str
    words: str
    misses: int
    share: float
    length: float  # per cent, of the most frequent one


@dataclass(frozen=True, slots=True)
class Misses:
    """The newest misses of a period."""

    reasons: Sequence[Reason]
    counted: int
    is_cut: bool  # there may be more


@dataclass(frozen=True, slots=True)
class Hits:
    """How often an answer was served."""

    count: int
    saved_microusd: int
    last: datetime


@dataclass(frozen=True, slots=True)
class AllHits:
    """Of the newest requests, those that the cache answered, by the keys of the answers."""

    by_key: Mapping[str, Hits]
    looked_at: int


NO_HITS = AllHits({}, 0)


def read_misses(since: datetime, until: datetime, reach: Reach) -> Misses:
    """Why the newest of them missed: over the index of called engines, no more than `MOST_MISSES` rows."""
    # Written out, as the index has it: SQLite takes a partial index for a condition that is the same word for word.
    is_called = RawSQL("tier IN ('miss', 'bypass')", (), output_field=BooleanField())
    rows = (
        RequestRecord.objects.of(reach, by_tenant=False).order_by("-at").filter(is_called, at__gte=since, at__lt=until)
    )
    newest = list(rows.values_list("missed", flat=True)[:MOST_MISSES])
    counts: dict[str, int] = {}
    for why in newest:
        name = why if why is not None and why in WORDS else UNKNOWN
        counts[name] = counts.get(name, 0) + 1
    ordered = sorted(counts.items(), key=lambda one: (one[0] == UNKNOWN, -one[1], one[0]))
    most = max(counts.values(), default=1)
    reasons = [Reason(name, WORDS[name], n, n / len(newest), 100 * n / most) for name, n in ordered]
    return Misses(reasons, len(newest), len(newest) == MOST_MISSES)


def read_hits(reach: Reach) -> AllHits:
    """How often which answer was served, of the newest `MOST_HITS` requests of everybody."""
    newest = RequestRecord.objects.of(EVERYBODY).order_by("-id").values_list("id", flat=True).first() or 0
    first = max(0, newest - MOST_HITS)
    rows = RequestRecord.objects.of(reach, by_tenant=False).order_by().filter(id__gt=first, tier__in=FROM_CACHE)
    summed = rows.values("cache_key").annotate(n=Count("pk"), saved=Coalesce(Sum("saved_microusd"), 0), last=Max("at"))
    found = {row["cache_key"]: Hits(row["n"], row["saved"], row["last"]) for row in summed}
    return AllHits(found, newest - first)
