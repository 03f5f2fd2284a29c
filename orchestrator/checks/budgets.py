"""Budgets that bind nobody."""

from __future__ import annotations

from typing import Any

from django.core import checks
from django.db import DatabaseError

from orchestrator.checks import DOCTOR
from orchestrator.checks.finding import Found, unwise
from orchestrator.checks.ledger import has_ledger


@checks.register(DOCTOR, deploy=True)
def budgets_count(**_: Any) -> Found:
    """Since one was made its provider may have gone."""
    from orchestrator.budgeting.patterns import counts_nothing
    from orchestrator.models import Budget

    if not has_ledger():
        return
    try:
        rows = Budget.objects.filter(is_off=False).exclude(model="").order_by("name")
        found = [(row.name, why) for row in rows if (why := counts_nothing(row.model, row.provider))]
    except DatabaseError:
        return  # said by what looks at the ledger
    for name, why in found:
        yield unwise(
            59,
            f"The budget {name} counts nothing: {why}.",
            "Make one that says what was meant, and delete this one: manage.py budgets.",
        )
