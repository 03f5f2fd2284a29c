"""When a worker counts as doing its work."""

from __future__ import annotations

import pytest

from orchestrator.supervisor.liveness import CLOCK_SILENT_S, DEAF_S, LONGEST_TASK_S, Liveness


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


def test_one_that_takes_tasks_does_its_work(times: Times, liveness: Liveness) -> None:
    times.now += DEAF_S + 1
    liveness.take()
    times.now += DEAF_S
    assert not liveness.ails(3)


def test_one_that_takes_nothing_of_what_waits_does_not(times: Times, liveness: Liveness) -> None:
    times.now += DEAF_S + 1
    assert liveness.ails(3) == "nothing is taken from its queue for 6 s, where 3 wait"
    assert not liveness.ails(0)
    liveness.take()
    assert not liveness.ails(3)


def test_one_that_is_busy_takes_nothing_and_does_its_work(times: Times, liveness: Liveness) -> None:
    liveness.begin("one")
    liveness.begin("two")
    for task in ("one", "two"):
        times.now += 5 * DEAF_S
        liveness.tick()
        assert not liveness.ails(3)
        liveness.finish(task)
    times.now += DEAF_S + 1
    assert liveness.ails(1)


def test_one_whose_task_does_not_end_does_not(times: Times, liveness: Liveness) -> None:
    liveness.begin("one")
    times.now += LONGEST_TASK_S
    liveness.tick()
    liveness.begin("two")
    assert not liveness.ails(0)
    times.now += 1
    assert liveness.ails(0) == "a task does not end for 1801 s"
    liveness.finish("one")
    assert not liveness.ails(0)


def test_one_whose_clock_stands_still_does_not_whatever_is_under_way(times: Times, liveness: Liveness) -> None:
    liveness.begin("one")
    times.now += CLOCK_SILENT_S
    assert not liveness.ails(0)
    times.now += 1
    assert liveness.ails(0) == "its clock stands still for 16 s"
    liveness.tick()
    assert not liveness.ails(0)
