"""What is known of how providers are: the newest look at each, and which breakers are open."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from functools import reduce
from operator import or_

from django.db.models import OuterRef, Q, Subquery

from orchestrator.registry.models import OpenBreaker, Provider, ProviderCheck

FRESH = timedelta(seconds=90)  # a worker that is there says so more often


def newest_checks(names: Collection[str]) -> dict[str, ProviderCheck]:
    """The last look at each of these providers; those nobody looked at are missing.

    One step in the index for each, however many looks are kept.
    """
    looks = ProviderCheck.objects.order_by("-id")
    newest = Subquery(looks.filter(provider=OuterRef("name")).values("pk")[:1])
    ids = dict(Provider.objects.filter(name__in=names).values_list("name", newest))
    known = ProviderCheck.objects.in_bulk([pk for pk in ids.values() if pk is not None])
    found = {check.provider: check for check in known.values()}
    unwritten = sorted(set(names) - ids.keys())  # of the environment only: there are as many as presets at most
    if unwritten:
        their = (Q(pk=Subquery(looks.filter(provider=name).values("pk")[:1])) for name in unwritten)
        found |= {check.provider: check for check in ProviderCheck.objects.filter(reduce(or_, their))}
    return found


def open_breakers(now: datetime) -> dict[str, list[OpenBreaker]]:
    """What workers do not ask, by provider, the longest first.

    Without pauses that are over, and without workers that are gone.
    """
    found: dict[str, list[OpenBreaker]] = {}
    for breaker in _fresh(now):
        found.setdefault(breaker.provider, []).append(breaker)
    return found


def _fresh(now: datetime) -> Iterable[OpenBreaker]:
    return OpenBreaker.objects.filter(seen_at__gte=now - FRESH).exclude(until__lte=now).order_by("opened_at")
