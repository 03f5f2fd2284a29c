"""Children are stopped in order, every one of them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from orchestrator.supervisor.child import Program
from orchestrator.supervisor.supervise import STOP_SIGNALS, Supervision
from tests.product import is_running

FOR_EVER = "import time; time.sleep(3600)"


@pytest.fixture
def pids() -> Iterator[dict[str, int]]:
    """Who was started; nobody outlives the test."""
    pids: dict[str, int] = {}
    yield pids
    for pid in pids.values():
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)


def program(role: str) -> Program:
    return Program(role=role, name=role, argv=(sys.executable, "-c", FOR_EVER))


async def run(supervision: Supervision, pids: dict[str, int], *, stopping_fails: bool = False) -> None:
    """Run until every child has started, then stop."""

    async def started(now: Supervision) -> None:
        for child in now.children:
            await child.is_ready.wait()
            assert child.pid
            pids[child.program.name] = child.pid
        os.kill(os.getpid(), signal.SIGTERM)

    def stopping() -> None:
        if stopping_fails:
            raise OSError("the listener is odd")

    loop = asyncio.get_running_loop()
    try:
        await supervision.run(started, stopping)
    finally:
        for signum in (signal.SIGCHLD, *STOP_SIGNALS):
            loop.remove_signal_handler(signum)


def is_complete(pids: dict[str, int]) -> bool:
    return pids.keys() == {"web", "models", "redis"}


async def test_a_child_whose_keeper_fails_while_stopping_keeps_no_other_from_being_stopped(
    pids: dict[str, int], caplog: pytest.LogCaptureFixture
):
    def changed(now: Supervision) -> None:
        web = next(child for child in now.children if child.program.name == "web")
        if is_complete(pids) and web.pid is None:
            raise OSError("the disk is full")

    await run(Supervision([program(role) for role in ("redis", "models", "web")], changed), pids)
    assert is_complete(pids)
    assert not any(is_running(pid) for pid in pids.values())
    assert "web did not stop as it should" in caplog.text
    assert "the disk is full" in caplog.text


async def test_what_can_wait_is_started_when_the_others_are_ready_and_stopped_as_they_are(pids: dict[str, int]):
    late = replace(program("pages"), can_wait=True)
    supervision = Supervision([late, program("web")], lambda _: None)
    early, last = supervision.children[1], supervision.children[0]

    async def started(now: Supervision) -> None:
        assert now.early == [early]
        await early.is_ready.wait()
        assert last.pid is None

    running = asyncio.create_task(supervision.run(started, lambda: None))
    async with asyncio.timeout(60):
        await last.is_ready.wait()
    pids |= {child.program.name: child.pid for child in supervision.children if child.pid}
    assert pids.keys() == {"web", "pages"}
    os.kill(os.getpid(), signal.SIGTERM)
    await running
    for signum in (signal.SIGCHLD, *STOP_SIGNALS):
        asyncio.get_running_loop().remove_signal_handler(signum)
    assert not any(is_running(pid) for pid in pids.values())


@pytest.mark.parametrize(("roles", "vital"), [(("web", "worker"), ["web"]), (("worker",), ["worker"])])
def test_what_the_others_can_do_without_is_waited_for_where_it_runs_alone(roles: tuple[str, ...], vital: list[str]):
    programs = [replace(program(role), is_vital=role == "web") for role in roles]
    supervision = Supervision(programs, lambda _: None)
    assert [child.program.name for child in supervision.vital] == vital


async def test_every_child_is_stopped_when_what_comes_before_fails(pids: dict[str, int]):
    supervision = Supervision([program(role) for role in ("redis", "models", "web")], lambda _: None)
    with pytest.raises(OSError, match="the listener is odd"):
        await run(supervision, pids, stopping_fails=True)
    assert is_complete(pids)
    assert not any(is_running(pid) for pid in pids.values())
