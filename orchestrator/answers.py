"""An answer that has begun, and what is recorded of it, whatever becomes of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from cache.entries import Hit
from orchestrator.core.clock import Clock
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.limits import NO_LIMIT, Standing
from orchestrator.core.types import ChatRequest, Chunk, Chunks, Done
from orchestrator.ledger.writer import Entry
from orchestrator.parts import Parts

log = logging.getLogger(__name__)
MOST_ROUTE = 64  # characters, as many as a record has room for


@dataclass(slots=True)
class Answer:
    """An answer that has begun: where it comes from, and its chunks as they arrive.

    `chunks` must be closed (`aclose`) when it is not read to its end.
    """

    entry: Entry
    chunks: Chunks
    hit: Hit | None = None  # what was found in the cache
    timing: dict[str, float] = field(default_factory=dict)  # seconds by part, in order
    standing: Standing = NO_LIMIT  # with the caller's limits


@asynccontextmanager
async def charged_anyhow(request: ChatRequest, entry: Entry, parts: Parts) -> AsyncIterator[None]:
    """What fails before its model is settled counts as well: else it would be free to ask for what there is not."""
    try:
        yield
    except OrchestratorError:
        await parts.limiter.charge(entry.caller, "", request.address)
        raise


async def each(*chunks: Chunk) -> AsyncGenerator[Chunk, None]:
    """What is there already, as an answer that arrives."""
    for chunk in chunks:
        yield chunk


async def recorded(chunks: Chunks, entry: Entry, parts: Parts) -> AsyncGenerator[Chunk, None]:
    """Pass on chunks that cost nothing, and record what the caller got."""
    with failures_recorded(entry, parts):
        async with aclosing(chunks):
            async for chunk in chunks:
                saw(chunk, entry, parts)
                yield chunk


def saw(chunk: Chunk, entry: Entry, parts: Parts) -> None:
    """Note a chunk that cost nothing; with the last one the record is complete."""
    entry.saw(chunk, parts.clock.monotonic())
    if chunk.done:
        entry.ended(outcome(chunk.done), parts.clock.monotonic())
        parts.ledger.post(entry)


def outcome(done: Done) -> str:
    """How an answer ended that came to its end."""
    return "cut" if done.reason == "length" else "done"


@contextmanager
def failures_recorded(entry: Entry, parts: Parts) -> Iterator[None]:
    """Record a request that fails or is given up within. What is no error of ours becomes one, and is logged.

    The ledger takes each entry once, so what was recorded already stays as it is.
    """
    try:
        yield
    except OrchestratorError as error:
        entry.failed(error, parts.clock.monotonic())
        parts.ledger.post(entry)
        raise
    except (asyncio.CancelledError, GeneratorExit):
        entry.ended("cancelled", parts.clock.monotonic())
        parts.ledger.post(entry)
        raise
    except Exception as error:
        request_id = entry.request.request_id
        log.exception("request %s failed", request_id)
        fault = OrchestratorError(f"internal error; the log has more under {request_id}")
        entry.failed(fault, parts.clock.monotonic())
        parts.ledger.post(entry)
        raise fault from error


class Stopwatch:
    """Seconds between laps."""

    def __init__(self, clock: Clock, laps: dict[str, float]) -> None:
        self._clock = clock
        self._last = clock.monotonic()
        self.laps = laps

    def lap(self, name: str) -> None:
        """So long it took since the last."""
        now = self._clock.monotonic()
        self.laps[name] = now - self._last
        self._last = now
