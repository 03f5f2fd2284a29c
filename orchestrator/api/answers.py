"""The shapes of answers, for the description alone: endpoints write theirs as bytes.

Tests compare them with what the product sends.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from orchestrator.api.openai import ERROR_TYPES


class OllamaError(BaseModel):
    """What went wrong, for whoever asked under /api."""

    error: str


class OpenAIErrorValue(BaseModel):
    """What went wrong, and of which kind it is."""

    message: str
    type: str = Field(description=f"{', '.join(sorted(ERROR_TYPES.values()))}, else api_error.")
    param: None
    code: None


class OpenAIError(BaseModel):
    """What went wrong, for whoever asked under /v1."""

    error: OpenAIErrorValue


class AnthropicErrorValue(BaseModel):
    """What went wrong, and of which kind it is."""

    type: str
    message: str


class AnthropicError(BaseModel):
    """What went wrong, for whoever asked under /v1/messages."""

    type: Literal["error"]
    error: AnthropicErrorValue
    request_id: str


class Logprob(BaseModel):
    """A token and how likely it was."""

    token: str
    logprob: float = Field(description="Natural logarithm.")
    bytes: list[int]


class LogprobWithOthers(Logprob):
    """A token, and what could have stood in its place."""

    top_logprobs: list[Logprob] = []


class Metrics(BaseModel):
    """What stands on the last object of an answer. Durations in nanoseconds."""

    done: bool
    done_reason: str | None = Field(None, description="stop, length, load, unload or content_filter.")
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = Field(None, description="Tokens of the prompt.")
    prompt_eval_duration: int | None = None
    eval_count: int | None = Field(None, description="Tokens of the answer.")
    eval_duration: int | None = None
    logprobs: list[LogprobWithOthers] | None = None


class CalledFunction(BaseModel):
    """Which function, with what."""

    index: int
    name: str
    arguments: dict[str, Any]


class ToolCallMade(BaseModel):
    """A tool that the model wants to be called."""

    id: str
    function: CalledFunction


class AnswerMessage(BaseModel):
    """The model's turn."""

    role: Literal["assistant"]
    content: str
    thinking: str | None = None
    tool_calls: list[ToolCallMade] | None = None


class ChatAnswer(Metrics):
    """A whole answer, or one line of a stream."""

    model: str = Field(description="As it was asked for.")
    created_at: str
    message: AnswerMessage


class GenerateAnswer(Metrics):
    """A whole answer, or one line of a stream."""

    model: str = Field(description="As it was asked for.")
    created_at: str
    response: str
    thinking: str | None = None
    context: list[int] | None = Field(None, description="Token ids; send them to go on from here.")


class OpenAICalledFunction(BaseModel):
    """Which function, with what: arguments as JSON text."""

    name: str
    arguments: str


class OpenAIToolCallMade(BaseModel):
    """A tool that the model wants to be called."""

    id: str
    index: int
    type: Literal["function"]
    function: OpenAICalledFunction


class OpenAIAnswerMessage(BaseModel):
    """The model's turn."""

    role: Literal["assistant"]
    content: str
    reasoning: str | None = None
    tool_calls: list[OpenAIToolCallMade] | None = None


class OpenAILogprobs(BaseModel):
    """Of each token."""

    content: list[LogprobWithOthers]


class Choice(BaseModel):
    """The answer."""

    index: int
    message: OpenAIAnswerMessage
    finish_reason: str = Field(description="stop, length, tool_calls or content_filter.")
    logprobs: OpenAILogprobs | None = None


class TokensUsed(BaseModel):
    """Tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(BaseModel):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"]
    created: int = Field(description="Seconds since the epoch.")
    model: str
    system_fingerprint: str
    choices: list[Choice]
    usage: TokensUsed


class Details(BaseModel):
    """What a model is made of."""

    parent_model: str
    format: str
    family: str
    families: list[str] | None
    parameter_size: str
    quantization_level: str
    context_length: int | None = None
    embedding_length: int | None = None


class ListedModel(BaseModel):
    """A model that can be asked."""

    name: str
    model: str
    remote_model: str | None = None
    remote_host: str | None = None
    modified_at: str
    size: int = Field(description="Bytes; 0 for a model of a provider.")
    digest: str
    details: Details
    capabilities: list[str]


class Listing(BaseModel):
    """Every model."""

    models: list[ListedModel]


class Loaded(BaseModel):
    """A model in memory."""

    name: str
    model: str
    size: int
    digest: str
    details: Details
    expires_at: str
    size_vram: int
    context_length: int


class AllLoaded(BaseModel):
    """What is in memory."""

    models: list[Loaded]


class OpenAIModel(BaseModel):
    """A model that can be asked."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class OpenAIModels(BaseModel):
    """Every model."""

    object: Literal["list"]
    data: list[OpenAIModel]


class Version(BaseModel):
    """Which Ollama this behaves like."""

    version: str


class Cloud(BaseModel):
    """Whether ollama.com is used."""

    disabled: bool
    source: Literal["none", "env", "config", "both"]


class CloudStatus(BaseModel):
    """Whether ollama.com is used."""

    cloud: Cloud


class Alive(BaseModel):
    """It is."""

    status: Literal["ok"]


class Readiness(BaseModel):
    """How each part is: ok, degraded, off or down."""

    ready: bool
    parts: dict[str, str]


class EmbedAnswer(BaseModel):
    """A vector of length 1 for each text. Durations in nanoseconds."""

    model: str
    embeddings: list[list[float]]
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = Field(None, description="Tokens of all texts.")


class EmbeddingsAnswer(BaseModel):
    """A vector as the model makes it."""

    embedding: list[float]


class OpenAIEmbedding(BaseModel):
    """A vector of length 1."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str = Field(description="Numbers, or base64 of little-endian 32-bit floats.")


class EmbeddingTokens(BaseModel):
    """Tokens."""

    prompt_tokens: int
    total_tokens: int


class OpenAIEmbeddings(BaseModel):
    """A vector for each text."""

    object: Literal["list"]
    data: list[OpenAIEmbedding]
    model: str
    usage: EmbeddingTokens


class AnthropicTokens(BaseModel):
    """Tokens."""

    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int | None = None


class AnthropicAnswer(BaseModel):
    """A whole answer."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[dict[str, Any]] = Field(description="Blocks: thinking, text, tool_use.")
    stop_reason: str = Field(description="end_turn, max_tokens, stop_sequence or tool_use.")
    stop_sequence: str | None = None
    usage: AnthropicTokens


class TokenCount(BaseModel):
    """An estimate."""

    input_tokens: int


ANSWERS: dict[str, type[BaseModel]] = {
    "/api/chat": ChatAnswer,
    "/api/generate": GenerateAnswer,
    "/api/tags": Listing,
    "/api/ps": AllLoaded,
    "/api/version": Version,
    "/api/status": CloudStatus,
    "/v1/chat/completions": Completion,
    "/api/embed": EmbedAnswer,
    "/api/embeddings": EmbeddingsAnswer,
    "/v1/embeddings": OpenAIEmbeddings,
    "/v1/messages": AnthropicAnswer,
    "/v1/messages/count_tokens": TokenCount,
    "/v1/models": OpenAIModels,
    "/v1/models/{name}": OpenAIModel,
    "/healthz": Alive,
    "/readyz": Readiness,
}
ERRORS: tuple[type[BaseModel], ...] = (OllamaError, OpenAIError, AnthropicError)
