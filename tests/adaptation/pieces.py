"""Answers in pieces, and what becomes of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from orchestrator.adaptation.fitting import Fit, Step
from orchestrator.core.types import Chunk, Chunks, Done, StopReason, Usage

USAGE = Usage(prompt_tokens=7, completion_tokens=5)


class Spoken:
    """An answer that a model gives, which knows whether it was closed, and how much of it was heard."""

    def __init__(self, *pieces: str | Chunk, reason: StopReason = "stop", stop_string: str = "") -> None:
        self.pieces = [Chunk(text=one) if isinstance(one, str) else one for one in pieces]
        self.done = Done(reason=reason, usage=USAGE, stop_string=stop_string)
        self.heard = 0
        self.is_closed = False

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        """Its pieces, and its end."""
        try:
            for piece in self.pieces:
                self.heard += 1
                yield piece
            yield Chunk(done=self.done)
        finally:
            self.is_closed = True


async def through(step: Step, spoken: Spoken) -> list[Chunk]:
    """What a caller hears."""
    return [chunk async for chunk in step(spoken.chunks())]


async def answered(fitted: Fit, spoken: Spoken) -> list[Chunk]:
    """What a caller hears of a model that was fitted."""
    chunks: Chunks = spoken.chunks()
    for step in fitted.steps:
        chunks = step(chunks)
    return [chunk async for chunk in chunks]


def text_of(chunks: Sequence[Chunk]) -> str:
    """All the text of an answer."""
    return "".join(chunk.text for chunk in chunks)
