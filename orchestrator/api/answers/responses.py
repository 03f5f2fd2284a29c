"""What /v1/responses answers, and the events of its stream."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, RootModel

from orchestrator.api.answers.ollama import Logprob
from orchestrator.api.answers.shape import Count, Shape
from orchestrator.api.responses_schemas import TRUNCATES


class ResponseLogprob(Logprob):
    """A token, and what could have stood in its place."""

    top_logprobs: list[Logprob]


class OutputText(Shape):
    """The one part of a message."""

    type: Literal["output_text"]
    text: str
    annotations: list[Any] = Field(max_length=0)
    logprobs: list[ResponseLogprob]


class OutputMessage(Shape):
    """What the model says."""

    id: str
    type: Literal["message"]
    status: Literal["in_progress", "completed", "incomplete"]
    role: Literal["assistant"]
    content: list[OutputText] = Field(max_length=1)


class SummaryText(Shape):
    """All that was thought."""

    type: Literal["summary_text"]
    text: str


class OutputReasoning(Shape):
    """What the model thinks."""

    id: str
    type: Literal["reasoning"]
    summary: list[SummaryText] = Field(max_length=1)
    encrypted_content: str = Field(description="The same again, and no ciphertext.")


class OutputCall(Shape):
    """A function that the model wants to be called: arguments as JSON text."""

    id: str
    type: Literal["function_call"]
    status: Literal["in_progress", "completed"]
    call_id: str
    name: str
    arguments: str
    namespace: str | None = None


Item = Annotated[OutputMessage | OutputReasoning | OutputCall, Field(discriminator="type")]


class InputDetails(Shape):
    """Tokens of the question that the provider read from its own cache or wrote there; 0 where it does not tell."""

    cached_tokens: Count
    cache_write_tokens: Count


class OutputDetails(Shape):
    """Tokens of the answer that were thought unseen; 0 where the provider does not tell."""

    reasoning_tokens: Count


class ResponseTokens(Shape):
    """Tokens."""

    input_tokens: Count
    input_tokens_details: InputDetails
    output_tokens: Count
    output_tokens_details: OutputDetails
    total_tokens: Count


class ResponseFailure(Shape):
    """What broke the answer off."""

    code: Literal["rate_limit_exceeded", "server_error"]
    message: str = Field(min_length=1)


class Incomplete(Shape):
    """Why the answer ended before its end."""

    reason: Literal["max_output_tokens", "content_filter"]


class GivenReasoning(Shape):
    """As it was asked for."""

    effort: str | None
    summary: str | None


class GivenText(Shape):
    """As it was asked for."""

    format: dict[str, Any]


class Response(Shape):
    """An answer as it is so far, and what of the question it says again."""

    id: str
    object: Literal["response"]
    created_at: Count = Field(description="Seconds since the epoch.")
    completed_at: Count | None = Field(description="Seconds since the epoch.")
    status: Literal["in_progress", "completed", "failed"]
    incomplete_details: Incomplete | None
    error: ResponseFailure | None
    model: str = Field(description="As it was asked for.")
    output: list[Item]
    usage: ResponseTokens | None

    instructions: str | None
    max_output_tokens: int | None
    temperature: float
    top_p: float
    top_logprobs: Count
    truncation: str = Field(json_schema_extra={"enum": [*sorted(TRUNCATES)]})
    reasoning: GivenReasoning | None
    text: GivenText
    tools: list[dict[str, Any]]
    background: bool

    previous_response_id: None
    store: Literal[False]
    service_tier: Literal["default"]
    metadata: dict[str, Any] = Field(max_length=0)
    parallel_tool_calls: Literal[True]
    tool_choice: Literal["auto"]
    max_tool_calls: None
    presence_penalty: Literal[0]
    frequency_penalty: Literal[0]
    safety_identifier: None
    prompt_cache_key: None


class _Event(Shape):
    sequence_number: Count


class ResponseStep(_Event):
    """Where the answer as a whole has come to."""

    type: Literal["response.created", "response.in_progress", "response.completed", "response.failed"]
    response: Response


class ItemStep(_Event):
    """An item begins, or is there."""

    type: Literal["response.output_item.added", "response.output_item.done"]
    output_index: Count
    item: Item


class _InItem(_Event):
    item_id: str
    output_index: Count


class PartStep(_InItem):
    """The part of a message begins, or is there."""

    type: Literal["response.content_part.added", "response.content_part.done"]
    content_index: Literal[0]
    part: OutputText


class TextDelta(_InItem):
    """More text."""

    type: Literal["response.output_text.delta"]
    content_index: Literal[0]
    delta: str
    logprobs: list[ResponseLogprob]


class TextDone(_InItem):
    """All text."""

    type: Literal["response.output_text.done"]
    content_index: Literal[0]
    text: str
    logprobs: list[ResponseLogprob]


class ThinkingDelta(_InItem):
    """More of what is thought."""

    type: Literal["response.reasoning_summary_text.delta"]
    summary_index: Literal[0]
    delta: str


class ThinkingDone(_InItem):
    """All that was thought."""

    type: Literal["response.reasoning_summary_text.done"]
    summary_index: Literal[0]
    text: str


class ArgumentsDelta(_InItem):
    """The arguments of a call, whole."""

    type: Literal["response.function_call_arguments.delta"]
    delta: str


class ArgumentsDone(_InItem):
    """The same again."""

    type: Literal["response.function_call_arguments.done"]
    name: str
    arguments: str


Step = Annotated[
    ResponseStep
    | ItemStep
    | PartStep
    | TextDelta
    | TextDone
    | ThinkingDelta
    | ThinkingDone
    | ArgumentsDelta
    | ArgumentsDone,
    Field(discriminator="type"),
]


class ResponseEvent(RootModel[Step]):
    """The data of one event."""
