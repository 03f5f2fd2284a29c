"""Equal questions that are asked at the same time are asked once."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Hashable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from orchestrator.core.errors import CallLost, EngineError
from orchestrator.core.types import Chunk, Chunks

_AHEAD_CHUNKS = 256
_AHEAD_BYTES = 256 * 1024
ANSWERED_S = 5.0  # how long it is known that a call has just ended: longer than from looking in the cache to asking
_MOST_ANSWERED = 4096
_CLOSE_S = 5.0  # how long the last one to leave waits for the source to clean up

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """What other processes have to know of a question to share its call."""

    hash: str  # equal in every process; it holds the tenant
    is_current: Callable[[], bool]  # false once there was a purge: who asks now must not get what was asked before
    is_again: bool = False  # the cache was looked into after a call was lost


class Elsewhere(Protocol):
    """The calls that other processes make."""

    async def claim(self, question: Question, call: Call) -> Chunks | None:
        """Return what another process hears of `question`; None when `call` is to ask it itself.

        The chunks must be closed (`aclose`). They and this raise CallLost when that process has it no more.
        """

    def release(self, call: Call) -> None:
        """`call` is over; nothing is known of it where it was not claimed."""

    async def drain(self) -> None:
        """Return when no other process hears a call of this one. It may take as long as a call does."""

    async def aclose(self) -> None:
        """Let the others know that nothing more comes from here."""


class InFlight:
    """The calls under way in this process, and those of other processes where somebody tells of them.

    A call is a task of its own, not its first listener's: whoever leaves, the others hear it to the
    end, and when the last one leaves it is cancelled. Who joins late hears it from the start.
    """

    def __init__(
        self,
        elsewhere: Elsewhere | None = None,
        *,
        ahead_chunks: int = _AHEAD_CHUNKS,
        ahead_bytes: int = _AHEAD_BYTES,
    ) -> None:
        """How far a source runs ahead of its fastest listener. All it said is kept: sources bound themselves."""
        self._elsewhere = elsewhere
        self._ahead_chunks = ahead_chunks
        self._ahead_bytes = ahead_bytes
        self._calls: dict[Hashable, Call] = {}
        self._answered: OrderedDict[Hashable, float] = OrderedDict()  # and when, the last one last

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def listeners(self) -> int:
        """How many hear the calls under way."""
        return sum(len(call.listeners) for call in self._calls.values())

    async def join(
        self, key: Hashable, start: Callable[[], Chunks], question: Question | None = None
    ) -> tuple[Chunks, bool]:
        """Listen to the call under `key`, starting it with `start` when there is none.

        With `question`, a call that another process makes counts as well, and so does one that has just
        been answered: the caller's look into the cache was too early. Return the chunks, and whether
        it is this caller's `start` that makes them. The iterator must be closed (`aclose`) when it is not
        read to its end. It raises what the source raised, the same to everybody, and CallLost when the
        call is nobody's any more though the source may not have failed: then it can be joined again.
        """
        call = self._calls.get(key)
        if call is not None:
            return Listener(call), False
        if question is not None and not question.is_again and self._is_answered(key):
            return _lost(), False
        elsewhere = None if question is None else self._elsewhere
        call = Call(self, key, self._ahead_chunks, self._ahead_bytes, elsewhere)
        self._calls[key] = call
        listener = Listener(call)
        call.begin(start, question)
        if elsewhere is None:
            return listener, True
        try:
            await call.decided.wait()
        except BaseException:
            # What `start` makes would be on the account of someone who is not there.
            call.abandon()
            await listener.aclose()
            raise
        return listener, call.is_ours

    async def drain(self) -> None:
        """Wait until no other process hears a call of this one. It may take as long as a call does."""
        if self._elsewhere is not None:
            await self._elsewhere.drain()

    async def aclose(self) -> None:
        """Part from the other processes; end the calls under way, and wait until they are over, for a while."""
        # In this order: who follows one from elsewhere is to begin it again, not to hear that it was given up.
        if self._elsewhere is not None:
            await self._elsewhere.aclose()
        ending = [call.cancel() for call in list(self._calls.values())]
        if ending:
            _, unfinished = await asyncio.wait(ending, timeout=_CLOSE_S)
            if unfinished:
                logger.warning("%d calls have not ended within %g s.", len(unfinished), _CLOSE_S)

    def leave(self, key: Hashable, call: Call) -> None:
        """Let `call` no longer be joined."""
        if self._calls.get(key) is call:
            del self._calls[key]

    def answered(self, key: Hashable) -> None:
        """Remember for a while that the call under `key` came to its end."""
        now = asyncio.get_running_loop().time()
        self._answered[key] = now
        self._answered.move_to_end(key)
        while len(self._answered) > _MOST_ANSWERED or now - next(iter(self._answered.values())) > ANSWERED_S:
            self._answered.popitem(last=False)

    def _is_answered(self, key: Hashable) -> bool:
        when = self._answered.get(key)
        return when is not None and asyncio.get_running_loop().time() - when <= ANSWERED_S


async def _lost() -> AsyncGenerator[Chunk, None]:
    """A call that is over already."""
    raise CallLost("The same question has just been answered; ask again.")
    yield  # which makes it a generator


class Call:
    """One call: what it has said so far, and who listens."""

    def __init__(
        self, calls: InFlight, key: Hashable, ahead_chunks: int, ahead_bytes: int, elsewhere: Elsewhere | None
    ) -> None:
        self._calls = calls
        self._key = key
        self._ahead_chunks = ahead_chunks
        self._ahead_bytes = ahead_bytes
        self._elsewhere = elsewhere
        self._heard = asyncio.Event()  # a listener has gone on
        self._task: asyncio.Task[None] | None = None
        self._is_abandoned = False
        self._is_shared = False  # by who has a question to show
        self.decided = asyncio.Event()  # whose call it is
        self.is_ours = False
        self.chunks: list[Chunk] = []
        self.ends: list[int] = []  # bytes up to and with each chunk
        self.listeners: set[Listener] = set()
        self.is_over = False
        self.error: BaseException | None = None
        self.trace: TracebackType | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the answer came to its end."""
        return self.is_over and self.error is None and bool(self.chunks and self.chunks[-1].done)

    def begin(self, start: Callable[[], Chunks], question: Question | None) -> None:
        """Start the task that reads the source."""
        self._is_shared = question is not None
        self._task = asyncio.create_task(self._read(start, question), name="call in flight")
        self._task.add_done_callback(self._ended)

    def abandon(self) -> None:
        """End it; whoever listens may begin again."""
        assert self._task is not None
        self._is_abandoned = True
        self._calls.leave(self._key, self)
        self._task.cancel()

    def cancel(self) -> asyncio.Task[None]:
        """Give it up, whoever listens. Return the task that is over when it is."""
        assert self._task is not None
        self._task.cancel()
        return self._task

    def went_on(self) -> None:
        """A listener took a chunk."""
        self._heard.set()

    async def left(self, listener: Listener) -> None:
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

    async def _read(self, start: Callable[[], Chunks], question: Question | None) -> None:
        told = None
        if question is not None and self._elsewhere is not None:
            told = await self._elsewhere.claim(question, self)
        self.is_ours = told is None
        self.decided.set()
        source = start() if told is None else told
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
        if self._is_abandoned:
            self.error, self.trace = CallLost("The caller who began this call left at its beginning; ask again."), None
        if self.is_complete and self._is_shared:
            self._calls.answered(self._key)
        if self._elsewhere is not None:
            self._elsewhere.release(self)
        self.decided.set()
        self._wake()

    def _wake(self) -> None:
        for listener in self.listeners:
            listener.news.set()


class Listener:
    """One caller's place in a call."""

    def __init__(self, call: Call) -> None:
        self._call: Call | None = call
        self.place = 0  # chunks heard
        self.news = asyncio.Event()
        call.listeners.add(self)

    def __aiter__(self) -> Listener:
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
