"""The money of a day by hours, against the rows it is made of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dashboard.costs.today import Hours
from orchestrator.core.permissions import EVERYBODY, Reach
from orchestrator.ledger.folding import Folder
from orchestrator.models import Charge, Tenant
from tests.dashboard.site import record

pytestmark = pytest.mark.django_db(transaction=True)
MIDNIGHT = datetime(2026, 11, 23, tzinfo=UTC)
NOW = MIDNIGHT + timedelta(hours=20, minutes=7)


def charge(at: datetime, cost: int, tenant: str) -> None:
    """A call that cost something."""
    Charge.objects.create(
        hold=f"h{at.timestamp()}{cost}{tenant}", request_id="r", at=at, provider="groq", model="groq/x",
        purpose="answer", tenant_id=Tenant.objects.get_or_create(name=tenant)[0].pk, outcome="done",
        prompt_tokens=1, completion_tokens=1, cached_tokens=0, cache_write_tokens=0,
        cache_write_1h_tokens=0, reasoning_tokens=0, is_estimated=False,
        cost_microusd=cost, source="price",
    )  # fmt: skip


def saved(at: datetime, much: int, tenant: str) -> None:
    """An answer from cache."""
    record(at, tenant=tenant, tier="memory", saved_why="price", saved_microusd=much)


def test_hours_are_of_the_day_and_of_whoever_looks(transactional_db: None) -> None:
    for hour, cost in ((-1, 7), (0, 10), (3, 20), (3, 30), (19, 40), (20, 50)):
        at = MIDNIGHT + timedelta(hours=hour, minutes=5)
        charge(at, cost, "acme")
        charge(at, 1000 * cost, "globex")
        saved(at, 2 * cost, "acme")
        saved(at, 3000 * cost, "globex")
    acme = Reach(frozenset({Tenant.objects.get(name="acme").pk}))
    expected = {0: (10, 20), 3: (50, 100), 19: (40, 80), 20: (50, 100)}
    for _ in ("from records", "from rollups"):
        mine, everybodys = Hours().of_day(NOW, acme), Hours().of_day(NOW, EVERYBODY)
        assert [one.begins for one in mine] == [MIDNIGHT + timedelta(hours=n) for n in range(21)]
        assert {n: (one.spent, one.saved) for n, one in enumerate(mine) if one.spent} == expected
        assert sum(one.spent for one in everybodys) == 1001 * 150
        assert sum(one.saved for one in everybodys) == 3002 * 150
        Folder(NOW.timestamp).fold(60)


def test_what_comes_late_is_counted_and_a_look_asks_little(transactional_db: None) -> None:
    hours = Hours()
    charge(NOW - timedelta(hours=5), 5, "acme")
    for minutes in (0, 30):
        at = NOW + timedelta(minutes=minutes)
        charge(NOW - timedelta(minutes=30), 100, f"late-{minutes}")  # of a request that ended only now
        with CaptureQueriesContext(connection) as asked:
            assert sum(one.spent for one in hours.of_day(at, EVERYBODY)) == 105 + (100 if minutes else 0)
        assert len(asked) <= 4
