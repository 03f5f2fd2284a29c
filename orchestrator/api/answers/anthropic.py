"""What is answered under /v1/messages, as Anthropic does."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, RootModel

from orchestrator.api.answers.shape import Count, Shape
from orchestrator.api.anthropic import ERROR_TYPES

ErrorType = Annotated[
    str, Field(json_schema_extra={"enum": sorted({*ERROR_TYPES.values(), "invalid_request_error", "api_error"})})
]
Reason = Literal["end_turn", "max_tokens", "tool_use", "stop_sequence", "refusal"]


class AnthropicErrorDetails(Shape):
    """What tells it from others of its type."""

    error_code: Literal["enforced_spend_limit_reached"]


class AnthropicErrorValue(Shape):
    """What went wrong, and of which kind it is."""

    type: ErrorType
    message: str = Field(min_length=1)
    details: AnthropicErrorDetails | None = Field(None, description="Where a budget does not reach.")


class AnthropicError(Shape):
    """What went wrong, for whoever asked under /v1/messages."""

    type: Literal["error"]
    error: AnthropicErrorValue
    request_id: str


class AnthropicTokens(Shape):
    """Tokens."""

    input_tokens: Count
    output_tokens: Count


class TextBlock(Shape):
    """What the model says."""

    type: Literal["text"]
    text: str


class ThinkingBlock(Shape):
    """What the model thinks."""

    type: Literal["thinking"]
    thinking: str
    signature: Literal[""]


class ToolUseBlock(Shape):
    """A tool that the model wants to be called."""

    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]


Block = Annotated[TextBlock | ThinkingBlock | ToolUseBlock, Field(discriminator="type")]


class _Message(Shape):
    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str = Field(description="As it was asked for.")
    stop_sequence: str | None
    usage: AnthropicTokens


class AnthropicAnswer(_Message):
    """A whole answer."""

    content: list[Block]
    stop_reason: Reason


class BegunMessage(_Message):
    """An answer of which nothing is there yet; its usage is an estimate."""

    content: list[Block] = Field(max_length=0)
    stop_reason: None


class MessageStart(Shape):
    """The first event."""

    type: Literal["message_start"]
    message: BegunMessage


class BlockStart(Shape):
    """A block begins."""

    type: Literal["content_block_start"]
    index: Count
    content_block: Block


class SaidDelta(Shape):
    """More text."""

    type: Literal["text_delta"]
    text: str


class ThoughtDelta(Shape):
    """More of what is thought."""

    type: Literal["thinking_delta"]
    thinking: str


class InputDelta(Shape):
    """The arguments of a call as JSON text, whole."""

    type: Literal["input_json_delta"]
    partial_json: str


class BlockDelta(Shape):
    """More of a block."""

    type: Literal["content_block_delta"]
    index: Count
    delta: Annotated[SaidDelta | ThoughtDelta | InputDelta, Field(discriminator="type")]


class BlockStop(Shape):
    """A block is whole."""

    type: Literal["content_block_stop"]
    index: Count


class Ended(Shape):
    """Why it ended."""

    stop_reason: Reason
    stop_sequence: str | None


class MessageDelta(Shape):
    """The answer is whole, and this is what it took."""

    type: Literal["message_delta"]
    delta: Ended
    usage: AnthropicTokens


class MessageStop(Shape):
    """The last event."""

    type: Literal["message_stop"]


Step = Annotated[
    MessageStart | BlockStart | BlockDelta | BlockStop | MessageDelta | MessageStop | AnthropicError,
    Field(discriminator="type"),
]


class MessageEvent(RootModel[Step]):
    """The data of one event."""


class TokenCount(Shape):
    """A count by a local model that is loaded, else an estimate."""

    input_tokens: Count = Field(ge=1)
