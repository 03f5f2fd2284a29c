"""A budget counts what was spent before it was made; old charges go, and what they add up to stays."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orchestrator.ledger import beginning, charging, reserving
from orchestrator.ledger.beginning import begin_budget, sum_before
from orchestrator.ledger.holds import Charged, Reservation
from orchestrator.ledger.reserving import Wanted
from orchestrator.ledger.retention import prune_charges
from orchestrator.models import ApiKey, Budget, BudgetAlert, BudgetPeriod, Charge, HoldLine, SpendDay, Team, Tenant
from tests.ledger.calls import AT, CALL, charged, reservation

pytestmark = pytest.mark.django_db


def write(*charges: Charged) -> None:
    with connection.cursor() as cursor:
        charging.charge(cursor, charges, str(AT.replace(tzinfo=None)))


def hold(one: Reservation) -> None:
    with connection.cursor() as cursor:
        assert reserving.reserve(cursor, "me", [Wanted(one, True)], AT.timestamp()) == [None]


def begun(**fields: Any) -> dict[tuple[str, str], tuple[int, int]]:
    """What is spent and reserved of a new budget, by what it counts apart and by period."""
    budget = Budget.objects.create(
        **({"name": "new", "period": "month", "each": "tenant", "amount_microusd": 100} | fields)
    )
    with transaction.atomic():
        begin_budget(budget, AT)
    return {
        (one.under, str(one.begins)): (one.spent_microusd, one.reserved_microusd)
        for one in BudgetPeriod.objects.filter(budget_id=budget.pk)
    }


@pytest.fixture
def calls() -> None:
    tenant = Tenant.objects.create(pk=1, name="acme")
    Tenant.objects.create(pk=2, name="globex")
    team = Team.objects.create(pk=4, tenant=tenant, name="search")
    ApiKey.objects.create(pk=7, tenant=tenant, team=team, name="k")
    write(
        charged("a", 10),
        charged("b", 20, key_id=8, at=AT - timedelta(days=20)),
        charged("c", 40, tenant_id=2, key_id=None, model="groq/fast", provider="groq"),
        charged("d", None, tenant_id=2),
        charged("e", 80, at=AT - timedelta(days=40), team_id=4),
    )
    for amount, days in ((5, 0), (6, 26)):
        hold(reservation(amount=amount, at=AT - timedelta(days=days)))


NOVEMBER = "2026-11-01"


@pytest.mark.usefixtures("calls")
@pytest.mark.parametrize(
    ("fields", "used"),
    [
        ({}, {("1", NOVEMBER): (30, 5), ("2", NOVEMBER): (40, 0), ("1", "2026-10-01"): (0, 6)}),
        ({"period": "day", "tenant_id": 1}, {("1", "2026-11-26"): (10, 5), ("1", "2026-10-31"): (0, 6)}),
        ({"each": "all", "model": "groq/*"}, {("", NOVEMBER): (40, 0)}),
        ({"each": "model", "provider": "groq"}, {("groq/fast", NOVEMBER): (40, 0)}),
        ({"each": "provider", "tenant_id": 2}, {("groq", NOVEMBER): (40, 0)}),
        ({"each": "key", "key_id": 7}, {("7", NOVEMBER): (10, 5), ("7", "2026-10-01"): (0, 6)}),
        ({"period": "total", "each": "team", "team_id": 4}, {("4", "1970-01-01"): (80, 0)}),
        ({"period": "total", "each": "all"}, {("", "1970-01-01"): (150, 11)}),
        ({"is_off": True}, {}),
    ],
    ids=str,
)
def test_a_budget_counts_what_was_spent_and_reserved_before_it_was_made(
    fields: dict[str, Any], used: dict[tuple[str, str], tuple[int, int]]
) -> None:
    assert begun(**fields) == used


@pytest.mark.usefixtures("calls")
def test_a_changed_budget_counts_anew_and_its_holds_once() -> None:
    begun(each="all", amount_microusd=1_000)
    budget = Budget.objects.get()
    begin_budget(budget, AT)
    budget.tenant_id = 1
    budget.save()
    begin_budget(budget, AT)
    rows = {str(one.begins): (one.spent_microusd, one.reserved_microusd) for one in BudgetPeriod.objects.all()}
    assert rows == {NOVEMBER: (30, 5), "2026-10-01": (0, 6)}
    assert sorted(HoldLine.objects.values_list("amount_microusd", flat=True)) == [5, 6]


@pytest.mark.usefixtures("calls")
def test_shares_that_are_reached_already_are_told() -> None:
    begun(each="all", amount_microusd=80)
    assert set(BudgetAlert.objects.values_list("share", "spent_microusd")) == {(50, 70), (80, 70)}


def test_old_charges_go_by_whole_days_and_their_sums_stay_and_still_count() -> None:
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    ages = {"young": 0, "edge": 400, "old": 401, "older": 500}
    write(*(charged(name, 10, at=midnight - timedelta(days=age)) for name, age in ages.items()))
    write(*(charged(f"late {name}", 1, at=midnight - timedelta(days=age, hours=-23)) for name, age in ages.items()))
    assert prune_charges(400, batch=1, within_s=0.0) == 1
    assert prune_charges(400, batch=1) == 3
    assert {charge.hold.removeprefix("late ") for charge in Charge.rows.all()} == {"young", "edge"}
    assert sum(SpendDay.rows.values_list("cost_microusd", flat=True)) == 44
    assert begun(period="total", each="key") == {(str(CALL["key_id"]), "1970-01-01"): (44, 0)}


@pytest.mark.usefixtures("calls")
@pytest.mark.parametrize(
    ("fields", "reads_charges"), [({}, False), ({"period": "total", "each": "all"}, False), ({"each": "team"}, True)]
)
def test_who_waits_to_write_does_not_wait_until_every_charge_is_read(
    fields: dict[str, Any], *, reads_charges: bool
) -> None:
    with CaptureQueriesContext(connection) as queries:
        begun(**fields)
    assert any(Charge._meta.db_table in query["sql"] for query in queries) == reads_charges


@pytest.mark.usefixtures("calls")
def test_what_was_summed_up_before_is_not_read_while_others_wait() -> None:
    budget = Budget.objects.create(name="new", period="month", each="team", amount_microusd=100)
    before = sum_before(budget, AT)
    write(
        charged("f", 100, team_id=4),
        charged("g", 1_000, team_id=4, at=AT - timedelta(days=40)),
        charged("h", None, team_id=4),
        charged("i", 10_000, team_id=4, at=AT + timedelta(days=10)),
        charged("j", 200, team_id=None),
        charged("k", 400, team_id=4, at=AT - timedelta(days=20)),
    )
    with CaptureQueriesContext(connection) as queries, transaction.atomic():
        begin_budget(budget, AT, before)
    (read,) = (query["sql"] for query in queries if Charge._meta.db_table in query["sql"])
    assert "SUM" not in read
    plan = " ".join(str(row) for row in _plan(read))
    assert "USING INTEGER PRIMARY KEY (rowid>?)" in plan
    assert {one.under: one.spent_microusd for one in BudgetPeriod.objects.filter(budget_id=budget.pk)} == {"4": 500}


@pytest.mark.usefixtures("calls")
def test_what_was_summed_up_of_another_period_is_summed_up_again() -> None:
    write(charged("f", 100, team_id=4), charged("g", 1_000, team_id=4, at=AT - timedelta(days=40)))
    budget = Budget.objects.create(name="new", period="month", each="team", amount_microusd=100)
    before = sum_before(budget, AT - timedelta(days=40))
    assert before is not None
    assert [cost for *_, cost in before.sums] == [1_080]
    begin_budget(budget, AT, before)
    assert BudgetPeriod.objects.get().spent_microusd == 100


@pytest.mark.usefixtures("calls")
def test_charges_that_go_meanwhile_are_counted_once() -> None:
    write(*(charged(f"old {days}", 1_000, team_id=4, at=AT - timedelta(days=days)) for days in (200, 500)))
    budget = Budget.objects.create(name="new", period="total", each="team", amount_microusd=100)
    before = sum_before(budget, AT)
    Charge.rows.filter(at__lt=AT - timedelta(days=100)).delete()
    write(charged("late", 5, team_id=4, at=AT - timedelta(days=300)))
    write(charged("later", 7, team_id=4, at=AT - timedelta(days=600)))
    begin_budget(budget, AT, before)
    # What came to a day before the first that had charges is in that day's sum, and of the team of its key.
    assert BudgetPeriod.objects.get().spent_microusd == 80 + 2_000 + 5 + 7


@pytest.mark.usefixtures("calls")
def test_where_charges_go_as_they_are_summed_up_that_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = Budget.objects.create(name="new", period="total", each="team", amount_microusd=100)
    days = iter([AT.date() - timedelta(days=40), AT.date() - timedelta(days=20)])
    with monkeypatch.context() as patch:
        patch.setattr(beginning, "_since", lambda: next(days))
        before = sum_before(budget, AT)
    assert before is None
    begin_budget(budget, AT, before)
    assert BudgetPeriod.objects.get().spent_microusd == 80


def three_of_a_day() -> None:
    write(*(charged(name, cost, at=AT - timedelta(days=50)) for name, cost in (("x", 100), ("y", 200), ("z", 400))))


@pytest.mark.usefixtures("calls")
def test_a_day_of_which_some_charges_are_gone_counts_whole() -> None:
    three_of_a_day()
    Charge.rows.get(hold="x").delete()
    assert begun(period="total", each="team") == {("4", "1970-01-01"): (100 + 200 + 400 + 80, 0)}


@pytest.mark.usefixtures("calls")
def test_where_charges_of_the_first_day_go_as_they_are_summed_up_that_is_done_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    three_of_a_day()
    budget = Budget.objects.create(name="new", period="total", each="team", amount_microusd=100)
    since, asked = beginning._since, []

    def slow() -> Any:
        if asked:
            Charge.rows.get(hold="y").delete()
        asked.append(since())
        return asked[-1]

    with monkeypatch.context() as patch:
        patch.setattr(beginning, "_since", slow)
        before = sum_before(budget, AT)
    assert before is None
    assert asked[0] + timedelta(days=1) == asked[1]
    begin_budget(budget, AT, before)
    assert BudgetPeriod.objects.get().spent_microusd == 100 + 200 + 400 + 80


def _plan(sql: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
        return cursor.fetchall()
