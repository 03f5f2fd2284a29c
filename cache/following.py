"""What one call says, told by the process that makes it and heard by one that follows it.

Messages may get lost. Each side says how far it is; what is missing is asked for again, from where it is missing
(go-back-N): the call keeps all it said. Each also gives a sign of life now and then, and waits for one only so long.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from cache.inflight import Call, Listener
from cache.wire import (
    Alive,
    BadMessage,
    End,
    Left,
    Listen,
    Message,
    News,
    No,
    to_error,
    to_failure,
)
from orchestrator.core.errors import CallLost, OrchestratorError
from orchestrator.core.tasks import in_time
from orchestrator.core.types import Chunk

PATIENCE = 3  # ticks without a sign of life
WINDOW = 256 * 1024  # bytes told to a follower before it says that it took them in
BATCH = 64 * 1024  # bytes in a message, unless one chunk is larger

_AGAIN_S = 0.3  # before who was not there is held to be gone: a connection may just be being replaced


class Post(Protocol):
    """The way from this process to others."""

    inbox: str  # of this process
    tick_s: float  # how often either side gives a sign of life

    def tell(self, inbox: str, message: Message) -> asyncio.Future[Any]:
        """Send `message`. The reply to be is how many heard it. Raises BadMessage when it cannot be said."""

    def count(self, inbox: str) -> asyncio.Future[Any]:
        """The reply to be is a pair: the inbox, and how many listen to it."""

    def unfollow(self, follow: Follow) -> None:
        """Hear no more of it."""

    def give_up(self, holder: bytes) -> None:
        """Take its claim over without asking it, when the same question is asked again."""


class Relay:
    """A follower in another process, as a listener of a call here."""

    task: asyncio.Task[None]

    def __init__(self, post: Post, call: Call, asked: Listen) -> None:
        self._call = call
        self._peer = Peer(post, asked.inbox, self.leave)
        self._follower = asked.follower
        self._listener = Listener(call)
        self._heard = 0  # chunks the follower took in
        self._silent = 0  # ticks
        self._is_end_told = False
        self._is_left = False

    async def run(self) -> None:
        """Tell, until the follower has left."""
        listener = self._listener
        try:
            message: Message | None = Alive(self._follower, 0)
            while not self._is_left:
                if message is None:
                    listener.news.clear()
                    await listener.news.wait()  # a tick comes at the latest
                else:
                    # One at a time: what is said meanwhile goes with the next. One that gets lost is missed there.
                    await asyncio.wait({self._peer.tell(message)})
                message = self._next()
        except BadMessage as error:
            self.refuse(str(error))
        finally:
            await listener.aclose()

    def renew(self, asked: Listen) -> None:
        """The follower listens on."""
        self._silent = 0
        place = self._listener.place
        self._heard = max(self._heard, min(asked.heard, place))
        if asked.again_from is not None and self._heard <= asked.again_from <= place:
            self._listener.place = asked.again_from
            self._is_end_told = False
        self._listener.news.set()

    def tick(self) -> None:
        """Give a sign of life, and wait for one only so long."""
        self._silent += 1
        if self._silent > PATIENCE:
            self.leave()
            return
        self._peer.tell(Alive(self._follower, self._listener.place))
        self._is_end_told = False  # who heard it would have left
        self._listener.news.set()

    def leave(self) -> None:
        """The follower is gone."""
        self._is_left = True
        self._listener.news.set()

    def refuse(self, why: str) -> None:
        """Tell the follower that it hears no more."""
        if not self._is_left:
            self._peer.tell(No(self._follower, why))
            self.leave()

    def _next(self) -> Message | None:
        listener, call = self._listener, self._call
        start = listener.place
        if start < len(call.chunks):
            told = _bytes_up_to(call, start)
            if told - _bytes_up_to(call, self._heard) >= WINDOW:
                return None
            end = start + 1
            while end < len(call.chunks) and _bytes_up_to(call, end + 1) - told <= BATCH:
                end += 1
            listener.place = end
            call.went_on()
            return News(self._follower, start, call.chunks[start:end])
        if call.is_over and not self._is_end_told:
            self._is_end_told = True
            return End(self._follower, start, to_failure(call.error) if call.error else None)
        return None


class Follow:
    """A call that another process makes, as it is heard here."""

    def __init__(self, post: Post, holder: bytes, inbox: str, number: int, call: int) -> None:
        """`holder` has the claim, its process this `inbox` and this number for its `call`; `number` is ours."""
        self.number = number
        self._holder = holder
        self._post = post
        self._peer = Peer(post, inbox, self._gone)
        self._call = call
        self._waiting: deque[Chunk] = deque()
        self._came = 0  # chunks
        self._heard = 0  # chunks that were taken from here
        self._bytes_since = 0  # taken since the other side was told
        self._silent = 0
        self._is_accepted = False
        self._is_over = False
        self._is_closed = False
        self._error: OrchestratorError | None = None
        self._news = asyncio.Event()

    async def begin(self) -> bool:
        """Ask to be told. Return whether the other process does. Raises what `Line.send` fails with."""
        for _ in range(PATIENCE):
            await self._ask()
            news = asyncio.ensure_future(self._news.wait())
            try:
                await in_time(news, self._post.tick_s)
            finally:
                news.cancel()
            if self._is_accepted or self._is_over:
                return self._is_accepted
        return False

    def __aiter__(self) -> Follow:
        return self

    async def __anext__(self) -> Chunk:
        while not self._waiting:
            if self._error is not None:
                raise self._error
            if self._is_over or self._is_closed:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()  # `tick` gives up in time
        chunk = self._waiting.popleft()
        self._heard += 1
        self._bytes_since += chunk.size
        if self._bytes_since >= WINDOW // 2:
            self._bytes_since = 0
            self._ask()
        return chunk

    async def aclose(self) -> None:
        """Leave."""
        if not self._is_closed:
            self._is_closed = True
            self._post.unfollow(self)
            self._peer.tell(Left(self._post.inbox, self.number))

    def hear(self, message: Message) -> None:
        """Take in what the other process says."""
        self._silent = 0
        self._is_accepted |= not isinstance(message, No)
        match message:
            case Alive(_, said):
                if said > self._came:
                    self._ask(again_from=self._came)
            case News(_, place, chunks) if place <= self._came:
                self._waiting.extend(chunks[self._came - place :])
                self._came = max(self._came, place + len(chunks))
                self._is_over |= bool(chunks and chunks[-1].done)
            case End(_, place, failure) if place == self._came:
                self._is_over = True
                if failure is not None:
                    self._error = to_error(failure)
            case No(_, why):
                self.lose(why)
            case _:
                self._ask(again_from=self._came)
        self._news.set()

    def tick(self) -> None:
        """Give a sign of life, and wait for one only so long."""
        if not self._is_accepted or self._is_over:
            return  # `begin` has a deadline of its own
        self._silent += 1
        if self._silent > PATIENCE:
            self.lose("The process that made this answer is silent; ask again.")
        else:
            self._ask()

    def lose(self, why: str) -> None:
        """Nothing more will come."""
        if not self._is_over:
            self._is_over = True
            self._error = CallLost(why)
            self._post.give_up(self._holder)
            self._news.set()

    def _ask(self, again_from: int | None = None) -> asyncio.Future[Any]:
        asked = Listen(self._post.inbox, self.number, self._call, self._heard, again_from)
        return self._peer.tell(asked)

    def _gone(self) -> None:
        self.lose("The process that made this answer is gone; ask again.")


class Peer:
    """The process behind an inbox, for as long as it is there."""

    def __init__(self, post: Post, inbox: str, gone: Callable[[], None]) -> None:
        """`gone` is called when nobody hears what is told, and nobody a little later."""
        self._post = post
        self._inbox = inbox
        self._gone = gone
        self._is_doubted = False

    def tell(self, message: Message) -> asyncio.Future[Any]:
        """See `Post.tell`."""
        told = self._post.tell(self._inbox, message)
        told.add_done_callback(self._told)
        return told

    def _told(self, told: asyncio.Future[Any]) -> None:
        if not self._is_doubted and not told.cancelled() and told.exception() is None and told.result() == 0:
            self._is_doubted = True
            asyncio.get_running_loop().call_later(_AGAIN_S, self._look_again)

    def _look_again(self) -> None:
        self._post.count(self._inbox).add_done_callback(self._looked)

    def _looked(self, count: asyncio.Future[Any]) -> None:
        self._is_doubted = False
        if not count.cancelled() and count.exception() is None and count.result()[1] == 0:
            self._gone()


def _bytes_up_to(call: Call, place: int) -> int:
    return call.ends[place - 1] if place else 0
