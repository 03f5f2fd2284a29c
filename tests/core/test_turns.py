"""Tenants are served in turn by weight, and who leaves leaves nothing behind."""

from __future__ import annotations

from collections import Counter, deque

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.turns import FairQueue, Turn

weights = st.dictionaries(st.integers(1, 6), st.integers(1, 10), min_size=2)


@given(weights, st.integers(20, 200))
def test_shares_are_as_the_weights(weight_of: dict[int, int], rounds: int) -> None:
    queue: FairQueue[tuple[int, int]] = FairQueue()
    served: Counter[int] = Counter()
    for number in range(rounds):
        for tenant, weight in weight_of.items():
            queue.put((tenant, number), Turn(tenant=tenant, weight=weight))
    all_wait = 0  # turns while every tenant still has somebody waiting
    while all(served[tenant] < rounds for tenant in weight_of):
        served[queue.take()[0]] += 1
        all_wait += 1
    whole = sum(weight_of.values())
    for tenant, weight in weight_of.items():
        # The known bound of start-time fair queueing: one turn of each, whatever was asked.
        assert abs(served[tenant] / weight - all_wait / whole) <= len(weight_of) / weight + 1


@given(weights)
def test_nobody_starves(weight_of: dict[int, int]) -> None:
    queue: FairQueue[tuple[int, int]] = FairQueue()
    for tenant, weight in weight_of.items():
        for number in range(300):
            queue.put((tenant, number), Turn(tenant=tenant, weight=weight))
    for _ in range(50):
        queue.take()
    queue.put((0, 0), Turn(tenant=0, weight=1))
    behind = 0
    while queue.take() != (0, 0):
        behind += 1
    assert behind <= 2 * len(weight_of), "a newcomer waits for the turn of each, not for all who wait"


def test_first_come_first_served_within_a_tenant() -> None:
    queue: FairQueue[int] = FairQueue()
    for number in range(5):
        queue.put(number, Turn(tenant=1))
    assert [queue.take() for _ in range(5)] == list(range(5))


def test_being_away_saves_up_nothing() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(100):
        queue.put(f"busy-{number}", Turn(tenant=1))
    for _ in range(50):
        queue.take()
    for number in range(50):
        queue.put(f"late-{number}", Turn(tenant=2))
    assert Counter(queue.take().partition("-")[0] for _ in range(20)) == {"busy": 10, "late": 10}


def test_coming_back_each_time_is_no_way_to_be_served_more_often() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(100):
        queue.put(f"steady-{number}", Turn(tenant=1))
    served: Counter[str] = Counter()
    queue.put("hopping", Turn(tenant=2))
    for _ in range(40):
        item = queue.take().partition("-")[0]
        served[item] += 1
        if item == "hopping":
            queue.put("hopping", Turn(tenant=2))
    assert served == {"steady": 20, "hopping": 20}


def test_who_leaves_costs_its_tenant_nothing() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(10):
        queue.put(f"a-{number}", Turn(tenant=1))
        queue.put(f"b-{number}", Turn(tenant=2))
    assert all(queue.drop(f"a-{number}") for number in range(5))
    assert not queue.drop("a-0")
    assert [queue.take() for _ in range(4)] == ["a-5", "b-0", "a-6", "b-1"]


@given(st.lists(st.tuples(st.sampled_from(["put", "take", "drop"]), st.integers(1, 3), st.integers(0, 50))))
def test_everybody_is_served_once_or_dropped(acts: list[tuple[str, int, int]]) -> None:
    queue: FairQueue[tuple[int, int]] = FairQueue()
    expected: dict[int, deque[tuple[int, int]]] = {tenant: deque() for tenant in (1, 2, 3)}
    for number, (act, tenant, place) in enumerate(acts):
        line = expected[tenant]
        if act == "put":
            queue.put((tenant, number), Turn(tenant=tenant, weight=tenant))
            line.append((tenant, number))
        elif act == "drop" and line:
            dropped = line[place % len(line)]
            line.remove(dropped)
            assert queue.drop(dropped)
        elif act == "take" and len(queue):
            taken = queue.take()
            assert taken == expected[taken[0]].popleft()
        assert len(queue) == sum(map(len, expected.values()))
    while len(queue):
        taken = queue.take()
        assert taken == expected[taken[0]].popleft()
    assert not any(expected.values())
