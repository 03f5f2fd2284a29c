"""Functions for models that were never taught to call any: told in words, and read from what they write."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from orchestrator.adaptation.written import MISSING, value_at
from orchestrator.core.arguments import as_arguments
from orchestrator.core.types import JSON, ChatRequest, Chunk, Chunks, Message, ToolCall

LONGEST = 256 * 1024  # characters of a call; what is longer is no call
_TAG, _UNTAG, _FENCE = "<tool_call>", "</tool_call>", "```"
_OPENINGS = ("{", "[", _FENCE, _TAG)
_BETWEEN = re.compile(r"(?:[\s,;\]}]|<\|\w+\|>)*+")  # with brackets too many and tokens of a template: they say nothing
_FENCED = re.compile(r"```[\w+.-]*\s*(?=[{\[])")
_FENCED_TAGS = re.compile(r"```[\w+.-]*\s*(?=<tool_call>)")


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


def in_text(calls: Sequence[ToolCall]) -> str:
    """Calls as a model that is told of functions in words writes them."""
    said = [{"name": call.name, "arguments": dict(call.arguments)} for call in calls]
    return json.dumps({"tool_calls": said}, ensure_ascii=False)


def _without_calls(message: Message) -> Message:
    if message.role == "tool":
        whose = f" of {message.tool_name}" if message.tool_name else ""
        return Message(role="user", content=f"The result{whose}:\n{message.content}", images=message.images)
    if message.tool_calls:
        return replace(message, content=f"{message.content}\n{in_text(message.tool_calls)}".strip(), tool_calls=())
    return message


def reading(
    tools: Sequence[Mapping[str, JSON]], *, has_stops: bool = False
) -> Callable[[Chunks], AsyncGenerator[Chunk, None]]:
    """A step that makes calls of what is written as such. What only looks like one is passed on as text.

    So is one that was cut: what it lacks may be what matters.

    has_stops  the question has strings that end the answer, wherever they come.
    """
    names = {str(tool.get("function", tool).get("name", "")) for tool in tools}

    async def step(chunks: Chunks) -> AsyncGenerator[Chunk, None]:
        held: list[Chunk] | None = []  # None: it is no call
        text = ""
        async with aclosing(chunks):
            async for chunk in chunks:
                if held is None or not (text or chunk.text):  # what is thought before is no call
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
                calls: tuple[ToolCall, ...] = ()
                words = ""
                if may_be and chunk.done and chunk.done.reason == "stop":  # beside: to mend it may take seconds
                    calls, words = await asyncio.to_thread(calls_in, text, names, may_be_cut=has_stops)
                if calls:
                    thinking = "".join(one.thinking for one in held)
                    yield Chunk(thinking=thinking, text=words, tool_calls=calls)
                    yield Chunk(done=chunk.done, usage=chunk.usage)
                else:
                    for one in held:
                        yield one
                held = None

    return step


def calls_in(text: str, names: set[str], *, may_be_cut: bool = False) -> tuple[tuple[ToolCall, ...], str]:
    """The calls that `text` is, in any of the forms models write them in, and what it says beside them.

    None where it is anything else: only tags say for certain that what they hold is meant, whatever stands around it.

    may_be_cut  the text may end where its writer did not mean it to.
    """
    text = text.strip()
    if fence := _FENCED_TAGS.match(text):
        text = text[fence.end() :].removesuffix(_FENCE)
    if text.startswith(_TAG):
        values, words = _in_tags(text, may_be_cut)
    else:
        values, end = _values(text, 0, may_be_cut)
        values, words = values if text[end:] in {"", _UNTAG} else [], ""
    found = [_call(one, names) for value in values for one in _each(value)]
    calls = tuple(one for one in found if one)
    return (calls, words) if len(calls) == len(found) else ((), "")


def _in_tags(text: str, may_be_cut: bool) -> tuple[list[Any], str]:
    """The values between tags, and the words around these; no value where one of them is not certain."""
    values: list[Any] = []
    words: list[str] = []
    at = 0
    while at < len(text):
        if not text.startswith(_TAG, at):
            up = text.find(_TAG, at)
            up = up if up >= 0 else len(text)
            words.append(text[at:up])
            at = up
            continue
        inside, at = _values(text, at + len(_TAG), may_be_cut)
        if text.startswith(_UNTAG, at):
            at += len(_UNTAG)
        elif at < len(text) and not text.startswith(_TAG, at):
            return [], ""
        if not inside:
            return [], ""
        values += inside
    return values, "".join(words).strip()


def _values(text: str, at: int, may_be_cut: bool) -> tuple[list[Any], int]:
    """The values one after the other, in fences or not, and the place after them; none where one is not certain."""
    values: list[Any] = []
    while True:
        if gap := _BETWEEN.match(text, at):
            at = gap.end()
        if fence := _FENCED.match(text, at):
            at = fence.end()
        elif values and text.startswith(_FENCE, at):
            at += len(_FENCE)
        elif text.startswith(("{", "["), at):
            value, at = value_at(text, at, (_UNTAG, _FENCE), may_be_cut=may_be_cut)
            if value is MISSING:
                return [], at
            values.append(value)
        else:
            return values, at


def _each(value: Any) -> list[Any]:
    if isinstance(value, dict) and isinstance(value.get("tool_calls"), list):
        value = value["tool_calls"]
    return value if isinstance(value, list) else [value]


def _call(value: Any, names: set[str]) -> ToolCall | None:
    if not isinstance(value, dict):
        return None
    inner = value.get("function")
    value = inner if isinstance(inner, dict) else value
    name, arguments = value.get("name"), value.get("arguments", value.get("parameters", {}))
    if isinstance(arguments, str):
        arguments = _object_of(arguments.strip())
    arguments = as_arguments(arguments)
    if not isinstance(name, str) or name not in names or arguments is None:
        return None
    return ToolCall(id=f"call_{secrets.token_hex(4)}", name=name, arguments=arguments)


def _object_of(text: str) -> Any:
    """The object that `text` is, and nothing but it; else MISSING."""
    if not text.startswith("{"):
        return MISSING
    value, end = value_at(text, 0)
    return value if end == len(text) else MISSING
