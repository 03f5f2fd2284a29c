"""Whatever happens to calls and budgets, in whatever order: the sums are right."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from orchestrator.core.errors import BudgetSpent
from orchestrator.ledger import charging, reserving
from orchestrator.ledger.beginning import begin_budget
from orchestrator.ledger.bereft import charge_the_dead
from orchestrator.ledger.holds import Charged, Reservation, released
from orchestrator.ledger.lives import Life
from orchestrator.ledger.reserving import Wanted
from orchestrator.models import Budget, BudgetAlert, BudgetPeriod, Charge, Hold, HoldLine, SpendDay
from tests.ledger.calls import AT, charged, line, reservation

NOW = "2026-11-26 12:00:00"
PROCESSES = st.integers(0, 2)
amounts = st.sampled_from([0, 1, 50, 100, 300, 400])  # few, so that budgets come out even now and then


class Money(RuleBasedStateMachine):
    """A few processes, a few budgets, and calls in every state. What is true is reckoned beside it, by hand."""

    def __init__(self) -> None:
        super().__init__()
        self._transaction = transaction.atomic()
        self._transaction.__enter__()
        self.budgets = [
            Budget.objects.create(
                name=name, period="day", each="tenant", amount_microusd=amount, is_hard=is_hard, shares="50,100"
            )
            for name, amount, is_hard in (("a", 1_000, True), ("b", 700, True), ("c", 300, False))
        ]
        self.amounts = {one.pk: one.amount_microusd for one in self.budgets}
        self.live: dict[str, tuple[str, Reservation]] = {}  # by hold: who holds it, and what
        self.spent: defaultdict[tuple[int, str], int] = defaultdict(int)
        self.holds = 0
        self.costs: list[tuple[date, int | None]] = []
        self._files = TemporaryDirectory()
        self.folder = Path(self._files.name)
        self.lives = [Life(self.folder) for _ in range(3)]

    def teardown(self) -> None:
        for life in self.lives:
            life.end(is_empty=True)
        self._files.cleanup()
        transaction.set_rollback(True)
        self._transaction.__exit__(None, None, None)

    @rule(
        process=PROCESSES,
        asked=st.lists(st.tuples(amounts, st.sets(st.integers(0, 2), min_size=0), st.booleans()), max_size=5),
        days=st.integers(0, 1),
    )
    def reserve(self, process: int, asked: list[tuple[int, set[int], bool]], days: int) -> None:
        holder = self.lives[process].holder
        wanted = [
            Wanted(self._reservation(about, amount, AT + timedelta(days=days)), guarded)
            for amount, about, guarded in asked
        ]
        with connection.cursor() as cursor:
            refused = reserving.reserve(cursor, holder, wanted, AT.timestamp())
        for (one, guarded, _, _), refusal in zip(wanted, refused, strict=True):
            lines = [(each.budget_id, str(each.begins)) for each in one.lines if each.budget_id in self.amounts]
            hard = {each.pk for each in self.budgets if each.is_hard}
            fits = all(
                self.spent[account] + self.reserved(account) + (one.amount or 0) <= self.amounts[account[0]]
                for account in lines
                if account[0] in hard
            )
            assert (refusal is None) == (fits or not guarded)
            assert refusal is None or isinstance(refusal, BudgetSpent)
            if refusal is None:
                kept = tuple(each for each in one.lines if each.budget_id in self.amounts)
                self.live[one.hold] = (holder, one._replace(lines=kept))

    @precondition(lambda self: self.live)
    @rule(data=st.data(), costs=st.lists(st.one_of(st.none(), amounts), min_size=1, max_size=4))
    def settle(self, data: st.DataObject, costs: list[int | None]) -> None:
        """For more than was reserved, or less, or for nobody knows how much."""
        holds = [data.draw(st.sampled_from(sorted(self.live))) for _ in costs]
        charges = [charged(hold, cost, at=self.live[hold][1].at) for hold, cost in zip(holds, costs, strict=True)]
        self._charge(charges)
        self._charge(charges)  # again, as after a commit whose end was not heard of

    @rule(costs=st.lists(st.one_of(st.none(), amounts), min_size=1, max_size=3), data=st.data())
    def settle_before_it_is_written(self, costs: list[int | None], data: st.DataObject) -> None:
        """Calls that no budget is about, with others that have holds."""
        unwritten = {one.hold: one for one in (self._reservation(set(), 100, AT) for _ in costs)}
        charges = [charged(hold, cost, at=AT) for hold, cost in zip(unwritten, costs, strict=True)]
        if self.live:
            hold = data.draw(st.sampled_from(sorted(self.live)))
            charges.append(charged(hold, 50, at=self.live[hold][1].at))
        self.live |= {hold: ("nobody", one) for hold, one in unwritten.items()}
        self._charge(charges, unwritten)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self._charge([released(data.draw(st.sampled_from(sorted(self.live))))])

    @rule(process=PROCESSES)
    def kill(self, process: int) -> None:
        dead, self.lives[process] = self.lives[process], Life(self.folder)
        dead.end(is_empty=False)
        for hold, (whose, one) in list(self.live.items()):
            if whose == dead.holder:
                self._is_over(hold, one.amount)
        charge_the_dead("default", self.folder, "another", NOW)

    @rule(which=st.integers(0, 2), amount=st.sampled_from([0, 50, 400, 800, 1_500]))
    def change(self, which: int, amount: int) -> None:
        one = self.budgets[which]
        Budget.objects.filter(pk=one.pk).update(amount_microusd=amount)
        if one.pk in self.amounts:
            self.amounts[one.pk] = amount

    @rule(which=st.integers(0, 2), days=st.integers(0, 1))
    def begin(self, which: int, days: int) -> None:
        """It is about every call there is, also about those that came before it."""
        one, at = self.budgets[which], AT + timedelta(days=days)
        if one.pk not in self.amounts:
            return
        begin_budget(one, at)
        self.spent[one.pk, str(at.date())] = sum(cost or 0 for day, cost in self.costs if day == at.date())
        for hold, (holder, reserved) in self.live.items():
            others = tuple(each for each in reserved.lines if each.budget_id != one.pk)
            self.live[hold] = (holder, reserved._replace(lines=(*others, line(one, reserved.at.date()))))

    @rule(which=st.integers(0, 2))
    def delete(self, which: int) -> None:
        Budget.objects.filter(pk=self.budgets[which].pk).delete()
        self.amounts.pop(self.budgets[which].pk, None)

    @invariant()
    def sums_are_right(self) -> None:
        periods = {(one.budget_id, str(one.begins)): one for one in BudgetPeriod.objects.all()}
        for account, one in periods.items():
            assert one.spent_microusd == self.spent[account]
            assert one.reserved_microusd == self.reserved(account)
        assert {account for account, spent in self.spent.items() if spent} <= set(periods)
        held: defaultdict[tuple[int, str], int] = defaultdict(int)
        for each in HoldLine.objects.all():
            held[each.budget_id, str(each.begins)] += each.amount_microusd
        assert {account: of for account, of in held.items() if of} == {
            account: one.reserved_microusd for account, one in periods.items() if one.reserved_microusd
        }
        assert set(Hold.objects.values_list("pk", flat=True)) == set(self.live)

    @invariant()
    def each_call_is_charged_once_and_each_day_is_the_sum_of_its_charges(self) -> None:
        costs = list(Charge.rows.values_list("cost_microusd", flat=True))
        assert sorted(cost or 0 for cost in costs) == sorted(cost or 0 for _, cost in self.costs)
        days = list(SpendDay.rows.all())
        assert sum(day.cost_microusd for day in days) == sum(cost or 0 for cost in costs)
        assert sum(day.calls for day in days) == len(costs)

    @invariant()
    def each_share_is_told_once(self) -> None:
        told = [(one.budget_id, str(one.begins), one.share) for one in BudgetAlert.objects.all()]
        assert len(told) == len(set(told))
        for budget_id, begins, _ in told:
            assert self.spent[budget_id, begins] > 0

    def _reservation(self, about: set[int], amount: int, at: datetime) -> Reservation:
        self.holds += 1
        return reservation(*(self.budgets[n] for n in sorted(about)), amount=amount, at=at, hold=f"{self.holds:032}")

    def reserved(self, account: tuple[int, str]) -> int:
        return sum(
            one.amount or 0
            for _, one in self.live.values()
            for each in one.lines
            if (each.budget_id, str(each.begins)) == account
        )

    def _charge(self, charges: list[Charged], unwritten: dict[str, Reservation] | None = None) -> None:
        with connection.cursor() as cursor:
            charging.charge(cursor, charges, NOW, unwritten)
        for one in charges:
            if one.hold in self.live:
                amount = self.live[one.hold][1].amount
                cost = one.row.get("cost_microusd")
                self._is_over(one.hold, amount if cost is None else cost, is_free=one.is_free)

    def _is_over(self, hold: str, cost: int | None, *, is_free: bool = False) -> None:
        _, one = self.live.pop(hold)
        if not is_free:
            self.costs.append((one.at.date(), cost))
            for each in one.lines:
                self.spent[each.budget_id, str(each.begins)] += cost or 0


@pytest.mark.django_db
def test_the_sums_are_right_whatever_happens() -> None:
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Money,
        settings=settings(
            max_examples=80, stateful_step_count=25, deadline=None, derandomize=True, suppress_health_check=checks
        ),
    )
