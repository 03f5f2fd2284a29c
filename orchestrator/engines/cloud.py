"""Providers, whatever protocol they speak: one engine over HTTP, and a wire for each protocol."""

from __future__ import annotations

import hashlib
import json
import logging
from asyncio import Event, Task, create_task, timeout, wait
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any, Protocol

import orjson

from orchestrator.core.clock import Clock
from orchestrator.core.errors import (
    BadRequest,
    ContextTooLong,
    EngineError,
    EngineRefused,
    EngineTimeout,
    EngineUnavailable,
    EngineUnreachable,
    KeyRefused,
    ModelNotFound,
    OrchestratorError,
    RateLimited,
)
from orchestrator.core.types import JSON, ChatRequest, Chunk, Model, Usage
from orchestrator.engines import counts
from orchestrator.engines.lines import bounded, line_batches
from orchestrator.engines.wires import vectors
from orchestrator.engines.wires.base import ODD, Offer, Wire
from orchestrator.outbound.answers import (
    ConnectError,
    ConnectTimeout,
    HTTPError,
    RemoteProtocolError,
    Response,
    TimeoutException,
)
from orchestrator.outbound.connection import Connection

NOTHING: Mapping[str, JSON] = MappingProxyType({})
log = logging.getLogger(__name__)

LONGEST_NAME = 255  # characters, the provider's among them: records hold no more, and a header should not
LISTING_FRESH_S = 300.0
LISTING_DEADLINE_S = 3.0
LISTING_RETRY_S = 30.0
GLANCE_S = 0.25  # what questions wait for the first list; where it stands is not known, and it may never be asked
CHECK_S = 5.0
NOBODY = "The provider"  # what a wire's errors begin with
MOST_LISTING_BYTES = 16 * 1024**2
MOST_BATCHES_AFTER_END = 8
DRAIN_S = 0.1
LONGEST_RETRY_S = 3600.0
REFUSAL_S = 2.0
MOST_REFUSAL_BYTES = 64 * 1024


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


class Account(Protocol):
    """What there is to know of our standing with a provider."""

    @property
    def is_paid(self) -> bool:
        """Whether it charges."""

    @property
    def key_from(self) -> str:
        """Where an operator puts right what is wrong with its key."""

    @property
    def address_from(self) -> str:
        """And with its address."""


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
        self._connection = connection
        self._deadlines = deadlines
        self._clock = clock
        self._most_answer_bytes = most_answer_bytes
        self._wire = wire
        self._account = account
        self._extra_body = extra_body
        self._listing: dict[str, tuple[Offer, Model]] = {}  # by the provider's name, in lower case
        self._listing_now: Task[None] | None = None
        self._list_again_at = float("-inf")
        self._was_listed = False  # or it was tried
        self.is_retired = False
        self._lists = True  # as far as is known: a change is said, once
        self._goes_by_guess_at: float | None = None  # when no question waits for the first list any more
        self._calls = 0  # under way
        self._idle = Event()
        self._idle.set()

    async def chat(self, request: ChatRequest, model: Model) -> AsyncGenerator[Chunk, None]:
        """Yield the answer as the provider streams it. Errors as in `Engine.chat`."""
        if request.inputs is not None:
            with self._under_way():
                yield await self._embed(request, model)
            return
        ask = self._wire.chat(request, self._offer(model.remote_name))
        question = _to_json({**self._extra_body, **ask.body})
        with self._under_way(), self._errors():
            began = self._clock.monotonic()
            async with self._in_time():
                response = await self._connection.send("POST", ask.path, question)
            async with aclosing(response):
                left_s = self._deadlines.first_token_s - (self._clock.monotonic() - began)
                await self._raise_for_status(response, model.name, left_s)
                async for chunk in self._chunks(response, model, counts.most_asked(request, len(question)), began):
                    yield chunk

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

    async def _embed(self, request: ChatRequest, model: Model) -> Chunk:
        """The vectors, in as many calls as the provider takes them in."""
        found: list[bytes] = []
        tokens = size = 0
        costs: list[int | None] = []
        asks = self._wire.embeddings(request, model.remote_name)
        began = self._clock.monotonic()
        with self._errors():
            async with timeout(self._deadlines.answer_s):
                for ask in asks:
                    question = _to_json(ask.body)
                    size += len(question)
                    body = await self._vectors(ask.path, question, model)
                    read = self._wire.vectors(body)
                    found += read.vectors
                    tokens += read.tokens
                    costs.append(read.cost_microusd)
        took_ns = round((self._clock.monotonic() - began) * 1e9)
        if tokens > counts.most_asked(request, size):
            tokens = 0
        known = [cost for cost in costs if cost is not None]
        cost = sum(known) if costs and len(known) == len(costs) else None
        wanted = len(request.inputs or ())
        return vectors.to_chunk(found, wanted, tokens=tokens, took_ns=took_ns, cost_microusd=cost)

    async def _vectors(self, path: str, question: bytes, model: Model) -> bytes:
        """What is answered to one call: it comes whole, so its first token is all of it."""
        async with self._in_time(), aclosing(await self._connection.send("POST", path, question)) as response:
            await self._raise_for_status(response, model.name)
            return b"".join([part async for part in bounded(response, 8 * self._most_answer_bytes)])

    async def _chunks(
        self, response: Response, model: Model, most_asked: int, began: float
    ) -> AsyncGenerator[Chunk, None]:
        answer = self._wire.answer()
        # JSON and framing stand around each token.
        batches = line_batches(response, 8 * self._most_answer_bytes)
        first: float | None = None
        told = answer.usage
        size = pieces = 0

        def plausible(usage: Usage) -> Usage:
            most_answered = counts.most_answered(model, size)
            return counts.plausible(usage, most_asked=most_asked, most_answered=most_answered, pieces=pieces)

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
                pieces += bool(chunk.text or chunk.thinking or chunk.logprobs)
                if answer.usage is not told:  # a caller who hangs up now leaves a record that knows of it
                    told = answer.usage
                    chunk = replace(chunk, usage=plausible(told))
                yield chunk
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
        """What the provider lists.

        Only the first look is waited for, by who wants to see the list; later ones are made beside, and until they
        come the older list holds.
        """
        self.look()
        if self._listing_now and not self._was_listed:
            await wait({self._listing_now})
        return self.known()

    def known(self) -> list[Model]:
        """What it listed when it was last asked."""
        return [model for _, model in self._listing.values()]

    def look(self) -> None:
        """Begin to ask for the list, when it is time to."""
        if self._clock.monotonic() >= self._list_again_at and self._listing_now is None:
            self._listing_now = create_task(self._list())

    async def _glance(self) -> None:
        """Look, and wait a moment for the first list: once, however many questions come in it."""
        self.look()
        if self._listing_now is None or self._was_listed:
            return
        now = self._clock.monotonic()
        if self._goes_by_guess_at is None:
            self._goes_by_guess_at = now + GLANCE_S
        if now < self._goes_by_guess_at:
            await wait({self._listing_now}, timeout=self._goes_by_guess_at - now)

    async def _list(self) -> None:
        fresh_s = LISTING_RETRY_S
        try:
            with self._errors():
                async with timeout(LISTING_DEADLINE_S):
                    data = await self._get(self._wire.listing, "the list of models")
            offers = [offer for offer in self._wire.offers(data) if _can_be_asked(offer.name)]
            self._listing = {self._key(offer.name): (offer, self._model(offer)) for offer in offers}
            fresh_s = LISTING_FRESH_S
            self._say_if_it_lists()
        except (EngineError, ModelNotFound, BadRequest) as error:
            self._say_if_it_lists(str(error))
        except ODD:
            self._say_if_it_lists("it sent something else")
        finally:
            self._list_again_at = self._clock.monotonic() + fresh_s
            self._was_listed = True
            self._listing_now = None

    def _say_if_it_lists(self, why: str = "") -> None:
        """Log when that has changed; `why` it does not, or nothing."""
        if why and self._lists:
            log.warning("%s did not list its models: %s", self.name, why)
        elif not why and not self._lists:
            log.warning("%s lists its models again", self.name)
        self._lists = not why

    async def check(self) -> Check:
        """Ask for the list of models: that costs nothing, and needs address and key to be right.

        Whatever the provider does comes back in words, within `CHECK_S`. What is known of its models stays as it is.
        """
        began = self._clock.monotonic()
        listed = None
        try:
            with self._errors():
                async with timeout(CHECK_S):
                    if self._wire.probe:
                        with suppress(ModelNotFound):  # another server of its kind may not have it
                            await self._get(self._wire.probe, "a word on our key")
                    data = await self._get(self._wire.listing, "a list of models at this address")
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

    async def _get(self, path: str, wanted: str) -> bytes:
        """What it has there. Raises as `_raise_for_status` does, and what a call that left raises."""
        async with aclosing(await self._connection.send("GET", path)) as response:
            await self._raise_for_status(response, wanted)
            return b"".join([part async for part in bounded(response, MOST_LISTING_BYTES)])

    async def find(self, name: str) -> Model | None:
        """The model `provider/name` means; a name the provider does not list is asked for all the same.

        Providers serve models they do not list (aliases, previews), so only they can say no. What the list tells is
        worth a moment of waiting and no more: every question that may go there waits, though others are asked first.
        """
        if len(name) > LONGEST_NAME or not _can_be_asked(name):
            return None
        provider, separator, remote_name = name.partition("/")
        if provider.lower() != self.name or not separator or not remote_name:
            return None
        if self._wire.tells:  # what the model can do, and which version of it answers
            await self._glance()
        key = self._key(remote_name)
        return self._listing[key][1] if key in self._listing else self._model(self._offer(remote_name))

    def _key(self, remote_name: str) -> str:
        return self._wire.canonical(remote_name).lower()

    def _offer(self, remote_name: str) -> Offer:
        """What is known of a model: from the list, or by its name."""
        key = self._key(remote_name)
        return self._listing[key][0] if key in self._listing else self._wire.guess(self._wire.canonical(remote_name))

    def _model(self, offer: Offer) -> Model:
        name = f"{self.name}/{offer.name}"
        identity = f"{self._connection.address}\n{name}" + (f"\n{offer.version}" if offer.version else "")
        if self._extra_body:  # another routing is another model
            identity += "\n" + json.dumps(dict(self._extra_body), sort_keys=True)
        return Model(
            name=name,
            digest=hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest(),
            engine=self.name,
            capabilities=offer.capabilities,
            takes=self._wire.takes if "completion" in offer.capabilities else self._wire.takes_for_vectors,
            is_paid=self._account.is_paid,
            price=offer.price,
            remote_name=offer.name,
            family=offer.family or self.name,
            size=offer.size,
            modified_at=offer.modified_at,
            parameter_size=offer.parameter_size,
            quantization=offer.quantization,
            context_length=offer.context_length,
        )

    @property
    def _advice(self) -> str:
        return f"is {self._account.address_from} right?"

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

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Errors of the way there become EngineError or EngineTimeout; and no error passes that holds our key."""
        try:
            yield
        except OrchestratorError as error:
            words = self._connection.shown(str(error))
            if words.startswith(NOBODY):  # a wire does not know whose words it reads
                words = self.name + words.removeprefix(NOBODY)
            error.args = (words,)
            raise
        except (ConnectError, ConnectTimeout):  # the transport says timeout for a refusal, too
            advice = f"is {self._account.address_from} right, and is it running?"
            raise EngineUnreachable(f"{self.name} could not be reached: {advice}") from None
        except (TimeoutException, TimeoutError):
            raise EngineTimeout(f"{self.name} did not answer in time.") from None
        except RemoteProtocolError:
            raise EngineError(f"{self.name} sent what is no HTTP; {self._advice}") from None
        except HTTPError as error:
            raise EngineError(f"The connection to {self.name} broke off: {type(error).__name__}.") from None

    async def _raise_for_status(self, response: Response, wanted: str, left_s: float = REFUSAL_S) -> None:
        if response.status_code == 200:
            if _is_packed(response):
                raise EngineError(f"{self.name} packed its answer, which it was asked not to.")
            if response.headers.get("Content-Type", "").lower().startswith("text/html"):
                raise EngineError(f"{self.name} sent a page in place of an answer; {self._advice}")
            return
        status = response.status_code
        said = self._wire.said(await self._refusal(response, left_s))
        if status == 401 or said.is_about_key:
            advice = f"ask your operator to check {self._account.key_from}"
            raise KeyRefused(f"{self.name} refused our key (HTTP {status}); {advice}.")
        words = f": {said.words}" if said.words else "."
        if status == 402:  # until somebody pays: trying again is of no use
            raise EngineError(f"{self.name} wants to be paid first (HTTP 402); ask your operator to do that{words}")
        if status == 403:  # a region, a model that the account may not use, a rule: only the words tell
            raise EngineRefused(f"{self.name} refused this to us (HTTP 403){words}")
        if status == 404 and not said.is_spoken:  # a model that is not there would be told in its own form
            raise EngineError(f"{self.name} has no such address (HTTP 404); {self._advice}")
        if status == 404:
            raise ModelNotFound(f"{self.name} does not have {wanted}{words}")
        if status in {400, 413, 422}:
            refused = ContextTooLong if said.is_about_length or status == 413 else BadRequest
            raise refused(f"{self.name} refused the request{words}")
        retry_after_s = _retry_after(response.headers.get("Retry-After", "")) or _bounded(said.retry_after_s)
        kind = RateLimited if status == 429 else EngineUnavailable if status >= 500 else EngineError
        raise kind(f"{self.name} answered HTTP {status}{words}", retry_after_s=retry_after_s)

    async def _refusal(self, response: Response, left_s: float) -> bytes:
        """The body of a refusal, or what came of it soon, cut where it is too long: the status alone says enough."""
        body = b""
        if _is_packed(response):
            return body
        with suppress(TimeoutError, HTTPError):
            async with timeout(min(REFUSAL_S, left_s)):
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) >= MOST_REFUSAL_BYTES:
                        break
        return body[:MOST_REFUSAL_BYTES]

    async def retire(self) -> None:
        """Close the connections when the last call under way has ended. Nobody begins another."""
        await self._idle.wait()
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        if self._listing_now:
            self._listing_now.cancel()
        await self._connection.aclose()


def _can_be_asked(name: str) -> bool:
    """Whether a model may be called so: other letters could make it look like another, or move a terminal."""
    return name.isascii() and name.isprintable()


def _is_packed(response: Response) -> bool:
    """Whether a body could be any length when it is unpacked: that is only known once it is."""
    return response.headers.get("Content-Encoding", "").lower() not in {"", "identity"}


def _retry_after(header: str) -> float | None:
    """Seconds to wait, as RFC 9110 writes them: a number or a date; None for nonsense."""
    if header.isascii() and header.isdigit():
        seconds = float(header)
    else:
        try:
            seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return _bounded(seconds)


def _bounded(seconds: float | None) -> float | None:
    return None if seconds is None else min(max(seconds, 1.0), LONGEST_RETRY_S)


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
