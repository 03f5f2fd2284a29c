"""What travels through the orchestrator: a request, the chunks that answer it, who asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from orchestrator.core import permissions
from orchestrator.core.budgets import Budget
from orchestrator.core.errors import EngineError
from orchestrator.core.limits import Limit, Network, is_named, network_of
from orchestrator.core.permissions import NOBODY, Permission, Reach, reach_of
from orchestrator.core.prices import Price
from orchestrator.core.turns import Turn

Role = Literal["system", "user", "assistant", "tool"]
Dialect = Literal["ollama", "openai", "anthropic"]
StopReason = Literal["stop", "length", "content_filter", "load", "unload"]
JSON = Any  # a value that json can hold


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A function the model wants called, with its arguments as an object."""

    id: str
    name: str
    arguments: Mapping[str, JSON]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str = ""
    thinking: str = ""
    images: tuple[str, ...] = ()  # base64
    tool_calls: tuple[ToolCall, ...] = ()
    tool_name: str = ""
    tool_call_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheControl:
    """What the caller allows the cache to do (RFC 9111 request directives)."""

    read: bool = True  # False: no-cache or no-store
    write: bool = True  # False: no-store
    max_age_s: float | None = None  # an older answer does not count
    only_if_cached: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One question, whichever dialect it came in.

    Exactly one of `messages`, `prompt` and `inputs` carries the question. `prompt` is text for the model
    as it stands, with no chat template around it; for each of `inputs` a vector is wanted. With a `suffix`
    the only message is what comes before the text that is wanted, and the suffix what comes after. `options`
    holds only what the caller set, by its Ollama name (`num_predict` is the cap on the answer's length,
    in tokens), so that "unset" is the same in every dialect.
    """

    model: str  # as the caller wrote it
    messages: tuple[Message, ...] = ()
    prompt: str | None = None
    suffix: str = ""
    template: str = ""  # in place of the model's own, in Go's template language
    inputs: tuple[str, ...] | None = None
    context: tuple[int, ...] = ()  # token ids that go before, from an earlier answer
    tools: tuple[Mapping[str, JSON], ...] = ()
    format: str | Mapping[str, JSON] | None = None  # "json", or a JSON Schema
    think: bool | str | None = None
    options: Mapping[str, JSON] = field(default_factory=dict)
    logprobs: bool = False
    top_logprobs: int = 0
    truncate: bool = True  # drop the oldest turns when the context is too small
    shift: bool = True  # forget the oldest tokens when the context fills up meanwhile
    namespace: str = ""

    ignored: tuple[str, ...] = ()  # names of what else was asked for: no model here is told of it
    stream: bool = False
    keep_alive_s: float | None = None  # None: the default; negative: for ever
    control: CacheControl = CacheControl()
    tags: tuple[str, ...] = ()
    dialect: Dialect = "ollama"
    endpoint: str = ""  # the path, for the record and for engines that can be asked in the same way
    request_id: str = ""
    address: str = ""  # where it came from, as far as that is known
    turn: Turn | None = None  # whose turn it is to be, where the model is waited for

    @property
    def cap(self) -> int | None:
        """The most tokens the answer may have; None when it may be as long as it likes, as 0 also says in Ollama."""
        cap = self.options.get("num_predict")
        return cap if isinstance(cap, int) and cap > 0 else None

    @property
    def stops(self) -> tuple[str, ...]:
        """The strings that end the answer."""
        said = self.options.get("stop")
        words = [said] if isinstance(said, str) else said if isinstance(said, list | tuple) else []
        return tuple(word for word in words if isinstance(word, str) and word)

    @property
    def wants_context(self) -> bool:
        """Whether its answer is to bring the token ids to go on from, as `/api/generate` has them but for raw text."""
        return self.prompt is None and self.endpoint.rstrip("/") == "/api/generate"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprob:
    """How likely a token was, and what else could have stood there."""

    token: str
    logprob: float
    bytes: tuple[int, ...] = ()
    top: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What an answer took. Token counts, and durations in nanoseconds; 0 where unknown."""

    is_estimated: bool = False  # the engine did not count the answer's tokens
    is_implausible: bool = False  # it counted more than there can have been
    cost_microusd: int | None = None  # as the provider itself said; None where it does not

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0  # of the question's: those the provider read from its own cache
    cache_write_tokens: int = 0  # of the question's: those it wrote there
    cache_write_1h_tokens: int = 0  # of those: what it keeps for an hour
    reasoning_tokens: int = 0  # of the answer's: thought and not shown
    ref: str = ""  # what the provider calls this call
    extras: tuple[str, ...] = ()  # what else is charged for, of which the price of tokens does not tell
    load_ns: int = 0
    prompt_ns: int = 0
    eval_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeBy:
    """The call that made an answer: for whom, and what it cost. It goes wherever the answer goes."""

    request_id: str
    is_paid: bool  # it went to a provider that charges
    cost_microusd: int | None = None  # None: nobody knows
    usage: Usage | None = None  # what was charged, where that is not what the answer says


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The end of an answer."""

    reason: StopReason
    usage: Usage = Usage()
    made_by: MadeBy | None = None  # None: it was kept when nobody noted that, or no model made it
    context: tuple[int, ...] = ()  # token ids of prompt and answer, where the engine tells
    stop_string: str = ""  # which of the caller's ended it, where the engine tells


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who answers."""

    model: str  # full name: openai/gpt-…
    provider: str = ""
    route: str = ""  # why it is this one, for whoever shares the call
    unsupported: tuple[str, ...] = ()  # what was left out of the request, since this one cannot do it


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of an answer; the last one, and only that, has `done`."""

    text: str = ""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    vectors: tuple[bytes, ...] = ()  # for the next inputs, each as 32-bit floats, little-endian, of any length
    done: Done | None = None
    usage: Usage | None = None  # so far, where the provider tells before the end
    origin: Origin | None = None  # with the first piece, where it is not the model that was expected

    @property
    def size(self) -> int:
        """About how many bytes it holds; an empty one counts too, or a flood of them would have no bound."""
        size = 16 + len(self.text.encode("utf-8", "replace")) + len(self.thinking.encode("utf-8", "replace"))
        for call in self.tool_calls:
            size += len(call.name) + len(str(call.arguments))
        for logprob in self.logprobs:
            size += 64 * (1 + len(logprob.top))
        return size + sum(map(len, self.vectors))


class Chunks(Protocol):
    """An answer as it arrives. It must be closed when it is not read to its end; async generators are such."""

    def __aiter__(self) -> AsyncIterator[Chunk]: ...

    async def __anext__(self) -> Chunk: ...

    async def aclose(self) -> None:
        """Stop: nobody reads on."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole answer: what the cache keeps and what a caller who does not stream gets."""

    model: str  # who answered
    text: str = ""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    vectors: tuple[bytes, ...] = ()  # as a chunk has them
    done: Done
    of: tuple[str, ...] = ()  # where the choice was left to us, the model it is of: its name, digest and edition

    def chunks(self) -> tuple[Chunk, ...]:
        """The same answer as a stream: thinking, text, calls, vectors, end."""
        parts = []
        if self.thinking:
            parts.append(Chunk(thinking=self.thinking))
        if self.text or self.logprobs:
            parts.append(Chunk(text=self.text, logprobs=self.logprobs))
        if self.tool_calls:
            parts.append(Chunk(tool_calls=self.tool_calls))
        if self.vectors:
            parts.append(Chunk(vectors=self.vectors))
        return (*parts, Chunk(done=self.done))


class ReplyBuilder:
    """Collects chunks into a `Reply`, up to `most_bytes` of text."""

    def __init__(self, model: str, most_bytes: float = float("inf")) -> None:
        self.model = model
        self._most_bytes = most_bytes
        self._bytes = 0
        self._text: list[str] = []
        self._thinking: list[str] = []
        self._tool_calls: list[ToolCall] = []
        self._logprobs: list[TokenLogprob] = []
        self._vectors: list[bytes] = []
        self.done: Done | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the last chunk was added."""
        return self.done is not None

    def add(self, chunk: Chunk) -> None:
        """Take the next chunk. Raises EngineError when the answer gets too long."""
        self._bytes += chunk.size
        if self._bytes > self._most_bytes:
            raise EngineError(
                f"The answer is longer than {self._most_bytes:,} bytes; ask for less, or raise ORCHESTRATOR_MAX_ANSWER."
            )
        if chunk.text:
            self._text.append(chunk.text)
        if chunk.thinking:
            self._thinking.append(chunk.thinking)
        self._tool_calls.extend(chunk.tool_calls)
        self._logprobs.extend(chunk.logprobs)
        self._vectors.extend(chunk.vectors)
        self.done = chunk.done or self.done

    def reply(self) -> Reply | None:
        """The answer, or None while its end has not come."""
        if self.done is None:
            return None
        return Reply(
            model=self.model,
            text="".join(self._text),
            thinking="".join(self._thinking),
            tool_calls=tuple(self._tool_calls),
            logprobs=tuple(self._logprobs),
            vectors=tuple(self._vectors),
            done=self.done,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks. A tenant always; a key when one was shown."""

    tenant_id: int
    tenant: str
    key_id: int | None = None
    key_name: str = ""
    key_prefix: str = ""  # the part of the key that may be shown
    first_key_id: int | None = None  # of those the key took the place of, one after the other; None: of none
    team_id: int | None = None
    team: str = ""  # its name
    expires_at: float | None = None  # of the key, seconds since the epoch
    priority: int = 5  # of the tenant, 1 to 10
    role: permissions.Role | None = None  # of the key: what it may manage
    reaches_all: bool = False  # its role holds for every tenant
    model_patterns: tuple[str, ...] = ()  # which models it may ask; none: any
    dialects: frozenset[str] = frozenset()  # none: any
    families: frozenset[str] = frozenset()  # of endpoints; none: any
    networks: tuple[Network, ...] = ()  # where it may come from; none: anywhere
    tags: tuple[str, ...] = ()  # of the key, for every record
    limits: tuple[Limit, ...] = ()
    budgets: tuple[Budget, ...] = ()  # every one that may be about it
    reads_from: tuple[tuple[int, str], ...] = ()  # other tenants, number and name, whose answers it may be given

    def reach(self, permission: Permission) -> Reach:
        """For whom the key has `permission`."""
        if self.role is None:
            return NOBODY
        return reach_of({None if self.reaches_all else self.tenant_id: self.role}, permission)

    @property
    def cache_bytes(self) -> int | None:
        """How much its tenant may keep in the cache; None: as much as there is room for."""
        amounts = [limit.amount for limit in self.limits if limit.kind == "cache_bytes"]
        return min(amounts, default=None)

    def may_ask(self, model: str) -> bool:
        """Whether the key is for `model`, by its full name: with or without `:latest`, in letters of either size."""
        return not self.model_patterns or any(is_named(model, pattern) for pattern in self.model_patterns)

    def turn(self, model: str, address: str) -> Turn:
        """Whose turn it is where a question to `model` from `address` has to wait; either may be unknown, hence empty.

        Its bounds are the limits of kind `queue` that are about it.
        """
        if not self.limits:
            return Turn(tenant=self.tenant_id, weight=self.priority)
        bounds = []
        for limit in self.limits:
            if limit.kind == "queue" and limit.is_about(model, address):
                match limit.each:
                    case "key":
                        who = f"key {self.key_id} of {self.tenant_id}"
                    case "team":
                        who = f"team {self.team_id} of {self.tenant_id}"
                    case "tenant":
                        who = f"tenant {self.tenant_id}"
                    case "model":
                        who = model
                    case "address":
                        who = network_of(address)
                    case "all":
                        who = ""
                bounds.append((f"{limit.name} {who}", limit.amount))
        return Turn(tenant=self.tenant_id, weight=self.priority, bounds=tuple(bounds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that can be asked, as `/api/tags` and `/api/show` describe it."""

    name: str  # full and canonical: smollm2:135m, openai/gpt-…
    digest: str  # 64 hex; changes when the model does
    engine: str  # which engine runs it
    capabilities: frozenset[str] = frozenset({"completion"})
    takes: frozenset[str] = frozenset()  # what else of a request its engine honours: see `capabilities.settle`
    is_paid: bool = False  # a call costs money, so its record is durable before the last chunk
    size: int = 0  # bytes
    modified_at: float = 0.0  # seconds since the epoch
    price: Price | None = None  # None: not known, which is not nothing
    remote_name: str = ""  # what the provider calls it
    family: str = ""
    families: tuple[str, ...] = ()
    parameter_size: str = ""
    quantization: str = ""
    format: str = ""  # of its file: gguf, onnx
    context_length: int = 0
    most_output: int = 0  # tokens in an answer; 0 where it is not known
    extras: tuple[str, ...] = ()  # what its provider is told with every question that changes what it charges
    embedding_length: int = 0
    edition: str = ""  # changes with what else it is told than the request says: the date

    @property
    def is_remote(self) -> bool:
        """Whether somebody else runs it."""
        return bool(self.remote_name) or self.is_paid


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A place that may answer: one deployment of a model."""

    model: Model  # as it is called there; its engine runs it
    stands_for: Model  # the model whose answer it gives: under its name and digest the answer is kept
    rank: int = 0  # lower ranks are asked first
    weight: int = 1  # how often it is asked among equals that are chosen by weight
    places_of: tuple[str, ...] = ()  # registered models that have this place, where it was asked by its own name


Balance = Literal["latency", "cost", "weight"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The choice: which model answers, why, and every place that may do it."""

    model: Model
    reason: str  # for the caller and the record
    candidates: tuple[Candidate, ...]  # one at least; the first is of the lowest rank
    balance: Balance = "latency"
    hedge_after_s: float | None = None
    is_chosen: bool = False  # by a rule or the router: the caller did not name who answers
