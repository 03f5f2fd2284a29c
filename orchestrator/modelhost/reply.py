"""Tells apart what a model writes: thinking, text for the caller, and calls of tools."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

from orchestrator.core.ids import call_id
from orchestrator.core.types import Chunk, ToolCall

_THINK, _UNTHINK = "<think>", "</think>"
_CALL, _UNCALL = "<tool_call>", "</tool_call>"


class ReplyReader:
    """Reads an answer as it is made.

    Thinking stands between `<think>` tags at the start, or begins at once where the prompt has opened
    them. Calls of tools are looked for only when the caller offered some: between `<tool_call>` tags,
    or as an answer that is nothing but a JSON object or list of them. What calls none of these is text.

    tools  the names of those that were offered.
    """

    def __init__(self, *, thinks: bool = False, is_open: bool = False, tools: Collection[str] = ()) -> None:
        self._mode = "thinking" if is_open else "start" if thinks or tools else "text"
        self._thinks, self._tools = thinks, tools
        self._held = ""
        self._skips_space = False  # it stands between a tag and what follows, and belongs to neither

    @property
    def is_thinking(self) -> bool:
        """Whether what comes next is not for the caller, as far as can be told."""
        return self._mode == "thinking" or (self._mode == "start" and self._thinks)

    def feed(self, text: str) -> list[Chunk]:
        """Take text and return what is certain now."""
        self._held += text
        return list(self._parts())

    def flush(self) -> list[Chunk]:
        """The end has come: return the rest."""
        chunks = list(self._parts())
        rest, self._held = self._held, ""
        if not rest:
            return chunks
        if self._mode == "thinking":
            return [*chunks, Chunk(thinking=rest)]
        is_bare = self._mode == "bare"
        calls = tool_calls(rest, self._tools, is_bare=is_bare) if is_bare or self._mode == "call" else ()
        return [*chunks, Chunk(tool_calls=calls) if calls else Chunk(text=rest)]

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
        if self._thinks and text.startswith(_THINK):
            self._enter("thinking", text[len(_THINK) :])
        elif text and not (self._thinks and _THINK.startswith(text)):
            self._mode = "after"
        return iter(())

    def _think(self) -> Iterator[Chunk]:
        passed, is_over = self._until(_UNTHINK)
        if is_over:
            self._enter("after", self._held)
        if passed:
            yield Chunk(thinking=passed)

    def _after(self) -> Iterator[Chunk]:
        """Between thinking and the answer, where it shows whether the answer is a bare call."""
        text = self._held.lstrip()
        if text:
            self._mode = "bare" if self._tools and text[0] in "{[" else "text"
        return iter(())

    def _text(self) -> Iterator[Chunk]:
        passed, is_call = self._until(_CALL) if self._tools else (self._held, False)
        if is_call:
            self._mode = "call"
        elif not self._tools:
            self._held = ""
        if passed.strip() or (passed and not is_call):
            yield Chunk(text=passed)

    def _tool_call(self) -> Iterator[Chunk]:
        inner, is_whole, rest = self._held.partition(_UNCALL)
        if is_whole:
            calls = tool_calls(inner, self._tools)
            self._mode, self._held, self._skips_space = "text", rest, bool(calls)
            yield Chunk(tool_calls=calls) if calls else Chunk(text=_CALL + inner + _UNCALL)

    def _bare(self) -> Iterator[Chunk]:
        return iter(())  # only its end tells what it was

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
    "call": ReplyReader._tool_call,
    "bare": ReplyReader._bare,
}


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
    arguments = function.get("arguments", function.get("parameters", None if is_bare else {}))
    name = function.get("name")
    if not isinstance(name, str) or name not in names or not isinstance(arguments, dict):
        return None
    return ToolCall(id=call_id(), name=name, arguments=arguments)
