"""A clock that jumps ahead opens no new budgets until it is believed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.core.clock import Clock
from orchestrator.core.errors import LedgerUnavailable
from orchestrator.ledger.holds import Line
from orchestrator.ledger.steady import JUMP_S, STEADY_S, Steady
from tests.ledger.calls import AT, TODAY


class Hands(Clock):
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.wall_s, self.passed_s = AT.timestamp(), 1_000.0

    def now(self) -> float:
        return self.wall_s

    def monotonic(self) -> float:
        return self.passed_s

    def passes(self, seconds: float) -> None:
        self.wall_s += seconds
        self.passed_s += seconds


def on(days: int, *, is_hard: bool = True) -> tuple[Line, ...]:
    return (Line(1, "acme", "", TODAY + timedelta(days=days), is_hard),)


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def steady(clock: Hands) -> Steady:
    return Steady(clock)


def test_time_that_passes_opens_new_periods(clock: Hands, steady: Steady) -> None:
    clock.passes(30 * 86_400)
    steady.must_be_known(on(30))


def test_a_jump_ahead_is_believed_when_the_clock_is_steady(clock: Hands, steady: Steady) -> None:
    clock.wall_s += 3_650 * 86_400
    with pytest.raises(LedgerUnavailable, match="jumped ahead") as refused:
        steady.must_be_known(on(3_650))
    assert refused.value.retry_after_s == STEADY_S
    steady.must_be_known(on(0))  # of a request that came before
    steady.must_be_known(on(3_650, is_hard=False))
    clock.passes(STEADY_S - 1)
    with pytest.raises(LedgerUnavailable):
        steady.must_be_known(on(3_650))
    clock.passes(1)
    steady.must_be_known(on(3_650))


def test_one_jump_after_another_makes_nothing_believed(clock: Hands, steady: Steady) -> None:
    for _ in range(3):
        clock.wall_s += 86_400
        with pytest.raises(LedgerUnavailable):
            steady.must_be_known(on(1))
        clock.passes(STEADY_S / 2)


def test_a_correction_and_a_jump_back_are_no_matter(clock: Hands, steady: Steady) -> None:
    clock.wall_s += JUMP_S
    steady.must_be_known(on(1))
    clock.wall_s -= 3_650 * 86_400
    steady.must_be_known(on(-3_650))
