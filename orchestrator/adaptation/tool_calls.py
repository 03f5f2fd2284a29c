"""Functions for models that were never taught to call any: told in words, and read from what they write."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from orchestrator.adaptation.written import json_in
from orchestrator.core.types import JSON, ChatRequest, Chunk, Chunks, Message, ToolCall

LONGEST = 256 * 1024  # characters of a call; what is longer is no call
_OPENINGS = ("{", "[", "```", "<tool_call>")


def in_words(request: ChatRequest) -> ChatRequest:
    """The same question without functions: a system message tells of them, and earlier calls are text."""
    told = [json.dumps(tool.get("function", tool), ensure_ascii=False) for tool in request.tools]
    system = Message(
        role="system",
        content=(
            "You can call functions. To call one or more, answer with nothing but JSON of this form:\n"
            '{"tool_calls": [{"name": "the function", "arguments": {"name of an argument": "its value"}}]}\n'
            "Otherwise answer in plain words. The functions, with a JSON Schema of their arguments:\n" + "\n".join(told)
        ),
    )
    place = next((at for at, one in enumerate(request.messages) if one.role != "system"), len(request.messages))
    turns = [_without_calls(message) for message in request.messages]
    return replace(request, tools=(), messages=(*turns[:place], system, *turns[place:]))


def _without_calls(message: Message) -> Message:
    if message.role == "tool":
        whose = f" of {message.tool_name}" if message.tool_name else ""
        return Message(role="user", content=f"The result{whose}:\n{message.content}", images=message.images)
    if message.tool_calls:
        calls = [{"name": call.name, "arguments": dict(call.arguments)} for call in message.tool_calls]
        said = json.dumps({"tool_calls": calls}, ensure_ascii=False)
        return replace(message, content=f"{message.content}\n{said}".strip(), tool_calls=())
    return message


def reading(tools: Sequence[Mapping[str, JSON]]) -> Callable[[Chunks], AsyncGenerator[Chunk, None]]:
    """A step that makes calls of what is written as such. What only looks like one is passed on as text."""
    names = {str(tool.get("function", tool).get("name", "")) for tool in tools}

    async def step(chunks: Chunks) -> AsyncGenerator[Chunk, None]:
        held: list[Chunk] | None = []  # None: it is no call
        text = ""
        async with aclosing(chunks):
            async for chunk in chunks:
                if held is None:
                    yield chunk
                    continue
                text += chunk.text
                held.append(chunk)
                begins = text.lstrip()
                may_be = begins.startswith(_OPENINGS) or any(one.startswith(begins) for one in _OPENINGS)
                if (may_be and len(text) <= LONGEST) and not chunk.done:
                    if chunk.usage and not chunk.text:
                        yield held.pop()
                    continue
                calls: Sequence[ToolCall] = ()
                if chunk.done and may_be:  # beside: to mend it may take seconds
                    calls = await asyncio.to_thread(calls_in, text, names)
                if calls:
                    assert chunk.done is not None
                    thinking = "".join(one.thinking for one in held)
                    yield Chunk(thinking=thinking, tool_calls=tuple(calls))
                    yield Chunk(done=replace(chunk.done, reason="stop"), usage=chunk.usage)
                else:
                    for one in held:
                        yield one
                held = None

    return step


def calls_in(text: str, names: set[str]) -> tuple[ToolCall, ...]:
    """The calls that `text` is, in any of the forms models write them in; none where it is anything else."""
    text = text.strip().removeprefix("<tool_call>").removesuffix("</tool_call>")
    value = json_in(text)
    if isinstance(value, dict) and isinstance(value.get("tool_calls"), list):
        value = value["tool_calls"]
    found = [_call(one, names) for one in (value if isinstance(value, list) else [value])]
    return tuple(one for one in found if one) if found and all(found) else ()


def _call(value: Any, names: set[str]) -> ToolCall | None:
    if not isinstance(value, dict):
        return None
    inner = value.get("function")
    value = inner if isinstance(inner, dict) else value
    arguments = value.get("arguments", value.get("parameters", {}))
    if isinstance(arguments, str):
        arguments = json_in(arguments)
    if value.get("name") not in names or not isinstance(arguments, dict):
        return None
    return ToolCall(id=f"call_{secrets.token_hex(4)}", name=value["name"], arguments=arguments)
