"""Reads of the kept answers: what the SQLite tier holds, since it outlives the others."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Q, QuerySet

from cache.models import CacheEntry
from orchestrator.core.permissions import Reach
from orchestrator.models import Tenant

PAGE = 25
MOST_COUNTED = 10_000
MOST_NAMED = 100


@dataclass(frozen=True, slots=True)
class KeptPage:
    """Some kept answers, the longest-lived first, and where the next ones begin."""

    entries: list[CacheEntry]
    next_after: str
    next_count: int  # how many the next page has
    matching: int  # MOST_COUNTED + 1 means more


@dataclass(frozen=True, slots=True)
class Named:
    """How many answers go by a name: a model or a namespace."""

    name: str
    entries: int


def kept_page(reach: Reach, key: str, model: str | None, namespace: str | None, after: str) -> KeptPage:
    """A page of answers; `after` is what the page before gave as `next_after`.

    Ordered by what is indexed, expiry and hash, and paged by it too, so the hundredth page costs what
    the first does. The stored bodies are not read.
    """
    matching = CacheEntry.objects.of(reach).order_by("-expires_at", "-hash").defer("body")
    if key:
        matching = matching.filter(hash__gte=key, hash__lt=key + "g")  # a range, which the index serves
    if model is not None:
        matching = matching.filter(model=model)
    if namespace is not None:
        matching = matching.filter(namespace=namespace)
    count = matching.order_by().values("pk")[: MOST_COUNTED + 1].count()
    entries = list(_after(matching, after)[: PAGE + 1])
    if len(entries) <= PAGE:
        return KeptPage(entries, "", 0, count)
    entries = entries[:PAGE]
    following = f"{entries[-1].expires_at.isoformat()}_{entries[-1].hash}"
    return KeptPage(entries, following, _after(matching, following).values("pk")[:PAGE].count(), count)


def by_model(reach: Reach) -> list[Named]:
    """Answers by model, most first; counted in the index."""
    return _by("model", reach)


def by_namespace(reach: Reach) -> list[Named]:
    """Answers by namespace, most first; counted in the index."""
    return _by("namespace", reach)


def tenant_names(ids: set[int]) -> dict[int, str]:
    """Names of tenants by id."""
    return dict(Tenant.objects.filter(pk__in=ids).values_list("pk", "name"))


def _after(entries: QuerySet[CacheEntry], after: str) -> QuerySet[CacheEntry]:
    expires, _, last = after.partition("_")
    try:
        moment = datetime.fromisoformat(expires)
    except ValueError:
        return entries
    return entries.filter(Q(expires_at__lt=moment) | Q(expires_at=moment, hash__lt=last))


def _by(column: str, reach: Reach) -> list[Named]:
    kept = CacheEntry.objects.of(reach).order_by()
    rows: Any = kept.values_list(column).annotate(n=Count("pk")).order_by("-n", column)
    return [Named(name, n) for name, n in rows[:MOST_NAMED]]
