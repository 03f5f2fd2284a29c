"""Providers that speak the OpenAI chat protocol."""

from __future__ import annotations

import hashlib
import json
import logging
from asyncio import Task, create_task, timeout, wait
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import count
from math import isfinite
from typing import Any

import httpx
import orjson

from orchestrator.core.clock import Clock
from orchestrator.core.errors import BadRequest, EngineError, EngineTimeout, ModelNotFound, RateLimited
from orchestrator.core.types import (
    ChatRequest,
    Chunk,
    Done,
    Message,
    Model,
    StopReason,
    TokenLogprob,
    ToolCall,
    Usage,
)
from orchestrator.engines import embeddings
from orchestrator.engines.connection import Connection
from orchestrator.engines.lines import bounded, line_batches

log = logging.getLogger(__name__)
_CHATS = frozenset({"completion", "tools", "vision", "thinking"})
_EMBEDS = frozenset({"embedding"})

LONGEST_NAME = 255  # characters, the provider's among them: records hold no more, and a header should not
LISTING_FRESH_S = 300.0
LISTING_DEADLINE_S = 3.0
LISTING_RETRY_S = 30.0
MOST_LISTING_BYTES = 16 * 1024**2
MOST_TOOL_CALLS = 128
MOST_BATCHES_AFTER_END = 8
DRAIN_S = 0.1
LONGEST_RETRY_S = 3600.0

# Ours → theirs. What has no counterpart there (top_k, num_ctx …) is not asked for: see `TAKES`.
OPTIONS = {
    "num_predict": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
    "stop": "stop",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}
# A provider never cuts a question, and never forgets a part of it meanwhile: `truncate` and `shift` can only be off.
TAKES = frozenset({*OPTIONS, "format", "effort", "logprobs", "top_logprobs", "truncate", "shift"})
TAKES_FOR_VECTORS = frozenset({"truncate"})


# What a provider says of the end; anything else is an end like any other.
REASONS: dict[str, StopReason] = {"length": "length", "content_filter": "content_filter"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long to wait for a provider, in seconds."""

    connect_s: float
    first_token_s: float
    token_s: float
    answer_s: float


class CloudEngine:
    """A provider reached over HTTP. Key and address live in the connection it is handed."""

    def __init__(
        self, name: str, connection: Connection, deadlines: Deadlines, clock: Clock, most_answer_bytes: int
    ) -> None:
        self.name = name
        self._connection = connection
        self._deadlines = deadlines
        self._clock = clock
        self._most_answer_bytes = most_answer_bytes
        self._listing: dict[str, Model] = {}
        self._listing_now: Task[None] | None = None
        self._list_again_at = float("-inf")
        self._was_listed = False  # or it was tried

    async def chat(self, request: ChatRequest, model: Model) -> AsyncGenerator[Chunk, None]:
        """Yield the answer as the provider streams it. Errors as in `Engine.chat`."""
        if request.inputs is not None:
            yield await self._embed(request, model)
            return
        question = _to_json(to_wire(request, model.remote_name))
        with engine_errors(self.name):
            async with timeout(self._deadlines.first_token_s):
                response = await self._connection.send("POST", "chat/completions", question)
            async with aclosing(response):
                await _raise_for_status(response, self.name, model.name)
                async for chunk in self._chunks(response):
                    yield chunk

    async def _embed(self, request: ChatRequest, model: Model) -> Chunk:
        question = _to_json(embeddings.to_wire(request, model.remote_name))
        began = self._clock.monotonic()
        with engine_errors(self.name):
            async with timeout(self._deadlines.answer_s):
                async with timeout(self._deadlines.first_token_s):
                    response = await self._connection.send("POST", "embeddings", question)
                async with aclosing(response):
                    await _raise_for_status(response, self.name, model.name)
                    body = b"".join([part async for part in bounded(response, 8 * self._most_answer_bytes)])
        took_ns = round((self._clock.monotonic() - began) * 1e9)
        return embeddings.to_chunk(body, len(request.inputs or ()), took_ns=took_ns)

    async def _chunks(self, response: httpx.Response) -> AsyncGenerator[Chunk, None]:
        answer = WireAnswer()
        # JSON and framing stand around each token.
        batches = line_batches(response, 8 * self._most_answer_bytes)
        began = self._clock.monotonic()
        first: float | None = None
        while not answer.is_over:
            # A deadline for each wait, not one around all: an asyncio timeout must not span a yield. And
            # not `wait_for`, which loses a cancellation that comes together with the lines.
            wait_s = self._deadlines.first_token_s if first is None else self._deadlines.token_s
            left_s = self._deadlines.answer_s - (self._clock.monotonic() - began)
            try:
                async with timeout(min(wait_s, left_s)):
                    lines = await anext(batches, None)
            except TimeoutError:
                raise EngineTimeout(
                    f"{self.name} sent nothing more within {min(wait_s, max(left_s, 0)):g} s."
                ) from None
            if lines is None:
                break
            for chunk in answer.read(lines):
                first = first or self._clock.monotonic()
                yield chunk
            if answer.trouble:
                raise answer.trouble
        if answer.is_over:
            await _drain(batches)
        now = self._clock.monotonic()
        yield answer.end(prompt_ns=round(((first or now) - began) * 1e9), eval_ns=round((now - (first or now)) * 1e9))

    async def models(self) -> list[Model]:
        """What the provider lists.

        Only the first look is waited for; later ones are made beside, and until they come the older list holds.
        """
        self.look()
        if self._listing_now and not self._was_listed:
            await wait({self._listing_now})
        return list(self._listing.values())

    def look(self) -> None:
        """Begin to ask for the list, when it is time to."""
        if self._clock.monotonic() >= self._list_again_at and self._listing_now is None:
            self._listing_now = create_task(self._list())

    async def _list(self) -> None:
        fresh_s = LISTING_RETRY_S
        try:
            with engine_errors(self.name):
                async with (
                    timeout(LISTING_DEADLINE_S),
                    aclosing(await self._connection.send("GET", "models")) as response,
                ):
                    await _raise_for_status(response, self.name, "the list of models")
                    data = b"".join([part async for part in bounded(response, MOST_LISTING_BYTES)])
            listing = orjson.loads(data)
            names = [entry["id"] for entry in listing["data"] if isinstance(entry.get("id"), str)]
            self._listing = {name.lower(): self._model(name) for name in names}
            fresh_s = LISTING_FRESH_S
        except (EngineError, ModelNotFound, BadRequest, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s did not list its models: %s", self.name, error or type(error).__name__)
        finally:
            self._list_again_at = self._clock.monotonic() + fresh_s
            self._was_listed = True
            self._listing_now = None

    async def find(self, name: str) -> Model | None:
        """The model `provider/name` means; a name the provider does not list is asked for all the same.

        Providers serve models they do not list (aliases, previews), so only they can say no.
        """
        if len(name) > LONGEST_NAME:
            return None
        provider, separator, remote_name = name.partition("/")
        if provider.lower() != self.name or not separator or not remote_name:
            return None
        return self._listing.get(remote_name.lower()) or self._model(remote_name)

    def _model(self, remote_name: str) -> Model:
        name = f"{self.name}/{remote_name}"
        embeds = "embed" in remote_name.lower()  # providers do not say which is which, but all name theirs so
        return Model(
            name=name,
            digest=hashlib.sha256(f"{self._connection.address}\n{name}".encode()).hexdigest(),
            engine=self.name,
            capabilities=_EMBEDS if embeds else _CHATS,
            takes=TAKES_FOR_VECTORS if embeds else TAKES,
            is_paid=True,
            remote_name=remote_name,
            family=self.name,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        if self._listing_now:
            self._listing_now.cancel()
        await self._connection.aclose()


@contextmanager
def engine_errors(name: str) -> Iterator[None]:
    """Turn what httpx raises into EngineError or EngineTimeout."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout):  # the transport says timeout for a refusal, too
        raise EngineError(f"{name} could not be reached.") from None
    except (httpx.TimeoutException, TimeoutError):
        raise EngineTimeout(f"{name} did not answer in time.") from None
    except httpx.HTTPError as error:
        raise EngineError(f"The connection to {name} broke off: {type(error).__name__}.") from None


async def _raise_for_status(response: httpx.Response, provider: str, wanted: str) -> None:
    if response.status_code == 200:
        return
    said = _said(b"".join([part async for part in bounded(response, 64 * 1024)]))
    if response.status_code == 404:
        raise ModelNotFound(f"{provider} does not have {wanted}: {said}")
    if response.status_code in {400, 413, 422}:
        raise BadRequest(f"{provider} refused the request: {said}")
    if response.status_code in {401, 403}:
        raise EngineError(f"{provider} refused our key (HTTP {response.status_code}); ask your operator.")
    retry_after_s = _retry_after(response.headers.get("Retry-After", ""))
    if response.status_code == 429:
        raise RateLimited(f"{provider} answered HTTP 429: {said}", retry_after_s=retry_after_s)
    raise EngineError(f"{provider} answered HTTP {response.status_code}: {said}", retry_after_s=retry_after_s)


def _retry_after(header: str) -> float | None:
    """Seconds to wait, as RFC 9110 writes them: a number or a date; None for nonsense."""
    if header.isascii() and header.isdigit():
        seconds = float(header)
    else:
        try:
            seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(max(seconds, 1.0), LONGEST_RETRY_S)


def _said(body: bytes) -> str:
    """The provider's own words, shortened; providers echo keys only in 401 and 403, which never come here."""
    try:
        error = orjson.loads(body)["error"]
        words = error["message"] if isinstance(error, dict) else error
    except (ValueError, KeyError, TypeError):
        words = body.decode(errors="replace")
    return str(words)[:300]


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


def to_wire(request: ChatRequest, remote_name: str) -> dict[str, Any]:
    """The request as the provider takes it."""
    body: dict[str, Any] = {
        "model": remote_name,
        "messages": [message_to_wire(message) for message in _with_call_ids(request.messages)],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    for ours, theirs in OPTIONS.items():
        if ours in request.options and not (ours == "num_predict" and request.cap is None):
            body[theirs] = request.options[ours]
    if request.tools:
        body["tools"] = list(request.tools)
    if request.format == "json":
        body["response_format"] = {"type": "json_object"}
    elif request.format:
        schema = {"name": "answer", "schema": request.format, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if isinstance(request.think, str):
        body["reasoning_effort"] = {"max": "high"}.get(request.think, request.think)
    if request.logprobs:
        body["logprobs"] = True
        body["top_logprobs"] = request.top_logprobs
    return body


def _with_call_ids(messages: Sequence[Message]) -> Iterator[Message]:
    """Give ids to tool calls and answers that came without, as Ollama's clients send them: providers match by id."""
    open_calls: list[ToolCall] = []
    made = count()
    for message in messages:
        if message.tool_calls:
            calls = tuple(replace(call, id=call.id or f"call_{next(made):08d}") for call in message.tool_calls)
            open_calls += calls
            yield replace(message, tool_calls=calls)
        elif message.role == "tool" and not message.tool_call_id and open_calls:
            answered = next((call for call in open_calls if call.name == message.tool_name), open_calls[0])
            open_calls.remove(answered)
            yield replace(message, tool_call_id=answered.id)
        else:
            yield message


def message_to_wire(message: Message) -> dict[str, Any]:
    """One turn as the provider takes it."""
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.images:
        wire["content"] = [{"type": "text", "text": message.content}] + [
            {"type": "image_url", "image_url": {"url": f"data:{_mime(image)};base64,{image}"}}
            for image in message.images
        ]
    if message.tool_calls:
        wire["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
            }
            for call in message.tool_calls
        ]
    if message.role == "tool":
        wire["tool_call_id"] = message.tool_call_id
    return wire


def _mime(image: str) -> str:
    """The kind of a base64 picture, by its first bytes."""
    starts = {"iVBOR": "image/png", "R0lGOD": "image/gif", "UklGR": "image/webp"}
    return next((mime for start, mime in starts.items() if image.startswith(start)), "image/jpeg")


class WireAnswer:
    """Reads one streamed answer, event by event."""

    def __init__(self) -> None:
        self.is_over = False  # the provider said so
        self.trouble: EngineError | None = None  # why no more is read
        self._reason: StopReason | None = None
        self._usage = Usage()
        self._calls: dict[int, dict[str, str]] = {}
        self._pieces = 0

    def read(self, lines: Sequence[bytes]) -> list[Chunk]:
        """What the next lines say; up to the trouble, if there is any: that much was said, and is paid for."""
        chunks = []
        for line in lines:
            if not line.startswith(b"data:"):  # comments keep the connection alive; other fields say nothing
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                self.is_over = True
                break
            try:
                chunk = self.take(data)
            except EngineError as error:
                self.trouble = error
                break
            if chunk:
                chunks.append(chunk)
        return chunks

    def take(self, data: bytes) -> Chunk | None:
        """Read one event; None when it holds nothing to pass on. Raises EngineError on nonsense."""
        try:
            event = orjson.loads(data)
        except ValueError:
            raise EngineError("The provider sent something that is not JSON within its answer.") from None
        if not isinstance(event, dict):
            raise EngineError("The provider sent an event that is no object.")
        if event.get("error"):
            raise EngineError(f"The provider broke off: {_said(data)}")
        self._usage = _usage(event.get("usage")) or self._usage
        try:
            choice = (event.get("choices") or [{}])[0]
            delta = choice.get("delta") or {}
            self._take_reason(choice.get("finish_reason"))
            self._take_calls(delta.get("tool_calls") or [])
            logprobs = _logprobs(choice.get("logprobs"))
            text = delta.get("content") or ""
            thinking = delta.get("reasoning") or delta.get("reasoning_content") or ""
        except (AttributeError, TypeError, KeyError, IndexError, ValueError, OverflowError):
            raise EngineError("The provider sent an event of an unknown shape.") from None
        if not isinstance(text, str) or not isinstance(thinking, str):
            raise EngineError("The provider sent content that is not text.")
        if not text and not thinking and not logprobs:
            return None
        self._pieces += 1
        return Chunk(text=text, thinking=thinking, logprobs=logprobs)

    def _take_reason(self, reason: object) -> None:
        if reason is not None:
            self._reason = REASONS.get(str(reason), "stop")

    def _take_calls(self, calls: list[dict[str, Any]]) -> None:
        for place, part in enumerate(calls):
            call = self._calls.setdefault(int(part.get("index", place)), {"id": "", "name": "", "arguments": ""})
            if len(self._calls) > MOST_TOOL_CALLS:
                raise EngineError(f"The provider called more than {MOST_TOOL_CALLS} tools at once.")
            function = part.get("function") or {}
            call["id"] = str(part.get("id") or call["id"])
            call["name"] += function.get("name") or ""
            call["arguments"] += function.get("arguments") or ""

    def end(self, *, prompt_ns: int, eval_ns: int) -> Chunk:
        """The last chunk. Raises EngineError when the provider never said that it had finished."""
        if self._reason is None:
            raise EngineError("The provider's answer broke off before its end.")
        usage = replace(self._usage, prompt_ns=prompt_ns, eval_ns=eval_ns)
        if not usage.completion_tokens:  # providers send about one token a piece
            usage = replace(usage, completion_tokens=self._pieces, is_estimated=True)
        return Chunk(tool_calls=self._tool_calls(), done=Done(reason=self._reason, usage=usage))

    def _tool_calls(self) -> tuple[ToolCall, ...]:
        calls = []
        for place, call in sorted(self._calls.items()):
            try:
                arguments = orjson.loads(call["arguments"] or "{}")
            except ValueError:
                arguments = None
            if not isinstance(arguments, dict) or not call["name"]:
                raise EngineError("The provider called a tool with arguments that are not a JSON object.")
            try:
                orjson.dumps(arguments)
            except TypeError:  # it reads four times as deep as it writes
                raise EngineError("The provider called a tool with arguments that are too deep.") from None
            calls.append(ToolCall(id=call["id"] or f"call_{place:08d}", name=call["name"], arguments=arguments))
        return tuple(calls)


def _logprobs(wire: Any) -> tuple[TokenLogprob, ...]:
    return tuple(
        replace(_logprob(token), top=tuple(_logprob(other) for other in token.get("top_logprobs") or ()))
        for token in (wire or {}).get("content") or ()
    )


def _logprob(wire: dict[str, Any]) -> TokenLogprob:
    token, logprob = str(wire["token"]), float(wire["logprob"])
    if not isfinite(logprob):  # some write it as text; JSON has no number for it
        raise ValueError(logprob)
    spelt = bytes(int(byte) for byte in wire.get("bytes") or token.encode("utf-8", "replace"))
    return TokenLogprob(token=token, logprob=logprob, bytes=tuple(spelt))


def _usage(wire: object) -> Usage | None:
    """Token counts where they are sane; a negative or absurd count is as good as none."""
    if not isinstance(wire, dict):
        return None
    counts = [wire.get("prompt_tokens"), wire.get("completion_tokens")]
    prompt, completion = (n if type(n) is int and 0 <= n < 2**31 else 0 for n in counts)
    return Usage(prompt_tokens=prompt, completion_tokens=completion)
