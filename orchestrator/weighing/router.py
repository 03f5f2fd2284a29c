"""What this process knows when it has to choose: what was learned, how questions scored, and who is on offer."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from orchestrator.core.clock import Clock
from orchestrator.core.trouble import Trouble
from orchestrator.engines.llamacpp import LlamaCpp
from orchestrator.weighing.left import BudgetsLeft
from orchestrator.weighing.meaning import Meanings
from orchestrator.weighing.offers import Offer, Shelf
from routing.confidence import Usual
from routing.decision import Decision
from routing.rules.verdict import Aim
from routing.scores import Score, Scores

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from routing.predictor.predict import Predictor

log = logging.getLogger(__name__)
MOST_TENANTS = 1_000  # whose scores are kept
AGAIN_S = 10.0  # after which it is seen whether the shipped priors can be read by now
_NO_SCORES = Scores()


@dataclass(slots=True)
class Judged:
    """A question's vector, where it was there in time.

    place   where it lies, as `places.packed_place` has it: what is learned from, once it is known how it turned out.
    notes   why there is none, in words.
    """

    vector: npt.NDArray[np.float32] | None = None
    place: bytes | None = None
    notes: list[str] = field(default_factory=list)


class Router:
    """Of one process. Whoever learns puts another `predictor` here, whole."""

    def __init__(self, clock: Clock) -> None:
        self.shelf = Shelf(clock)
        self.meanings = Meanings(clock)
        self.budgets_left = BudgetsLeft(clock)
        self._clock = clock
        self._trouble = Trouble(log, "To predict what answers are worth", "models are chosen by their names and prices")
        self._unreadable: tuple[float, Exception] | None = None  # until when that is taken for granted, and why it is
        self.usual = Usual()  # how likely the tokens of each model are, for each tenant
        self.predictor: Predictor | None = None  # made of the shipped priors when the first choice is to be made
        self._making = asyncio.Lock()
        self._scores: OrderedDict[int, Scores] = OrderedDict()  # the tenant heard of last comes last

    @property
    def seen(self) -> frozenset[str]:
        """The names of models that something was learned of."""
        return frozenset(self.predictor.state.models) if self.predictor is not None else frozenset()

    async def judged(self, text: str, local: LlamaCpp) -> Judged:
        """The question as a vector, where that can be had in time."""
        meaning = await self.meanings.of(text, local)
        if meaning.vector is None:
            return Judged(notes=[f"Without the question's vector: {meaning.why_not}."])
        numpy: Any = sys.modules.get("numpy") or await asyncio.to_thread(import_module, "numpy")
        vector = numpy.frombuffer(meaning.vector, "<f4")
        return Judged(vector / max(float(numpy.linalg.norm(vector)), 1e-9))

    async def p_good(
        self, text: str, judged: Judged, offers: Sequence[Offer], tenant_id: int, notes: list[str]
    ) -> list[float]:
        """How likely each one's answer is good: by the shipped priors, and by what was learned since.

        Where these fail for whatever reason, by what each one's name and price tell; `notes` then say so.
        """
        models = [(one.model.name, one.standing.ability) for one in offers]
        try:
            predictor = self.predictor or await self._made()
            place = predictor.place(text, judged.vector)
            judged.place = predictor.packed(place)
            chances = predictor.good(place, models, str(tenant_id))  # as outcomes have it
        except Exception as error:  # noqa: BLE001  # whatever it is, requests go on
            self._trouble.met(error)
            notes.append(f"By the models' names and prices alone: {type(error).__name__}.")
            return [by_ability(ability) for _, ability in models]
        self._trouble.over()
        return chances

    async def _made(self) -> Predictor:
        async with self._making:
            if self.predictor is not None:
                return self.predictor
            now = self._clock.monotonic()
            if self._unreadable is not None and now < self._unreadable[0]:
                raise self._unreadable[1]
            try:
                self.predictor = await asyncio.to_thread(_without_outcomes)
            except Exception as error:
                self._unreadable = now + AGAIN_S, error
                raise
            return self.predictor

    def threshold(self, tenant_id: int, aim: Aim) -> float | None:
        """Where the slider stands for a tenant: by what its last questions to this process had to gain."""
        scores = self._scores.get(tenant_id, _NO_SCORES)
        if aim.quality is not None:
            return scores.for_quality(aim.quality)
        return None if aim.share is None else scores.for_share(aim.share)

    def scored(self, tenant_id: int, decision: Decision) -> None:
        """Take note of what the dear side was expected to add."""
        if decision.gain is None or decision.cheap_good is None:
            return
        scores = self._scores.pop(tenant_id, _NO_SCORES)
        self._scores[tenant_id] = scores.plus(Score(decision.cheap_good, decision.gain))
        if len(self._scores) > MOST_TENANTS:
            self._scores.popitem(last=False)

    async def aclose(self) -> None:
        """Load nothing any more."""
        await self.meanings.aclose()


def by_ability(ability: float) -> float:
    """P(good) of an answer to a middling question, where nothing else can be told."""
    return min(max(0.5 + 0.2 * ability, 0.02), 0.98)


def _without_outcomes() -> Predictor:
    """Brings numpy, and reads a file of some megabytes: a tenth of a second, once."""
    from routing.predictor.predict import Predictor
    from routing.predictor.types import State

    return Predictor(State())
