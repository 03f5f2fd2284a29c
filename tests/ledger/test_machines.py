"""Machines that come, go, are copied, or say different things of one budget."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from redis import Redis

from orchestrator.core.budgets import EVER, PERIODS, SOON_S, begins
from orchestrator.core.errors import BudgetSpent
from orchestrator.ledger import accounts, machines, shares
from orchestrator.ledger.accounts import Account, Used
from orchestrator.ledger.share_scripts import KEYS
from orchestrator.ledger.shares import Short
from tests.ledger.calls import AT
from tests.ledger.machine import FILE, SQL, Machine, Telling, do, time_passes

pytestmark = pytest.mark.django_db
Two = tuple[Machine, Machine]


@pytest.fixture
def two(redis: Redis) -> Iterator[Two]:
    one, other = Machine(("a", 1_000)), Machine(("a", 1_000))
    time_passes([one, other], redis)
    yield one, other
    one.close()
    other.close()


def test_a_machine_alone_is_granted_all_there_is_and_asks_once(redis: Redis) -> None:
    one = Machine(("a", 1_000))
    time_passes([one], redis)
    assert one.reserve_at_last(1, redis) is None
    assert one.share() == 1_000
    assert not [refusal for refusal in (one.reserve(1) for _ in range(50)) if refusal]


def test_of_two_nobody_is_granted_much_more_than_is_needed(two: Two, redis: Redis) -> None:
    one, other = two
    assert one.reserve_at_last(1, redis) is None
    assert one.share() == 1_000 // 16
    assert other.reserve_at_last(900, redis) is None
    assert one.reserve_at_last(38, redis) is None
    assert isinstance(other.reserve_at_last(100, redis), BudgetSpent)


def test_a_share_that_does_not_reach_is_refused_in_words_and_not_for_long(two: Two, redis: Redis) -> None:
    one, other = two
    assert one.reserve_at_last(600, redis) is None
    refusal = other.reserve_at_last(600, redis)
    assert isinstance(refusal, BudgetSpent)
    assert not isinstance(refusal, Short)
    assert "the rest is with other machines, or reserved for calls under way" in str(refusal)
    assert (refusal.retry_after_s, refusal.budget) == (SOON_S, "a")


def test_what_is_spent_elsewhere_is_not_asked_for(two: Two, redis: Redis) -> None:
    one, other = two
    one.reserve_at_last(600, redis)
    one.settle(next(iter(one.holds)), 600)
    do(one.telling(), redis)
    do(other.telling(), redis)
    assert isinstance(other.reserve(300), Short), "the first time it is not even known to be told of"
    do(other.telling(), redis)
    refusal = other.reserve(500)
    assert isinstance(refusal, BudgetSpent)
    assert not isinstance(refusal, Short)
    assert "not renewed" in str(refusal), "and it does not help to come again soon"


def test_of_different_amounts_the_smaller_holds(redis: Redis) -> None:
    one, other = Machine(("a", 1_000)), Machine(("a", 300))
    time_passes([one, other], redis)
    assert one.reserve_at_last(200, redis) is None
    assert other.reserve_at_last(50, redis) is None
    do(one.telling(), redis)
    assert isinstance(one.reserve_at_last(100, redis), BudgetSpent)
    do(one.giving_back(), redis)
    do(other.giving_back(), redis)
    assert one.reserve_at_last(50, redis) is None
    assert sum(one.used()) + sum(other.used()) == 300


def test_what_is_granted_beyond_a_lowered_amount_comes_back(two: Two, redis: Redis) -> None:
    one, other = two
    one.reserve_at_last(500, redis)
    other.reserve_at_last(400, redis)
    for each in two:
        each.settle(next(iter(each.holds)), 10)
        each.change(100)
        assert isinstance(each.reserve(200, may_ask=False), BudgetSpent), "at once, on each for itself"
        do(each.telling(), redis)
    assert redis.zcard(KEYS[1]) == 1, "it is wanted back"
    for each in two:
        do(each.giving_back(), redis)
    assert one.reserve_at_last(80, redis) is None
    assert isinstance(other.reserve_at_last(1, redis), BudgetSpent)


@pytest.mark.parametrize("is_deleted", [False, True])
def test_a_budget_that_is_switched_off_is_given_back_and_one_that_is_deleted_is_not(
    two: Two, redis: Redis, *, is_deleted: bool
) -> None:
    one, other = two
    assert one.reserve_at_last(600, redis) is None
    one.settle(next(iter(one.holds)), 10)
    one.delete() if is_deleted else one.switch_off()
    do(one.giving_back(), redis)
    refusal = other.reserve_at_last(900, redis)
    assert isinstance(refusal, BudgetSpent) if is_deleted else refusal is None
    assert isinstance(other.reserve_at_last(100, redis), BudgetSpent) != is_deleted, "what was spent counts"


def test_budgets_of_other_names_have_nothing_in_common(redis: Redis) -> None:
    one, other = Machine(("a", 1_000)), Machine(("b", 1_000))
    time_passes([one, other], redis)
    assert one.reserve_at_last(1_000, redis) is None
    assert other.reserve_at_last(1_000, redis) is None


def test_after_a_flush_nothing_is_granted_before_all_have_told(two: Two, redis: Redis) -> None:
    one, other = two
    one.reserve_at_last(10, redis)
    other.reserve_at_last(900, redis)
    redis.flushall()
    one.in_touch(redis)
    assert isinstance(one.reserve_at_last(60, redis), BudgetSpent)
    assert one.reserve(20) is None, "what it was granted it may spend"
    other.in_touch(redis)
    one.in_touch(redis)
    assert one.reserve_at_last(60, redis) is None
    assert isinstance(one.reserve_at_last(60, redis), BudgetSpent)


def test_a_lost_machine_counts_until_it_is_released_and_then_for_what_it_spent(two: Two, redis: Redis) -> None:
    one, lost = two
    lost.reserve_at_last(600, redis)
    lost.settle(next(iter(lost.holds)), 100)
    do(lost.telling(), redis)
    one.reserve(1)
    do(one.telling(), redis)
    assert isinstance(one.reserve_at_last(700, redis), BudgetSpent)
    one.release(lost.own().name)
    one.in_touch(redis)
    assert one.reserve_at_last(900, redis) is None
    assert isinstance(one.reserve_at_last(1, redis), BudgetSpent)


def test_what_a_lost_machine_spent_is_known_after_a_flush(two: Two, redis: Redis) -> None:
    one, lost = two
    lost.reserve_at_last(600, redis)
    lost.settle(next(iter(lost.holds)), 100)
    do(lost.telling(), redis)
    one.reserve(1)
    do(one.telling(), redis)
    redis.flushall()
    one.in_touch(redis)
    assert isinstance(one.reserve_at_last(1, redis), BudgetSpent), "nobody knows what the other one has"
    one.release(lost.own().name)
    one.in_touch(redis)
    redis.flushall()
    one.in_touch(redis)
    assert one.reserve_at_last(900, redis) is None
    assert isinstance(one.reserve_at_last(1, redis), BudgetSpent)


def test_who_was_said_to_be_gone_and_is_not_has_no_share_any_more(two: Two, redis: Redis) -> None:
    one, other = two
    other.reserve_at_last(600, redis)
    one.release(other.own().name)
    one.in_touch(redis)
    said = Telling(other, other.own(), [])
    said.reach(redis)
    assert said.answer == [""], "nothing is granted under the old name"


def test_a_copy_of_a_ledger_is_another_machine_without_shares(two: Two, redis: Redis) -> None:
    one, _ = two
    one.reserve_at_last(500, redis)
    name = one.own().name
    assert one.share() == 500
    copied = machines.be(one._sql, "another file", "elsewhere")
    assert copied.name not in {"", name}
    assert (copied.life, one.share(), one.used()) == ("", 0, Used(0, 500))
    assert name in {peer.name for peer in machines.peers(one._sql)}, "the old one may go on somewhere"


def test_a_file_that_was_known_by_its_number_alone_is_the_same_once(two: Two, redis: Redis) -> None:
    one, _ = two
    one.reserve_at_last(500, redis)
    before = one.own()
    assert machines.be(one._sql, f"{FILE}:77", "here") == before
    assert one.share() == 500
    assert machines.be(one._sql, f"{FILE}:78", "here").name != before.name, "another file under the same number"
    assert one.share() == 0


def test_before_it_has_another_name_a_copy_spends_nothing(two: Two, redis: Redis) -> None:
    one, _ = two
    one.reserve_at_last(500, redis)
    one.settle(next(iter(one.holds)), 0)
    assert one.reserve(400, file="another file") is not None
    assert one.reserve(400) is None


class Reading(SQL):
    """Counts what is read."""

    count = 0

    def fetchall(self) -> list[tuple[Any, ...]]:
        found = super().fetchall()
        self.count += len(found)
        return found


def test_of_periods_that_are_over_nothing_is_read(redis: Redis) -> None:
    one = Machine(*((name, 1_000) for name in PERIODS), each="key")
    today = AT.date()
    for number, name in enumerate(PERIODS, 1):
        one._database.execute("UPDATE orchestrator_budget SET period = ? WHERE id = ?", (name, number))
        days = [EVER] if name == "total" else [today + timedelta(days=ahead) for ahead in range(-99, 2)]
        firsts = {begins(name, datetime.combine(day, time(), UTC)) for day in days}
        used = {Account.of(number, str(key), first): Used(1, 1) for first in firsts for key in range(20)}
        accounts.move(one._sql, used)
        shares.note(one._sql, used)
    reading = Reading(one._database)
    found = shares.standing(reading, AT)
    told = {(PERIODS[account.budget_id - 1], account.begins) for account, *_ in found}
    yesterday, tomorrow = today - timedelta(days=1), today + timedelta(days=1)
    assert told == {
        ("day", str(yesterday)), ("day", str(today)), ("day", str(tomorrow)), ("week", "2026-11-23"),
        ("month", "2026-11-01"), ("total", str(EVER)),
    }  # fmt: skip
    assert len(found) == 20 * len(told)
    assert reading.count == len(found) + 2 * len(PERIODS), "them, and what the budgets say"
    every = shares.standing(reading, AT, also_over=True)
    days_told = {account.begins for account, *_ in every if PERIODS[account.budget_id - 1] == "day"}
    assert min(days_told) == str(today - shares.KEPT)
    assert {one.account for one in found} <= {one.account for one in every}
    one.close()


def test_what_is_given_back_is_no_more_than_was_asked_for(two: Two, redis: Redis) -> None:
    one, _ = two
    one.reserve_at_last(500, redis)
    one.settle(next(iter(one.holds)), 10)
    [told] = shares.wanted(one._sql, AT, None)
    assert not shares.wanted(one._sql, AT, ["another pot"])
    assert [one.held for one in shares.wanted(one._sql, AT, [told.pot])] == [500]
    assert not shares.give_back(one._sql, [])
    assert one.share() == 500
    assert [(one.held, one.used) for one in shares.give_back(one._sql, [told.account])] == [(10, 10)]
    assert one.share() == 10
