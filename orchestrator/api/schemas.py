"""The shapes of request bodies, as the contract has them.

Types are strict, null equals absent, unknown fields are ignored, names match in any case.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

from orchestrator.api.options import read_options
from orchestrator.core.durations import parse_duration
from orchestrator.core.errors import BadRequest
from orchestrator.core.images import MOST_PIXELS, pixels_of
from orchestrator.core.types import Message, Role, ToolCall

THINK_LEVELS = ("high", "medium", "low", "max")
FOREVER_S = -1.0
LONGEST_KEEP_ALIVE_S = 10 * 365 * 86400.0  # longer is for ever, too


@dataclass(frozen=True, slots=True)
class Ignored:
    """Marks a field that would change the answer and that no model here is told of; it is said instead.

    harmless  values that change nothing, besides null.
    """

    harmless: tuple[Any, ...] = ()

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Say so in the API's description."""
        return handler(schema) | {"description": "No model here is told of it: see `X-Orchestrator-Unsupported`."}


class Body(BaseModel):
    """What all bodies share."""

    model_config = ConfigDict(strict=True, extra="ignore")

    _names: ClassVar[frozenset[str]] = frozenset()  # of the fields, as they are sent

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Note how the fields are called."""
        super().__pydantic_init_subclass__(**kwargs)
        cls._names = frozenset(field.alias or name for name, field in cls.model_fields.items())

    @model_validator(mode="before")
    @classmethod
    def _names_in_any_case(cls, value: Any) -> Any:
        """Go matches field names in any case. Raises BadRequest when two spellings of one name are there."""
        if not isinstance(value, dict) or value.keys() <= cls._names:
            return value
        folded: dict[str, Any] = {}
        for name, field in value.items():
            key = name if name in cls._names else name.lower()
            if key not in cls._names:
                continue
            if key in folded:
                raise BadRequest(f"duplicate name {json.dumps(name[:100])} in a JSON object")
            folded[key] = field
        return folded

    @property
    def ignored(self) -> tuple[str, ...]:
        """Names of fields that are ignored and would have mattered."""
        return tuple(
            name for name, harmless in _ignored(type(self)).items() if getattr(self, name) not in (None, *harmless)
        )


@cache
def _ignored(body: type[Body]) -> dict[str, tuple[Any, ...]]:
    marks = ((name, mark) for name, field in body.model_fields.items() for mark in field.metadata)
    return {name: mark.harmless for name, mark in marks if isinstance(mark, Ignored)}


def _keep_alive(value: Any) -> float | None:
    """Seconds; negative for ever. A number counts seconds, text is a Go duration."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        go_type = {bool: "bool", list: "[]interface {}", dict: "map[string]interface {}"}[type(value)]
        raise ValueError(f"Unsupported type: '{go_type}'")
    seconds = parse_duration(value) if isinstance(value, str) else float(value)
    return FOREVER_S if seconds < 0 or seconds > LONGEST_KEEP_ALIVE_S else seconds


def _think(value: Any) -> bool | str | None:
    if value is None or isinstance(value, bool) or value in THINK_LEVELS:
        return value  # type: ignore[no-any-return]
    shown = value if isinstance(value, str) else str(value)
    raise ValueError(f'invalid think value: "{shown[:100]}" (must be "high", "medium", "low", "max", true, or false)')


def _format(value: Any) -> str | dict[str, Any] | None:
    if value in (None, ""):
        return None
    if value == "json" or isinstance(value, dict):
        return value  # type: ignore[no-any-return]
    shown = f'"{value}"' if isinstance(value, str) else str(value)
    raise ValueError(f'invalid format: {shown[:100]}; expected "json" or a valid JSON Schema object')


def check_image(image: str) -> str:
    """Return `image`, which is base64, in one line. Raises ValueError in Go's words, BadRequest for too many pixels."""
    image = image.replace("\r", "").replace("\n", "")  # as Go does: some clients break lines as mail does
    try:
        data = base64.b64decode(image, validate=True)
    except (binascii.Error, ValueError):
        bad = re.search(r"[^A-Za-z0-9+/]", image)
        raise ValueError(f"illegal base64 data at input byte {bad.start() if bad else len(image)}") from None
    if pixels_of(data) > MOST_PIXELS:
        raise BadRequest(f"An image has more than {MOST_PIXELS:,} pixels; send a smaller one.")
    return image


def _role(value: Any) -> Any:
    role = value.lower() if isinstance(value, str) else value
    if isinstance(role, str) and role not in get_args(Role):
        raise ValueError(f'invalid role {value[:40]!r}; it is one of "system", "user", "assistant", "tool"')
    return role


Image = Annotated[str, BeforeValidator(lambda value: check_image(value) if isinstance(value, str) else value)]
KeepAlive = Annotated[
    float | None,
    BeforeValidator(_keep_alive, json_schema_input_type=float | str | None),
    Field(description="Seconds, or a duration: `5m`."),
]
Think = Annotated[
    bool | str | None,
    BeforeValidator(_think, json_schema_input_type=bool | Literal["high", "medium", "low", "max"] | None),
]
Format = Annotated[
    str | dict[str, Any] | None,
    BeforeValidator(_format, json_schema_input_type=Literal["json", ""] | dict[str, Any] | None),
    Field(description="`json`, or a JSON Schema."),
]
ToolChoice = Annotated[Any, Ignored(("auto", {"type": "auto"}))]
ParallelToolCalls = Annotated[Any, Ignored((True,))]
LogitBias = Annotated[Any, Ignored(({},))]
Count = Annotated[Any, Ignored((1,))]
Options = Annotated[dict[str, Any] | None, Field(description="`temperature`, `num_predict`, `seed`, `stop`, …")]


class FunctionCall(Body):
    """Which function, with what."""

    name: str = ""
    arguments: dict[str, Any] = {}
    index: int | None = None


class Call(Body):
    """A tool call in a message."""

    id: str | None = None
    function: FunctionCall


class ChatMessage(Body):
    """One turn."""

    role: Annotated[Literal["system", "user", "assistant", "tool"], BeforeValidator(_role)]
    content: str | None = None
    thinking: str | None = None
    images: list[Image] | None = None
    tool_calls: list[Call] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None

    def to_message(self) -> Message:
        """The turn in our words."""
        return Message(
            role=self.role,
            content=self.content or "",
            thinking=self.thinking or "",
            images=tuple(self.images or ()),
            tool_calls=tuple(
                ToolCall(id=call.id or "", name=call.function.name, arguments=call.function.arguments)
                for call in self.tool_calls or ()
            ),
            tool_name=self.tool_name or "",
            tool_call_id=self.tool_call_id or "",
        )


class Asking(Body):
    """What generate and chat share."""

    model: str | None = None
    stream: bool | None = None
    format: Format = None
    options: Options = None
    keep_alive: KeepAlive = None
    think: Think = None
    truncate: bool | None = None
    shift: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    debug_render_only: bool | None = Field(
        None, alias="_debug_render_only", description="Answer with the prompt the model would be given."
    )

    @property
    def is_streamed(self) -> bool:
        """Ollama streams unless told not to."""
        return self.stream is not False


class GenerateBody(Asking):
    """POST /api/generate."""

    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: list[int] | None = None
    raw: bool | None = None
    images: list[Image] | None = None


class ChatBody(Asking):
    """POST /api/chat."""

    messages: list[ChatMessage] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: ToolChoice = None


class ShowBody(Body):
    """POST /api/show."""

    model: str | None = None
    name: str | None = None
    verbose: bool | None = None


class StreamOptions(Body):
    """What a stream holds besides."""

    include_usage: bool | None = None


class ResponseFormat(Body):
    """Which form the answer takes."""

    type: str = "text"
    json_schema: dict[str, Any] | None = None


class Reasoning(Body):
    """How much to think."""

    effort: str | None = None


class OpenAIFunction(Body):
    """Which function, with what: arguments as JSON text."""

    name: str = ""
    arguments: str = "{}"


class OpenAICall(Body):
    """A tool call in an OpenAI message."""

    id: str | None = None
    type: str | None = None
    function: OpenAIFunction


class OpenAIMessage(Body):
    """One turn; the content may come in parts."""

    role: str
    content: str | list[dict[str, Any]] | None = None
    reasoning: str | None = None
    reasoning_content: str | None = Field(None, description="As `reasoning`, by the name that others have for it.")
    tool_calls: list[OpenAICall] | None = None
    tool_call_id: str | None = None
    name: str | None = None


class OpenAIAsking(Body):
    """What both of OpenAI's ways to complete take."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    n: Count = None
    logit_bias: LogitBias = None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with what it took."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def most_tokens(self) -> int | None:
        """How many the answer may have."""
        return self.max_tokens

    @property
    def options(self) -> dict[str, Any]:
        """What is set of Ollama's options. Raises BadRequest."""
        return read_options(
            {
                "num_predict": self.most_tokens,
                "seed": self.seed,
                "stop": [self.stop] if isinstance(self.stop, str) else self.stop,
                "temperature": self.temperature,
                "top_p": self.top_p,
                "frequency_penalty": self.frequency_penalty,
                "presence_penalty": self.presence_penalty,
            }
        )


class CompletionBody(OpenAIAsking):
    """POST /v1/chat/completions."""

    messages: list[OpenAIMessage] | None = None
    max_completion_tokens: int | None = None
    response_format: ResponseFormat | None = None
    tools: list[dict[str, Any]] | None = None
    reasoning: Reasoning | None = None
    reasoning_effort: str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tool_choice: ToolChoice = None
    parallel_tool_calls: ParallelToolCalls = None
    functions: Annotated[Any, Ignored(([],))] = None
    modalities: Annotated[Any, Ignored((["text"],))] = None
    web_search_options: Annotated[Any, Ignored()] = None
    verbosity: Annotated[Any, Ignored(("medium",))] = None

    @property
    def most_tokens(self) -> int | None:
        """The newer name comes first."""
        return self.max_completion_tokens or self.max_tokens
