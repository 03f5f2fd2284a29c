"""When a worker counts as doing its work."""

from __future__ import annotations

import pytest

from orchestrator.supervisor.liveness import CLOCK_SILENT_S, DEAF_S, Liveness


class Times:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def liveness(times: Times) -> Liveness:
    return Liveness(times)


def nobody_asks() -> int:
    raise AssertionError("the queue need not be asked")


def test_one_that_takes_tasks_need_not_ask_how_many_wait(times: Times, liveness: Liveness) -> None:
    times.now += DEAF_S + 1
    liveness.take()
    times.now += DEAF_S
    assert liveness.is_alive(nobody_asks)


def test_one_that_takes_nothing_of_what_waits_is_deaf(times: Times, liveness: Liveness) -> None:
    times.now += DEAF_S + 0.1
    assert not liveness.is_alive(lambda: 3)
    liveness.take()
    assert liveness.is_alive(lambda: 3)


def test_one_for_whom_nothing_is_left_is_not_deaf(times: Times, liveness: Liveness) -> None:
    times.now += 10 * DEAF_S
    liveness.tick()
    assert liveness.is_alive(lambda: 0)


def test_one_that_is_busy_is_not_deaf(times: Times, liveness: Liveness) -> None:
    liveness.begin("one")
    liveness.begin("two")
    times.now += 5 * DEAF_S
    liveness.finish("one")
    times.now += 5 * DEAF_S
    assert liveness.is_alive(nobody_asks)
    liveness.finish("two")
    times.now += DEAF_S + 0.1
    assert not liveness.is_alive(lambda: 1)


def test_a_clock_that_stands_still_is_noticed_whatever_is_under_way(times: Times, liveness: Liveness) -> None:
    times.now += CLOCK_SILENT_S
    liveness.begin("one")
    assert liveness.is_alive(nobody_asks)
    times.now += 0.1
    assert not liveness.is_alive(nobody_asks)
    liveness.tick()
    assert liveness.is_alive(nobody_asks)
