"""What each worker does not ask at the moment, where every page can read it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from orchestrator.registry.models import OpenBreaker

GONE = timedelta(days=1)  # since a worker last said anything


class Open(Protocol):
    """A place that is not asked."""

    @property
    def provider(self) -> str:
        """Whose it is."""

    @property
    def model(self) -> str:
        """Its full name."""

    @property
    def opened_at(self) -> float:
        """Since when, in seconds since the epoch."""

    @property
    def why(self) -> str:
        """What went wrong last."""

    @property
    def until(self) -> float | None:
        """When a pause ends that it asked for, in seconds since the epoch; None when its breaker is open."""


def tell(worker: str, places: Iterable[Open]) -> None:
    """Write that `worker` does not ask these `places`, and asks every other again. Workers that are gone go."""
    now = timezone.now()
    rows = [
        OpenBreaker(
            provider=place.provider,
            model=place.model,
            worker=worker,
            opened_at=datetime.fromtimestamp(place.opened_at, UTC),
            seen_at=now,
            why=place.why[:300],
            until=None if place.until is None else datetime.fromtimestamp(place.until, UTC),
        )
        for place in places
    ]
    with transaction.atomic():
        OpenBreaker.objects.filter(Q(worker=worker) | Q(seen_at__lt=now - GONE)).delete()
        OpenBreaker.objects.bulk_create(rows)
