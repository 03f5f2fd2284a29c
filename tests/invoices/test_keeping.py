"""Accounts are kept whole or not at all, once, and no day of a kind of account twice."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from django.db import IntegrityError

from orchestrator.core.errors import BadRequest, Conflict, Forbidden, NotThere
from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.identity.acting import Actor, at_terminal
from orchestrator.invoices import keeping
from orchestrator.invoices.comparison import compare
from orchestrator.invoices.forms import read
from orchestrator.invoices.keeping import Kept
from orchestrator.models import AuditEvent, ImportedUsage, UsageImport

pytestmark = pytest.mark.django_db


def content(*days: int, cost: str = "0.000000000000000000000000000001", model: str = "m") -> bytes:
    return "".join(["day,model,cost_usd\n", *(f"2026-03-{day:02d},{model},{cost}\n" for day in days)]).encode()


def keep(
    *days: int, by: Actor | None = None, provider: str = "openai", replaces: bool = False, cost: str = "1"
) -> Kept:
    file = content(*days, cost=cost)
    return keeping.keep(by or at_terminal(), read(file), file, provider, "march.csv", replaces=replaces)


def days_of(row: UsageImport) -> tuple[int, int, list[int]]:
    """Its first day, its last, and those of its lines."""
    row.refresh_from_db()
    return row.first_day.day, row.last_day.day, [line.day.day for line in row.lines.order_by("line")]


def test_every_digit_is_kept() -> None:
    file = content(1)
    row = keeping.keep(at_terminal(), read(file), file, "openai").account
    assert compare(row).theirs.cost_usd == Decimal("0.000000000000000000000000000001")


def test_an_event_tells_of_it_and_of_its_end() -> None:
    row = keep(1, 2).account
    keeping.delete(at_terminal(), row.pk)
    bring, gone = AuditEvent.objects.of(EVERYBODY).order_by("pk")
    assert (bring.action, gone.action) == ("invoice.imported", "invoice.deleted")
    assert bring.details["sha256"] == gone.details["sha256"] == row.digest
    assert (bring.details["first_day"], bring.details["last_day"], bring.details["lines"]) == (
        "2026-03-01",
        "2026-03-02",
        2,
    )
    assert not ImportedUsage.objects.exists()
    with pytest.raises(NotThere):
        keeping.delete(at_terminal(), row.pk)


def test_a_file_is_kept_once() -> None:
    first = keep(1).account
    with pytest.raises(Conflict, match=f"imported already, on .* number {first.pk}, of openai"):
        keep(1, provider="another", replaces=True)
    keeping.delete(at_terminal(), first.pk)
    assert keep(1).account.pk != first.pk


def test_days_that_are_there_are_told_and_taken_only_when_that_is_asked_for() -> None:
    older = keep(1, 2, 3).account
    with pytest.raises(Conflict, match=rf"number {older.pk} \(2026-03-01 to 2026-03-03\).* Import it with `replace`"):
        keep(3, 4, cost="2")
    assert days_of(older) == (1, 3, [1, 2, 3])
    newer = keep(3, 4, cost="2", replaces=True)
    assert newer.replaced == (f"2026-03-03 to 2026-03-03 of number {older.pk}",)
    assert (days_of(older), days_of(newer.account)) == ((1, 2, [1, 2]), (3, 4, [3, 4]))
    last = keep(2, 3, 4, 5, cost="3", replaces=True)
    assert last.replaced == (f"2026-03-02 to 2026-03-02 of number {older.pk}", f"all of number {newer.account.pk}")
    assert days_of(older) == (1, 1, [1])
    assert AuditEvent.objects.of(EVERYBODY).latest("pk").details["replaced"] == list(last.replaced)
    before = keep(1, 4, cost="4", provider="another").account
    keep(3, 7, cost="5", provider="another", replaces=True)
    assert days_of(before) == (1, 2, [1])
    keep(1, 3, cost="6", provider="another", replaces=True)
    assert [(row.first_day.day, row.last_day.day) for row in UsageImport.objects.filter(provider="another")] == [
        (1, 3),
        (4, 7),
    ]


def test_an_account_is_not_cut_in_two() -> None:
    older = keep(1, 2, 3).account
    with pytest.raises(Conflict, match="in the middle"):
        keep(2, cost="2", replaces=True)
    assert days_of(older) == (1, 3, [1, 2, 3])


def test_accounts_of_another_kind_or_provider_are_about_the_same_days_without_harm() -> None:
    keep(1)
    keep(1, provider="another", cost="2")
    file = b"start_time,num_model_requests,input_tokens,model\n1772323200,1,2,m\n"
    keeping.keep(at_terminal(), read(file), file, "openai")
    with pytest.raises(Conflict):
        keep(1, cost="3")
    assert UsageImport.objects.count() == 3


def test_nothing_is_kept_of_what_cannot_be_kept_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    older = keep(1, 2).account

    monkeypatch.setattr(keeping, "_INSERT", keeping._INSERT.replace("SELECT %s", "SELECT %s + NULL"))
    with pytest.raises(IntegrityError):
        keep(2, 3, cost="2", replaces=True)
    assert days_of(older) == (1, 2, [1, 2])
    assert UsageImport.objects.count() == AuditEvent.objects.of(EVERYBODY).count() == 1


@pytest.mark.parametrize("name", ["", "Open AI", "a" * 41, "openai/x"])
def test_a_provider_is_named_as_it_is_here(name: str) -> None:
    with pytest.raises(BadRequest, match="provider"):
        keep(1, provider=name)


def test_a_role_for_every_tenant_is_needed() -> None:
    row = keep(1).account
    for role in Role:
        here, everywhere = Actor(name="x", roles={1: role}), Actor(name="x", roles={None: role})
        with pytest.raises(Forbidden):
            keeping.find(here, row.pk)
        assert list(keeping.invoices(everywhere)) == [keeping.find(everywhere, row.pk)] == [row]
        with pytest.raises(Forbidden):
            keep(2, by=here)
        if role in {Role.VIEWER, Role.AUDITOR}:
            with pytest.raises(Forbidden):
                keep(2, by=everywhere)
            with pytest.raises(Forbidden):
                keeping.delete(everywhere, row.pk)
    assert days_of(row) == (1, 1, [1])


def test_some_of_its_days_can_be_compared() -> None:
    row = keep(1, 2, 3).account
    assert [one.day.day for one in compare(row).real] == [1, 2, 3]
    assert [one.day.day for one in compare(row, date(2026, 3, 2), date(2026, 3, 9)).real] == [2, 3]
    with pytest.raises(BadRequest, match="none of these days"):
        compare(row, date(2026, 4, 1))
