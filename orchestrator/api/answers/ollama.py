"""What is answered under /api, as Ollama does."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from orchestrator.api.answers.shape import Count, Moment, Shape


class OllamaError(Shape):
    """What went wrong, for whoever asked under /api."""

    error: str = Field(min_length=1)


class Logprob(Shape):
    """A token and how likely it was."""

    token: str
    logprob: float = Field(description="Natural logarithm.")
    bytes: list[int]


class LogprobWithOthers(Logprob):
    """A token, and what could have stood in its place."""

    top_logprobs: list[Logprob] | None = None


class DebugInfo(Shape):
    """What the model would be given."""

    rendered_template: str
    image_count: Count | None = None


class Metrics(Shape):
    """What stands on the last object of an answer. Durations in nanoseconds."""

    done: bool
    done_reason: Literal["stop", "length", "content_filter", "load", "unload"] | None = None
    total_duration: Count | None = None
    load_duration: Count | None = None
    prompt_eval_count: Count | None = Field(None, description="Tokens of the prompt.")
    prompt_eval_duration: Count | None = None
    eval_count: Count | None = Field(None, description="Tokens of the answer.")
    eval_duration: Count | None = None
    logprobs: list[LogprobWithOthers] | None = None
    debug_info: DebugInfo | None = Field(None, alias="_debug_info", description="In place of an answer.")


class CalledFunction(Shape):
    """Which function, with what."""

    index: Count
    name: str
    arguments: dict[str, Any]


class ToolCallMade(Shape):
    """A tool that the model wants to be called."""

    id: str
    function: CalledFunction


class AnswerMessage(Shape):
    """The model's turn."""

    role: Literal["assistant"]
    content: str
    thinking: str | None = None
    tool_calls: list[ToolCallMade] | None = None


class ChatAnswer(Metrics):
    """A whole answer, or one line of a stream."""

    model: str = Field(description="As it was asked for.")
    created_at: Moment
    message: AnswerMessage


class GenerateAnswer(Metrics):
    """A whole answer, or one line of a stream."""

    model: str = Field(description="As it was asked for.")
    created_at: Moment
    response: str
    thinking: str | None = None
    context: list[int] | None = Field(None, description="Token ids; send them to go on from here.")


class Details(Shape):
    """What a model is made of."""

    parent_model: str
    format: str
    family: str
    families: list[str] | None
    parameter_size: str
    quantization_level: str
    context_length: Count | None = None
    embedding_length: Count | None = None


class ListedModel(Shape):
    """A model that can be asked."""

    name: str
    model: str
    remote_model: str | None = None
    remote_host: str | None = None
    modified_at: Moment
    size: Count = Field(description="Bytes; 0 for a model of a provider.")
    digest: str
    details: Details
    capabilities: list[str]


class Listing(Shape):
    """Every model."""

    models: list[ListedModel]


class Loaded(Shape):
    """A model in memory."""

    name: str
    model: str
    size: Count
    digest: str
    details: Details
    expires_at: Moment
    size_vram: Count
    context_length: Count


class AllLoaded(Shape):
    """What is in memory."""

    models: list[Loaded]


class Tensor(Shape):
    """A tensor of a model's file."""

    name: str
    type: str
    shape: list[Count]


class ShowAnswer(Shape):
    """One model in detail; texts that are empty are left out."""

    license: str | None = None
    modelfile: str | None = None
    parameters: str | None = None
    template: str | None = None
    system: str | None = None
    details: Details
    capabilities: list[str]
    modified_at: Moment
    remote_model: str | None = Field(None, description="What the provider calls it.")
    remote_host: str | None = None
    model_info: dict[str, Any] = Field(description="What its file says; without `verbose` long lists are null.")
    tensors: list[Tensor] | None = Field(None, description="Of a model that runs here.")


class Version(Shape):
    """Which Ollama this behaves like."""

    version: str


class Cloud(Shape):
    """Whether ollama.com is used."""

    disabled: bool
    source: Literal["none", "env", "config", "both"]


class CloudStatus(Shape):
    """Whether ollama.com is used."""

    cloud: Cloud


class Recommendations(Shape):
    """None: there is no ollama.com behind this."""

    recommendations: list[Any] = Field(max_length=0)


class EmbedAnswer(Shape):
    """A vector of length 1 for each text. Durations in nanoseconds."""

    model: str
    embeddings: list[list[float]]
    total_duration: Count | None = None
    load_duration: Count | None = None
    prompt_eval_count: Count | None = Field(None, description="Tokens of all texts.")


class EmbeddingsAnswer(Shape):
    """A vector as the model makes it."""

    embedding: list[float]
