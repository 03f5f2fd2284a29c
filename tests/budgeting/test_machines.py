"""The machines that spend the same budgets, as operators see them."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from orchestrator.budgeting.machines import machines, release, stated_elsewhere
from orchestrator.budgeting.standing import shown
from orchestrator.checks.shares import machines_agree, machines_are_there
from orchestrator.core.budgets import EVER
from orchestrator.core.errors import Forbidden
from orchestrator.core.permissions import EVERYBODY
from orchestrator.identity.acting import Actor, at_terminal
from orchestrator.models import AuditEvent, Budget, Machine, ShareElsewhere, Tenant

pytestmark = pytest.mark.django_db
OTHER = "0" * 16


@pytest.fixture(autouse=True)
def _shared(settings: Any) -> None:
    settings.REDIS_URL = "redis://elsewhere"


@pytest.fixture
def other() -> Machine:
    Machine.objects.create(name="f" * 16, label="here", is_own=True)
    return Machine.objects.create(name=OTHER, label="other", seen_at=timezone.now())


@pytest.fixture
def house(other: Machine) -> Budget:
    budget = Budget.objects.create(name="house", period="total", each="all", amount_microusd=50_000_000)
    heard(budget, 40_000_000)
    return budget


def heard(budget: Budget, amount: int | None, begins: date = EVER) -> None:
    ShareElsewhere.objects.create(
        machine=OTHER, budget_id=budget.pk, under="", begins=begins, amount_microusd=amount,
        granted_microusd=0, spent_microusd=7, reserved_microusd=0,
    )  # fmt: skip


def test_they_are_listed_and_one_can_be_released(other: Machine, house: Budget, capsys: Any) -> None:
    call_command("budgets", "machines")
    assert "other" in capsys.readouterr().out
    call_command("budgets", "release", OTHER)
    assert "other (0000000000000000) is gone" in capsys.readouterr().err
    other.refresh_from_db()
    assert other.gone == "lost"
    assert ShareElsewhere.objects.exists(), "what it spent counts"
    event = AuditEvent.objects.of(EVERYBODY).get()
    assert (event.action, event.details) == ("machine.released", {"gone": "lost"})
    with pytest.raises(CommandError, match="already"):
        call_command("budgets", "release", OTHER)


def test_what_a_machine_spent_that_moved_is_counted_where_it_is_now(other: Machine, house: Budget) -> None:
    assert release(at_terminal(), OTHER, moved=True).gone == "moved"
    assert not ShareElsewhere.objects.exists()


@pytest.mark.parametrize(("name", "why"), [("f" * 16, "this machine"), ("elsewhere", "no machine 'elsewhere'")])
def test_not_every_machine_can_be_released(other: Machine, name: str, why: str) -> None:
    with pytest.raises(CommandError, match=why):
        call_command("budgets", "release", name)


def test_machines_are_no_matter_of_one_tenant(other: Machine) -> None:
    tenant = Tenant.objects.create(name="acme")
    actor = Actor(name="key:orch_1", roles={tenant.pk: "admin"})
    with pytest.raises(Forbidden):
        machines(actor)
    with pytest.raises(Forbidden):
        release(actor, OTHER)


def test_other_amounts_are_told_where_they_hold_now(house: Budget, capsys: Any) -> None:
    assert stated_elsewhere(house) == [{"machine": "other", "amount_usd": "40.00"}]
    assert shown(house)["stated_elsewhere"] == stated_elsewhere(house)
    call_command("budgets", "show", "house")
    assert "the smallest holds: 40.00 on other" in capsys.readouterr().err
    monthly = Budget.objects.create(name="monthly", period="month", each="all", amount_microusd=50_000_000)
    heard(monthly, 40_000_000, begins=date(2025, 1, 1))
    assert stated_elsewhere(monthly) == [], "that is long over"


def test_the_doctor_tells_of_those_that_disagree_or_are_silent(house: Budget, other: Machine, settings: Any) -> None:
    assert [str(one.id) for one in machines_agree()] == ["orchestrator.I053"]
    assert list(machines_are_there()) == []
    Machine.objects.filter(pk=other.pk).update(seen_at=timezone.now() - timedelta(hours=2))
    assert [str(one.id) for one in machines_are_there()] == ["orchestrator.I054"]
    settings.REDIS_URL = ""
    assert not [*machines_agree(), *machines_are_there()]


@pytest.mark.parametrize("asked", [("show", "house"), ("list",), ("machines",)])
def test_a_shell_without_redis_says_whom_it_does_not_count(
    house: Budget, other: Machine, settings: Any, capsys: Any, asked: tuple[str, ...]
) -> None:
    call_command("budgets", *asked)
    assert "REDIS_URL" not in capsys.readouterr().err
    settings.REDIS_URL = ""
    call_command("budgets", *asked)
    said = capsys.readouterr().err
    assert "Other machines spend these budgets too (other)" in said
    assert "product's environment" in said
    Machine.objects.filter(pk=other.pk).update(gone="moved")
    call_command("budgets", *asked)
    assert "REDIS_URL" not in capsys.readouterr().err, "what it spent is counted here"
