"""The vector of a question, by the model for that on this machine: where it is quick to be had, and only then."""

from __future__ import annotations

import asyncio
import logging
from typing import NamedTuple

from orchestrator.core.clock import Clock
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.tasks import end
from orchestrator.core.types import ChatRequest, Model
from orchestrator.engines.llamacpp import LlamaCpp

log = logging.getLogger(__name__)
MODEL = "all-minilm"
DEADLINE_S = 0.3
MOST_TEXT = 2_000  # characters: it reads some hundreds of tokens, and takes the longer the more there are
KEEP_S = 1800.0
AGAIN_S = 30.0  # after it could not be loaded
FLOAT_BYTES = 4


class Meaning(NamedTuple):
    """A vector as 32-bit floats, little-endian; or why there is none."""

    vector: bytes | None
    why_not: str = ""


class Meanings:
    """Asks for vectors. The first question has the model loaded, beside: it does not wait for that, nor do others."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._loading: asyncio.Task[None] | None = None
        self._is_loaded = False
        self._again_at = 0.0  # monotonic seconds

    def warm(self, local: LlamaCpp) -> None:
        """Begin to load the model, unless that was done, is being done, or went wrong just now."""
        if not self._is_loaded and self._loading is None and self._clock.monotonic() >= self._again_at:
            self._loading = asyncio.create_task(self._load(local), name="meaning")

    async def of(self, text: str, local: LlamaCpp) -> Meaning:
        """The vector of a text, within its deadline. It never raises for the model's sake."""
        if not self._is_loaded:
            self.warm(local)
            return Meaning(None, f"{MODEL} is being loaded" if self._loading else f"{MODEL} cannot be loaded")
        try:
            async with asyncio.timeout(DEADLINE_S):
                model = await local.find(MODEL)
                if model is None:
                    return Meaning(None, f"{MODEL} is not installed")
                vector = await _vector(text[:MOST_TEXT], model, local)
        except TimeoutError:
            return Meaning(None, f"{MODEL} took longer than {DEADLINE_S:g} s")
        except OrchestratorError as error:
            self._failed(error)
            return Meaning(None, f"{MODEL} failed")
        return Meaning(vector) if vector else Meaning(None, f"{MODEL} gave no vector")

    async def aclose(self) -> None:
        """Wait for nothing more."""
        if self._loading is not None:
            await end([self._loading])

    async def _load(self, local: LlamaCpp) -> None:
        try:
            model = await local.find(MODEL)
            if model is None or "embedding" not in model.capabilities:
                self._again_at = self._clock.monotonic() + AGAIN_S
                return
            await local.load(model, KEEP_S)
            await _vector("ready", model, local)  # the first takes longer than those after it
            self._is_loaded = True
        except OrchestratorError as error:
            self._failed(error)
        finally:
            self._loading = None

    def _failed(self, error: OrchestratorError) -> None:
        log.warning("Questions are not embedded for %g s: %s", AGAIN_S, error)
        self._is_loaded, self._again_at = False, self._clock.monotonic() + AGAIN_S


async def _vector(text: str, model: Model, local: LlamaCpp) -> bytes | None:
    chunks = local.chat(ChatRequest(model=model.name, inputs=(text,), keep_alive_s=KEEP_S), model)
    try:
        found: bytes | None = None
        async for chunk in chunks:
            found = chunk.vectors[0] if chunk.vectors else found
        return found
    finally:
        await chunks.aclose()
