"""One process of the product, started again whenever it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from orchestrator.core.heart import FD_VARIABLE
from orchestrator.core.tasks import in_time
from orchestrator.supervisor.pulse import Pulse
from orchestrator.supervisor.reaper import Reaper

log = logging.getLogger(__name__)

LEASH = Path(__file__).with_name("leash.py")
SETTLED_S = 5.0  # a process that lived this long has started well
MOST_DELAY_S = 5.0
MOST_DELAY_ONCE_READY_S = 0.1  # what gets going and is then killed, again and again, is better back than spared
LOUD_DEATHS = 4  # quick deaths in a row that are logged one by one
KILLED_WITHIN_S = 5.0
WATCHED_EVERY_S = 1.0
MOST_A_LOOK_S = 2.0  # of silence that one look counts: a machine that was paused was longer away, and all with it


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run, and how long it may take."""

    role: str  # web, pages, models, worker, redis
    name: str  # the role, numbered where there are several
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)  # besides the supervisor's own
    without: frozenset[str] = frozenset()  # what it must not have of the supervisor's own
    cwd: Path | None = None
    inherits: tuple[int, ...] = ()  # file descriptors
    log: Path | None = None  # where what it says goes, instead of to standard error
    nice: int = 0  # how readily it leaves the processor to others, as in nice(2)
    can_wait: bool = False  # it is started once the others are ready
    is_vital: bool = True  # nothing is ready before it has given a first sign of life
    stops_within_s: float = 5.0
    has_pulse: bool = False
    starts_within_s: float = 120.0  # until the first sign of life
    silent_at_most_s: float = 30.0  # between two of them


def delay_s(quick_deaths: int) -> float:
    """How long to wait before the next start, after so many deaths within seconds of starting.

    Nothing the first time, then 0.1 s, doubling up to 5 s.
    """
    return 0.0 if quick_deaths <= 1 else min(MOST_DELAY_S, 0.1 * 2.0 ** min(quick_deaths - 2, 10))


def how_it_ended(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal has no name
        return f"killed by signal {-code}"


class Child:
    """Keeps one program running until told to stop.

    It is started from the event loop's thread, which must be the main one: the kernel ends a
    leashed process when the thread that started it ends.
    """

    def __init__(self, program: Program, reaper: Reaper, changed: Callable[[], None]) -> None:
        self.program = program
        self.pid: int | None = None
        self.restarts = 0
        self.is_ready = asyncio.Event()  # it gave a first sign of life, or needs none
        self._reaper = reaper
        self._changed = changed
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._quick_deaths = 0

    def start(self) -> asyncio.Task[None]:
        """Begin to keep it running. The task ends before `stop` only when the supervisor is at fault."""
        self._task = asyncio.create_task(self._keep_running(), name=self.program.name)
        return self._task

    async def stop(self) -> None:
        """Ask it to end, insist after `stops_within_s`, and return when it is gone."""
        self._stopping.set()
        if self._task is None:
            return
        self._send(signal.SIGTERM)
        _, running = await asyncio.wait({self._task}, timeout=self.program.stops_within_s)
        if running:
            log.warning("%s did not stop within %g s and is killed", self.program.name, self.program.stops_within_s)
            self.kill()
        await asyncio.wait_for(self._task, KILLED_WITHIN_S)

    def kill(self) -> None:
        """End it and its children at once, for good."""
        self._stopping.set()
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def _send(self, signum: signal.Signals) -> None:
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):  # it ended, and is about to be reaped
                os.kill(self.pid, signum)

    async def _keep_running(self) -> None:
        last_end = ""
        while not self._stopping.is_set():  # which it may be at the very end of the pause
            started = time.monotonic()
            end = await self._run_once()
            was_ready = self.program.has_pulse and self.is_ready.is_set()
            self.is_ready.clear()
            self._changed()
            if self._stopping.is_set():
                return
            is_quick = time.monotonic() - started < SETTLED_S
            self._quick_deaths = self._quick_deaths + 1 if is_quick else 0
            if self._quick_deaths < LOUD_DEATHS or end != last_end:
                log.warning("%s ended (%s) and is started again", self.program.name, end)
            elif self._quick_deaths == LOUD_DEATHS:
                log.error("%s keeps ending (%s); it is tried again every few seconds", self.program.name, end)
            last_end = end
            self.restarts += 1
            most_s = MOST_DELAY_ONCE_READY_S if was_ready else MOST_DELAY_S
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), min(most_s, delay_s(self._quick_deaths)))
                return

    async def _run_once(self) -> str:
        """Start it and return how it ended."""
        pulse = Pulse() if self.program.has_pulse else None
        try:
            process = self._spawn(pulse)
        except OSError as error:
            if pulse:
                pulse.close()
            return f"it could not be started: {error.strerror}"
        finally:
            if pulse:
                pulse.close_child_end()
        self.pid = process.pid
        if pulse is None:
            self.is_ready.set()
        self._changed()
        watches = [asyncio.create_task(self._notice_settling())]
        if pulse:
            watches.append(asyncio.create_task(self._end_when_silent(pulse)))
        try:
            process.returncode = await self._reaper.expect(process.pid)
        finally:
            self.pid = None
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)
            if pulse:
                pulse.close()
        return how_it_ended(process.returncode) + (f", see {self.program.log}" if self.program.log else "")

    def _spawn(self, pulse: Pulse | None) -> subprocess.Popen[bytes]:
        inherited = {name: value for name, value in os.environ.items() if name not in self.program.without}
        env = {**inherited, **self.program.env}
        inherits = self.program.inherits
        if pulse:
            env[FD_VARIABLE] = str(pulse.child_end)
            inherits += (pulse.child_end,)
        leash = (sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), str(self.program.nice))
        with ExitStack() as opened:
            output: IO[bytes] | IO[str] | None = sys.__stderr__
            if self.program.log:
                output = opened.enter_context(self.program.log.open("ab"))
            return subprocess.Popen(  # noqa: S603  # our own programs
                (*leash, *self.program.argv),
                env=env,
                cwd=self.program.cwd,
                pass_fds=inherits,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C in the terminal is for the supervisor, which drains first
            )

    async def _notice_settling(self) -> None:
        await asyncio.sleep(SETTLED_S)
        if self._quick_deaths >= LOUD_DEATHS:
            log.warning("%s is running again", self.program.name)
        self._quick_deaths = 0

    async def _end_when_silent(self, pulse: Pulse) -> None:
        name = self.program.name
        if await in_time(pulse.started, self.program.starts_within_s):
            self.is_ready.set()
            self._changed()
            while pulse.count(MOST_A_LOOK_S) < self.program.silent_at_most_s:  # noqa: ASYNC110  # silence is no event
                await asyncio.sleep(WATCHED_EVERY_S)
            log.error("%s hangs: no sign of life for %.0f s; it is ended and shows its stacks", name, pulse.silent_s)
        else:
            log.error("%s did not start within %g s and is ended", name, self.program.starts_within_s)
        self._send(signal.SIGABRT)  # Python's fault handler prints where every thread is
        await asyncio.sleep(KILLED_WITHIN_S)
        self._send(signal.SIGKILL)
