"""Lists of the admin as CSV: what is filtered, all of it, and safe to be opened by a spreadsheet."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from cache.models import CacheEntry
from orchestrator.admin import lists
from orchestrator.audit import note
from orchestrator.core.permissions import Role
from orchestrator.models import Tenant
from tests.dashboard.site import record, somebody
from tests.dashboard.spending import charge, company

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]
LISTS = ("requestrecord", "charge", "spendday", "auditevent")


@pytest.fixture
def admin(operator: User) -> Client:
    """An admin of every tenant, mira."""
    client = Client()
    client.force_login(operator)
    return client


def address(model: str) -> str:
    return f"/admin/orchestrator/{model}/export.csv"


def lines(response: Any) -> list[dict[str, str]]:
    assert response.status_code == 200, response.headers.get("Location")
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(response.content.decode())))


def test_what_is_filtered_is_what_is_exported(admin: Client) -> None:
    record(tenant="acme", model="large", cost_microusd=1_234_567, saved_microusd=None, error="=1+1")
    record(tenant="acme", model="large", tier="miss")
    record(tenant="globex", model="small")
    found = lines(admin.get(address("requestrecord"), {"tier__exact": "memory"}))
    assert [(row["tenant"], row["model"]) for row in found] == [("globex", "small"), ("acme", "large")]
    assert found[1]["cost_usd"] == "1.234567"
    assert found[1]["saved_usd"] == ""
    assert found[1]["error"] == "'=1+1"
    assert found[1]["at"].endswith("Z")


def test_every_list_has_its_file_and_a_way_to_it(admin: Client) -> None:
    now = datetime.now(UTC)
    company(now, days=2)
    record()
    charge(now)
    note("user:mira", "key.revoked", "web-app", Tenant.objects.get(name="acme").pk, {"reason": "it leaked"})
    for model in LISTS:
        listed = admin.get(f"/admin/orchestrator/{model}/").content.decode()
        assert f'href="{address(model)}?' in listed
        assert lines(admin.get(address(model)))
    audited = lines(admin.get(address("auditevent")))
    assert audited[0]["details"] == '{"reason": "it leaked"}'
    assert {row["tenant_name"] for row in lines(admin.get(address("spendday")))} == {"acme", "northwind"}


def test_a_file_that_would_leave_something_out_is_refused(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MOST_EXPORTED", 2)
    for _ in range(3):
        record()
    response = admin.get(address("requestrecord"), {"tier__exact": "memory"}, follow=True)
    assert response.redirect_chain[-1][0] == "/admin/orchestrator/requestrecord/?tier__exact=memory"
    assert "More than 2 match. Narrow the filters" in response.content.decode()


def test_a_filter_that_is_none_leads_back_to_the_list(admin: Client) -> None:
    assert admin.get(address("charge"), {"nothing__like": "this"}).status_code in {302, 400}


def test_rows_are_read_at_once(admin: Client) -> None:
    lines(admin.get(address("requestrecord")))  # what is looked up once for a process
    taken = []
    for many in (1, 30):
        for number in range(many):
            record(tenant=f"tenant-{number}")
        with CaptureQueriesContext(connection) as queries:
            lines(admin.get(address("requestrecord")))
        taken.append(len(queries))
    assert taken[0] == taken[1]


def test_nobody_exports_what_they_may_not_see(transactional_db: None) -> None:
    record(tenant="acme")
    note("user:mira", "key.revoked", "web-app", Tenant.objects.get(name="acme").pk)
    client = Client()
    client.force_login(somebody("tina", Role.ADMIN, "globex"))
    assert client.get(address("requestrecord")).status_code == 403
    assert lines(client.get(address("auditevent"))) == []


def test_the_newest_are_counted_in_their_order_and_not_by_an_index_that_holds_all(admin: Client) -> None:
    record(tenant="acme")
    with CaptureQueriesContext(connection) as made:
        assert admin.get("/admin/orchestrator/requestrecord/", {"when": "30d"}).status_code == 200
    (counting,) = [one["sql"] for one in made if one["sql"].startswith("SELECT COUNT(*)")]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {counting}")
        plan = " ".join(row[3] for row in cursor.fetchall())
    assert "USING INTEGER PRIMARY KEY" in plan
    assert "orchestrator_requestrecord_at" not in plan


def test_the_list_of_kept_answers_reads_the_names_of_tenants_once(admin: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as made:
            page = admin.get("/admin/cache/cacheentry/")
        assert page.status_code == 200
        return len(made)

    keep("first", "acme")
    queries()  # what is read once
    few = queries()
    for number in range(20):
        keep(f"more-{number}", ("acme", "globex")[number % 2])
    assert queries() == few
    assert "globex" in admin.get("/admin/cache/cacheentry/").content.decode()


def keep(name: str, tenant: str) -> None:
    """A kept answer, as far as a list shows it."""
    now = datetime.now(UTC)
    owner, _ = Tenant.objects.get_or_create(name=tenant)
    fields = {"namespace": "", "model": "tiny", "created_at": now, "expires_at": now, "size": 1, "body": b""}
    CacheEntry.rows.create(hash=name, tenant_id=owner.pk, **fields)
