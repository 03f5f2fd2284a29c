"""Looks at providers when nobody asks them anything, and remembers what was seen."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from orchestrator.core.clock import Clock
from orchestrator.engines.cloud import Check
from orchestrator.registry.entries import ProviderEntry
from orchestrator.registry.health import newest_checks
from orchestrator.registry.models import ProviderCheck
from orchestrator.wiring import engine_for

log = logging.getLogger(__name__)

MOST_AT_ONCE = 64
KEPT = timedelta(hours=25)
MOST_PRUNED = 5000  # in one go; the rest goes with the next look
LONGEST_GAP = timedelta(minutes=10)  # how it was meanwhile, nobody knows
LONGEST_WORDS = 300


async def look(entries: Sequence[ProviderEntry]) -> dict[str, Check]:
    """Look at all of these at once, over connections of their own. Whatever ails one, the others are looked at."""
    clock, turns = Clock(), asyncio.Semaphore(MOST_AT_ONCE)

    async def one(entry: ProviderEntry) -> Check:
        async with turns:
            return await _look_at(entry, clock)

    seen = await asyncio.gather(*map(one, entries))
    return {entry.name: check for entry, check in zip(entries, seen, strict=True)}


async def _look_at(entry: ProviderEntry, clock: Clock) -> Check:
    began = clock.monotonic()
    try:
        engine = engine_for(entry, clock)
        try:
            return await engine.check()
        finally:
            await engine.aclose()
    except Exception as error:  # noqa: BLE001  # of ours, or of an address that is none
        # Its kind only: what it says may hold the address, and an address may hold somebody's key.
        log.error("%s could not be looked at: %s", entry.name, type(error).__name__)
        return Check(
            is_ok=False,
            took_s=clock.monotonic() - began,
            words=f"could not be looked at ({type(error).__name__})",
        )


def remember(seen: Mapping[str, Check], at: datetime | None = None) -> None:
    """Write down what was seen, say what changed, and forget what is old."""
    at = at or timezone.now()
    before = newest_checks(seen.keys())
    ProviderCheck.objects.bulk_create(
        ProviderCheck(
            provider=name,
            at=at,
            is_ok=check.is_ok,
            since=_since(before.get(name), check, at),
            took_us=round(check.took_s * 1e6),
            words=check.words[:LONGEST_WORDS],
            listed=check.listed,
        )
        for name, check in seen.items()
    )
    for name, check in seen.items():
        was_ok = before[name].is_ok if name in before else True
        if was_ok and not check.is_ok:
            log.warning("%s is down: it %s", name, check.words)
        elif check.is_ok and not was_ok:
            log.warning("%s answers again: it %s", name, check.words)
    old = ProviderCheck.objects.filter(at__lt=at - KEPT).order_by("at").values_list("pk", flat=True)[:MOST_PRUNED]
    ProviderCheck.objects.filter(pk__in=list(old)).delete()


def _since(before: ProviderCheck | None, check: Check, at: datetime) -> datetime:
    gap = max(LONGEST_GAP, timedelta(seconds=3 * settings.PROVIDER_CHECK_S))
    is_the_same = before is not None and before.is_ok == check.is_ok and at - before.at <= gap
    return before.since if before is not None and is_the_same else at
