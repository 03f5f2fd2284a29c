"""What is answered under /v1, as OpenAI does; /v1/responses has a file of its own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.api.answers.ollama import LogprobWithOthers
from orchestrator.api.answers.shape import Count, Shape
from orchestrator.api.openai import CODES, ERROR_TYPES, NO_QUOTA

ErrorType = Annotated[str, Field(json_schema_extra={"enum": [*sorted(ERROR_TYPES.values()), "api_error", NO_QUOTA]})]
ErrorCode = Annotated[str, Field(json_schema_extra={"enum": sorted(CODES.values())})]
Reason = Literal["stop", "length", "tool_calls", "content_filter"]


class OpenAIErrorValue(Shape):
    """What went wrong, and of which kind it is."""

    message: str = Field(min_length=1)
    type: ErrorType
    param: None
    code: ErrorCode | None = Field(description="Where money is short, or nobody knows a price that a budget needs.")


class OpenAIError(Shape):
    """What went wrong, for whoever asked under /v1."""

    error: OpenAIErrorValue


class TokensAskedWith(Shape):
    """Tokens of the question that the provider read from its own cache, where it told of some."""

    cached_tokens: Count


class TokensAnsweredWith(Shape):
    """Tokens of the answer that were thought unseen, where the provider told of some."""

    reasoning_tokens: Count


class TokensUsed(Shape):
    """Tokens."""

    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count
    prompt_tokens_details: TokensAskedWith | None = None
    completion_tokens_details: TokensAnsweredWith | None = None


class OpenAICalledFunction(Shape):
    """Which function, with what: arguments as JSON text."""

    name: str
    arguments: str


class OpenAIToolCallMade(Shape):
    """A tool that the model wants to be called."""

    id: str
    index: Count
    type: Literal["function"]
    function: OpenAICalledFunction


class OpenAIAnswerMessage(Shape):
    """The model's turn."""

    role: Literal["assistant"]
    content: str
    reasoning: str | None = None
    tool_calls: list[OpenAIToolCallMade] | None = None


class OpenAILogprobs(Shape):
    """Of each token."""

    content: list[LogprobWithOthers]


class Choice(Shape):
    """The answer."""

    index: Literal[0]
    message: OpenAIAnswerMessage
    finish_reason: Reason
    logprobs: OpenAILogprobs | None = None


class _Stamped(Shape):
    id: str
    created: Count = Field(description="Seconds since the epoch.")
    model: str = Field(description="As it was asked for.")
    system_fingerprint: str


class Completion(_Stamped):
    """A whole answer."""

    object: Literal["chat.completion"]
    choices: list[Choice]
    usage: TokensUsed


class Delta(Shape):
    """What is new; the role stands in the first."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    reasoning: str | None = None
    tool_calls: list[OpenAIToolCallMade] | None = Field(None, description="Each whole.")


class DeltaChoice(Shape):
    """A piece of the answer."""

    index: Literal[0]
    delta: Delta
    finish_reason: Reason | None = Field(description="Null but in the last piece.")
    logprobs: OpenAILogprobs | None = None


class CompletionChunk(_Stamped):
    """The data of one event; with `include_usage` the last has no choice, but the usage."""

    object: Literal["chat.completion.chunk"]
    choices: list[DeltaChoice]
    usage: TokensUsed | None = None


class TextLogprobs(Shape):
    """Of each token: as the older clients read them, and as chat has them."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[Count]
    content: list[LogprobWithOthers]


class _TextPart(Shape):
    index: Literal[0]
    text: str
    logprobs: TextLogprobs | None = None


class TextChoice(_TextPart):
    """The text."""

    finish_reason: Reason


class TextPiece(_TextPart):
    """A piece of the text."""

    finish_reason: Reason | None = Field(description="Null but in the last piece.")


class TextCompletion(_Stamped):
    """A whole text."""

    object: Literal["text_completion"]
    choices: list[TextChoice]
    usage: TokensUsed


class TextChunk(_Stamped):
    """The data of one event; with `include_usage` each has a usage, of zeros but in the last, which has no choice."""

    object: Literal["text_completion"]
    choices: list[TextPiece]
    usage: TokensUsed | None = None


class OpenAIModel(Shape):
    """A model that can be asked."""

    id: str
    object: Literal["model"]
    created: Count
    owned_by: str


class OpenAIModels(Shape):
    """Every model."""

    object: Literal["list"]
    data: list[OpenAIModel]


class OpenAIEmbedding(Shape):
    """A vector of length 1."""

    object: Literal["embedding"]
    index: Count
    embedding: list[float] | str = Field(description="Numbers, or base64 of little-endian 32-bit floats.")


class EmbeddingTokens(Shape):
    """Tokens."""

    prompt_tokens: Count
    total_tokens: Count


class OpenAIEmbeddings(Shape):
    """A vector for each text."""

    object: Literal["list"]
    data: list[OpenAIEmbedding]
    model: str
    usage: EmbeddingTokens
