"""Keeps a process up with the registry: what an operator changes holds in every process within a second."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from django.db import connections

from orchestrator.catalogue import Catalogue
from orchestrator.core.tasks import end
from orchestrator.core.threads import WorkerThread
from orchestrator.registry.breakers import tell
from orchestrator.registry.entries import Registry
from orchestrator.registry.reading import down_providers, look, newest_version, resets
from routing.health import Health, Open

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
READ_DEADLINE_S = 5.0
LONGEST_WAIT_S = 0.5  # of a request for a change that was made just before it
TELL_EVERY_S = 30.0  # who does not say so again is taken for gone


class RegistryWatch:
    """Reads the registry when it was changed: at once on this machine, within half a second elsewhere."""

    def __init__(
        self,
        catalogue: Catalogue,
        places: Health,
        thread: WorkerThread,
        policy: Callable[[], int],
        *,
        worker: str,
        first_token_s: float,
    ) -> None:
        """`policy` returns a number that is another one after any change on this machine.

        thread  may ask the database.    worker  what this process is called.
        first_token_s  how long providers may take to begin, where they have no limit of their own.
        """
        self._catalogue = catalogue
        self._places = places
        self._thread = thread
        self._policy = policy
        self._worker = worker
        self._first_token_s = first_token_s
        self._was_read = False
        self._awaited = -1
        self._patient_until = 0.0
        self._told: list[Open] | None = None
        self._tell_at = 0.0
        self._seen = -1
        self._resets: dict[str, float] | None = None
        self._failing: set[str] = set()  # what cannot be read
        self._reading: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        catalogue.watch = self

    def start(self) -> None:
        """Read it, and look again and again."""
        self._looking = asyncio.create_task(self._look_for_ever(), name="registry")

    async def catch_up(self) -> None:
        """Return when what is known is as new as the last change on this machine, or that takes too long."""
        policy = self._policy()
        if policy == self._seen:
            return
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        now = asyncio.get_running_loop().time()
        if policy != self._awaited:  # all requests together wait so long for a change, not each
            self._awaited = policy
            self._patient_until = now + (LONGEST_WAIT_S if self._was_read else READ_DEADLINE_S)
        if now < self._patient_until:
            await asyncio.wait({self._reading}, timeout=self._patient_until - now)

    async def aclose(self) -> None:
        """Look no more."""
        await end(task for task in (self._looking, self._reading) if task is not None)
        self._thread.close(connections.close_all)

    async def _look_for_ever(self) -> None:
        while True:
            await self.catch_up()
            try:
                version, said, self._places.down = await self._thread.run(READ_DEADLINE_S, _news)
                if version != self._catalogue.registry.version:
                    self._seen = -1
                self._reset(said)
                await self._tell()
                self._say("how providers are")
                await self._catalogue.look_up_prices()
            except Exception as error:  # noqa: BLE001  # whatever it is: who looks must go on looking
                self._say("how providers are", error)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _tell(self) -> None:
        """Let the pages know which places are not asked here."""
        now, places = asyncio.get_running_loop().time(), self._places.open()
        if places == self._told and (not places or now < self._tell_at):
            return
        await self._thread.run(READ_DEADLINE_S, tell, self._worker, places)
        self._told, self._tell_at = places, now + TELL_EVERY_S

    async def _read(self) -> None:
        seen = self._policy()  # before it is read: a change meanwhile is read again
        try:
            reading = await self._thread.run(READ_DEADLINE_S, look)
            self._catalogue.off = {one.name: one.why for one in reading.off}
            self.apply(reading.registry)
            self._seen, self._was_read = seen, True
            self._say("the registry")
        except Exception as error:  # noqa: BLE001  # whatever it is, requests go by what was read before
            self._say("the registry", error)
        finally:
            self._reading = None

    def _say(self, what: str, error: Exception | None = None) -> None:
        """Log that something cannot be read, and that it can again: each once."""
        if error is not None and what not in self._failing:
            self._failing.add(what)
            words = str(error) or type(error).__name__
            log.warning("%s cannot be read, so what was read before holds: %s", what, words)
        elif error is None and what in self._failing:
            self._failing.discard(what)
            log.warning("%s can be read again", what)

    def apply(self, registry: Registry) -> None:
        """Go by `registry` from now on."""
        if registry != self._catalogue.registry:
            for name in self._catalogue.apply(registry):
                self._places.reset(name)  # what was known is of another address, or another key
        providers = registry.providers
        self._places.most_calls = {one.name: one.most_calls for one in providers if one.most_calls}
        self._places.slow_after_s = {
            one.name: one.slow_after_s or (one.first_token_timeout_s or self._first_token_s) / 2 for one in providers
        }

    def _reset(self, said: dict[str, float]) -> None:
        """Ask the providers again of which an operator has said since the last look that they are well."""
        for name, at in said.items():
            if self._resets is not None and at != self._resets.get(name):
                self._places.reset(name)
        self._resets = said


def _news() -> tuple[int, dict[str, float], frozenset[str]]:
    return newest_version(), resets(), down_providers()
