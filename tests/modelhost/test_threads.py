"""How many threads a model computes with."""

from pathlib import Path

import pytest

from orchestrator.modelhost.threads import (
    FIRST_REST_S,
    WEEK_S,
    Governor,
    Pace,
    Remembered,
    candidates,
    choose,
    usable_cores,
)


@pytest.mark.parametrize(("cores", "counts"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (8, [1, 2, 4, 7, 8])])
def test_few_counts_are_worth_measuring(cores: int, counts: list[int]):
    assert candidates(cores) == counts


@pytest.mark.parametrize(
    ("rates", "cores", "count"),
    [
        ({1: 85.0}, 1, 1),
        ({1: 85.0, 2: 127.0}, 2, 2),  # clearly faster: the last core is worth taking
        ({1: 85.0, 2: 95.0}, 2, 1),  # not worth it
        ({1: 85.0, 2: 20.0}, 2, 1),  # it is not free
        ({1: 10.0, 2: 19.0, 4: 35.0, 7: 40.0, 8: 42.0}, 8, 7),
        ({1: 10.0, 2: 19.0, 4: 19.0, 7: 18.0, 8: 9.0}, 8, 2),  # equally fast: the fewer
    ],
)
def test_a_core_is_left_free_unless_it_is_worth_taking(rates: dict[int, float], cores: int, count: int):
    assert choose(rates, cores) == count


def test_this_machine_has_a_core():
    assert usable_cores() >= 1


def test_a_measurement_is_remembered_for_a_week(tmp_path: Path):
    time = [1000.0]
    remembered = Remembered(tmp_path / "threads.json", lambda: time[0])
    assert remembered.get("d", 2) is None
    remembered.put("d", 2, Pace(1, 80.5))
    assert Remembered(tmp_path / "threads.json", lambda: time[0]).get("d", 2) == Pace(1, 80.5)
    assert remembered.get("d", 4) is None
    time[0] += WEEK_S
    assert remembered.get("d", 2) is None


def test_a_measurement_can_be_forgotten(tmp_path: Path):
    remembered = Remembered(tmp_path / "threads.json")
    remembered.put("d", 2, Pace(1, 80.5))
    remembered.forget("d", 2)
    remembered.forget("d", 2)
    assert remembered.get("d", 2) is None


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"d/2": 1}', '{"d/2": {"threads": 99, "tokens_per_s": 1.0, "at": 9}}']
)
def test_a_damaged_memory_costs_a_measurement(tmp_path: Path, content: str):
    path = tmp_path / "threads.json"
    path.write_text(content)
    remembered = Remembered(path)
    assert remembered.get("d", 2) is None
    remembered.put("d", 2, Pace(2, 80.5))
    assert remembered.get("d", 2) == Pace(2, 80.5)


class Machine:
    """A governor with its clock and what it asked for."""

    def __init__(self, threads: int = 2, rate: float = 100.0) -> None:
        self.time = 0.0
        self.asked: list[int] = []
        self.governor = Governor(Pace(threads, rate), self.asked.append, lambda: self.time)

    def steps(self, count: int, step_s: float, answers: int = 1) -> None:
        for _ in range(count):
            self.time += step_s
            self.governor.note(answers, step_s)


def test_a_steady_pace_is_left_alone():
    machine = Machine()
    machine.steps(1000, 0.01)
    assert machine.asked == []


def test_a_collapse_lowers_the_threads():
    machine = Machine()
    machine.steps(20, 0.01)
    machine.steps(4, 0.1)
    assert machine.asked == [1]
    assert machine.governor.collapses == 1


def test_a_collapse_is_noticed_when_the_pace_was_never_good():
    machine = Machine()
    machine.steps(4, 0.1)
    assert machine.asked == [1]


def test_one_slow_step_is_no_collapse():
    machine = Machine()
    machine.steps(20, 0.01)
    machine.steps(1, 2.0)
    machine.steps(20, 0.01)
    assert machine.asked == []


def test_a_context_that_fills_up_is_no_collapse():
    machine = Machine()
    for step in range(2000):
        machine.steps(1, 0.01 + step * 0.00003)
    assert machine.asked == []


def test_the_threads_come_back_after_a_rest():
    machine = Machine()
    machine.steps(4, 0.1)
    machine.time += FIRST_REST_S
    machine.steps(2, 0.01)
    assert machine.asked == [1, 2]


def test_each_collapse_makes_the_rest_longer():
    machine = Machine()
    machine.steps(4, 0.1)
    machine.time += FIRST_REST_S
    machine.steps(5, 0.1)
    machine.time += FIRST_REST_S
    machine.steps(1, 0.01)
    assert machine.asked == [1, 2, 1]


def test_a_single_thread_is_never_lowered():
    machine = Machine(threads=1)
    machine.steps(50, 5.0)
    assert machine.asked == []
