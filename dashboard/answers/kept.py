"""Reads of the kept answers: what the SQLite tier holds, since it outlives the others."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db.models import Count, Q, QuerySet
from django.db.models.expressions import RawSQL

from cache.codec import BadEntry, decode
from cache.entries import CacheKey
from cache.models import CacheEntry, TenantHolding
from orchestrator.core.permissions import Reach
from orchestrator.models import Tenant

PAGE = 25
MOST_COUNTED = 10_000
MOST_NAMED = 100
LARGEST_READ = 64 * 1024  # bytes of an answer of which a list shows how it begins
MOST_SHOWN = 120  # characters


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which answers; None: whichever."""

    key: str = ""  # or how it begins
    model: str | None = None
    namespace: str | None = None
    tenant_id: int | None = None
    keys: Collection[str] | None = None  # one of these


def kept_page(reach: Reach, wanted: Filter, after: str) -> KeptPage:
    """A page of answers; `after` is what the page before gave as `next_after`.

    Ordered by what is indexed, expiry and hash, and paged by it too, so the hundredth page costs what
    the first does. The stored bodies are not read.
    """
    matching = CacheEntry.objects.of(reach).order_by("-expires_at", "-hash").defer("body")
    key, model, namespace = wanted.key, wanted.model, wanted.namespace
    if wanted.tenant_id is not None:
        matching = matching.filter(tenant_id=wanted.tenant_id)
    if wanted.keys is not None:
        named = RawSQL("SELECT value FROM json_each(%s)", (json.dumps(list(wanted.keys)),))  # one variable for them all
        matching = matching.filter(hash__in=named)
    if key:
        matching = matching.filter(hash__gte=key, hash__lt=key + "g")  # a range, which the index serves
    if model is not None:
        matching = matching.filter(model=model)
    if namespace is not None:
        matching = matching.filter(namespace=namespace)
    count = matching.order_by().values("pk")[: MOST_COUNTED + 1].count()
    entries = list(_after(matching, after)[: 2 * PAGE])
    if len(entries) <= PAGE:
        return KeptPage(entries, "", 0, count)
    entries, later = entries[:PAGE], len(entries) - PAGE
    following = f"{entries[-1].expires_at.isoformat()}_{entries[-1].hash}"
    return KeptPage(entries, following, later, count)


def by_model(reach: Reach) -> list[Named]:
    """Answers by model, most first; counted in the index."""
    return _by("model", reach)


def by_namespace(reach: Reach) -> list[Named]:
    """Answers by namespace, most first; counted in the index."""
    return _by("namespace", reach)


def beginnings(entries: Sequence[CacheEntry], sees: Reach) -> Mapping[str, str]:
    """How the texts of answers begin, by their keys: of those that who looks may see, and that are not too long."""
    short = [one for one in entries if one.size <= LARGEST_READ]
    hashes = [one.hash for one in short if one.tenant_id in sees]  # type: ignore[comparison-overlap]  # it says itself
    rows = CacheEntry.objects.of(sees).filter(hash__in=hashes) if hashes else ()
    found = {}
    for row in rows:
        try:
            reply = decode(CacheKey(row.hash, row.tenant_id, row.namespace, row.model), bytes(row.body)).reply
        except BadEntry:
            continue  # it is dropped when it is next asked for
        found[row.hash] = " ".join(reply.text[: 2 * MOST_SHOWN].split())[:MOST_SHOWN]
    return found


def by_tenant(reach: Reach) -> list[tuple[int, str, int]]:
    """Number, name and answers of the tenants that keep any, most first; as triggers have counted them."""
    held = TenantHolding.objects.filter(entries__gt=0).order_by("-entries")
    if reach.tenants is not None:
        held = held.filter(tenant_id__in=reach.tenants)
    counts = dict(held.values_list("tenant_id", "entries")[:MOST_NAMED])
    names = tenant_names(set(counts))
    return [(number, names.get(number, f"tenant {number}"), n) for number, n in counts.items()]


def tenant_names(ids: set[int]) -> dict[int, str]:
    """Names of tenants by id."""
    return dict(Tenant.objects.filter(pk__in=ids).values_list("pk", "name"))


def tenant_named(name: str, reach: Reach) -> int | None:
    """The number of the tenant of that name; None where there is none in the reach."""
    number = Tenant.objects.filter(name=name).values_list("pk", flat=True).first()
    return number if number in reach else None  # type: ignore[comparison-overlap]  # it says itself


def _after(entries: QuerySet[CacheEntry], after: str) -> QuerySet[CacheEntry]:
    expires, _, last = after.partition("_")
    try:
        moment = datetime.fromisoformat(expires).astimezone(UTC)
    except (ValueError, OverflowError):
        return entries
    return entries.filter(Q(expires_at__lt=moment) | Q(expires_at=moment, hash__lt=last))


def _by(column: str, reach: Reach) -> list[Named]:
    kept = CacheEntry.objects.of(reach).order_by()
    rows: Any = kept.values_list(column).annotate(n=Count("pk")).order_by("-n", column)
    return [Named(name, n) for name, n in rows[:MOST_NAMED]]
