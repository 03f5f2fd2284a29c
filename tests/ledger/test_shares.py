"""Whatever happens between machines and Redis, in whatever order: together they never spend more than there is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest
from redis import Redis

from orchestrator.ledger.share_scripts import KEYS
from orchestrator.ledger.shares import Short
from tests.ledger.machine import Asked, Hello, Machine, Telling, do, restarted, time_passes

AMOUNT = 1_000
SEEDS, STEPS = 20, 250


def machines(count: int = 2, amount: int = AMOUNT) -> list[Machine]:
    return [Machine(("a", amount)) for _ in range(count)]


class Together:
    """Three machines and a Redis; what they say to each other is late, lost, overtaken, or heard twice."""

    def __init__(self, redis: Redis, seed: int) -> None:
        self.redis = redis
        self.random = Random(seed)
        self.machines = machines(3)
        self.on_the_way: list[Asked] = []  # to Redis
        self.coming_back: list[Asked] = []
        self.kept: dict[Any, Any] = {}  # that Redis has on disk
        self.over = 0  # what calls cost beyond what was reserved for them

    def go(self, steps: int) -> None:
        ways = {
            self.reserve: 6, self.settle: 4, self.give_back: 3, self.say_hello: 2, self.tell_all: 2, self.beat: 3,
            self.reach: 12, self.come_back: 12, self.lose: 0.3, self.flush: 0.2, self.write_to_disk: 0.5,
            self.restart: 0.3, self.time_passes: 1,
        }  # fmt: skip
        for way in self.random.choices([*ways], [*ways.values()], k=steps):
            way()
            self.never_more_than_there_is()

    def reserve(self) -> None:
        one = self.random.choice(self.machines)
        refusal = one.reserve(self.random.choice((1, 30, 60, 200, 400)))
        if isinstance(refusal, Short):
            self.on_the_way.append(Telling(one, refusal.own, refusal.wants))

    def settle(self) -> None:
        one = self.random.choice(self.machines)
        if one.holds:
            hold = self.random.choice(sorted(one.holds))
            amount, part = one.holds[hold], self.random.choice((0, 0, 0, 10, 100, 110))
            self.over += max(amount * part // 100 - amount, 0)
            one.settle(hold, amount * part // 100)

    def say_hello(self) -> None:
        self.on_the_way.append(Hello(self.random.choice(self.machines)))

    def tell_all(self) -> None:
        one = self.random.choice(self.machines)
        if one.own().life:
            self.on_the_way.append(one.telling())

    def give_back(self) -> None:
        self.on_the_way.append(self.random.choice(self.machines).giving_back())

    def beat(self) -> None:
        self.random.choice(self.machines).in_touch(self.redis)

    def reach(self) -> None:
        """In any order, and now and then twice, as when a connection breaks and the command was done all the same."""
        if self.on_the_way:
            one = self.on_the_way.pop(self.random.randrange(len(self.on_the_way)))
            for _ in range(self.random.choice((1, 1, 1, 2))):
                one.reach(self.redis)
            self.coming_back.append(one)

    def come_back(self) -> None:
        if self.coming_back:
            self.coming_back.pop(self.random.randrange(len(self.coming_back))).come_back()

    def lose(self) -> None:
        """Everything that is on its way, as when processes are killed or the network is cut."""
        self.on_the_way, self.coming_back = [], []

    def flush(self) -> None:
        self.redis.flushall()

    def write_to_disk(self) -> None:
        self.kept = self.redis.hgetall(KEYS[0])

    def restart(self) -> None:
        restarted(self.redis, self.kept)

    def time_passes(self) -> None:
        time_passes(self.machines, self.redis)

    def never_more_than_there_is(self) -> None:
        used = [sum(one.used()) for one in self.machines]
        shares = [one.share() for one in self.machines]
        assert all(of <= share + self.over for of, share in zip(used, shares, strict=True))
        assert sum(map(max, used, shares)) <= AMOUNT + self.over

    def everything_that_is_left_can_be_spent(self) -> None:
        self.lose()
        self.time_passes()
        first, *others = self.machines
        left = AMOUNT - sum(sum(one.used()) for one in self.machines)
        if left > 0 and first.reserve_at_last(left, self.redis) is not None:
            for one in (*others, *others):  # who has missed the last word on its share hears it first
                do(one.giving_back(), self.redis)
            assert first.reserve_at_last(left, self.redis) is None
        self.never_more_than_there_is()


@pytest.mark.django_db
def test_together_they_never_spend_more_than_there_is_and_in_the_end_all_of_it(redis: Redis) -> None:
    for seed in range(SEEDS):
        redis.flushall()
        together = Together(redis, seed)
        with seen(seed):
            together.go(STEPS)
            together.everything_that_is_left_can_be_spent()
        for one in together.machines:
            one.close()


@contextmanager
def seen(seed: int) -> Iterator[None]:
    """What fails says with which seed."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"seed {seed}")
        raise
