"""What every wire is: how a kind of provider is asked over HTTP, and what its answers mean.

A wire is pure. It makes paths, headers and bodies, and reads what came; sending, waiting, bounds and errors of the
connection are the engine's (`orchestrator.engines.cloud`), the same for every provider.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import blake2b
from math import isfinite
from typing import Any, Protocol

import orjson

from orchestrator.core.errors import (
    ContextTooLong,
    EngineError,
    EngineUnavailable,
    GenerationFailed,
    OrchestratorError,
    RateLimited,
)
from orchestrator.core.ids import call_id
from orchestrator.core.prices import Price
from orchestrator.core.tokens import size_of, tokens_in
from orchestrator.core.types import (
    JSON,
    ChatRequest,
    Chunk,
    Done,
    Message,
    StopReason,
    TokenLogprob,
    ToolCall,
    Usage,
)
from orchestrator.engines.wires.length import is_about_length
from orchestrator.engines.wires.parameters import is_about_parameter
from orchestrator.engines.wires.standing import is_about_money, is_about_us

MOST_TOOL_CALLS = 128
# Characters of what a provider says of its trouble. Many more than are shown: our key, should it be
# repeated among them, must be whole where it is taken out.
MOST_WORDS = 16_384
LARGEST_COUNT = 2**31
LONGEST_REF = 128
JSON_ASKED = "Answer with one JSON object and nothing around it."
SCHEMA_ASKED = "Answer with one JSON value that fits this JSON Schema, and nothing around it:"
CHATS = frozenset({"completion", "tools", "vision", "thinking"})
EMBEDS = frozenset({"embedding"})
# What providers call too many requests, and trouble of their own, within an answer.
TOO_MANY = {429, "429", "rate_limit_error", "rate_limit_exceeded", "RESOURCE_EXHAUSTED"}
IN_TROUBLE = {*range(500, 600), "overloaded_error", "api_error", "server_error", "UNAVAILABLE", "INTERNAL"}
# A call or JSON that a model wrote in another form than it should have: Groq's, with 400.
NOT_READ = {"tool_use_failed", "json_validate_failed"}
# What reading something that is not as it should be raises.
ODD = (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A question as it is posted."""

    path: str  # appended to the provider's address
    body: dict[str, JSON]
    begun: str = ""  # of the answer, which the provider says again before it goes on


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A model as its provider lists it. What the list does not tell is empty, or what the wire takes for granted."""

    name: str  # the provider's own
    capabilities: frozenset[str] = CHATS
    context_length: int = 0
    most_output: int = 0  # tokens in an answer
    traits: frozenset[str] = frozenset()  # how it wants to be asked, in the words of its wire
    takes: frozenset[str] | None = None  # of a request, where that is not what its wire takes
    version: str = ""  # changes when the model does while its name stays
    modified_at: float = 0.0
    size: int = 0
    family: str = ""
    parameter_size: str = ""
    quantization: str = ""
    price: Price | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a provider says of its refusal."""

    words: str
    is_spoken: bool = True  # in the form that the protocol has for it
    is_about_key: bool = False
    is_about_length: bool = False  # the question's: it needs a model with more room
    is_about_money: bool = False  # none is left in our account, or a limit on what it spends is reached
    is_about_us: bool = False  # where we are, or what our account may use
    is_about_parameter: bool = False  # one that it does not take, if the status is that of a bad request
    is_about_answer: bool = False  # what the model wrote is not what it should be
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """Vectors in the order they were asked for, and the tokens of their texts."""

    vectors: tuple[bytes, ...]  # as `Chunk.vectors` has them
    tokens: int = 0
    cost_microusd: int | None = None  # as the provider itself says
    ref: str = ""  # what it calls this call


class Answer(Protocol):
    """Reads one streamed answer."""

    is_over: bool  # the provider said so; nothing that follows counts
    trouble: OrchestratorError | None  # why no more is read
    usage: Usage  # as far as the provider has told
    writes: bool  # in the last lines a call of a tool went on, of which nothing is passed on yet

    @property
    def about(self) -> int:
        """The tokens of answer that came by now, by estimate."""
        ...

    def so_far(self) -> Usage:
        """What it told, with an estimate of the answer where it did not tell how long that is by now."""
        ...

    @property
    def is_underway(self) -> bool:
        """Whether something of the answer itself came, passed on already or not."""
        ...

    def read(self, lines: Sequence[bytes]) -> list[Chunk]:
        """What the next lines say; up to the trouble, if there is any: that much was said, and is paid for."""
        ...

    def end(self, *, prompt_ns: int, eval_ns: int) -> Chunk:
        """The last chunk. Raises EngineError when the provider never said that it had finished."""
        ...


class Wire(Protocol):
    """A protocol that providers speak."""

    takes: frozenset[str]  # what of a request reaches the provider: options, and `format`, `think`, `raw` …
    takes_for_vectors: frozenset[str]
    listing: str  # path of the list of models
    probe: str  # path that needs our key, where anybody is shown the list; else empty
    tells: bool  # the list says what a model can do, so it is worth waiting for

    def headers(self, key: str) -> dict[str, str]:
        """What goes with every request; `key` is empty where there is none. A key never stands in an address."""
        ...

    def canonical(self, name: str) -> str:
        """The provider's own form of a model's name, so that two ways to write it are one model."""
        ...

    def chat(self, request: ChatRequest, offer: Offer) -> Ask:
        """The question. Raises BadRequest for what cannot be asked."""
        ...

    def answer(self) -> Answer:
        """A reader for the answer to one question."""
        ...

    def embeddings(self, request: ChatRequest, name: str) -> Sequence[Ask]:
        """Questions that bring the vectors of `request.inputs`, in order. Raises Unsupported where there are none."""
        ...

    def vectors(self, body: bytes) -> Vectors:
        """The answer to one of them. Raises EngineError when it is not that."""
        ...

    def offers(self, body: bytes) -> list[Offer]:
        """The list of models. Raises one of `ODD` when it is none."""
        ...

    def guess(self, name: str) -> Offer:
        """What to take for granted of a model that the provider does not list."""
        ...

    def said(self, body: bytes) -> Said:
        """What the body of a refusal says, whatever it is."""
        ...


class Reader:
    """What readers of answers share: an `Answer` whose events are JSON objects, one a line."""

    def __init__(self) -> None:
        self.is_over = False
        self.trouble: OrchestratorError | None = None
        self._reason: StopReason | None = None
        self.usage = Usage()
        self.writes = False
        self._stop_string = ""  # which of the caller's ended it, where the provider tells
        self._pieces = self._size = 0  # of the answer, calls of tools that are being written among it
        self._calls = 0

    @property
    def is_underway(self) -> bool:
        """As in `Answer`."""
        return bool(self._pieces or self._calls)

    @property
    def about(self) -> int:
        """As in `Answer`."""
        return tokens_in(self._size, self._pieces)

    def so_far(self) -> Usage:
        """As in `Answer`."""
        if self.usage.completion_tokens or not self.about:
            return self.usage
        return replace(self.usage, completion_tokens=self.about, is_estimated=True)

    def _is_called(self, ref: object) -> None:
        """The provider names this call."""
        if not self.usage.ref and (known := as_ref(ref)):
            self.usage = replace(self.usage, ref=known)

    def _wrote(self, arguments: str) -> str:
        """A part of the arguments of a call, which is passed on when it is whole."""
        self.writes = self.writes or bool(arguments)
        self._size += size_of(arguments)
        return arguments

    def read(self, lines: Sequence[bytes]) -> list[Chunk]:
        """As in `Answer`."""
        chunks: list[Chunk] = []
        self.writes = False
        for line in lines:
            if self.is_over:
                break
            data = self.data(line)
            if not data:
                continue
            try:
                for chunk in self.take(as_object(data)):
                    chunks.append(chunk)
                    self._pieces += bool(chunk.text or chunk.thinking or chunk.logprobs)
                    self._size += size_of(chunk.text) + size_of(chunk.thinking)
            except (EngineError, ContextTooLong) as error:
                self.trouble = error
                break
            except ODD:
                self.trouble = EngineError("The provider sent an event of an unknown shape.")
                break
        return chunks

    def data(self, line: bytes) -> bytes:
        """The JSON in a line, if it holds any. In server-sent events other fields and comments say nothing."""
        return line[5:].strip() if line.startswith(b"data:") else b""

    def take(self, event: dict[str, Any]) -> Iterable[Chunk]:
        """Read one event. Raises EngineError, or one of `ODD` for an event of an unknown shape."""
        raise NotImplementedError

    def end(self, *, prompt_ns: int, eval_ns: int) -> Chunk:
        """As in `Answer`."""
        if self._reason is None:
            raise EngineError("The provider's answer broke off before its end.")
        usage = replace(
            self.usage,
            prompt_ns=self.usage.prompt_ns or prompt_ns,
            eval_ns=self.usage.eval_ns or eval_ns,
        )
        if not usage.completion_tokens:
            usage = replace(usage, completion_tokens=self.about, is_estimated=True)
        return Chunk(done=Done(reason=self._reason, usage=usage, stop_string=self._stop_string))

    def _called(self, id: object, name: object, arguments: object) -> Chunk:
        """A tool call that is whole. Raises EngineError when it is none, or one too many."""
        if not isinstance(arguments, dict) or not isinstance(name, str) or not name:
            raise EngineError("The provider called a tool with arguments that are not a JSON object.")
        check_depth(arguments)
        self._calls += 1
        if self._calls > MOST_TOOL_CALLS:
            raise EngineError(f"The provider called more than {MOST_TOOL_CALLS} tools at once.")
        known = id if isinstance(id, str) and id else call_id()
        return Chunk(tool_calls=(ToolCall(id=known, name=name, arguments=arguments),))


def moment(stamp: object) -> float:
    """A time as lists of models have it, in seconds since the epoch; 0 for what is none."""
    try:
        return datetime.fromisoformat(stamp).timestamp() if isinstance(stamp, str) else 0.0
    except ValueError:
        return 0.0


def as_object(data: bytes) -> dict[str, Any]:
    """The JSON object in an event. Raises EngineError."""
    try:
        event = orjson.loads(data)
    except ValueError:
        raise EngineError("The provider sent something that is not JSON within its answer.") from None
    if not isinstance(event, dict):
        raise EngineError("The provider sent an event that is no object.")
    return event


def as_text(value: object) -> str:
    """Text where there should be some; nothing is empty text. Raises EngineError."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise EngineError("The provider sent content that is not text.")
    return value


def as_count(value: object) -> int:
    """A number of tokens where it is sane; a negative or absurd one is as good as none."""
    return value if type(value) is int and 0 <= value < LARGEST_COUNT else 0


def as_ref(value: object) -> str:
    """What a provider calls a call, where that can be written down."""
    return value[:LONGEST_REF] if isinstance(value, str) and value.isprintable() else ""


def as_logprob(token: object, logprob: object, spelt: Iterable[int] = ()) -> TokenLogprob:
    """How likely a token was; its bytes are its own where the provider does not spell them. Raises one of `ODD`."""
    text, number = str(token), float(logprob)  # type: ignore[arg-type]  # what is no number raises
    if not isfinite(number):  # some write it as text; JSON has no number for it
        raise ValueError(number)
    return TokenLogprob(
        token=text, logprob=number, bytes=tuple(bytes(int(byte) for byte in spelt or text.encode("utf-8", "replace")))
    )


def check_depth(arguments: object) -> None:
    """Raises EngineError for arguments of a tool that could be read, and could not be written again."""
    try:
        orjson.dumps(arguments)
    except TypeError:  # it reads four times as deep as it writes
        raise EngineError("The provider called a tool with arguments that are too deep.") from None


def broken_off(words: str, *codes: object) -> OrchestratorError:
    """The error that a provider sent within its answer, or in place of it; its codes tell what kind it is."""
    said = f"The provider broke off: {words[:MOST_WORDS]}"
    if is_about_length(words, *codes):  # LM Studio and older servers of llama.cpp find out when they have begun
        return ContextTooLong(said)
    if is_about_money(words, *codes):
        return EngineError(said)
    known = _known(codes)
    if known & NOT_READ:
        return GenerationFailed(said)
    if known & TOO_MANY:
        return RateLimited(said)
    return EngineUnavailable(said) if known & IN_TROUBLE else EngineError(said)


def _known(codes: Iterable[object]) -> set[int | str]:
    return {code for code in codes if isinstance(code, int | str)}


def refusal(
    words: str, *codes: object, param: object = None, is_about_key: bool = False, retry_after_s: float | None = None
) -> Said:
    """What a refusal says in these words, under these codes, whatever wire it came over.

    param  what of the request it names, where the protocol has a place for that.
    """
    return Said(
        words=words,
        is_about_key=is_about_key,
        is_about_length=is_about_length(words, *codes),
        is_about_money=is_about_money(words, *codes),
        is_about_us=is_about_us(words, *codes),
        is_about_parameter=is_about_parameter(words, param, *codes),
        is_about_answer=not NOT_READ.isdisjoint(_known(codes)),
        retry_after_s=retry_after_s,
    )


def plain(body: bytes) -> Said:
    """The words of a body that is not what it should be."""
    words = body.decode(errors="replace")[:MOST_WORDS]
    if words.lstrip().startswith("<"):  # a page, of some server in between
        words = ""
    return replace(refusal(words), is_spoken=False)


def with_call_ids(messages: Sequence[Message]) -> Iterator[Message]:
    """Give ids to tool calls and answers that came without, as Ollama's clients send them: providers match by id.

    An answer is given the name of its tool besides, which the clients of others leave out.
    """
    open_calls: list[ToolCall] = []
    is_calling = False  # some clients send a turn for each of several calls
    for turn, message in enumerate(messages):
        was_calling, is_calling = is_calling, bool(message.tool_calls)
        if message.tool_calls:
            if not was_calling:  # what was not answered by now is answered no more
                open_calls.clear()
            calls = tuple(
                replace(call, id=call.id or _made_id(turn, place)) for place, call in enumerate(message.tool_calls)
            )
            open_calls += calls
            yield replace(message, tool_calls=calls)
        elif message.role == "tool" and open_calls:
            yield _matched(message, open_calls)
        else:
            yield message


def _made_id(turn: int, place: int) -> str:
    """The id of a call that has none, the same whenever this conversation is sent: providers keep how one began."""
    return f"call_{blake2b(f'{turn}/{place}'.encode()).hexdigest()[:8]}"


def _matched(message: Message, open_calls: list[ToolCall]) -> Message:
    """A tool's answer with the id and the name of its call, which is then no longer open; as it is where none fits."""
    if message.tool_call_id:
        fitting = [call for call in open_calls if call.id == message.tool_call_id]
    else:
        fitting = [call for call in open_calls if message.tool_name in ("", call.name)]
    if not fitting:
        return message
    call = fitting[0]
    open_calls.remove(call)
    return replace(message, tool_call_id=call.id, tool_name=message.tool_name or call.name)


def system_text(messages: Sequence[Message]) -> str:
    """What all system messages say, for providers that have one place for it."""
    return "\n\n".join(message.content for message in messages if message.role == "system" and message.content)


def function_of(tool: Mapping[str, JSON]) -> Mapping[str, JSON]:
    """The function that a tool is; what is no function is passed on for the provider to refuse."""
    function = tool.get("function")
    return function if isinstance(function, Mapping) else tool


def form_in_words(format: str | Mapping[str, JSON] | None) -> str:
    """The form of the answer as it is asked for where it cannot be set; empty where there is none."""
    if isinstance(format, Mapping):
        return f"{SCHEMA_ASKED}\n{json.dumps(format)}"
    return JSON_ASKED if format else ""


def picture_kind(image: str) -> str:
    """The media type of a base64 picture, by its first bytes."""
    starts = {"iVBOR": "image/png", "R0lGOD": "image/gif", "UklGR": "image/webp"}
    return next((kind for start, kind in starts.items() if image.startswith(start)), "image/jpeg")
