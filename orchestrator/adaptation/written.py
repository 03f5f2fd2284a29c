"""JSON as models write it: in a fence, with words around it, with a comma too many or an end too few."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LONGEST = 64 * 1024  # characters that are mended; of a longer answer only what is right already counts
MISSING = object()
_FENCE = re.compile(r"```[a-zA-Z]*\s*\n?(.*?)(?:```|\Z)", re.DOTALL)
# Brackets, and strings, so that those in them do not count. One in single quotes begins where a value may; one without
# an end goes to the end of the text: to look for each of these again would take quadratic time.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.?)*+(?:"|\Z)|(?<=[{\[,:\s])\'(?:[^\'\\]|\\.?)*+(?:\'|\Z)|[{}\[\]]', re.DOTALL)
_CLOSING = {"{": "}", "[": "]"}
_WHOLE = ("}", "]", '"')  # what ends a value that lacks nothing
_DECODER = json.JSONDecoder(strict=False)  # a string may hold the ends of lines as they are


@dataclass(frozen=True, slots=True)
class _Part:
    """What begins with a bracket in a text.

    value    MISSING where it is no JSON as it stands.
    said     its text.
    end      the place after the bracket that closes it; the end of the text where none does.
    missing  the brackets that would close it.
    """

    value: Any
    said: str
    begin: int
    end: int
    missing: str = ""


def json_in(text: str) -> Any:
    """The value that `text` says, mended where that is certain; `MISSING` where it says none.

    To mend takes a millisecond for twenty braces, so it is nothing to be waited for where others are served.
    """
    text = text.strip()
    if (value := _read(text)) is not MISSING:
        return value
    if fence := _FENCE.search(text):
        text = fence[1].strip()
        if (value := _read(text)) is not MISSING:
            return value
    begins = min((place for mark in "{[" if (place := text.find(mark)) >= 0), default=-1)
    if begins < 0 or len(text) > LONGEST:
        return MISSING
    text = text[begins:]
    try:
        return json.JSONDecoder().raw_decode(text)[0]  # with words after it
    except (ValueError, RecursionError):
        return _mended(text)


def value_at(text: str, at: int, ends: Sequence[str] = (), *, is_cut: bool = False) -> tuple[Any, int]:
    """The value that begins with the bracket `at` in `text`, and the place after it; `MISSING` where none is certain.

    It is mended up to the bracket that closes it. Where there is none, it may lack brackets at its very end, and
    nothing else: words after it would be taken for a part of it, and a number may lack digits.

    ends    what may stand at the end of the text, after the value.
    is_cut  the text ends where its writer did not mean it to.
    """
    part = _part_at(text, at)
    if part.value is not MISSING:
        return part.value, part.end
    if not part.missing:
        return (_mended(part.said) if len(part.said) <= LONGEST else MISSING), part.end
    if is_cut:
        return MISSING, part.end
    said = part.said.rstrip()
    while end := next((one for one in ends if said.endswith(one)), ""):
        said = said.removesuffix(end).rstrip()
    return (_read(said + part.missing) if said.endswith(_WHOLE) else MISSING), part.end


def _part_at(text: str, at: int) -> _Part:
    try:
        value, end = _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError):
        value = MISSING
    else:
        return _Part(value, text[at:end], at, end)
    opened: list[str] = []
    for token in _TOKEN.finditer(text, at):
        mark = token[0]
        if mark in _CLOSING:
            opened.append(_CLOSING[mark])
        elif mark in "}]":
            opened.pop()
        if not opened:
            return _Part(value, text[at : token.end()], at, token.end())
    return _Part(value, text[at:], at, len(text), "".join(reversed(opened)))


def _read(text: str) -> Any:
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return MISSING


def _mended(text: str) -> Any:
    from json_repair import repair_json  # here: few answers need it

    try:
        value = repair_json(text, return_objects=True, skip_json_loads=True)
    except (ValueError, RecursionError):
        return MISSING
    return value if isinstance(value, dict | list) and value else MISSING
