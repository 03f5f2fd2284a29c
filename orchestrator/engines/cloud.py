"""Providers, whatever protocol they speak: one engine over HTTP, and a wire for each protocol."""

from __future__ import annotations

import json
from asyncio import Event, timeout
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import orjson

from orchestrator.core.clock import Clock
from orchestrator.core.errors import BadRequest, EngineError, EngineTimeout, ModelNotFound, OrchestratorError
from orchestrator.core.tokens import tokens_in
from orchestrator.core.types import JSON, ChatRequest, Chunk, Model, Usage
from orchestrator.engines import counts
from orchestrator.engines.lines import bounded, line_batches
from orchestrator.engines.listing import Listing
from orchestrator.engines.remote import Account, Remote
from orchestrator.engines.wires import vectors
from orchestrator.engines.wires.base import ODD, Wire
from orchestrator.engines.wires.begun import Begun
from orchestrator.outbound.answers import Response
from orchestrator.outbound.connection import Connection

NOTHING: Mapping[str, JSON] = MappingProxyType({})
CHECK_S = 5.0
MOST_BATCHES_AFTER_END = 8
DRAIN_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long to wait for a provider, in seconds."""

    connect_s: float
    first_token_s: float
    token_s: float
    answer_s: float
    # Where an operator changes them.
    first_token_from: str = "ORCHESTRATOR_FIRST_TOKEN_TIMEOUT_S"  # noqa: S105  # tokens of text
    token_from: str = "ORCHESTRATOR_TOKEN_TIMEOUT_S"  # noqa: S105
    answer_from: str = "ORCHESTRATOR_ANSWER_TIMEOUT_S"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What came of a look at a provider."""

    is_ok: bool
    took_s: float
    words: str  # how it is, to be said after its name
    listed: int | None = None  # models


class CloudEngine:
    """A provider reached over HTTP. Key and address live in the connection it is handed."""

    def __init__(
        self,
        name: str,
        connection: Connection,
        deadlines: Deadlines,
        clock: Clock,
        most_answer_bytes: int,
        wire: Wire,
        account: Account,
        extra_body: Mapping[str, JSON] = NOTHING,
    ) -> None:
        """Who is asked, and how.

        extra_body  goes with every question to chat, beside what the wire says and never in place of it.
        """
        self.name = name
        self.is_retired = False
        self._remote = Remote(name, connection, wire, account)
        self._listing = Listing(self._remote, clock, extra_body)
        self._wire = wire
        self._deadlines = deadlines
        self._clock = clock
        self._most_answer_bytes = most_answer_bytes
        self._extra_body = extra_body
        self._calls = 0  # under way
        self._idle = Event()
        self._idle.set()

    async def chat(self, request: ChatRequest, model: Model) -> AsyncGenerator[Chunk, None]:
        """Yield the answer as the provider streams it. Errors as in `Engine.chat`."""
        if request.inputs is not None:
            with self._under_way():
                async for chunk in self._embed(request, model):
                    yield chunk
            return
        ask = self._wire.chat(request, self._listing.offer(model.remote_name))
        question = _to_json({**self._extra_body, **ask.body})
        with self._under_way(), self._remote.errors():
            began = self._clock.monotonic()
            async with self._in_time():
                response = await self._remote.connection.send("POST", ask.path, question)
            async with aclosing(response):
                left_s = self._deadlines.first_token_s - (self._clock.monotonic() - began)
                await self._remote.raise_for_status(response, model.name, left_s)
                try:
                    begun = Begun(ask.begun)
                    async for chunk in self._chunks(response, model, counts.most_asked(request, len(question)), began):
                        yield begun.without(chunk)
                except OrchestratorError as error:  # whatever its kind: it was at work by then
                    error.has_made = True
                    raise

    @asynccontextmanager
    async def _in_time(self) -> AsyncGenerator[None, None]:
        """Allow what is awaited within it the time to a first token. Nothing may be yielded meanwhile."""
        limit_s = self._deadlines.first_token_s
        try:
            async with timeout(limit_s):
                yield
        except TimeoutError:
            raise EngineTimeout(
                f"{self.name} did not answer within {limit_s:g} s ({self._deadlines.first_token_from})."
            ) from None

    async def _embed(self, request: ChatRequest, model: Model) -> AsyncGenerator[Chunk, None]:
        """The vectors, in as many calls as the provider takes them in; before each, what there is to be paid with it.

        Where a later one fails, the earlier ones were made.
        """
        found: list[bytes] = []
        size = 0
        paid = Usage(cost_microusd=0)
        asks = self._wire.embeddings(request, model.remote_name)
        began = self._clock.monotonic()
        for ask in asks:
            question = _to_json(ask.body)
            size += len(question)
            if len(asks) > 1:
                with_it = paid.prompt_tokens + tokens_in(len(question))
                yield Chunk(usage=replace(paid, prompt_tokens=with_it, is_estimated=True, cost_microusd=None))
            try:
                with self._remote.errors():
                    async with timeout(self._deadlines.answer_s - (self._clock.monotonic() - began)):
                        read = self._wire.vectors(await self._vectors(ask.path, question, model))
            except OrchestratorError as error:
                if error.has_made is False and len(asks) > 1:
                    error.has_made = bool(found)
                    yield Chunk(usage=paid if found else Usage())
                raise
            found += read.vectors
            cost = paid.cost_microusd
            paid = replace(
                paid,
                prompt_tokens=paid.prompt_tokens + read.tokens,
                cost_microusd=None if cost is None or read.cost_microusd is None else cost + read.cost_microusd,
                ref=read.ref or paid.ref,
            )
        usage = replace(paid, prompt_ns=round((self._clock.monotonic() - began) * 1e9))
        if not asks:
            usage = replace(usage, cost_microusd=None)
        usage = counts.plausible(
            usage,
            most_asked=counts.most_asked(request, size),
            most_answered=0,
            about=0,
            is_paid=model.is_paid,
        )
        yield vectors.to_chunk(found, len(request.inputs or ()), usage)

    async def _vectors(self, path: str, question: bytes, model: Model) -> bytes:
        """What is answered to one call: it comes whole, so its first token is all of it."""
        async with self._in_time(), aclosing(await self._remote.connection.send("POST", path, question)) as response:
            await self._remote.raise_for_status(response, model.name)
            return b"".join([part async for part in bounded(response, 8 * self._most_answer_bytes)])

    async def _chunks(
        self, response: Response, model: Model, most_asked: int, began: float
    ) -> AsyncGenerator[Chunk, None]:
        answer = self._wire.answer()
        # JSON and framing stand around each token.
        batches = line_batches(response, 8 * self._most_answer_bytes)
        first: float | None = None
        told = answer.usage
        size = 0

        def plausible(usage: Usage) -> Usage:
            most_answered = counts.most_answered(model, size)
            return counts.plausible(
                usage,
                most_asked=most_asked,
                most_answered=most_answered,
                about=answer.about,
                is_paid=model.is_paid,
            )

        while not answer.is_over:
            # A deadline for each wait, not one around all: an asyncio timeout must not span a yield. And
            # not `wait_for`, which loses a cancellation that comes together with the lines.
            left_s, limit = self._patience(self._clock.monotonic() - began, is_underway=answer.is_underway)
            try:
                async with timeout(max(left_s, 0)):
                    lines = await anext(batches, None)
            except TimeoutError:
                raise EngineTimeout(f"{self.name} {limit}.") from None
            if lines is None:
                break
            size += sum(map(len, lines))
            for chunk in answer.read(lines):
                first = first or self._clock.monotonic()
                if answer.usage is not told:  # a caller who hangs up now leaves a record that knows of it
                    told = answer.usage
                    chunk = replace(chunk, usage=plausible(told))
                yield chunk
            if answer.usage is not told or answer.writes:  # a call of a tool is passed on when it is whole
                told = answer.usage
                yield Chunk(usage=plausible(answer.so_far()))
            if answer.trouble:
                raise answer.trouble
        if answer.is_over:
            await _drain(batches)
        now = self._clock.monotonic()
        end = answer.end(prompt_ns=round(((first or now) - began) * 1e9), eval_ns=round((now - (first or now)) * 1e9))
        assert end.done is not None
        yield replace(end, done=replace(end.done, usage=plausible(end.done.usage)))

    def _patience(self, spent_s: float, *, is_underway: bool) -> tuple[float, str]:
        """How long to wait for more of an answer, and what to say when nothing comes.

        To its first word all waiting since it was asked counts together, that for the head as well: comments and
        pings must not hold a caller for ever.
        """
        most = self._deadlines
        if most.answer_s - spent_s < (most.token_s if is_underway else most.first_token_s - spent_s):
            words = f"did not finish within {most.answer_s:g} s ({most.answer_from})"
            return most.answer_s - spent_s, words
        if is_underway:
            return most.token_s, f"sent nothing more within {most.token_s:g} s ({most.token_from})"
        words = f"did not begin to answer within {most.first_token_s:g} s ({most.first_token_from})"
        return most.first_token_s - spent_s, words

    async def models(self) -> list[Model]:
        """What the provider lists. The first list is waited for."""
        return await self._listing.models()

    def known(self) -> list[Model]:
        """What it listed when it was last asked."""
        return self._listing.known()

    def look(self) -> None:
        """Begin to ask for the list, when it is time to."""
        self._listing.look()

    def name_of(self, remote_name: str) -> str:
        """What a model of it is called here, however the provider's name is written."""
        return f"{self.name}/{self._remote.wire.canonical(remote_name)}"

    async def find(self, name: str) -> Model | None:
        """The model `provider/name` means; a name the provider does not list is asked for all the same."""
        return await self._listing.find(name)

    async def check(self) -> Check:
        """Ask for the list of models: that costs nothing, and needs address and key to be right.

        Whatever the provider does comes back in words, within `CHECK_S`. What is known of its models stays as it is.
        """
        began = self._clock.monotonic()
        listed = None
        try:
            with self._remote.errors():
                async with timeout(CHECK_S):
                    if self._wire.probe:
                        with suppress(ModelNotFound):  # another server of its kind may not have it
                            await self._remote.get(self._wire.probe, "a word on our key")
                    data = await self._remote.get(self._wire.listing, "a list of models at this address")
            listed = len(self._wire.offers(data))
            words = f"lists {listed:,} {'model' if listed == 1 else 'models'}"
        except EngineTimeout:
            words = f"did not answer within {CHECK_S:g} s"
        except (EngineError, ModelNotFound, BadRequest) as error:
            said = str(error).removeprefix(f"{self.name} ").replace("ask your operator to ", "")  # it is they who look
            words = " ".join(said.split()).rstrip(".")
        except ODD:
            words = "sent something that is no list of models"
        took_s = self._clock.monotonic() - began
        return Check(is_ok=listed is not None, took_s=took_s, words=words, listed=listed)

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        """Keep the connections open meanwhile."""
        self._calls += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()

    async def retire(self) -> None:
        """Close the connections when the last call under way has ended. Nobody begins another."""
        await self._idle.wait()
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        self._listing.close()
        await self._remote.connection.aclose()


async def _drain(batches: AsyncIterator[list[bytes]]) -> None:
    """Read what little follows the end, or the connection could not be used again; what is more is not waited for."""
    with suppress(TimeoutError, EngineError):
        async with timeout(DRAIN_S):
            for _ in range(MOST_BATCHES_AFTER_END):
                if await anext(batches, None) is None:
                    return


def _to_json(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:  # numbers over 64 bits, lone surrogates: what JSON holds and orjson does not
        return json.dumps(body, separators=(",", ":")).encode()
