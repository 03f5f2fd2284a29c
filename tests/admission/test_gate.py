"""Who may begin a call, who waits for it and who is sent away."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable

import pytest

from orchestrator.admission.gate import BEAT_S, MOST_IN_A_TURN, Arrival, Gate, Gone
from orchestrator.admission.pace import Pace
from orchestrator.core.errors import Busy, OrchestratorError, TooMany
from orchestrator.core.turns import Turn


class Still(Pace):
    """A pace that is told, not found."""

    def look(self, late_s: float, begun_per_s: float, *, is_awaited: bool, busy: float = 0.0) -> None:
        pass


@pytest.fixture
async def shut() -> AsyncIterator[Callable[..., Gate]]:
    """Makes gates that let nobody in until `open_` is called."""
    made: list[Gate] = []

    def make(most: int = 100, waits_s: float = 60.0) -> Gate:
        pace = Still()
        pace.per_s = 1e-9
        made.append(Gate(None, most, waits_s, pace))
        return made[-1]

    yield make
    for gate in made:
        if gate._beating:
            gate._beating.cancel()


def open_(gate: Gate, per_s: float = float("inf")) -> None:
    gate.pace.per_s = per_s


async def waiting(gate: Gate, count: int) -> None:
    async with asyncio.timeout(60):
        while gate.waiting != count:
            await asyncio.sleep(0)


async def come(gate: Gate, is_gone: Callable[[], bool] = lambda: False) -> Arrival:
    waiting = gate.knock(Turn(tenant=1), is_gone)
    assert waiting is not None
    return await gate.arrive(waiting)


async def test_nobody_waits_and_nothing_is_watched_while_all_is_well() -> None:
    gate = Gate()
    assert gate.knock(Turn(tenant=1), lambda: False) is None
    assert [await gate.enter(Turn(tenant=number)) for number in range(10_000)] == [0.0] * 10_000
    assert gate.waiting == 0
    assert gate._beating is not None
    gate._beating.cancel()


async def test_a_thousand_at_once_are_let_on_some_in_each_turn() -> None:
    gate = Gate()
    knocked = [gate.knock(Turn(tenant=1), lambda: False) for _ in range(1000)]
    assert gate.waiting == 1000 - MOST_IN_A_TURN
    coming = [asyncio.create_task(gate.arrive(waiting)) for waiting in knocked if waiting is not None]
    before = gate.waiting
    gate._let_in(BEAT_S)
    assert gate.waiting == before - MOST_IN_A_TURN
    await asyncio.gather(*coming)
    assert gate.waiting == len(gate._seats) == 0
    assert gate._beating is not None
    gate._beating.cancel()


async def test_tenants_begin_in_turn_by_weight(shut: Callable[..., Gate]) -> None:
    gate = shut()
    begun: list[int] = []

    async def call(tenant: int, weight: int) -> None:
        await gate.enter(Turn(tenant=tenant, weight=weight))
        begun.append(tenant)

    flood = [asyncio.create_task(call(1, 5)) for _ in range(60)]
    await waiting(gate, 60)
    calm = [asyncio.create_task(call(2, 10)) for _ in range(10)]
    await waiting(gate, 70)
    open_(gate)
    await asyncio.gather(*flood, *calm)
    assert begun[:15].count(2) == 10, "two of three turns, though it came last"


async def test_calls_begin_as_fast_as_the_pace_says(shut: Callable[..., Gate]) -> None:
    gate = shut()
    calls = [asyncio.create_task(gate.enter(Turn(tenant=1))) for _ in range(50)]
    await waiting(gate, 50)
    open_(gate, 100)
    for number in range(1, 11):
        gate._let_in(0.02)
        assert gate.waiting == 50 - 2 * number
    open_(gate)
    assert all(waited_s > 0 for waited_s in await asyncio.gather(*calls))


async def test_a_tenant_that_floods_makes_room_for_another(shut: Callable[..., Gate]) -> None:
    gate = shut(4)
    flood = [asyncio.create_task(gate.enter(Turn(tenant=1))) for _ in range(4)]
    await waiting(gate, 4)
    with pytest.raises(Busy) as refused:
        await gate.enter(Turn(tenant=1))
    assert refused.value.retry_after_s is not None
    assert refused.value.retry_after_s >= 1
    calm = [asyncio.create_task(gate.enter(Turn(tenant=2))) for _ in range(2)]
    for _ in range(3):
        await asyncio.sleep(0)
    assert [task.done() for task in flood] == [False, False, True, True]
    assert all(isinstance(task.exception(), TooMany) for task in flood[2:])
    with pytest.raises(TooMany, match="share"):
        await gate.enter(Turn(tenant=1))
    assert gate.refused == {"full": 1, "share": 3}
    open_(gate)
    await asyncio.gather(*flood[:2], *calm)


async def test_a_limit_of_the_queue_is_named(shut: Callable[..., Gate]) -> None:
    gate = shut()
    turn = Turn(tenant=1, bounds=(("short-queue tenant 1", 1),))
    first = asyncio.create_task(gate.enter(turn))
    await waiting(gate, 1)
    with pytest.raises(TooMany, match="short-queue allows"):
        await gate.enter(turn)
    open_(gate)
    await first


async def test_who_waits_too_long_is_told_when_to_come_again(shut: Callable[..., Gate]) -> None:
    gate = shut(waits_s=0.05)
    with pytest.raises(Busy, match=r"longer than 0\.05 s") as refused:
        await gate.enter(Turn(tenant=1))
    assert refused.value.retry_after_s
    assert (gate.waiting, len(gate._seats), gate.refused) == (0, 0, {"late": 1})


async def test_who_had_its_turn_on_arrival_waits_no_second_time(shut: Callable[..., Gate]) -> None:
    gate = shut(2)

    async def request() -> tuple[float, float, float]:
        arrival = await come(gate)
        open_(gate, 1e-9)
        call = asyncio.create_task(gate.enter(Turn(tenant=1)))
        told = arrival.waited_s, gate.waited_s(), await call
        arrival.over()
        assert gate.waited_s() == 0, "another request of this connection has another turn"
        return told

    coming = asyncio.create_task(request())
    await waiting(gate, 1)
    open_(gate)
    waited_s, told_s, again_s = await coming
    assert waited_s == told_s > 0
    assert again_s == 0
    assert len(gate._seats) == 0


async def test_who_hangs_up_while_it_waits_leaves_its_place(shut: Callable[..., Gate]) -> None:
    gate = shut(1)
    is_gone = False
    coming = asyncio.create_task(come(gate, lambda: is_gone))
    await waiting(gate, 1)
    is_gone = True
    with pytest.raises(Gone):
        await coming
    assert (gate.waiting, len(gate._seats), gate.refused, gate._is_gone) == (0, 0, {}, {})


@pytest.mark.parametrize("seed", range(5))
async def test_places_never_leak_under_random_cancels(shut: Callable[..., Gate], seed: int) -> None:
    gate, chance = shut(20), random.Random(seed)
    tasks: list[asyncio.Task[float]] = []
    for _ in range(400):
        match chance.choice(["come", "come", "leave", "let in", "turn"]):
            case "come":
                turn = Turn(tenant=chance.randint(1, 4), weight=chance.randint(1, 10), bounds=(("all", 15),))
                tasks.append(asyncio.create_task(gate.enter(turn)))
            case "leave" if tasks:
                chance.choice(tasks).cancel()
            case "let in":
                gate._credit += 2
                gate._let_in(BEAT_S)
            case _:
                await asyncio.sleep(0)
        assert gate.waiting <= 20
    open_(gate)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, float | asyncio.CancelledError | OrchestratorError) for one in results)
    assert (gate.waiting, len(gate._seats), gate._seats._of) == (0, 0, {})


def test_how_late_the_loop_is_is_what_one_meets_who_comes_at_any_moment() -> None:
    gate = Gate()
    gate._turns = [0.0] * 18 + [0.205]  # most of the time passes in the long one
    assert gate._late_s() == pytest.approx(0.1435)
    gate._turns = [0.02] * 5
    assert gate._late_s() == pytest.approx(0.02)
