"""The body of /v1/responses, and the same question in our words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

from orchestrator.api.openai import joined, read_call, read_effort, read_image
from orchestrator.api.options import read_options
from orchestrator.api.schemas import Body, Ignored, ParallelToolCalls, ToolChoice
from orchestrator.core.errors import BadRequest
from orchestrator.core.types import ChatRequest, Message, Role, ToolCall

MOST_TOP_LOGPROBS = 20
LOGPROBS = "message.output_text.logprobs"  # what `include` says to have them
ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
TRUNCATES = {"auto": True, "disabled": False}
# Offered by clients such as Codex with every question; it is left out, as there is nothing to search with.
WEB_SEARCH = "web_search"
ITEMS = "items are message, reasoning, function_call and function_call_output"
PARTS = "parts are input_text, output_text and input_image, with a text or an image_url"
# What OpenAI's own API takes besides, and what to send in its place.
INSTEAD = {
    "item_reference": "nothing is stored here: send the item itself",
    "input_file": "send its text as input_text",
    "input_audio": "send what was said as input_text",
}
# What never differs: nothing is stored, and there is one way to call tools.
ECHO: dict[str, Any] = {
    "previous_response_id": None,
    "store": False,
    "service_tier": "default",
    "metadata": {},
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "max_tool_calls": None,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "safety_identifier": None,
    "prompt_cache_key": None,
}


class ResponseReasoning(Body):
    """How much to think. A summary of it is always all of it."""

    effort: str | None = None
    summary: str | None = None


class TextConfig(Body):
    """Which form the answer takes."""

    format: dict[str, Any] | None = None
    verbosity: Annotated[Any, Ignored(("medium",))] = None


class ResponsesBody(Body):
    """POST /v1/responses."""

    model: str | None = None
    input: str | list[dict[str, Any]] | None = None
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: int | None = None
    reasoning: ResponseReasoning | None = None
    temperature: float | None = None
    top_p: float | None = None
    truncation: str | None = None
    tools: list[dict[str, Any]] | None = None
    text: TextConfig | None = None
    include: list[str] | None = None
    top_logprobs: int | None = None
    background: bool | None = None
    tool_choice: ToolChoice = None
    parallel_tool_calls: ParallelToolCalls = None
    max_tool_calls: Annotated[Any, Ignored()] = None
    prompt: Annotated[Any, Ignored()] = None
    previous_response_id: Annotated[Any, Ignored(("",))] = None
    conversation: Annotated[Any, Ignored(("",))] = None


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call."""

    wire: dict[str, Any]  # as it came
    name: str
    namespace: str = ""

    def words(self) -> dict[str, Any]:
        """It in our words."""
        given = ("description", "parameters", "strict")
        function = {name: self.wire[name] for name in given if self.wire.get(name) is not None}
        return {"type": "function", "function": {"name": self.name, **function}}


def to_request(body: ResponsesBody, common: dict[str, Any]) -> ChatRequest:
    """The request in our words. Raises BadRequest."""
    if not body.model:
        raise BadRequest("model is required")
    if not 0 <= (body.top_logprobs or 0) <= MOST_TOP_LOGPROBS:
        raise BadRequest(f"top_logprobs must be between 0 and {MOST_TOP_LOGPROBS}")
    if body.truncation and body.truncation not in TRUNCATES:
        raise BadRequest(f"truncation is one of {', '.join(TRUNCATES)}")
    options = {
        "num_predict": body.max_output_tokens,
        "temperature": body.temperature,
        "top_p": body.top_p,
    }
    return ChatRequest(
        model=body.model,
        messages=_messages(body),
        tools=tuple(tool.words() for tool in read_tools(body)),
        format=_format(body.text),
        think=read_effort(body.reasoning.effort if body.reasoning else None),
        options=read_options(options),
        logprobs=bool(body.top_logprobs) or LOGPROBS in (body.include or ()),
        top_logprobs=body.top_logprobs or 0,
        truncate=TRUNCATES[body.truncation or "auto"],
        ignored=(
            *body.ignored,
            *(body.text.ignored if body.text else ()),
            *([WEB_SEARCH] if any(map(_is_search, body.tools or ())) else []),
        ),
        stream=bool(body.stream),
        dialect="openai",
        **common,
    )


def echo(body: ResponsesBody) -> dict[str, Any]:
    """What of the request every answer says again.

    Clients read numbers there, so what was not set is said to be what it is at OpenAI.
    """
    return ECHO | {
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "temperature": 1.0 if body.temperature is None else body.temperature,
        "top_p": 1.0 if body.top_p is None else body.top_p,
        "top_logprobs": body.top_logprobs or 0,
        "truncation": body.truncation or "disabled",
        "reasoning": body.reasoning.model_dump() if body.reasoning else None,
        "text": {"format": (body.text and body.text.format) or {"type": "text"}},
        "tools": [tool for tool in body.tools or () if not _is_search(tool)],
        "background": bool(body.background),
    }


def read_tools(body: ResponsesBody) -> list[Tool]:
    """The functions that are offered, those of namespaces among them. Raises BadRequest."""
    tools = [tool for place, wire in enumerate(body.tools or ()) for tool in _tools(wire, f"tools[{place}]")]
    for name, count in Counter(tool.name for tool in tools).items():
        if count > 1:
            raise BadRequest(f"tools: {count} functions are called {name[:64]!r}; rename them")
    return tools


def _tools(wire: dict[str, Any], where: str) -> Iterator[Tool]:
    if wire.get("type") == "function":
        yield _function(wire, where)
    elif wire.get("type") == "namespace":
        name, inner = wire.get("name"), wire.get("tools")
        if not isinstance(name, str) or not isinstance(inner, list):
            raise BadRequest(f"{where}: a namespace needs a name, and a list of functions as tools")
        for place, tool in enumerate(inner):
            if not isinstance(tool, dict) or tool.get("type") != "function":
                raise BadRequest(f"{where}.tools[{place}]: a namespace holds functions only")
            yield _function(tool, f"{where}.tools[{place}]", name)
    elif not _is_search(wire):
        kind = str(wire.get("type"))[:40]
        raise BadRequest(f"{where}: tools of type {kind!r} are not run here; describe yours as functions")


def _function(wire: dict[str, Any], where: str, namespace: str = "") -> Tool:
    name, parameters, description = wire.get("name"), wire.get("parameters"), wire.get("description")
    if not isinstance(name, str) or not name:
        raise BadRequest(f"{where}: a function needs a name, beside its type")
    if not isinstance(parameters, dict | None) or not isinstance(description, str | None):
        raise BadRequest(f"{where}: the parameters of a function are a JSON Schema object, its description is text")
    return Tool(wire, name, namespace)


def _is_search(wire: dict[str, Any]) -> bool:
    return str(wire.get("type")).startswith(WEB_SEARCH)


def _format(text: TextConfig | None) -> str | dict[str, Any] | None:
    match text.format if text else None:
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return "json"
        case {"type": "json_schema", "schema": dict(schema)}:
            return schema
    raise BadRequest("text.format must be text, json_object, or json_schema with a schema")


def _messages(body: ResponsesBody) -> tuple[Message, ...]:
    given = body.input
    if given is None or given == "":
        raise BadRequest("input is required: text, or a list of items")
    if not given:
        raise BadRequest("[] is too short - 'input'")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    conversation = _Conversation()
    for place, item in enumerate(items):
        conversation.add(item, f"input[{place}]")
    conversation.end()
    if not conversation.messages:
        raise BadRequest("input has nothing to answer; send a message")
    before = [Message(role="system", content=body.instructions)] if body.instructions else []
    return (*before, *conversation.messages)


@dataclass(slots=True)
class _Turn:
    """What the model thought, said and called in a row."""

    thinking: list[str] = field(default_factory=list)
    content: str | None = None
    calls: list[ToolCall] = field(default_factory=list)

    def message(self) -> Message:
        """The same in our words."""
        return Message(
            role="assistant",
            content=self.content or "",
            thinking="".join(self.thinking),
            tool_calls=tuple(self.calls),
        )


class _Conversation:
    """Items become messages."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._turn: _Turn | None = None  # while it may go on
        self._images: list[str] = []  # in what tools answered
        self._tool_names: dict[str, str] = {}  # by the id of the call

    def add(self, item: dict[str, Any], where: str) -> None:
        """Take the next item. Raises BadRequest that says what is wrong with it."""
        kind = item.get("type") or ("message" if "role" in item else None)
        match kind:
            case "message":
                self._said(item, where)
            case "reasoning":
                self._thought(item, where)
            case "function_call":
                self._called(item, where)
            case "function_call_output":
                self._answered(item, where)
            case "web_search_call":
                pass  # what was found is not in it
            case _:
                raise _unreadable("an item", kind, where, ITEMS)

    def end(self) -> None:
        """Write down what the model did last, or the pictures its tools answered with."""
        if self._turn:
            self.messages.append(self._turn.message())
            self._turn = None
        if self._images:  # providers take pictures from users only
            self.messages.append(Message(role="user", images=tuple(self._images)))
            self._images = []

    def _own(self, *, is_next: bool) -> _Turn:
        """The model's turn to go on with; the next one when `is_next` and it has said or called something."""
        if self._turn and is_next and (self._turn.content is not None or self._turn.calls):
            self.end()
        if not self._turn:
            self.end()
            self._turn = _Turn()
        return self._turn

    def _said(self, item: dict[str, Any], where: str) -> None:
        given = item.get("role")
        role = ROLES.get(given.lower()) if isinstance(given, str) else None
        if role is None:
            raise BadRequest(f"{where}.role: {str(given)[:40]!r} is not known; it is one of {', '.join(ROLES)}")
        text, images = _content(item.get("content"), f"{where}.content", role)
        if role != "assistant":
            self.end()
            self.messages.append(Message(role=role, content=text, images=images))
        elif images:
            raise BadRequest(f"{where}.content: pictures come from users; send a message of theirs")
        else:
            self._own(is_next=True).content = text

    def _thought(self, item: dict[str, Any], where: str) -> None:
        self._own(is_next=True).thinking.append(_thinking(item, where))

    def _called(self, item: dict[str, Any], where: str) -> None:
        match item:
            case {"call_id": str(call_id), "name": str(name), "arguments": str(arguments)} if call_id and name:
                self._own(is_next=False).calls.append(read_call(call_id, name, arguments))
                self._tool_names[call_id] = name
            case _:
                raise BadRequest(f"{where}: a function_call needs `call_id`, `name`, and `arguments` as text")

    def _answered(self, item: dict[str, Any], where: str) -> None:
        call_id = item.get("call_id")
        if not isinstance(call_id, str) or not call_id:
            raise BadRequest(f"{where}: a function_call_output needs the `call_id` of the call it answers")
        text, images = _content(item.get("output"), f"{where}.output", "tool")
        if self._turn:
            self.end()
        name = self._tool_names.get(call_id, "")
        self.messages.append(Message(role="tool", content=text, tool_name=name, tool_call_id=call_id))
        self._images += images


def _thinking(item: dict[str, Any], where: str) -> str:
    """What a reasoning item says in plain text.

    Not `encrypted_content`: it may be another server's, and ours says the same as the summary beside it.
    """
    parts = item.get("content") or item.get("summary") or []
    match parts:
        case [*_] if all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in parts):
            return "".join(part["text"] for part in parts)
    raise BadRequest(f"{where}: the summary of a reasoning item is a list of parts, each with a text")


def _content(content: Any, where: str, role: str) -> tuple[str, tuple[str, ...]]:
    """The text and the pictures. Raises BadRequest."""
    if isinstance(content, str):
        return content, ()
    if not isinstance(content, list):
        raise BadRequest(f"{where} is required: text, or a list of parts")
    texts, images = [], []
    for place, part in enumerate(content):
        match part:
            case {"type": "input_text" | "output_text" | "text", "text": str(text)}:
                texts.append(text)
            case {"type": "refusal", "refusal": str(text)}:
                texts.append(text)
            case {"type": "input_image", "image_url": str(url)}:
                images.append(read_image(url))
            case {"type": "input_image"}:
                raise BadRequest(f"{where}[{place}]: files are not kept here; send the picture as a data URI")
            case _:
                kind = part.get("type") if isinstance(part, dict) else None
                raise _unreadable("a part", kind, f"{where}[{place}]", PARTS)
    return joined(texts, role), tuple(images)


def _unreadable(what: str, kind: Any, where: str, takes: str) -> BadRequest:
    if not isinstance(kind, str):
        return BadRequest(f"{where}: {what} without a type cannot be read; {takes}")
    return BadRequest(f"{where}: {what} of type {kind[:40]!r} cannot be read; {INSTEAD.get(kind, takes)}")
