"""A local answer first; who could do better is asked when it turns out not to be sure of what it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from orchestrator.adaptation.fitting import Check
from orchestrator.core.clock import Clock
from orchestrator.core.errors import NotTaken
from orchestrator.core.tasks import end
from orchestrator.core.types import ChatRequest, Chunk, Chunks, Reply, ReplyBuilder
from routing.confidence import Confidence, Seen, Usual, confidence

TOKENS = 24  # after which it is decided whether to go on listening: enough for a mean, and soon said
LONGEST_S = 4.0  # that a caller is held up for it; whatever came by then decides


class NotSure(NotTaken):
    """A model answered, and what it said is less likely to be good than another's answer is."""

    kind = "not_sure"
    found: Confidence | None = None  # what was seen of the answer came to


class Silent(NotSure):
    """A model had said nothing by the time that others could be asked: that tells nothing of how good its answer is."""


@dataclass(frozen=True, slots=True)
class Trial:
    """An answer is taken where it is likely enough to be good, now that some of it was seen.

    tenant       whose question it is: what is usual is usual for theirs.
    before       how likely it was before.    floor  how likely it has to be.
    is_streamed  the caller hears each piece: the first ones decide. Else the whole answer does.
    heard        is told how each look at it came out; the last one decides.
    form         whether a whole answer is in the form that was asked for; None: none was.
    """

    tenant: int
    model: str
    before: float
    floor: float
    usual: Usual
    clock: Clock
    is_streamed: bool
    heard: Callable[[Confidence], None] = field(default=lambda _: None)
    form: Check | None = None

    async def step(self, chunks: Chunks) -> AsyncGenerator[Chunk, None]:
        """Hold the answer until it is known whether it will do, and then pass it on.

        Raises NotSure, with the answer where it is whole.
        """
        until = self.clock.monotonic() + LONGEST_S
        async with aclosing(_Pieces(chunks)) as pieces:
            held = _Held()
            while not held.is_whole:
                try:
                    chunk = await pieces.next(until - self.clock.monotonic())
                except TimeoutError:
                    await self._decide(held)
                    break
                if chunk is None:
                    break
                held.add(chunk)
                if held.is_whole or (held.is_telling and self.is_streamed):
                    await self._decide(held)
                    break
                if held.is_telling and not held.was_looked_at:  # no need to hear the rest where it begins badly
                    await self._decide(held)
            for one in held.chunks:
                yield one
            while not held.is_whole and (chunk := await pieces.next(None)) is not None:
                held.add(chunk)
                yield chunk

    async def _decide(self, held: _Held) -> None:
        """Raises NotSure."""
        if not held.has_said:
            raise Silent(f"{self.model} had said nothing after {LONGEST_S:g} s, and another model could be asked.")
        usual, beginning = self.usual.of(self.tenant, self.model), held.logprobs[:TOKENS]
        is_first_look = not held.was_looked_at
        if is_first_look:  # learned whatever is decided: of those alone that will do, what is usual would only rise
            held.was_looked_at = True
            self.usual.saw(self.tenant, self.model, beginning)
        logprobs = beginning if is_first_look and not held.is_whole else held.logprobs
        found = confidence(self.before, Seen(held.text, logprobs, held.is_whole, held.has_called), usual)
        self.heard(found)
        if found.after < self.floor:
            error = NotSure(f"{self.model} is not sure: {found}; {self.floor:.2f} is wanted.")
            error.found = found
            if held.is_whole:
                error.kept = held.chunks
                error.has_form = await self._has_form(held)
            raise error

    async def _has_form(self, held: _Held) -> bool | None:
        reply = held.reply
        if self.form is None or reply is None:
            return None
        return reply.done.reason == "stop" and await self.form(reply)  # one that was cut lacks its end


def asked_to_tell(request: ChatRequest) -> ChatRequest:
    """The same question, of which the model tells how likely each token of its answer is."""
    return request if request.logprobs else replace(request, logprobs=True)


async def untold(chunks: Chunks) -> AsyncGenerator[Chunk, None]:
    """A step that passes on all but how likely tokens were, for who did not ask."""
    async with aclosing(chunks):
        async for chunk in chunks:
            yield replace(chunk, logprobs=()) if chunk.logprobs else chunk


class _Held:
    """What came of an answer so far."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.logprobs: list[float] = []
        self.was_looked_at = False

    def add(self, chunk: Chunk) -> None:
        self.chunks.append(chunk)
        self.logprobs += [one.logprob for one in chunk.logprobs]

    @property
    def text(self) -> str:
        return "".join(chunk.text for chunk in self.chunks)

    @property
    def reply(self) -> Reply | None:
        """The whole answer; None while it is not."""
        builder = ReplyBuilder("")
        for chunk in self.chunks:
            builder.add(chunk)
        return builder.reply()

    @property
    def has_called(self) -> bool:
        """Whether it calls functions, with or without a word about it."""
        return any(chunk.tool_calls for chunk in self.chunks)

    @property
    def has_said(self) -> bool:
        """Whether anything came but counts."""
        return any(chunk.text or chunk.thinking or chunk.tool_calls or chunk.done for chunk in self.chunks)

    @property
    def is_whole(self) -> bool:
        return bool(self.chunks) and self.chunks[-1].done is not None

    @property
    def is_telling(self) -> bool:
        """Whether it is enough to judge by."""
        return len(self.logprobs) >= TOKENS


class _Pieces:
    """An answer's pieces, each of which can be waited for as long as one likes without being lost."""

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks
        self._coming: asyncio.Task[Chunk | None] | None = None

    async def next(self, longest_s: float | None) -> Chunk | None:
        """The next piece; None after the last. Raises TimeoutError when it has not come: it may be waited for again."""
        if self._coming is None:
            self._coming = asyncio.create_task(self._one())
        ready, _ = await asyncio.wait({self._coming}, timeout=None if longest_s is None else max(longest_s, 0.0))
        if not ready:
            raise TimeoutError
        coming, self._coming = self._coming, None
        return coming.result()

    async def aclose(self) -> None:
        """Hear no more."""
        if self._coming is not None:
            await end([self._coming])
        await self._chunks.aclose()

    async def _one(self) -> Chunk | None:
        try:
            return await self._chunks.__anext__()
        except StopAsyncIteration:
            return None
