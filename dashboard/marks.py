"""What happened in a stretch of time that may have changed how requests went: the marks on its charts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.urls import reverse

from dashboard.charts import scale, whole_buckets
from dashboard.providers.rows import title_of
from orchestrator.ledger.stats import Figures
from orchestrator.registry.models import OpenBreaker, ProviderCheck, RegistryVersion
from routing.models import RuleVersion

MOST_OF_A_KIND = 5
MOST = 8
MOST_LOOKS = 200
NAME_WIDTH = 2.2  # per cent of a chart's width for a character of a name
UNIT_WIDTH = 12.0  # what the unit of the y axis takes at the left


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, and the page that says more."""

    at: datetime
    name: str
    address: str
    is_bad: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """An event on a chart."""

    at: float  # per cent
    event: Event
    side: str  # of which its name hangs: left or right; none, where there is no room for it


@dataclass(frozen=True, slots=True)
class Column:
    """One bucket of a chart, as a place to click."""

    at: float  # per cent
    width: float
    since: datetime
    until: datetime
    requests: int


def read_events(since: datetime, now: datetime) -> Sequence[Event]:
    """The newest ones, the oldest of them first: four reads of a few rows. They are about every tenant."""
    found = [
        Event(at, f"Rules {number}", reverse("dashboard:rules-version", args=[number]))
        for at, number in RuleVersion.objects.filter(at__gte=since)
        .order_by("-number")
        .values_list("at", "number")[:MOST_OF_A_KIND]
    ]
    found += [
        Event(at, f"Registry {number}", reverse("admin:registry_registryversion_change", args=[number]))
        for at, number in RegistryVersion.objects.filter(at__gte=since)
        .order_by("-number")
        .values_list("at", "number")[:MOST_OF_A_KIND]
    ]
    opened: dict[str, datetime] = {}
    for provider, at in OpenBreaker.objects.filter(opened_at__gte=since).values_list("provider", "opened_at")[
        :MOST_LOOKS
    ]:
        opened[provider] = min(at, opened.get(provider, at))
    found += [_of_provider(name, "resting", at, is_bad=True) for name, at in opened.items()]
    looks = ProviderCheck.objects.filter(at__gte=now - timedelta(hours=1), since__gte=since).order_by("-id")
    told = list(looks.values_list("provider", "since", "is_ok")[:MOST_LOOKS])
    failed = {provider for provider, _, is_ok in told if not is_ok}
    seen = set(opened)
    for provider, at, is_ok in told:
        if provider in failed and provider not in seen:  # its newest look says since when it is as it is
            seen.add(provider)
            found.append(_of_provider(provider, "answers again" if is_ok else "down", at, is_bad=not is_ok))
    return sorted(found, key=lambda one: one.at)[-MOST:]


def _of_provider(name: str, what: str, at: datetime, *, is_bad: bool) -> Event:
    return Event(at, f"{title_of(name)} {what}", reverse("dashboard:provider", args=[name]), is_bad)


def columns(figures: Figures) -> list[Column]:
    """The buckets of a chart, side by side."""
    x, length = scale(figures), timedelta(seconds=figures.bucket_s)
    found = []
    for one in whole_buckets(figures):
        left, right = x(one.start) / 10, x(one.start, figures.bucket_s) / 10
        found.append(Column(left, right - left, one.start, one.start + length, one.requests))
    return found


def marks(figures: Figures, events: Sequence[Event]) -> list[Mark]:
    """Events on the axis of the figures, the oldest first. Names of neighbours hang to opposite sides."""
    x, found = scale(figures), []
    taken = UNIT_WIDTH  # up to where names stand
    for event in events:
        at, length = x(event.at) / 10, len(event.name) * NAME_WIDTH
        if not 0 <= at <= 100:
            continue
        side = "left" if at - length >= taken else "right" if at >= taken and at + length <= 100 else "none"
        if side != "none":
            taken = at if side == "left" else at + length
        found.append(Mark(at, event, side))
    return found
