"""Equal questions at several web workers are one call to the provider, whoever of them leaves or dies."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from tests.drills.base import eventually
from tests.drills.caller import Caller
from tests.drills.processes import maker_of, served_by
from tests.drills.provider import Call, ScriptedProvider
from tests.drills.question import Question
from tests.drills.stampede import ask, listen
from tests.product import Product, is_running

WORKERS = 2


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as provider:
        yield provider


@pytest.fixture(scope="module")
def workers(upstream: ScriptedProvider) -> Iterator[Product]:
    # Redis is waited for longer than usual: that workers call apart when it is slow is not what this is about.
    with Product(ORCHESTRATOR_WEB_WORKERS=WORKERS, ORCHESTRATOR_REDIS_TIMEOUT_S=2, **upstream.environment()) as product:
        yield product


async def connect(product: Product, count: int) -> dict[Caller, int]:
    """Callers who have asked nothing yet, and the worker (pid) each is connected to; every worker has some."""
    await eventually(lambda: len(product.pids("web")) == WORKERS, "every worker")
    callers: list[Caller] = []
    for _ in range(20):
        callers += await asyncio.gather(*(Caller.connect(product.base_url) for _ in range(count)))
        ports = {caller.port for caller in callers}
        await eventually(lambda ports=ports: ports <= served_by(product).keys(), "the connections")  # type: ignore[misc]
        served = served_by(product)
        if len({served[caller.port] for caller in callers}) == WORKERS:
            return {caller: served[caller.port] for caller in callers}
    raise AssertionError("one worker takes every connection")


async def only_call(upstream: ScriptedProvider, name: str) -> Call:
    calls: list[Call] = await eventually(lambda: upstream.calls(name), "the call to the provider")
    assert len(calls) == 1
    return calls[0]


async def test_many_callers_at_two_workers_are_one_call(workers: Product, upstream: ScriptedProvider) -> None:
    question = Question(name="many", first_s=0.5, pieces=20, gap_s=0.01)
    callers = list(await connect(workers, 200))
    ask(callers, question)
    heard = await listen(callers)
    assert all(one.is_right(question) for one in heard)
    await only_call(upstream, "many")
    said = {one.headers["cache-status"] for one in heard}
    assert "orchestrator; fwd=miss; collapsed" in said


async def both_listen(workers: Product, question: Question) -> tuple[Caller, Caller, Question]:
    """A caller at the worker that makes the call, and one at the other who shares it; both have heard the beginning."""
    placed = await connect(workers, 4)
    first, second = (next(one for one, pid in placed.items() if pid == worker) for worker in workers.pids("web"))
    for caller in (first, second):
        caller.send("/api/chat", question.body("/api/chat", stream=True))
        await caller.head()
        assert await caller.next_piece() == question.piece(0)
    for caller in placed.keys() - {first, second}:
        caller.leave()
    return first, second, question


async def test_the_first_caller_leaves_and_the_other_workers_hear_it_to_the_end(
    workers: Product, upstream: ScriptedProvider
) -> None:
    first, second, question = await both_listen(workers, Question(name="leaves", gate="leaves", gate_after=2))
    first.leave("reset")
    await eventually(lambda: first.port not in served_by(workers), "the product to notice")
    upstream.open_gate("leaves")
    assert (await second.listen()).is_right(question)
    assert (await only_call(upstream, "leaves")).state == "finished"
    second.leave()


async def test_the_last_one_leaves_and_the_call_is_given_up(workers: Product, upstream: ScriptedProvider) -> None:
    first, second, _ = await both_listen(workers, Question(name="all-leave", gate="never", gate_after=2))
    first.leave("reset")
    await eventually(lambda: first.port not in served_by(workers), "the product to notice")
    assert (await only_call(upstream, "all-leave")).state == "open"
    second.leave("reset")
    await eventually(lambda: upstream.calls("all-leave")[0].state == "closed", "the call to be given up")


async def test_the_worker_that_makes_the_call_is_killed_and_the_others_callers_are_answered(
    workers: Product, upstream: ScriptedProvider
) -> None:
    question = Question(name="killed", gate="killed")
    placed = await connect(workers, 40)
    ask(list(placed), question)
    call = await only_call(upstream, "killed")
    leader = maker_of(workers, call.peer_port)
    assert leader is not None
    os.kill(leader, signal.SIGKILL)
    upstream.open_gate("killed")
    heard = await listen([caller for caller, pid in placed.items() if pid != leader])
    assert all(one.is_right(question) for one in heard)
    assert len(upstream.calls("killed")) <= 2
    for caller in placed:
        caller.leave()


async def test_a_worker_that_is_told_to_stop_finishes_what_another_ones_callers_hear(
    workers: Product, upstream: ScriptedProvider
) -> None:
    await eventually(lambda: all(one["is_ready"] for one in workers.status()["processes"]), "every process", 30)
    first, second, question = await both_listen(workers, Question(name="stops", gate="stops", gate_after=2))
    leader = maker_of(workers, (await only_call(upstream, "stops")).peer_port)
    assert leader is not None
    mine, other = (first, second) if served_by(workers)[first.port] == leader else (second, first)
    mine.leave("reset")
    await eventually(lambda: mine.port not in served_by(workers), "the product to notice")
    os.kill(leader, signal.SIGTERM)
    with pytest.raises(TimeoutError):
        await eventually(lambda: not is_running(leader), "the worker to end, which it must not yet", 1.5)
    upstream.open_gate("stops")
    assert (await other.listen()).is_right(question)
    assert (await only_call(upstream, "stops")).state == "finished"
    other.leave()
