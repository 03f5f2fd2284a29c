"""Calls of tools that models write with a tag for each argument: as Qwen3-Coder does, and as GLM does."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

from orchestrator.core.arguments import as_arguments
from orchestrator.core.ids import call_id
from orchestrator.core.types import JSON, ToolCall

Offered = Mapping[str, Mapping[str, JSON]]  # by the name of a tool, the JSON schemas of its arguments by theirs
NO_TOOLS: Offered = MappingProxyType({})

_LONGEST_HEAD = 512  # characters, from the beginning of a tag to where a value begins
_LONGEST_END = 17  # characters, of what ends a value or stands behind a call
_AFTER = ("</tool_call>", "</seed:tool_call>", "<tool_call>", "<seed:tool_call>", "<function=")  # a call
_OPENED = re.compile(r"\n<parameter=([^<>\n]++)>")
_SPACE = re.compile(r"\s*+")
_WORDS: dict[str, JSON] = {"True": True, "False": False, "None": None}  # as models write them that learned Python


def offered(tools: Sequence[Mapping[str, JSON]]) -> Offered:
    """The tools of a request, as OpenAI and Ollama write them; what has no name is left out."""
    found: dict[str, Mapping[str, JSON]] = {}
    for tool in tools:
        function = _object(tool.get("function"))
        name = function.get("name")
        if isinstance(name, str) and name:
            found[name] = _object(_object(function.get("parameters")).get("properties"))
    return found


def _object(value: JSON) -> Mapping[str, JSON]:
    return value if isinstance(value, Mapping) else {}


class _Form(NamedTuple):
    """How calls are written. What stands between two parts may be space."""

    names: re.Pattern[str]  # the tool
    opens: re.Pattern[str]  # an argument, up to its value
    ends_value: re.Pattern[str]  # or may, where the tag that does was left out
    ends: re.Pattern[str]
    begins: tuple[str, str]  # what `opens` and `ends` begin with
    pads: str  # what stands at both ends of a value, and is none of it


# Qwen3-Coder, Qwen3.5, Nemotron 3, Seed-OSS. They leave out what ends a value now and then.
_QWEN = _Form(
    names=re.compile(r"<function=([^<>\n]++)>"),
    opens=re.compile(r"<parameter=([^<>\n]++)>"),
    ends_value=re.compile(r"</parameter>|\n<parameter=|\n</function>"),
    ends=re.compile(r"</function>"),
    begins=("<parameter=", "</function>"),
    pads="\n",
)
# GLM from 4.5 on, and Ling 3.
_GLM = _Form(
    names=re.compile(r"([^\s<>{}\[\]]++)\s*+(?=<)"),
    opens=re.compile(r"<arg_key>([^<>]++)</arg_key>\s*+<arg_value>"),
    ends_value=re.compile(r"</arg_value>"),
    ends=re.compile(r"(?=</tool_call>)"),
    begins=("<arg_key>", "</tool_call>"),
    pads="",
)
_NAMED_SO_FAR = re.compile(r"[^\s<>{}\[\]]*+\s*+|<(?:f(?:u(?:n(?:c(?:t(?:i(?:o(?:n(?:=[^<>\n]*+)?)?)?)?)?)?)?)?)?")


class TaggedCall:
    """Finds the end of the call that a text begins with, while the text grows. In linear time.

    A value between tags is text and says nothing of its type: the tool's schema does.
    """

    def __init__(self, tools: Offered) -> None:
        self._tools = tools
        self._form = _QWEN
        self._name = ""  # of the tool
        self._argument: str | None = None  # whose value is being read
        self._values: dict[str, str] = {}
        self._at = 0  # what stands before is read
        self._looked = 0  # up to here there is no end of the value
        self._is_over = False
        self.is_whole = False

    @property
    def call(self) -> ToolCall | None:
        """What was written, once it is whole; None where no dialect could write it."""
        if not self.is_whole:
            return None
        schemas = self._tools[self._name]
        values = as_arguments({name: typed(value, schemas.get(name)) for name, value in self._values.items()})
        return None if values is None else ToolCall(id=call_id(), name=self._name, arguments=values)

    def end(self, text: str, *, is_over: bool = False) -> int | None:
        """The place after it, or up to where it looked like one; None where that is to come.

        is_over  the text does not grow any more.
        """
        self._is_over = is_over
        while not self.is_whole:
            if self._argument is None:
                space = _SPACE.match(text, self._at)
                self._at = space.end() if space else self._at
            step = self._value if self._argument is not None else self._between if self._name else self._head
            has_moved = step(text)
            if has_moved is None:
                return None
            if not has_moved:
                return self._at if self._name else 0
        return self._at

    def _head(self, text: str) -> bool | None:
        """Read the tool's name. False where none stands here, None where the next characters tell."""
        for form in (_QWEN, _GLM):
            named = form.names.match(text, self._at)
            if named and named[1].strip() in self._tools:
                self._form, self._name, self._at = form, named[1].strip(), named.end()
                return True
        is_open = _NAMED_SO_FAR.fullmatch(text, self._at) and len(text) - self._at < _LONGEST_HEAD
        return None if is_open else False

    def _between(self, text: str) -> bool | None:
        if opened := self._form.opens.match(text, self._at):
            self._argument, self._at = opened[1].strip(), opened.end()
            self._looked = self._at
            return True
        if ended := self._form.ends.match(text, self._at):
            self._at, self.is_whole = ended.end(), True
            return True
        rest = text[self._at : self._at + _LONGEST_HEAD]
        may_open = rest.startswith(self._form.begins[0]) and len(rest) < _LONGEST_HEAD
        return None if may_open or any(tag.startswith(rest) for tag in self._form.begins) else False

    def _value(self, text: str) -> bool | None:
        assert self._argument is not None
        while ended := self._form.ends_value.search(text, self._looked):
            is_left_out = ended[0].startswith("\n")
            is_end = self._is_end(text, ended) if is_left_out else True
            if is_end:
                value = text[self._at : ended.start()].removeprefix(self._form.pads).removesuffix(self._form.pads)
                self._values[self._argument] = value
                self._argument, self._at = None, ended.start() if is_left_out else ended.end()
                return True
            self._looked = ended.end() if is_end is False else ended.start()
            if is_end is None:
                return None
        self._looked = max(self._looked, self._at, len(text) - _LONGEST_END)
        return None

    def _is_end(self, text: str, found: re.Match[str]) -> bool | None:
        """Whether a value ends before what was found, and is not a text that has the same in it.

        The next argument is one that the tool has and that was not given yet; behind a call nothing stands, or a tag.
        """
        if found[0] == "\n<parameter=":
            opened = _OPENED.match(text, found.start())
            if opened is None:
                head = text[found.end() : found.end() + _LONGEST_HEAD]
                is_open = len(head) < _LONGEST_HEAD and not re.search(r"[<>\n]", head)
                return None if is_open and not self._is_over else False
            known, name = self._tools[self._name], opened[1].strip()
            return (not known or name in known) and name not in {self._argument, *self._values}
        space = _SPACE.match(text, found.end())
        rest = text[space.end() if space else found.end() :][:_LONGEST_END]
        if any(rest.startswith(tag) for tag in _AFTER):
            return True
        may_be = any(tag.startswith(rest) for tag in _AFTER)
        return not rest if self._is_over else None if may_be else False


def typed(text: str, schema: JSON) -> JSON:
    """What a text stands for as a value of this JSON schema.

    Where the schema says nothing of a type it is JSON, and where it is none, text.
    """
    kinds = _kinds(schema)
    if kinds == {"string"}:
        return text
    word = text.strip()
    try:
        value = json.loads(word, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        value = _WORDS.get(word, text)
    return text if "string" in kinds and not _kinds_of(value) & kinds else value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError(f"{number[:20]} is beyond what a number can be")
    return value


def _kinds(schema: JSON, depth: int = 3) -> set[str]:
    """The types that a schema allows, as far as it says so, and not too deep within."""
    if not (isinstance(schema, Mapping) and depth):
        return set()
    stated = schema.get("type")
    kinds = {kind for kind in (stated if isinstance(stated, list) else [stated]) if isinstance(kind, str)}
    if not kinds:
        for key in ("anyOf", "oneOf"):
            some = schema.get(key)
            kinds.update(*(_kinds(one, depth - 1) for one in (some if isinstance(some, list) else ())))
        values = schema.get("enum")
        for value in values if isinstance(values, list) else ():
            kinds |= _kinds_of(value)
    return kinds


def _kinds_of(value: Any) -> set[str]:
    if value is None:
        return {"null"}
    if isinstance(value, bool):
        return {"boolean"}
    if isinstance(value, int | float):
        return {"number", "integer"} if value == int(value) else {"number"}
    return {"string"} if isinstance(value, str) else {"array"} if isinstance(value, list) else {"object"}
