"""How budgets stand: what is left, and what it comes to at this pace."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from orchestrator.budgeting.names import named
from orchestrator.budgeting.standing import Standing, of_most, pace, shown, standings, with_most_used
from orchestrator.core.budgets import EVER
from orchestrator.core.permissions import EVERYBODY
from orchestrator.models import ApiKey, Budget, BudgetPeriod, Share, ShareElsewhere, Team, Tenant
from tests.keys import issue_key

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 16, 12, tzinfo=UTC)  # of a month of 30 days: 15.5 of them are over; a Monday


def budget(period: str = "month", **fields: object) -> Budget:
    told = {"name": f"b-{period}", "each": "model", "amount_microusd": 50_000_000}
    return Budget.objects.create(**(told | {"period": period} | fields))


def used(row: Budget, under: str, spent: int, reserved: int = 0, begins: date = date(2026, 11, 1)) -> None:
    BudgetPeriod.objects.create(
        budget_id=row.pk, under=under, begins=begins, spent_microusd=spent, reserved_microusd=reserved
    )


def test_spent_reserved_and_free_make_the_amount() -> None:
    one = Standing("m", 50_000_000, 31_204_871, 360_000)
    assert one.spent + one.reserved + one.free == one.amount
    assert one.share == 63
    over = Standing("m", 100, 130, 5)
    assert (over.free, over.share) == (0, 135)


def test_the_most_used_come_first_and_only_those_of_the_period_that_runs() -> None:
    row = budget()
    used(row, "small", 1)
    used(row, "mostly-reserved", 10, 1_000)
    used(row, "big", 500)
    used(row, "last-month", 9_999_999, begins=date(2026, 10, 1))
    assert [one.under for one in standings(row, now=NOON)] == ["mostly-reserved", "big", "small"]
    assert [one.under for one in standings(row, 1, NOON)] == ["mostly-reserved"]
    assert standings(budget("day"), now=NOON) == []


def test_each_has_its_most_used_in_one_query() -> None:
    firsts = {"day": "2026-11-16", "week": "2026-11-16", "month": "2026-11-01", "total": "1970-01-01"}
    for number, (period, first) in enumerate(firsts.items()):
        row = budget(period)
        used(row, "a", number, 1, begins=date.fromisoformat(first))
        used(row, "b", number + 10, 2, begins=date.fromisoformat(first))
        used(row, "old", 9_999, begins=date(2025, 1, 1))
    found = with_most_used(Budget.objects.order_by("pk"), NOON).values_list("period", "most_spent", "most_reserved")
    assert list(found) == [("day", 10, 2), ("week", 11, 2), ("month", 12, 2), ("total", 13, 2)]


@pytest.mark.parametrize(
    ("period", "spent", "now", "comes_to"),
    [
        ("month", 31_000_000, NOON, 60_000_000),
        ("day", 5_000_000, NOON, 10_000_000),
        ("week", 1_000_000, NOON, 14_000_000),
        ("month", 1, NOON, 0),
        ("month", 31_204_871, NOON, 60_400_000),
        ("total", 5_000_000, NOON, None),
        ("day", 5_000_000, datetime(2026, 11, 16, 0, 59, 59, tzinfo=UTC), None),
        ("day", 5_000_000, datetime(2026, 11, 16, 1, tzinfo=UTC), 120_000_000),
    ],
)
def test_pace(period: str, spent: int, now: datetime, comes_to: int | None) -> None:
    assert pace(budget(period), spent, now) == comes_to


def test_those_that_are_counted_apart_have_names() -> None:
    acme = Tenant.objects.create(name="acme")
    team = Team.objects.create(tenant=acme, name="search")
    issue_key("web", "acme")
    key = ApiKey.objects.of(EVERYBODY).get()
    assert named("key", [str(key.pk), "0", "4711"]) == {str(key.pk): key.prefix, "0": "0", "4711": "4711"}
    assert named("team", [str(team.pk)]) == {str(team.pk): "acme/search"}
    assert named("tenant", [str(acme.pk)]) == {str(acme.pk): "acme"}
    assert named("model", ["openai/gpt", "7"]) == {"openai/gpt": "openai/gpt", "7": "7"}
    assert named("all", [""]) == {"": ""}


def test_a_hundred_are_shown_at_most() -> None:
    row = budget("total")
    for number in range(103):
        used(row, f"m{number}", number, begins=date(1970, 1, 1))
    told = shown(row)
    assert len(told["standings"]) == 100
    assert told["standings"][0] == {
        "counted": "m102", "spent_usd": "0.000102", "spent_here_usd": "0.000102", "reserved_usd": "0.00",
        "free_usd": "49.999898", "granted_here_usd": None, "share": 0, "pace_usd": None,
    }  # fmt: skip


def test_what_other_machines_spend_counts_and_is_told_apart(settings: Any) -> None:
    settings.REDIS_URL = "redis://elsewhere"
    row = budget()
    used(row, "m", 10_000_000, 2_000_000)
    used(row, "n", 11_000_000)
    begins = date(2026, 11, 1)
    of = {"budget_id": row.pk, "under": "m", "begins": begins}
    Share.objects.create(**of, granted_microusd=15_000_000)
    heard = {"amount_microusd": 40_000_000, "granted_microusd": 9_000_000, "reserved_microusd": 500_000}
    ShareElsewhere.objects.create(**of, **heard, machine="0" * 16, spent_microusd=8_000_000)
    first, second = standings(row, now=NOON)
    assert (first.under, first.spent, first.others_spent, first.free) == ("m", 10_000_000, 8_000_000, 29_500_000)
    assert second.free == 39_000_000
    assert of_most(with_most_used(Budget.objects.all(), NOON).get()) == first._replace(under="")


def test_a_total_tells_what_is_spent_here_and_everywhere(settings: Any) -> None:
    settings.REDIS_URL = "redis://elsewhere"
    row = budget("total")
    used(row, "m", 10_000_000, begins=EVER)
    of = {"budget_id": row.pk, "under": "m", "begins": EVER}
    Share.objects.create(**of, granted_microusd=15_000_000)
    heard = {"granted_microusd": 9_000_000, "reserved_microusd": 0, "spent_microusd": 8_000_000}
    ShareElsewhere.objects.create(**of, **heard, machine="0" * 16)
    (told,) = shown(row)["standings"]
    assert (told["spent_usd"], told["spent_here_usd"], told["granted_here_usd"]) == ("18.00", "10.00", "15.00")
