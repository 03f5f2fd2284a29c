"""One process is started again whenever it ends."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.core.heart import FD_VARIABLE
from orchestrator.supervisor.child import LEASH, Child, delay_s, how_it_ended
from tests.product import is_running, until

FOR_EVER = "import time; time.sleep(3600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(3600)"
Keep = Callable[..., Child]


async def until_true(claim: Callable[[], object], what: str, within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < deadline, f"waited {within_s:g} s for {what}"
        await asyncio.sleep(0.01)


async def test_a_killed_process_is_started_again(keep: Keep) -> None:
    child = keep(FOR_EVER)
    await child.is_ready.wait()
    first = child.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await until_true(lambda: child.pid not in {first, None}, "a new process")
    assert child.restarts == 1
    assert not is_running(first)


async def test_a_process_that_ends_at_once_is_tried_ever_less_often_and_never_given_up(
    keep: Keep, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    child = keep("raise SystemExit(3)")
    await until_true(lambda: child.restarts >= 5, "five restarts", 30)
    lines = [record.getMessage() for record in caplog.records if record.name.endswith("supervisor.child")]
    assert lines[0] == "web 1 ended (exit code 3) and is started again"
    assert lines[3:] == ["web 1 keeps ending (exit code 3); it is tried again every few seconds"]


def test_the_first_restart_is_immediate_and_later_ones_wait_up_to_five_seconds() -> None:
    assert [delay_s(deaths) for deaths in range(6)] == [0, 0, 0.1, 0.2, 0.4, 0.8]
    assert delay_s(10**6) == 5


def test_an_end_is_told_in_words() -> None:
    assert how_it_ended(78) == "exit code 78"
    assert how_it_ended(-9) == "killed by SIGKILL"
    assert how_it_ended(-60) == "killed by signal 60"


def test_a_program_that_is_not_there_is_named() -> None:
    leash = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), "0", "/no/such/program"]
    run = subprocess.run(leash, capture_output=True, text=True, check=False)
    assert run.returncode == 127
    assert run.stderr == "/no/such/program cannot be run: No such file or directory\n"


async def test_what_was_told_to_stop_meanwhile_is_not_started_once_more(
    keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Child] = []

    def spawn(child: Child, *_: object) -> None:
        started.append(child)
        raise OSError(2, "No such file or directory")

    monkeypatch.setattr(Child, "_spawn", spawn)
    await keep(FOR_EVER).stop()  # before its task has its first turn, as at the very end of a pause
    assert not started


async def test_what_was_ready_is_back_at_once_however_often_it_is_killed(
    keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.supervisor.child.delay_s", lambda deaths: 3600.0)
    beating = f"import os, time; os.write(int(os.environ['{FD_VARIABLE}']), b'.'); time.sleep(3600)"
    child = keep(beating, has_pulse=True)
    for _ in range(3):
        await asyncio.wait_for(child.is_ready.wait(), 60)
        pid = child.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until_true(lambda gone=pid: child.pid not in {gone, None}, "a new process")  # type: ignore[misc]


async def test_what_can_wait_leaves_the_processor_to_others(keep: Keep) -> None:
    child = keep(FOR_EVER, nice=7)
    await until_true(lambda: child.pid and os.getpriority(os.PRIO_PROCESS, child.pid) == os.nice(0) + 7, "its priority")


async def test_a_process_that_cannot_even_be_made_is_tried_again(keep: Keep, tmp_path: Path) -> None:
    folder = tmp_path / "later"
    child = keep(FOR_EVER, cwd=folder)
    await until_true(lambda: child.restarts >= 2, "two restarts")
    folder.mkdir()
    await until_true(lambda: child.pid, "a process")


async def test_stopping_asks_first(keep: Keep) -> None:
    child = keep(FOR_EVER)
    await child.is_ready.wait()
    pid = child.pid
    assert pid is not None
    await child.stop()
    assert child.pid is None
    assert child.restarts == 0
    assert not is_running(pid)


async def test_a_process_that_will_not_stop_is_killed(keep: Keep, caplog: pytest.LogCaptureFixture) -> None:
    child = keep(STUBBORN, stops_within_s=0.2)
    await child.is_ready.wait()
    pid = child.pid
    assert pid is not None
    until(lambda: int(signal_mask(pid, "SigIgn"), 16) & 1 << (signal.SIGTERM - 1), "it to ignore SIGTERM")
    await child.stop()
    assert not is_running(pid)
    assert "web 1 did not stop within 0.2 s and is killed" in caplog.text


def signal_mask(pid: int, name: str) -> str:
    with open(f"/proc/{pid}/status") as status:  # noqa: PTH123  # a test of processes reads /proc
        return next(line.split()[1] for line in status if line.startswith(name))


async def test_the_first_sign_of_life_says_ready(keep: Keep) -> None:
    child = keep(f"import os, time; os.write(int(os.environ['{FD_VARIABLE}']), b'.'); time.sleep(3600)", has_pulse=True)
    await asyncio.wait_for(child.is_ready.wait(), 60)


async def test_a_process_that_falls_silent_shows_its_stacks_and_is_started_again(
    keep: Keep, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    code = (
        "import faulthandler, os, sys, time; faulthandler.enable(open('/dev/stderr', 'w'));"
        f"os.write(int(os.environ['{FD_VARIABLE}']), b'.'); time.sleep(3600)"
    )
    child = keep(code, has_pulse=True, silent_at_most_s=0.1)
    await until_true(lambda: child.restarts, "a restart", 20)
    assert "web 1 hangs: no sign of life" in caplog.text
    assert "killed by SIGABRT" in caplog.text


async def test_a_process_that_stood_still_with_the_whole_machine_goes_on(
    keep: Keep, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("orchestrator.supervisor.child.WATCHED_EVERY_S", 0.05)
    monkeypatch.setattr("orchestrator.supervisor.child.MOST_A_LOOK_S", 0.1, raising=False)
    fd = f"int(os.environ['{FD_VARIABLE}'])"
    child = keep(f"import os, time\nwhile os.write({fd}, b'.'): time.sleep(0.02)", has_pulse=True, silent_at_most_s=1.5)
    await asyncio.wait_for(child.is_ready.wait(), 60)
    pid = child.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(0.1)  # what it wrote before is read
    time.sleep(2)  # noqa: ASYNC251  # the supervisor stands still as well
    asyncio.get_running_loop().call_later(0.3, os.kill, pid, signal.SIGCONT)
    await asyncio.sleep(1)
    assert (child.pid, child.restarts, caplog.text) == (pid, 0, "")
    os.kill(pid, signal.SIGSTOP)
    await until_true(lambda: "web 1 hangs: no sign of life for 2 s" in caplog.text, "its end")


async def test_a_process_that_starts_is_waited_for_by_the_time_in_which_the_machine_runs(
    keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, ahead_s = asyncio.get_running_loop(), 0.0
    clock = loop.time
    monkeypatch.setattr(loop, "time", lambda: clock() + ahead_s)
    beating = f"os.write(int(os.environ['{FD_VARIABLE}']), b'.'); time.sleep(3600)"
    child = keep(f"import os, time; time.sleep(0.2); {beating}", has_pulse=True, starts_within_s=30)
    await until_true(lambda: child.pid, "a process")
    pid = child.pid
    await asyncio.sleep(0)  # it is waited for
    ahead_s = 60  # as if the whole machine had stood still for so long
    await asyncio.wait_for(child.is_ready.wait(), 60)
    assert (child.pid, child.restarts) == (pid, 0)


async def test_a_process_that_never_gets_going_is_started_again(keep: Keep, caplog: pytest.LogCaptureFixture) -> None:
    child = keep(FOR_EVER, has_pulse=True, starts_within_s=0.1)
    await until_true(lambda: child.restarts, "a restart", 20)
    assert "web 1 did not start within 0.1 s" in caplog.text
    assert not child.is_ready.is_set()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the parent-death signal")
def test_a_leashed_process_dies_with_its_parent() -> None:
    code = f"""
import os, subprocess, sys, time
leash = [sys.executable, '-I', '-S', {str(LEASH)!r}, str(os.getpid()), '0']
child = subprocess.Popen([*leash, sys.executable, '-c', {FOR_EVER!r}], start_new_session=True)
print(child.pid, flush=True); time.sleep(3600)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        # Once it has become the other program, the leash is on.
        until(lambda: b"time.sleep" in cmdline(child), "the program to start")
        parent.kill()
        parent.wait()
        until(lambda: not is_running(child), "the child to end")


def cmdline(pid: int) -> bytes:
    with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123  # a test of processes reads /proc
        return file.read()
