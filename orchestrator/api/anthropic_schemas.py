"""The bodies of Anthropic's dialect, and the same question in our words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import orjson
from django.conf import settings
from pydantic import Field

from orchestrator.api.options import read_options
from orchestrator.api.schemas import Body, Ignored, ToolChoice, check_image
from orchestrator.core.errors import BadRequest
from orchestrator.core.types import ChatRequest, Message, ToolCall

EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "max"}
THINKING: dict[str, bool | None] = {"enabled": True, "disabled": False, "adaptive": None}  # None: as the model does
PICTURES = ("image/jpeg", "image/png", "image/gif", "image/webp")

# Who may say what, and what a block of that kind must have.
BLOCKS = {
    "user": ("text", "image", "tool_result"),
    "assistant": ("text", "thinking", "tool_use"),
    "system": ("text",),
}
NEEDS = {
    "text": "`text`",
    "thinking": "`thinking`",
    "image": "a `source` with `type`, `media_type` and `data`",
    "tool_use": "`id`, `name`, and an object as `input`",
    "tool_result": "the `tool_use_id` of the call it answers",
}
# What Anthropic's own API takes besides, and what to send in its place.
INSTEAD = {
    "document": "send its text in a text block",
    "search_result": "send its text in a text block",
    "server_tool_use": "send what the tool found in a text block",
    "web_search_tool_result": "send what was found in a text block",
    "redacted_thinking": "leave it out, since only Anthropic's models can read it",
}

BYTES_PER_TOKEN = 3  # rather too few than too many: who counts wants to know what still fits
TOKENS_PER_MESSAGE = 4  # what a template writes around it
TOKENS_PER_PICTURE = 1600  # the most a picture takes in Anthropic's own count


class AnthropicMessage(Body):
    """One turn: text, or blocks."""

    role: str
    content: str | list[dict[str, Any]] | None = None


class Thinking(Body):
    """Whether to think. A budget has no counterpart here."""

    type: str | None = None
    budget_tokens: Annotated[Any, Ignored()] = None


class OutputConfig(Body):
    """How hard to try, and the form of the answer."""

    effort: str | None = None
    format: dict[str, Any] | None = None


class CountBody(Body):
    """POST /v1/messages/count_tokens."""

    model: str | None = None
    messages: list[AnthropicMessage] | None = None
    system: str | list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: dict[str, Any] | None = Field(None, description="As the form was asked for at first.")


class MessagesBody(CountBody):
    """POST /v1/messages."""

    max_tokens: int | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    tool_choice: ToolChoice = None
    mcp_servers: Annotated[Any, Ignored(([],))] = None


def to_request(body: MessagesBody, common: dict[str, Any]) -> ChatRequest:
    """The request in our words. Raises BadRequest."""
    if not body.model:
        raise BadRequest("model is required")
    if body.max_tokens is None or body.max_tokens <= 0:
        raise BadRequest("max_tokens is required and must be positive")
    options = {
        "num_predict": body.max_tokens,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "top_k": body.top_k,
        "stop": body.stop_sequences or None,
    }
    return ChatRequest(
        **_question(body),
        options=read_options(options),
        ignored=(*body.ignored, *(body.thinking.ignored if body.thinking else ())),
        stream=bool(body.stream),
        dialect="anthropic",
        **common,
    )


def to_count(body: CountBody, common: dict[str, Any]) -> ChatRequest:
    """What is to be counted, in our words. Raises BadRequest."""
    return ChatRequest(**_question(body), dialect="anthropic", **common)


def estimate(request: ChatRequest) -> int:
    """About how many tokens the question has; 1 at least, and never fewer for more text.

    An estimate over UTF-8 bytes, the same for every model: only a model's own tokenizer could say more.
    """
    size = sum(len(orjson.dumps(tool)) for tool in request.tools)
    tokens = 0
    for message in request.messages:
        size += len(message.content.encode()) + len(message.thinking.encode())
        size += sum(len(call.name.encode()) + len(orjson.dumps(call.arguments)) for call in message.tool_calls)
        tokens += TOKENS_PER_MESSAGE + TOKENS_PER_PICTURE * len(message.images)
    return tokens + -(-size // BYTES_PER_TOKEN)


def _question(body: CountBody) -> dict[str, Any]:
    """The fields of a ChatRequest that make the question. Raises BadRequest."""
    if not body.model:
        raise BadRequest("model is required")
    if not body.messages:
        raise BadRequest("messages is required")
    return {
        "model": body.model,
        "messages": _messages(body.system, body.messages),
        "tools": tuple(_tool(tool, f"tools.{place}") for place, tool in enumerate(body.tools or ())),
        "format": _format(body),
        "think": _think(body),
    }


def _think(body: CountBody) -> bool | str | None:
    """How much to think; an effort is one more way to ask for it, unless it is disabled."""
    kind = body.thinking.type if body.thinking else None
    if body.thinking and kind not in THINKING:
        raise BadRequest(f"thinking.type is one of {', '.join(THINKING)}")
    think = THINKING[kind] if kind else None
    effort = body.output_config.effort if body.output_config else None
    if not effort:
        return think
    if effort not in EFFORTS:
        raise BadRequest(f"output_config.effort is one of {', '.join(EFFORTS)}")
    return think if think is False else EFFORTS[effort]


def _format(body: CountBody) -> dict[str, Any] | None:
    wanted, name = (body.output_config.format if body.output_config else None), "output_config.format"
    if wanted is None:
        wanted, name = body.output_format, "output_format"
    match wanted:
        case None:
            return None
        case {"type": "json_schema", "schema": dict(schema)}:
            return schema
    raise BadRequest(f"{name} must be of type json_schema, with a schema")


def _tool(tool: dict[str, Any], where: str) -> dict[str, Any]:
    kind = tool.get("type") or "custom"
    if kind != "custom":
        raise BadRequest(
            f"{where}: tools of type {str(kind)[:40]!r} are Anthropic's own; "
            "describe yours with name, description and input_schema"
        )
    name, schema, description = tool.get("name"), tool.get("input_schema"), tool.get("description")
    if not isinstance(name, str) or not name or not isinstance(schema, dict):
        raise BadRequest(f"{where}: a tool needs a name, and an object as input_schema")
    if not isinstance(description, str | None):
        raise BadRequest(f"{where}.description must be text")
    function: dict[str, Any] = {"name": name} | ({} if description is None else {"description": description})
    return {"type": "function", "function": function | {"parameters": schema}}


def _messages(system: str | list[dict[str, Any]] | None, turns: list[AnthropicMessage]) -> tuple[Message, ...]:
    """The conversation; a tool's answer finds the tool's name by the id of its call."""
    before = _read(system or "", "system", "system").text
    messages = [Message(role="system", content=before)] if before else []
    tool_names: dict[str, str] = {}
    for place, turn in enumerate(turns):
        where, role = f"messages.{place}", turn.role.lower()
        if role not in BLOCKS:
            raise BadRequest(f"{where}.role: {turn.role[:40]!r} is not known; it is one of user, assistant, system")
        if turn.content is None:
            raise BadRequest(f"{where}.content is required: text, or a list of blocks")
        messages += _read(turn.content, role, f"{where}.content").messages(role, tool_names)
    return tuple(messages)


@dataclass(slots=True)
class _Turn:
    """What one turn says, by kind."""

    text: str = ""
    thinking: str = ""
    images: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    results: list[Message] = field(default_factory=list)

    def messages(self, role: str, tool_names: dict[str, str]) -> list[Message]:
        """The same in our words: each tool's answer is a message of its own, ahead of the rest."""
        tool_names |= {call.id: call.name for call in self.calls}
        results = [
            Message(
                role="tool",
                content=result.content,
                tool_call_id=result.tool_call_id,
                tool_name=tool_names.get(result.tool_call_id, ""),
            )
            for result in self.results
        ]
        if results and not self.text and not self.images:
            return results
        rest = Message(
            role=role,  # type: ignore[arg-type]  # checked by the caller
            content=self.text,
            thinking=self.thinking,
            images=tuple(self.images),
            tool_calls=tuple(self.calls),
        )
        return [*results, rest]


def _read(content: str | list[dict[str, Any]], role: str, where: str) -> _Turn:
    """Read a turn's blocks. Raises BadRequest that says which block is wrong, and what to do."""
    if isinstance(content, str):
        return _Turn(text=content)
    turn = _Turn()
    has_begun = False  # with something else than a tool's answer
    for place, block in enumerate(content):
        at = f"{where}.{place}"
        kind = _kind(block, role, at)
        if kind == "tool_result" and has_begun:
            raise BadRequest(f"{at}: tool_result blocks must come first in their message; move the others after them")
        has_begun |= kind != "tool_result"
        if not _take(turn, block, at):
            raise BadRequest(f"{at}: a {kind} block needs {NEEDS[kind]}")
    return turn


def _kind(block: dict[str, Any], role: str, at: str) -> str:
    kind = block.get("type")
    if isinstance(kind, str) and kind in BLOCKS[role]:
        return kind
    takes = ", ".join(BLOCKS[role])
    shown = repr(kind[:40]) if isinstance(kind, str) else "of no type"
    advice = INSTEAD.get(kind, "") if isinstance(kind, str) else ""
    said = f"{at}: a block {shown} is not taken here" + (f"; {advice}" if advice else "")
    raise BadRequest(f"{said} ({role} blocks are {takes})")


def _take(turn: _Turn, block: dict[str, Any], at: str) -> bool:
    """Add `block` to `turn`; False when it lacks what its kind needs."""
    match block:
        case {"type": "text", "text": str(text)}:
            turn.text += text
        case {"type": "thinking", "thinking": str(thinking)}:
            turn.thinking += thinking
        case {"type": "image", "source": dict(source)}:
            turn.images.append(_image(source, at))
        case {"type": "tool_use", "id": str(id), "name": str(name), "input": dict(arguments)} if id and name:
            turn.calls.append(ToolCall(id=id, name=name, arguments=arguments))
        case {"type": "tool_result", "tool_use_id": str(id)} if id:
            said = _result(block, at)
            text = said.text
            if block.get("is_error") is True:  # there is no other word for it that every model reads
                text = f"Error: {text}" if text else "Error"
            turn.results.append(Message(role="tool", content=text, tool_call_id=id))
            # Providers take pictures from users only: they go with the words that follow the answers.
            turn.images += said.images
        case _:
            return False
    return True


def _result(block: dict[str, Any], at: str) -> _Turn:
    """The text and the pictures of a tool's answer."""
    content = block.get("content")
    if content is None or isinstance(content, str):
        return _Turn(text=content or "")
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise BadRequest(f"{at}.content must be text, or a list of text and image blocks")
    if any(part.get("type") == "tool_result" for part in content):
        raise BadRequest(f"{at}.content: a tool_result within a tool_result is not taken")
    return _read(content, "user", f"{at}.content")


def _image(source: dict[str, Any], at: str) -> str:
    match source:
        case {"type": "base64", "media_type": str(kind), "data": str(data)} if kind in PICTURES:
            try:
                return check_image(data)
            except ValueError as error:
                raise BadRequest(f"{at}.source.data: {error}") from None
        case {"type": "base64", "data": str()}:
            raise BadRequest(f"{at}.source.media_type is one of {', '.join(PICTURES)}")
        case {"type": "url", "url": str(url)} if settings.FETCH_IMAGES and url.startswith(("http://", "https://")):
            return url  # it is fetched when the request is charged
        case {"type": "url" | "file"}:
            raise BadRequest(f"{at}.source: pictures are not fetched; send them as base64")
    raise BadRequest(f"{at}.source must be of type base64, with media_type and data")
