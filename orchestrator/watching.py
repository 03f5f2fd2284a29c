"""Keeps a process up with the registry: what an operator changes holds in every process within a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from orchestrator.catalogue import Catalogue
from orchestrator.core.following import READ_DEADLINE_S, Follower
from orchestrator.core.threads import WorkerThread
from orchestrator.registry.breakers import tell
from orchestrator.registry.reading import Reading, down_providers, look, newest_version, resets
from routing.health import Health, Open

TELL_EVERY_S = 30.0  # who does not say so again is taken for gone


class RegistryWatch(Follower[Reading]):
    """Reads the registry when it was changed, and tells how providers are as this process sees them."""

    what = "the registry"
    looked_for = "how providers are"

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
        """`worker` is what this process is called.

        first_token_s  how long providers may take to begin, where they have no limit of their own.
        """
        super().__init__(thread, policy)
        self._catalogue = catalogue
        self._places = places
        self._worker = worker
        self._first_token_s = first_token_s
        self._told: list[Open] | None = None
        self._tell_at = 0.0
        self._resets: dict[str, float] | None = None
        catalogue.watch = self

    def read(self) -> Reading:
        """All that is on, and why the rest is off."""
        return look()

    def apply(self, found: Reading) -> None:
        """Go by it from now on."""
        self._catalogue.off = {one.name: one.why for one in found.off}
        registry = found.registry
        if registry != self._catalogue.registry:
            for name in self._catalogue.apply(registry):
                self._places.reset(name)  # what was known is of another address, or another key
        providers = registry.providers
        self._places.most_calls = {one.name: one.most_calls for one in providers if one.most_calls}
        self._places.slow_after_s = {
            one.name: one.slow_after_s or (one.first_token_timeout_s or self._first_token_s) / 2 for one in providers
        }

    async def look(self) -> None:
        """Whether it was changed elsewhere, and what there is to say and to hear of providers."""
        version, said, self._places.down = await self._thread.run(READ_DEADLINE_S, _news)
        if version != self._catalogue.registry.version:
            self.changed()
        self._reset(said)
        await self._tell()
        await self._catalogue.look_up_prices()

    async def _tell(self) -> None:
        """Let the pages know which places are not asked here."""
        now, places = asyncio.get_running_loop().time(), self._places.open()
        if places == self._told and (not places or now < self._tell_at):
            return
        await self._thread.run(READ_DEADLINE_S, tell, self._worker, places)
        self._told, self._tell_at = places, now + TELL_EVERY_S

    def _reset(self, said: dict[str, float]) -> None:
        """Ask the providers again of which an operator has said since the last look that they are well."""
        for name, at in said.items():
            if self._resets is not None and at != self._resets.get(name):
                self._places.reset(name)
        self._resets = said


def _news() -> tuple[int, dict[str, float], frozenset[str]]:
    return newest_version(), resets(), down_providers()
