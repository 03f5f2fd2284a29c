"""Tells apart what a model writes: thinking, text for the caller, and calls of tools."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

from orchestrator.core.arguments import as_arguments
from orchestrator.core.ids import call_id
from orchestrator.core.types import Chunk, ToolCall
from orchestrator.modelhost.tagged import NO_TOOLS, Offered, TaggedCall

# What models open their thinking with, and what closes it.
_THINKING = {"<think>": "</think>", "[THINK]": "[/THINK]", "<seed:think>": "</seed:think>"}
CHANNEL = "<|channel|>"  # what models open it with that write in channels; see `channels`
# What models open calls with, and what closes that; where nothing does, the calls end where something else begins.
_CALLS = {
    "<tool_call>": "</tool_call>",
    "<seed:tool_call>": "</seed:tool_call>",
    "<function=": "</tool_call>",  # the tag before it was left out, as Qwen3-Coder does now and then
    "<|tool_call|>": "<|/tool_call|>",
    "[TOOL_CALLS]": "",
    "<|python_tag|>": "",
}
_BARE = "<function="  # it opens a call and is a part of it
_TAGGED = {"<tool_call>", "<seed:tool_call>", _BARE}  # behind these each argument may have its own tag
_NAMES = "[TOOL_CALLS]"  # behind it the name of a tool may come first
_OPENING = re.compile(r"[<\[]")  # of any of these tags
# Newer models of Mistral's name the tool before its arguments.
_NAMED = re.compile(r"\s*+([^\s\[{]++)(?:\[CALL_ID\]\w*+)?+(?:\[ARGS\])?+\s*+(?={)")
_NAMED_SO_FAR = re.compile(r"\s*+[^\s\[{]*+(?:\[(?:CALL_ID|ARGS)\]\w*+|\[[A-Z_]*+\Z)*+\s*+")
_LONGEST_NAME = 256  # characters, with what else stands there; what is longer is none
_NEXT = re.compile(r"\s*+(?:[,;]\s*+)?+(?=[{\[])")  # what may stand between two calls
_OUTSIDE_STRINGS = frozenset('{}[],:" \t\r\n0123456789+-.eEtruefalsenull')  # the characters JSON has there


def thinking_in(template: str) -> str:
    """What opens thinking, as far as a template shows it; empty where it shows none."""
    if CHANNEL in template and "<|message|>" in template:
        return CHANNEL
    return next((tag for tag in _THINKING if tag in template), "")


class ReplyReader:
    """Reads an answer as it is made. What it finds does not depend on the pieces the answer comes in.

    Thinking stands between tags at the start, or begins at once where the prompt has opened
    it. Calls of tools are looked for only when the caller offered some: as JSON objects or lists of them
    behind one of the tags that models are taught, with a tag for each argument (`tagged`), or as an
    answer that is nothing but JSON. What calls none of these is text.

    thinks  what opens the model's thinking, `thinking_in` its template; empty where it does none.
    tools   those that were offered.
    """

    is_over = has_told_all = wants_answer = False  # it has no form but its tags; see `channels`

    def __init__(self, *, thinks: str = "", is_open: bool = False, tools: Offered = NO_TOOLS) -> None:
        self._mode = "thinking" if is_open else "start" if thinks or tools else "text"
        self._thinks, self._tools = thinks, tools
        self._held = ""
        self._has_ended = False
        self._skips_space = False  # it stands between a tag and what follows, and belongs to neither
        self._tag = ""  # that stands before the calls; none where they are the answer
        self._name = ""  # of the tool, where it stands before the arguments
        self._read = ""  # what is text if it turns out that no call was meant
        self._calls: tuple[ToolCall, ...] = ()  # that are the answer, if nothing else follows
        self._value = _Value()
        self._written = TaggedCall(tools)

    @property
    def is_thinking(self) -> bool:
        """Whether what comes next is not for the caller, as far as can be told."""
        return self._mode == "thinking" or (self._mode == "start" and bool(self._thinks))

    def feed(self, text: str) -> list[Chunk]:
        """Take text and return what is certain now."""
        self._held += text
        return list(self._parts())

    def flush(self) -> list[Chunk]:
        """The end has come: return the rest."""
        self._has_ended = True
        chunks = list(self._parts())
        rest, self._held = self._held, ""
        if self._mode == "thinking":
            return [*chunks, Chunk(thinking=rest)] if rest else chunks
        if self._mode == "called" and not rest.strip():
            return [*chunks, Chunk(tool_calls=self._calls)] if self._calls else chunks
        rest, self._read = self._read + rest, ""
        return [*chunks, Chunk(text=rest)] if rest else chunks

    def _parts(self) -> Iterator[Chunk]:
        before = None
        while before != (self._mode, self._held):  # each step either moves on or waits for more
            before = (self._mode, self._held)
            if self._skips_space:
                self._held = self._held.lstrip()
                self._skips_space = not self._held
            yield from _STEPS[self._mode](self)

    def _start(self) -> Iterator[Chunk]:
        text = self._held.lstrip()
        if self._thinks and text.startswith(self._thinks):
            self._enter("thinking", text[len(self._thinks) :])
        elif text and not (self._thinks and self._thinks.startswith(text)):
            self._mode = "after"
        return iter(())

    def _think(self) -> Iterator[Chunk]:
        passed, is_over = self._until(_THINKING[self._thinks])
        if is_over:
            self._enter("after", self._held)
        if passed:
            yield Chunk(thinking=passed)

    def _after(self) -> Iterator[Chunk]:
        """Between thinking and the answer, where it shows whether the answer begins with a call."""
        text = self._held.lstrip()
        tag = _tag_at(text, 0) if self._tools else None
        if tag:
            self._open(tag, self._held[: -len(text)], text)
        elif text and tag is None:
            self._mode = "value" if self._tools and text[0] in "{[" else "text"
        return iter(())

    def _text(self) -> Iterator[Chunk]:
        passed, tag = self._held, None
        for mark in _OPENING.finditer(self._held) if self._tools else ():
            if (tag := _tag_at(self._held, mark.start())) is not None:
                passed = self._held[: mark.start()]
                break
        self._held = self._held[len(passed) :]
        if tag:
            self._open(tag, "", self._held)
        if passed:
            yield Chunk(text=passed)

    def _json(self) -> Iterator[Chunk]:
        """Behind a tag, or where the answer or a part of it may be a bare call."""
        end = self._value.end(self._held)
        if end is None:
            return
        value, self._held = self._held[:end], self._held[end:]
        self._read += value
        calls = self._calls_in(value) if self._value.is_whole else ()
        self._value, self._name = _Value(), ""
        if not calls:
            yield from self._give_up()
        elif self._tag:
            self._mode, self._read = "called", ""
            yield Chunk(tool_calls=calls)
        else:
            self._mode, self._calls = "called", self._calls + calls

    def _calls_in(self, value: str) -> tuple[ToolCall, ...]:
        if self._name:
            value = f'{{"name": {json.dumps(self._name)}, "arguments": {value}}}'
        return tool_calls(value, self._tools, is_bare=not self._tag)

    def _tagged(self) -> Iterator[Chunk]:
        """Behind a tag whose calls have tags for their arguments; where none does, JSON may stand there."""
        end = self._written.end(self._held, is_over=self._has_ended)
        if end is None:
            return
        call = self._written.call
        self._written = TaggedCall(self._tools)
        if not (call or end or self._tag == _BARE):
            self._mode = "value"
            return
        end = end or len(_BARE)
        self._read, self._held = self._read + self._held[:end], self._held[end:]
        if call:
            self._mode, self._read = "called", ""
            yield Chunk(tool_calls=(call,))
        else:
            yield from self._give_up()

    def _naming(self) -> Iterator[Chunk]:
        """Behind Mistral's tag, where the name of a tool may stand."""
        if named := _NAMED.match(self._held):
            self._mode, self._name, self._held = "value", named[1], self._held[named.end() :]
            self._read += named[0]
        elif len(self._held) > _LONGEST_NAME or not _NAMED_SO_FAR.fullmatch(self._held):
            self._mode = "value"  # of an older model, which names it within, or of none
        return iter(())

    def _called(self) -> Iterator[Chunk]:
        """Behind a call, where another may follow."""
        text, closing = self._held.lstrip(), _CALLS.get(self._tag, "")
        if closing and text.startswith(closing):
            self._enter("text", text[len(closing) :])
        elif between := _NEXT.match(self._held):
            self._mode, self._held = "value", self._held[between.end() :]
            self._read += between[0]
        elif not (closing.startswith(text) or text.rstrip() in {"", ",", ";"}):
            self._held = text if self._tag else self._held
            yield from self._give_up()

    def _open(self, tag: str, before: str, text: str) -> None:
        """The text begins with a tag. What stands before it goes with it, and is text only where no call follows."""
        self._mode = "naming" if tag == _NAMES else "tagged" if tag in _TAGGED else "value"
        passed = "" if tag == _BARE else tag
        self._tag, self._read, self._held = tag, before + passed, text[len(passed) :]

    def _give_up(self) -> Iterator[Chunk]:
        """What was read is no call, or more than calls."""
        text, self._mode, self._read, self._calls = self._read, "text", "", ()
        if text:
            yield Chunk(text=text)

    def _enter(self, mode: str, rest: str) -> None:
        """A tag was passed; `rest` lies behind it."""
        self._mode, self._held, self._skips_space = mode, rest, True

    def _until(self, tag: str) -> tuple[str, bool]:
        """What comes before `tag`, and whether it was found; the beginning of a tag is held back."""
        before, found, after = self._held.partition(tag)
        if found:
            self._held = after
            return before, True
        keep = next((n for n in range(min(len(tag) - 1, len(before)), 0, -1) if before.endswith(tag[:n])), 0)
        self._held = before[len(before) - keep :]
        return before[: len(before) - keep], False


_STEPS = {
    "start": ReplyReader._start,
    "thinking": ReplyReader._think,
    "after": ReplyReader._after,
    "text": ReplyReader._text,
    "tagged": ReplyReader._tagged,
    "naming": ReplyReader._naming,
    "value": ReplyReader._json,
    "called": ReplyReader._called,
}


class _Value:
    """Finds the end of the JSON object or list that a text begins with, while the text grows. In linear time."""

    def __init__(self) -> None:
        self.is_whole = False
        self._at = self._depth = 0
        self._is_string = self._is_escaped = False

    def end(self, text: str) -> int | None:
        """The place after it, or where it shows that there is none; None where that is to come."""
        while self._at < len(text) and not self.is_whole:
            is_possible = self._takes(text, self._at)
            if not is_possible:
                return None if is_possible is None else self._at
            self._at += 1
        return self._at if self.is_whole else None

    def _takes(self, text: str, at: int) -> bool | None:
        """Take a character. False where it cannot stand there, None where the next ones tell."""
        char = text[at]
        if self._is_escaped:
            self._is_escaped = False
        elif self._is_string:
            self._is_escaped, self._is_string = char == "\\", char != '"'
        elif char in "{[":
            tag = _tag_at(text, at)
            if tag is not None:
                return False if tag else None
            self._depth += 1
        elif not self._depth:
            return char.isspace()
        elif char in "}]":
            self._depth -= 1
            self.is_whole = not self._depth
        else:
            self._is_string = char == '"'
            return char in _OUTSIDE_STRINGS
        return char >= " "


def _tag_at(text: str, at: int) -> str | None:
    """The tag that stands there; empty where what stands there may become one, None where nothing does."""
    for tag in _CALLS:
        if text.startswith(tag, at):
            return tag
        if len(text) - at < len(tag) and tag.startswith(text[at:]):
            return ""
    return None


def tool_calls(text: str, names: Collection[str], *, is_bare: bool = False) -> tuple[ToolCall, ...]:
    """The calls a JSON text stands for; none when it is anything else, or calls what is not in `names`.

    is_bare  nothing but its form says that it is meant as a call, so that a name is not enough.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    calls = [_call(item, names, is_bare=is_bare) for item in (data if isinstance(data, list) else [data])]
    return tuple(call for call in calls if call) if all(calls) else ()


def _call(item: Any, names: Collection[str], *, is_bare: bool) -> ToolCall | None:
    if not isinstance(item, dict):
        return None
    function = item.get("function", item)
    if not isinstance(function, dict):
        return None
    arguments = as_arguments(function.get("arguments", function.get("parameters", None if is_bare else {})))
    name = function.get("name")
    if not isinstance(name, str) or name not in names or arguments is None:
        return None
    return ToolCall(id=call_id(), name=name, arguments=arguments)
