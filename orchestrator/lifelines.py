"""Answers that are under way, each tied to the key it is given to: what ends the key ends them.

One task looks after all of them, four times a second: at the count of changes on this machine, at their ends, and
once a second at the keys themselves, which may have been changed on another machine. A piece of an answer costs two
assignments. Who waits for one when the end comes is cancelled out of it, as `asyncio.timeout` does; who is sending
one hears of the end with the next, and what makes the answer is let go at once in either case.

There may be ten thousand of them: so many keys are read at once, and so much is done in one turn of the loop, and
then others have theirs. To end an answer costs its reader a turn as well; so it counts for more than to look at one.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from weakref import WeakSet

from orchestrator.core.clock import Clock
from orchestrator.core.errors import Forbidden, KeyEnded, OrchestratorError, ScopeEnded, StreamTooLong
from orchestrator.core.limits import Limit
from orchestrator.core.scopes import check_address, check_family, out_of_scope
from orchestrator.core.tasks import end
from orchestrator.core.types import Caller, ChatRequest, Chunk, Chunks

log = logging.getLogger(__name__)
TICK_S = 0.25
LOOK_S = 1.0  # how old what is known of a key may be that was changed on another machine
KEYS_AT_ONCE = 500  # that are read in one go: others wait for the thread that reads them
A_TURN = 1024  # answers that are looked at in one turn of the loop
AN_END = 16  # that many of them is as much work as to end one

Look = Callable[[Collection[int | None]], Awaitable[Mapping[int | None, Caller]]]
Cut = Callable[[OrchestratorError], None]


class Lifelines:
    """Knows every answer that is being given."""

    def __init__(self, clock: Clock, policy: Callable[[], int], look: Look) -> None:
        """Where keys are known from.

        policy  returns a number that is another one after any change of keys on this machine.
        look    returns those keys that hold, of some, by number; None stands for who shows no key.
        """
        self._clock = clock
        self._policy = policy
        self._look = look
        self._tied: WeakSet[Tied] = WeakSet()  # one that is dropped unread is nobody's
        self._watching: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._tied)

    def tied(self, chunks: Chunks, caller: Caller, request: ChatRequest, model: str, cut: Cut) -> Chunks:
        """The same answer, for as long as the caller's key holds and is for this, and its longest stream lasts.

        model  the full name of the model that was asked.
        cut    is told the error with which it is ended before its end, as soon as that is known.
        Raises KeyEnded, ScopeEnded or StreamTooLong from the chunks then.
        """
        limit = _shortest(caller, model, request.address)
        until = self._clock.monotonic() + limit.amount if limit else math.inf
        one = Tied(chunks, caller, request, model, cut, self._tied.discard, until, limit)
        self._tied.add(one)
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch(), name="lifelines")
        return one

    async def aclose(self) -> None:
        """Watch no more."""
        await end([task for task in (self._watching, self._looking) if task is not None])

    async def _watch(self) -> None:
        """For as long as there is an answer."""
        seen, looked_at = None, -math.inf
        while self._tied:
            policy, now = self._policy(), self._clock.monotonic()
            is_looking = self._looking is not None and not self._looking.done()
            if (policy != seen or now >= looked_at + LOOK_S) and not is_looking:
                seen, looked_at = policy, now
                self._looking = asyncio.create_task(self._look_at_keys(), name="lifelines' keys")
            turn, wall = _Turn(), self._clock.now()
            for one in list(self._tied):
                if one in self._tied and turn.is_over(has_ended=one.end_in_time(now, wall)):
                    await asyncio.sleep(0)
            await asyncio.sleep(TICK_S)

    async def _look_at_keys(self) -> None:
        by_key: dict[int | None, list[Tied]] = defaultdict(list)
        for one in list(self._tied):
            by_key[one.caller.key_id].append(one)
        turn, keys = _Turn(), list(by_key)
        for start in range(0, len(keys), KEYS_AT_ONCE):
            some = keys[start : start + KEYS_AT_ONCE]
            holding = await self._read(some)
            if holding is None:
                return
            for key in some:
                for one in by_key.pop(key):
                    if one in self._tied and turn.is_over(has_ended=one.end_by_key(holding.get(key))):
                        await asyncio.sleep(0)

    async def _read(self, keys: Collection[int | None]) -> Mapping[int | None, Caller] | None:
        """Those that hold; None where that cannot be known."""
        try:
            return await self._look(keys)
        except OrchestratorError as error:  # nobody comes in either; what has begun goes on
            log.warning("Answers go on while their keys cannot be looked at: %s", error)
        except Exception:
            log.exception("keys of answers under way cannot be looked at")
        return None


class _Turn:
    """What is done in one turn of the loop."""

    def __init__(self) -> None:
        self._left = A_TURN

    def is_over(self, *, has_ended: bool) -> bool:
        """One more was looked at. Whether others have theirs now; then the next one begins."""
        self._left -= AN_END if has_ended else 1
        if self._left > 0:
            return False
        self._left = A_TURN
        return True


class Tied:
    """One answer, tied. Its reader is one task at a time."""

    __slots__ = (
        "__weakref__",
        "_asked",
        "_cancelling",
        "_chunks",
        "_closing",
        "_cut",
        "_error",
        "_limit",
        "_model",
        "_reader",
        "_untie",
        "_until",
        "caller",
    )

    def __init__(
        self,
        chunks: Chunks,
        caller: Caller,
        asked: ChatRequest,
        model: str,
        cut: Cut,
        untie: Callable[[Tied], None],
        until: float,
        limit: Limit | None,
    ) -> None:
        self.caller = caller
        self._chunks, self._asked, self._model, self._cut, self._untie = chunks, asked, model, cut, untie
        self._until, self._limit = until, limit
        self._error: OrchestratorError | None = None
        self._reader: asyncio.Task[object] | None = None  # who waits for the next piece
        self._cancelling: int | None = None  # how often the reader was cancelled by others when it was by us
        self._closing: asyncio.Task[None] | None = None

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        if self._error is not None:
            raise self._error
        reader = self._reader = asyncio.current_task()
        try:
            chunk = await anext(self._chunks)
        except BaseException as error:
            self._over()
            if self._cancelling is None:
                raise
            assert reader is not None
            is_ours_alone = reader.uncancel() <= self._cancelling
            if isinstance(error, asyncio.CancelledError) and not is_ours_alone:
                raise
            assert self._error is not None
            raise self._error from None
        self._reader = None
        if chunk.done:
            self._untie(self)
        return chunk

    async def aclose(self) -> None:
        """Nobody reads on."""
        self._over()
        if self._closing is None:
            await self._chunks.aclose()
        else:
            await asyncio.shield(self._closing)

    def end_in_time(self, now: float, wall: float) -> bool:
        """End it where its time, or its key's, has come: monotonic seconds, and seconds since the epoch."""
        if now >= self._until and self._limit is not None:
            self._end(StreamTooLong(f"An answer may take {self._limit.amount} s at most here ({self._limit.name})."))
        elif self.caller.expires_at is not None and wall >= self.caller.expires_at:
            self._end(KeyEnded("This API key has expired, and what it was being told ends with it."))
        else:
            return False
        return True

    def end_by_key(self, now: Caller | None) -> bool:
        """End it where its key, as it is now, would not be given it any more. Return whether that is so."""
        if now is None:
            self._end(KeyEnded())
            return True
        self.caller = now
        try:
            check_address(now, self._asked.address)
            check_family(now, "chat" if self._asked.inputs is None else "embed", self._asked.dialect)
            if not now.may_ask(self._model):
                raise out_of_scope(self._asked.model)
        except Forbidden as error:
            self._end(ScopeEnded(str(error)))
            return True
        return False

    def _end(self, error: OrchestratorError) -> None:
        self._untie(self)
        if self._error is not None:
            return
        self._error = error
        self._cut(error)
        if self._reader is None:
            self._closing = asyncio.create_task(self._close(), name="cut answer")
        else:
            self._cancelling = self._reader.cancelling()
            self._reader.cancel()

    async def _close(self) -> None:
        try:
            await self._chunks.aclose()
        except Exception:
            log.exception("an answer that was cut cannot be closed")

    def _over(self) -> None:
        self._reader = None
        self._untie(self)


def _shortest(caller: Caller, model: str, address: str) -> Limit | None:
    """Of the limits on how long an answer may take, the one that ends it first."""
    about = [one for one in caller.limits if one.kind == "stream_s" and one.is_about(model, address)]
    return min(about, key=lambda one: one.amount, default=None)
