"""Equal places are asked by weight, by cost, or the quicker of two."""

from __future__ import annotations

import random
from collections import Counter
from decimal import Decimal

import pytest

from orchestrator.core.prices import Price
from orchestrator.core.types import Balance, Candidate, Model
from routing.balance import Load, order
from tests.fakes import SetClock


def place(name: str, price: tuple[str, str] | None = None, *, weight: int = 1, is_paid: bool = True) -> Candidate:
    known = Price(input=Decimal(price[0]), output=Decimal(price[1])) if price else None
    model = Model(name=name, digest="d", engine=name, price=known, is_paid=is_paid, remote_name=name)
    return Candidate(model=model, stands_for=model, weight=weight)


def firsts(places: list[Candidate], balance: Balance, loads: dict[str, Load], rounds: int = 2000) -> Counter[str]:
    rng = random.Random(7)
    return Counter(order(places, balance, lambda one: loads[one.model.name], rng)[0].model.name for _ in range(rounds))


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


def loads_of(clock: SetClock, **first_s: float) -> dict[str, Load]:
    loads = {name: Load(clock) for name in first_s}
    for name, seconds in first_s.items():
        if seconds:
            loads[name].took(seconds)
    return loads


def test_weights_are_shares(clock: SetClock) -> None:
    loads = loads_of(clock, a=0, b=0, c=0)
    seen = firsts([place("a", weight=6), place("b", weight=3), place("c", weight=1)], "weight", loads, 10_000)
    assert [round(seen[name] / 10_000, 1) for name in "abc"] == [0.6, 0.3, 0.1]


def test_the_cheapest_comes_first_and_an_unknown_price_last(clock: SetClock) -> None:
    places = [place("unknown"), place("dear", ("3", "15")), place("own", is_paid=False), place("cheap", ("0.1", "0.4"))]
    loads = loads_of(clock, unknown=0.1, dear=0.1, own=9, cheap=0.5)
    ordered = order(places, "cost", lambda one: loads[one.model.name], random.Random(1))
    assert [one.model.name for one in ordered] == ["own", "cheap", "dear", "unknown"]


def test_of_two_the_quicker_is_asked(clock: SetClock) -> None:
    assert firsts([place("slow"), place("quick")], "latency", loads_of(clock, slow=2.0, quick=0.2)) == {"quick": 2000}


def test_of_many_the_slowest_is_never_first_and_the_quickest_not_always(clock: SetClock) -> None:
    loads = loads_of(clock, a=0.1, b=0.2, c=0.3, d=5.0)
    seen = firsts([place(name) for name in "dcba"], "latency", loads)
    assert seen["d"] == 0
    assert seen["a"] > seen["b"] > seen["c"] > 0


def test_who_is_busy_counts_as_slower(clock: SetClock) -> None:
    loads = loads_of(clock, a=0.2, b=0.3)
    loads["a"].waiting = 1
    assert firsts([place("a"), place("b")], "latency", loads) == {"b": 2000}


def test_a_place_nobody_knows_is_tried_once_and_then_waited_for(clock: SetClock) -> None:
    loads = loads_of(clock, known=0.3, new=0)
    places = [place("known"), place("new")]
    assert firsts(places, "latency", loads) == {"new": 2000}
    loads["new"].waiting = 1
    assert firsts(places, "latency", loads) == {"known": 2000}


def test_a_slow_moment_counts_at_once_and_fades(clock: SetClock) -> None:
    load = Load(clock)
    load.took(0.1)
    load.took(4.0)
    assert load.first_s == pytest.approx(4.0)
    clock.pass_(10)
    assert load.first_s == pytest.approx(4.0 / 2.718, rel=0.01)
    clock.pass_(60)
    assert load.first_s < 0.01
