"""Budgets that several machines spend."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core import checks
from django.db import DatabaseError
from django.utils import timezone

from orchestrator.checks import DOCTOR
from orchestrator.checks.finding import Found, unwise
from orchestrator.checks.ledger import has_ledger

SILENT = timedelta(hours=1)


@checks.register(DOCTOR, deploy=True)
def machines_agree(**_: Any) -> Found:
    """The smallest amount holds, which is hardly what somebody wanted."""
    from orchestrator.budgeting.machines import stated_elsewhere
    from orchestrator.models import Budget

    if not settings.REDIS_URL or not has_ledger():
        return
    try:
        found = [(row, stated_elsewhere(row)) for row in Budget.objects.filter(is_off=False)]
    except DatabaseError:
        return  # said by what looks at the ledger
    for row, others in found:
        if others:
            stated = ", ".join(f"{one['amount_usd']} on {one['machine']}" for one in others)
            yield unwise(
                53,
                f"Machines have different amounts for the budget {row.name}: {stated}, another one here.",
                "The smallest holds. Give it the same amount on each: manage.py budgets change.",
            )


@checks.register(DOCTOR, deploy=True)
def machines_are_there(**_: Any) -> Found:
    """One that was lost keeps its shares, and after a restart of Redis holds up all others."""
    from orchestrator.models import Machine

    if not settings.REDIS_URL or not has_ledger():
        return
    try:
        silent = list(Machine.objects.filter(is_own=False, gone="", seen_at__lt=timezone.now() - SILENT))
    except DatabaseError:
        return
    for row in silent:
        yield unwise(
            54,
            f"The machine {row} is silent since {row.seen_at:%Y-%m-%d %H:%M} UTC; it keeps its shares of budgets.",
            f"Start it, or if it is gone for good: manage.py budgets release {row.name}.",
        )
