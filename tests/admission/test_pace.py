"""How many calls begin in a second, against a loop whose capacity is known."""

from __future__ import annotations

import pytest

from orchestrator.admission.pace import CALM, LEAST, TARGET_S, Pace

LOOK_S = 0.2


def run(
    pace: Pace, offered_per_s: float, capacity_per_s: float, seconds: float, *, queued: float = 0, settles: int = 0
) -> list[tuple[float, float]]:
    """Lateness and work done of what can be done, at each look, by a loop that turns ten times for a call.

    settles  how many looks later a call has the second half of its work.
    """
    work_s, begun, seen = 0.0, [0.0] * settles, []
    for _ in range(round(seconds / LOOK_S)):
        queued += offered_per_s * LOOK_S
        begun.append(min(queued, pace.per_s * LOOK_S))
        queued -= begun[-1]
        work_s += (begun[-1] + begun[-1 - settles]) / 2 / capacity_per_s
        done_s = min(work_s, LOOK_S)
        work_s -= done_s
        pace.look(work_s / 10, begun[-1] / LOOK_S, is_awaited=queued >= 1, busy=done_s / LOOK_S)
        seen.append((work_s / 10, done_s / LOOK_S))
    return seen


@pytest.mark.parametrize("capacity", [50.0, 600.0, 5000.0])
@pytest.mark.parametrize("times", [1.5, 10])
@pytest.mark.parametrize("settles", [0, 1, 5])
def test_under_overload_it_settles_at_what_the_loop_can_do(capacity: float, times: float, settles: int) -> None:
    last = run(Pace(), times * capacity, capacity, 60, settles=settles)[-150:]
    done = [share for _, share in last]
    assert sum(done) / len(done) >= 0.97, "the loop is kept busy"
    assert max(late_s for late_s, _ in last) <= 2 * TARGET_S, "and is no later than is meant"


@pytest.mark.parametrize("settles", [0, 1, 5])
def test_what_it_lost_to_a_fright_comes_back_within_seconds(settles: int) -> None:
    pace = Pace()
    run(pace, 6000, 600, 20, settles=settles)
    for _ in range(20):
        pace.look(1.0, 0, is_awaited=True)
    assert pace.per_s == LEAST
    shares = [share for _, share in run(pace, 6000, 600, 8, settles=settles)]
    assert sum(shares[-10:]) / 10 >= 0.9


def test_nothing_is_held_back_while_the_loop_is_well() -> None:
    pace = Pace()
    assert all(late_s == 0 for late_s, _ in run(pace, 500, 600, 10))
    assert pace.is_open


def test_a_burst_is_worked_off_and_forgotten() -> None:
    pace = Pace()
    run(pace, 0, 600, LOOK_S, queued=1000)
    assert not pace.is_open
    run(pace, 100, 600, 10)
    assert pace.is_open


def test_it_opens_only_when_nobody_has_waited_for_a_while() -> None:
    pace = Pace()
    pace.look(1.0, 0, is_awaited=True)
    assert pace.per_s == LEAST
    for _ in range(3 * CALM):
        pace.look(0.0, 0, is_awaited=True)
    assert not pace.is_open
    for _ in range(CALM):
        assert not pace.is_open
        pace.look(0.0, 0, is_awaited=False)
    assert pace.is_open


def test_a_burst_of_cheap_beginnings_tells_nothing_of_what_calls_cost() -> None:
    pace = Pace()
    for _ in range(100):  # five seconds in which calls are all it does, and it keeps up
        pace.look(0.0, 500, is_awaited=False, busy=0.9)
    assert pace.is_open
    pace.look(0.1, 3000, is_awaited=True, busy=1.0)
    assert pace.per_s <= 500 / 0.9
    for _ in range(10):  # their cost is still to come: the loop is not late yet
        pace.look(0.0, 500, is_awaited=True, busy=1.0)
    assert pace.per_s <= 2 * 500 / 0.9
    for _ in range(300):
        pace.look(0.0, 500, is_awaited=True, busy=1.0)
    assert pace.per_s > 3 * 500 / 0.9, "unless they cost less now"


def test_what_is_seldom_asked_says_nothing_of_it_either() -> None:
    pace = Pace()
    for _ in range(100):
        pace.look(0.0, 5, is_awaited=False, busy=0.1)
    pace.look(0.1, 1000, is_awaited=True, busy=0.2)
    assert pace.per_s > 100


@pytest.mark.parametrize("begun_per_s", [0, 1, 30])
def test_work_of_another_kind_tells_little_of_what_calls_cost(begun_per_s: int) -> None:
    pace = Pace()
    for _ in range(200):  # nearly all that it does is to repeat answers
        pace.look(0.0, begun_per_s, is_awaited=False, busy=0.8)
    pace.look(0.1, 1000, is_awaited=True, busy=1.0)
    shares = [share for _, share in run(pace, 6000, 600, 8)]
    assert sum(shares[-10:]) / 10 >= 0.9
