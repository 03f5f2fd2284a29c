"""The file of the ledger gets smaller when much of it is deleted."""

from __future__ import annotations

import pytest
from django.db import connection

from orchestrator.checks.machine import ledger_can_shrink
from orchestrator.core.permissions import EVERYBODY
from orchestrator.ledger import tidying
from orchestrator.models import RequestRecord
from tests.dashboard.site import record


def pragma(name: str) -> int:
    """A number that SQLite tells."""
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA {name}")
        return int(cursor.fetchone()[0])


@pytest.mark.django_db(transaction=True)
def test_free_pages_are_given_back_a_few_at_a_time_and_some_stay():
    for _ in range(200):
        record(error="x" * 500, tags="y" * 2000)
    RequestRecord.objects.of(EVERYBODY).delete()
    before, free = pragma("page_count"), pragma("freelist_count")
    assert free > 100
    assert tidying.shrink(60, spare=40, pages=7) == free - 40
    assert pragma("freelist_count") == 40
    given = before - pragma("page_count")
    assert free - 40 <= given <= free - 38, "and the page that said where these belong"


@pytest.mark.django_db
def test_a_ledger_that_cannot_shrink_is_told_of(monkeypatch):
    assert list(ledger_can_shrink()) == []
    monkeypatch.setattr(tidying, "INCREMENTAL", 3)
    monkeypatch.setattr("orchestrator.checks.machine.has_ledger", lambda: True)
    assert [one.id for one in ledger_can_shrink()] == ["orchestrator.I056"]
    assert tidying.shrink(60) == 0
