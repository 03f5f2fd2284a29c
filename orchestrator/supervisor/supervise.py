"""Keep the children running; stop them in order when told to."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from orchestrator.supervisor.child import Child, Program
from orchestrator.supervisor.reaper import Reaper

log = logging.getLogger(__name__)

# Who still answers callers goes first, what they lean on goes last.
STOP_ORDER = ("web", "pages", "worker", "models", "redis")
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Supervision:
    """A set of children, from their start to their end."""

    def __init__(self, programs: Sequence[Program], changed: Callable[[Supervision], None]) -> None:
        self._told = 0
        self._first = asyncio.Event()
        self._second = asyncio.Event()
        self._reaper = Reaper()
        self.children = [Child(program, self._reaper, lambda: changed(self)) for program in programs]

    @property
    def early(self) -> list[Child]:
        """The children that are started at once."""
        return [child for child in self.children if not child.program.can_wait]

    @property
    def vital(self) -> list[Child]:
        """Those of them without which nothing works; all, where there is none: what runs alone is what is wanted."""
        return [child for child in self.early if child.program.is_vital] or self.early

    async def run(
        self, started: Callable[[Supervision], Coroutine[Any, Any, None]], stopping: Callable[[], None]
    ) -> None:
        """Start the children, keep them running until a signal comes, and stop them.

        started   runs alongside, from the start: it may wait until they are ready and say so. Children that can wait
                  are started when it is over.
        stopping  is called before the first child is stopped.
        A second signal ends everything at once.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._reaper.reap)
        for signum in STOP_SIGNALS:
            loop.add_signal_handler(signum, self._tell)
        first = asyncio.create_task(self._first.wait())
        alongside = asyncio.create_task(started(self))
        pending: set[asyncio.Task[Any]] = {first, alongside, *(child.start() for child in self.early)}
        try:
            while first in pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()  # what goes wrong there is not lost
                if alongside in done:
                    pending |= {child.start() for child in self.children if child.program.can_wait}
        finally:
            alongside.cancel()
            first.cancel()
            try:
                stopping()
            finally:
                await self._stop()
                self._reaper.reap()

    def _tell(self) -> None:
        self._told += 1
        (self._first if self._told == 1 else self._second).set()

    async def _stop(self) -> None:
        log.info("stopping: running answers may finish; a second signal ends them at once")
        in_order = asyncio.create_task(self._stop_in_order())
        at_once = asyncio.create_task(self._second.wait())
        await asyncio.wait({in_order, at_once}, return_when=asyncio.FIRST_COMPLETED)
        if not in_order.done():
            for child in self.children:
                child.kill()
        at_once.cancel()
        await in_order

    async def _stop_in_order(self) -> None:
        for role in STOP_ORDER:
            await asyncio.gather(*(self._stop_one(child) for child in self.children if child.program.role == role))

    async def _stop_one(self, child: Child) -> None:
        """Stop a child; when that fails, kill it. Either way the others get their turn."""
        try:
            await child.stop()
        except Exception:  # whatever it is, it must not keep the others running
            log.exception("%s did not stop as it should and is killed", child.program.name)
            child.kill()
