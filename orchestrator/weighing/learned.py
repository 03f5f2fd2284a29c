"""Keeps a process up with what was learned: each choice goes by the newest snapshot that can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.core.following import READ_DEADLINE_S, Follower
from orchestrator.core.threads import WorkerThread
from orchestrator.outcomes.learning import newest_state, newest_version
from orchestrator.weighing.router import Router

if TYPE_CHECKING:
    from routing.predictor.predict import Predictor


class LearnedWatch(Follower["tuple[int, Predictor | None]"]):
    """Gives the router another predictor when there is one. It drops no answer that is kept: those were good."""

    what = "what the router learned"
    looked_for = "whether the router learned something"

    def __init__(self, router: Router, thread: WorkerThread) -> None:
        super().__init__(thread, lambda: 0)
        self._router = router
        self._newest = -1

    def read(self) -> tuple[int, Predictor | None]:
        """The newest snapshot, ready to be asked. Raises ValueError when it is none."""
        version, state = newest_state()
        if state is None:
            return version, None
        # Only here: it brings numpy, for which there is no use before something was learned, or is to be chosen.
        from routing.predictor.predict import Predictor
        from routing.predictor.snapshot import from_bytes

        return version, Predictor(from_bytes(state))

    def apply(self, found: tuple[int, Predictor | None]) -> None:
        """Choose by it from now on."""
        self._newest, predictor = found
        if predictor is not None:
            self._router.predictor = predictor

    async def look(self) -> None:
        """Whether something was learned."""
        if await self._thread.run(READ_DEADLINE_S, newest_version) != self._newest:
            self.changed()
