"""Calls that cost nobody knows what."""

from __future__ import annotations

from typing import Any

from django.core import checks
from django.db import DatabaseError
from django.utils import timezone

from orchestrator.checks import DOCTOR
from orchestrator.checks.finding import Found, unwise
from orchestrator.checks.ledger import has_ledger

MOST_NAMED = 5


@checks.register(DOCTOR, deploy=True)
def prices_are_known(**_: Any) -> Found:
    """A budget cannot count what has no price."""
    from orchestrator.price_list import unpriced

    if not has_ledger():
        return
    try:
        lines = unpriced(timezone.now())
    except DatabaseError:
        return  # said by what looks at the ledger
    if not lines:
        return
    names = ", ".join(line.name for line in lines[:MOST_NAMED])
    more = f" and {len(lines) - MOST_NAMED} more" if len(lines) > MOST_NAMED else ""
    calls = sum(line.calls for line in lines)
    lately = f" Calls of unknown cost in the last 30 days: {calls}." if calls else ""
    yield unwise(
        51,
        f"No price is known of {names}{more}: what they cost is unknown, and a hard budget refuses them.{lately}",
        "Say it: manage.py prices set MODEL --input … --output … (dollars for a million tokens).",
    )


@checks.register(DOCTOR, deploy=True)
def who_charges_was_said(**_: Any) -> Found:
    """A server on the internet that speaks a common protocol may be anybody's."""
    from orchestrator.pricing.library import knows
    from orchestrator.registry.reading import read_without_keys

    if not has_ledger():
        return
    try:
        providers = read_without_keys().providers
    except DatabaseError:
        return
    for one in providers:
        if one.is_paid_by_default and not knows(one.address):
            yield unwise(
                52,
                f"Nobody said whether {one.name} charges. It is on the internet ({one.address}), so it is taken to.",
                "Set is_paid of the provider in the registry: false where it is free.",
            )
