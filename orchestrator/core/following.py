"""Keeps a process up with something in the database: what changes there holds here within a second."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Generic, TypeVar

from django.db import connections

from orchestrator.core.tasks import end, in_time
from orchestrator.core.threads import WorkerThread

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
READ_DEADLINE_S = 5.0
LONGEST_WAIT_S = 0.5  # of a request for a change that was made just before it

T = TypeVar("T")


class Follower(Generic[T]):
    """Reads it when it was changed: at once on this machine, within half a second elsewhere.

    Whatever the database does, what was read before holds until something else can be read.
    """

    what = "it"  # in words
    looked_for = "whether it changed"

    def __init__(self, thread: WorkerThread, policy: Callable[[], int]) -> None:
        """`policy` returns a number that is another one after any change on this machine.

        thread  may ask the database.
        """
        self._thread = thread
        self._policy = policy
        self._was_read = False
        self._awaited = -1
        self._patient_until = 0.0
        self._seen = -1
        self._failing: set[str] = set()  # what cannot be read
        self._reading: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    def read(self) -> T:
        """All of it, in a thread."""
        raise NotImplementedError

    def apply(self, found: T) -> None:
        """Go by it from now on."""
        raise NotImplementedError

    async def look(self) -> None:
        """See whether something was changed elsewhere, and say `self.changed()` then."""
        raise NotImplementedError

    def changed(self) -> None:
        """Read it anew the next time."""
        self._seen = -1

    def start(self) -> None:
        """Read it, and look again and again."""
        self._looking = asyncio.create_task(self._look_for_ever(), name=self.what)

    async def catch_up(self) -> None:
        """Return when what is known is as new as the last change on this machine, or that takes too long."""
        policy = self._policy()
        for _ in range(2):  # what was begun before the change does not hold it
            if policy == self._seen:
                return
            if self._reading is None:
                self._reading = asyncio.create_task(self._read())
            now = asyncio.get_running_loop().time()
            if policy != self._awaited:  # all requests together wait so long for a change, not each
                self._awaited = policy
                self._patient_until = now + (LONGEST_WAIT_S if self._was_read else READ_DEADLINE_S)
            if now >= self._patient_until or not await in_time(self._reading, self._patient_until - now):
                return
            policy = self._policy()

    async def aclose(self) -> None:
        """Look no more."""
        await end(task for task in (self._looking, self._reading) if task is not None)
        self._thread.close(connections.close_all)

    async def _look_for_ever(self) -> None:
        while True:
            await self.catch_up()
            try:
                await self.look()
                self.say(self.looked_for)
            except Exception as error:  # noqa: BLE001  # whatever it is: who looks must go on looking
                self.say(self.looked_for, error)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _read(self) -> None:
        seen = self._policy()  # before it is read: a change meanwhile is read again
        try:
            self.apply(await self._thread.run(READ_DEADLINE_S, self.read))
            self._seen, self._was_read = seen, True
            self.say(self.what)
        except Exception as error:  # noqa: BLE001  # whatever it is, requests go by what was read before
            self.say(self.what, error)
        finally:
            self._reading = None

    def say(self, what: str, error: Exception | None = None) -> None:
        """Log that something cannot be read, and that it can again: each once."""
        if error is not None and what not in self._failing:
            self._failing.add(what)
            words = str(error) or type(error).__name__
            log.warning("%s cannot be read, so what was read before holds: %s", what, words)
        elif error is None and what in self._failing:
            self._failing.discard(what)
            log.warning("%s can be read again", what)
