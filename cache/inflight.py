"""Equal questions that are asked at the same time are asked once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable
from types import TracebackType

from orchestrator.core.errors import EngineError
from orchestrator.core.types import Chunk, Chunks

_AHEAD_CHUNKS = 256
_AHEAD_BYTES = 256 * 1024
_CLOSE_S = 5.0  # how long the last one to leave waits for the source to clean up

logger = logging.getLogger(__name__)


class InFlight:
    """The calls under way in this process.

    A call is a task of its own, not its first listener's: whoever leaves, the others hear it to the
    end, and when the last one leaves it is cancelled. Who joins late hears it from the start.
    """

    def __init__(self, ahead_chunks: int = _AHEAD_CHUNKS, ahead_bytes: int = _AHEAD_BYTES) -> None:
        """How far a source runs ahead of its fastest listener. All it said is kept: sources bound themselves."""
        self._ahead_chunks = ahead_chunks
        self._ahead_bytes = ahead_bytes
        self._calls: dict[Hashable, _Call] = {}

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def listeners(self) -> int:
        """How many hear the calls under way."""
        return sum(len(call.listeners) for call in self._calls.values())

    async def join(self, key: Hashable, start: Callable[[], Chunks]) -> tuple[Chunks, bool]:
        """Listen to the call under `key`, starting it with `start` when there is none.

        Return the chunks, and whether this caller started it. The iterator must be closed
        (`aclose`) when it is not read to its end. It raises what the source raised, the same to everybody.
        """
        call = self._calls.get(key)
        leads = call is None
        if call is None:
            call = _Call(self, key, self._ahead_chunks, self._ahead_bytes)
            self._calls[key] = call
            call.begin(start)
        return _Listener(call), leads

    def leave(self, key: Hashable, call: _Call) -> None:
        """Let `call` no longer be joined."""
        if self._calls.get(key) is call:
            del self._calls[key]


class _Call:
    """One call: what it has said so far, and who listens."""

    def __init__(self, calls: InFlight, key: Hashable, ahead_chunks: int, ahead_bytes: int) -> None:
        self._calls = calls
        self._key = key
        self._ahead_chunks = ahead_chunks
        self._ahead_bytes = ahead_bytes
        self._heard = asyncio.Event()  # a listener has gone on
        self._task: asyncio.Task[None] | None = None
        self.chunks: list[Chunk] = []
        self.ends: list[int] = []  # bytes up to and with each chunk
        self.listeners: set[_Listener] = set()
        self.is_over = False
        self.error: BaseException | None = None
        self.trace: TracebackType | None = None

    def begin(self, start: Callable[[], Chunks]) -> None:
        """Start the task that reads the source."""
        self._task = asyncio.create_task(self._read(start), name="call in flight")
        self._task.add_done_callback(self._ended)

    def went_on(self) -> None:
        """A listener took a chunk."""
        self._heard.set()

    async def left(self, listener: _Listener) -> None:
        """`listener` hears no more; the last to leave ends the call, and waits until its source is closed."""
        self.listeners.discard(listener)
        self._heard.set()
        if self.listeners or self._task is None or self._task.done():
            return
        if self.chunks and self.chunks[-1].done:
            # It has said everything and is cleaning up: a connection that is read to its end can be used again.
            asyncio.get_running_loop().call_later(_CLOSE_S, self._task.cancel)
            return
        self._calls.leave(self._key, self)
        self._task.cancel()
        _, unfinished = await asyncio.wait({self._task}, timeout=_CLOSE_S)
        if unfinished:
            logger.warning("A call that nobody listens to has not ended within %g s.", _CLOSE_S)

    async def _read(self, start: Callable[[], Chunks]) -> None:
        source = start()
        size = 0
        try:
            async for chunk in source:
                size += chunk.size
                self.chunks.append(chunk)
                self.ends.append(size)
                self._wake()
                while self.listeners and self._is_far_ahead():
                    self._heard.clear()
                    await self._heard.wait()
                if not self.listeners:
                    return  # a cancellation can be lost on its way to here; an empty room cannot
        finally:
            if aclose := getattr(source, "aclose", None):
                await aclose()

    def _is_far_ahead(self) -> bool:
        place = max((listener.place for listener in self.listeners), default=0)
        heard_bytes = self.ends[place - 1] if place else 0
        return len(self.chunks) - place >= self._ahead_chunks or self.ends[-1] - heard_bytes >= self._ahead_bytes

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._calls.leave(self._key, self)
        self.is_over = True
        if task.cancelled():
            self.error = EngineError("The call was given up before its answer was complete.")
        else:
            self.error = task.exception()
            self.trace = self.error.__traceback__ if self.error else None
        self._wake()

    def _wake(self) -> None:
        for listener in self.listeners:
            listener.news.set()


class _Listener:
    """One caller's place in a call."""

    def __init__(self, call: _Call) -> None:
        self._call: _Call | None = call
        self.place = 0  # chunks heard
        self.news = asyncio.Event()
        call.listeners.add(self)

    def __aiter__(self) -> _Listener:
        return self

    async def __anext__(self) -> Chunk:
        call = self._call
        if call is None:
            raise StopAsyncIteration
        while self.place == len(call.chunks):
            if call.is_over:
                await self.aclose()
                if call.error is not None:
                    # With the trace it came with, or each listener's would be added to the last one's.
                    raise call.error.with_traceback(call.trace)
                raise StopAsyncIteration
            self.news.clear()
            await self.news.wait()
        chunk = call.chunks[self.place]
        self.place += 1
        call.went_on()
        return chunk

    async def aclose(self) -> None:
        """Leave."""
        call, self._call = self._call, None
        if call is not None:
            await call.left(self)
