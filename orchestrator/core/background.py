"""Runs what nobody waits for: a little of it at once, and not all that there might be."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from orchestrator.core.errors import OrchestratorError
from orchestrator.core.tasks import end

log = logging.getLogger(__name__)
MOST_AT_ONCE = 2
MOST_WAITING = 64  # what comes beyond is left out: a sample stays one
LONGEST_WAIT_S = 60.0  # for its turn: what was said is held in memory until then, and of less use the older it is
LONGEST_S = 120.0
LEAVE_S = 1.5  # for what is under way when the process ends; a supervisor allows three seconds for all that is closed

Work = Callable[[], Coroutine[Any, Any, None]]


class Background:
    """What one process has yet to do."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)
        self.left_out = 0
        self._is_closing = False

    def begin(self, work: Work) -> bool:
        """Have it done, soon; False when there is too much of it already, or no time left."""
        if self._is_closing or len(self._tasks) >= MOST_WAITING:
            self.left_out += 1
            return False
        task = asyncio.create_task(self._do(work), name="background")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def idle(self) -> None:
        """Return when everything that was begun is done."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def aclose(self) -> None:
        """Begin no more, and wait a little for what was begun; then give that up: its calls are settled as any are."""
        self._is_closing = True
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                await self.idle()
        if self._tasks:
            log.info("%d things that were to be done afterwards are left out: the process ends", len(self._tasks))
        await end(self._tasks)

    async def _do(self, work: Work) -> None:
        try:
            async with asyncio.timeout(LONGEST_WAIT_S):
                await self._turns.acquire()
        except TimeoutError:
            self.left_out += 1
            return
        try:
            async with asyncio.timeout(LONGEST_S):
                await work()
        except (OrchestratorError, TimeoutError) as error:
            log.info("Left out afterwards: %s", str(error) or f"no answer within {LONGEST_S:g} s")
        except Exception:
            log.exception("What was to be done afterwards failed")
        finally:
            self._turns.release()
