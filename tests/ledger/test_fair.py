"""The last of a budget: what one machine gives back goes to the one that waited for it, and not to who asks next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from orchestrator.core.errors import BudgetSpent
from orchestrator.ledger.share_scripts import HELD_S, KEYS, WANTED
from tests.ledger.machine import Machine, do, nobody_waits, time_passes

pytestmark = pytest.mark.django_db
AMOUNT = 1_000


@pytest.fixture
def pair(redis: Redis) -> Iterator[list[Machine]]:
    """Two that know of each other; the first has spent a tenth, and holds most of the rest."""
    both = [Machine(("a", AMOUNT)) for _ in range(2)]
    time_passes(both, redis)
    assert both[0].reserve_at_last(900, redis) is None
    settle(both[0], 100)
    yield both
    for one in both:
        one.close()


def settle(one: Machine, cost: int) -> None:
    """The call that it has."""
    one.settle(next(iter(one.holds)), cost)


def together(*machines: Machine) -> int:
    """What they may spend."""
    return sum(max(one.share(), sum(one.used())) for one in machines)


def test_what_comes_back_is_held_for_who_waits(pair: list[Machine], redis: Redis) -> None:
    first, other = pair
    assert isinstance(other.reserve_at_last(300, redis), BudgetSpent), "the first has it"
    do(first.giving_back(), redis)
    assert isinstance(first.reserve_at_last(700, redis), BudgetSpent), "of the 900 that are left 300 are held"
    assert other.reserve_at_last(300, redis) is None, "however late it comes again"
    assert together(first, other) <= AMOUNT


def test_who_asks_for_what_nobody_waits_for_is_not_held_up(pair: list[Machine], redis: Redis) -> None:
    first, other = pair
    assert isinstance(other.reserve_at_last(300, redis), BudgetSpent)
    do(first.giving_back(), redis)
    assert first.reserve_at_last(500, redis) is None
    assert redis.zcard(WANTED) == 1, "who gives back is still told that somebody waits"
    assert other.reserve_at_last(300, redis) is None
    assert redis.zcard(WANTED) == 0
    assert together(first, other) <= AMOUNT


def test_two_that_wait_are_served_in_turn(pair: list[Machine], redis: Redis) -> None:
    first, other = pair
    assert isinstance(other.reserve_at_last(800, redis), BudgetSpent)
    do(first.giving_back(), redis)
    for _ in range(3):
        assert isinstance(first.reserve_at_last(800, redis), BudgetSpent)
        do(first.giving_back(), redis)
    assert other.reserve_at_last(800, redis) is None
    settle(other, 0)
    do(other.giving_back(), redis)
    assert isinstance(other.reserve_at_last(800, redis), BudgetSpent), "now the first has waited longer"
    do(other.giving_back(), redis)
    assert first.reserve_at_last(800, redis) is None
    assert together(first, other) <= AMOUNT


def test_who_does_not_come_again_holds_up_nobody_for_long(pair: list[Machine], redis: Redis) -> None:
    first, other = pair
    assert isinstance(other.reserve_at_last(300, redis), BudgetSpent)
    do(first.giving_back(), redis)
    [field] = [field for field in redis.hkeys(KEYS[0]) if field.startswith(b"w:")]  # type: ignore[union-attr]
    target, since, asked = redis.hget(KEYS[0], field).split()  # type: ignore[union-attr]
    redis.hset(KEYS[0], field, b" ".join((target, since, str(int(asked) - HELD_S - 1).encode())))
    assert first.reserve_at_last(700, redis) is None


def test_what_cannot_be_had_is_held_for_nobody(pair: list[Machine], redis: Redis) -> None:
    first, other = pair
    first.reserve_at_last(300, redis)
    assert isinstance(other.reserve_at_last(900, redis), Exception)
    do(first.giving_back(), redis)
    assert first.reserve_at_last(500, redis) is None, "more than is left of it would be needed"


def test_nothing_is_held_where_nobody_waits(pair: list[Machine], redis: Any) -> None:
    first, _ = pair
    nobody_waits(redis)
    assert first.reserve_at_last(700, redis) is None
