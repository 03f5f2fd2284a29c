"""JSON as models write it: in a fence, with words around it, with a comma too many or an end too few."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

LONGEST = 64 * 1024  # characters that are mended; of a longer answer only what is right already counts
MOST_PARTS = 32  # values in one answer that are looked at: which of more is meant is not certain
MISSING = object()
CUT = object()
_FENCE = "```"
_FENCED = re.compile(r"```[\w+.-]*\s*(?=[{\[])")
# Brackets, and strings, so that those in them do not count. One in single quotes begins where a value may; one without
# an end goes to the end of the text: to look for each of these again would take quadratic time.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.?)*+(?:"|\Z)|(?<=[{\[,:\s])\'(?:[^\'\\]|\\.?)*+(?:\'|\Z)|[{}\[\]]', re.DOTALL)
_OPENING = re.compile(r"[{\[]")
_CLOSING = {"{": "}", "[": "]"}
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


def is_object(value: Any) -> bool:
    """Whether it is a JSON object."""
    return isinstance(value, dict)


def json_in(text: str, fits: Callable[[Any], bool] = is_object, *, may_be_cut: bool = False) -> Any:
    """The one value that `text` says for certain, mended where that is certain; `MISSING` where there is none.

    Where it says more than JSON, that is the only value that `fits`. What is no JSON as it stands is mended only where
    the text, or its only fence, begins with it and has no other. To mend takes a millisecond for twenty braces, so it
    is nothing to be waited for where others are served.

    may_be_cut  the text may end where its writer did not mean it to: where a bracket is closed by none it is `CUT`.
    """
    text = text.strip()
    if (value := _read(text)) is not MISSING:
        return value
    texts = [text] if text[:1] in _CLOSING else _fenced(text)
    if len(texts) == 1 and (value := _read(texts[0])) is not MISSING:
        return value
    if may_be_cut and any(map(_lacks_an_end, texts)):
        return CUT
    if sum(map(len, texts)) > LONGEST:
        return MISSING
    parts = [part for one in texts for part in _parts(one)]
    if len(parts) == 1 and parts[0].value is MISSING:
        return _mended_whole(texts[0], parts[0], fits)
    return _only(parts, fits)


def value_at(text: str, at: int, ends: Sequence[str] = (), *, may_be_cut: bool = False) -> tuple[Any, int]:
    """The value that begins with the bracket `at` in `text`, and the place after it; `MISSING` where none is certain.

    It is mended up to the bracket that closes it. Where there is none, it may lack brackets after one at its very
    end, and nothing else: words after it would be taken for a part of it, and a number may lack digits.

    ends        what may stand at the end of the text, after the value.
    may_be_cut  the text may end where its writer did not mean it to.
    """
    part = _part_at(text, at)
    if part.value is not MISSING:
        return part.value, part.end
    if not part.missing:
        return (_mended(part.said) if len(part.said) <= LONGEST else MISSING), part.end
    if may_be_cut:
        return MISSING, part.end
    said = part.said.rstrip()
    while end := next((one for one in ends if said.endswith(one)), ""):
        said = said.removesuffix(end).rstrip()
    return (_read(said + part.missing) if said.endswith(("}", "]")) else MISSING), part.end


def _only(parts: Sequence[_Part], fits: Callable[[Any], bool]) -> Any:
    """The value of the one part that fits, however often it is said; MISSING where another may have been meant."""
    values = {part.said: part.value for part in parts if part.value is not MISSING}
    if len(values) > MOST_PARTS or any(_may_be_meant(part) for part in parts if part.value is MISSING):
        return MISSING
    right = [value for value in values.values() if fits(value)]
    return right[0] if len(right) == 1 else MISSING


def _may_be_meant(part: _Part) -> bool:
    """Whether what is no JSON may have been meant as such; a set in braces or a note in brackets is not."""
    return bool(part.missing) or any(mark in part.said for mark in ":\"'")


def _mended_whole(text: str, part: _Part, fits: Callable[[Any], bool]) -> Any:
    """What is no JSON as it stands, mended where the text begins with it."""
    if part.begin:
        return MISSING
    value = _mended(part.said)
    return value if part.end == len(text) or (value is not MISSING and fits(value)) else MISSING


def _fenced(text: str) -> list[str]:
    """What stands in fences and begins with a bracket; `text` itself where nothing does. None ends in a string."""
    found, at = [], 0
    while mark := _FENCED.search(text, at):
        part = _part_at(text, mark.end())
        end = text.find(_FENCE, mark.end() if part.missing else part.end)
        end = end if end >= 0 else len(text)
        at = end + len(_FENCE)
        if part.missing and _FENCE in text[at:]:
            return [text]  # which of them ends it is not certain
        if part.value is MISSING and len(text) > LONGEST:
            return [text]  # to look at many that are wrong takes quadratic time
        found.append(text[mark.end() : end].strip())
    return found or [text]


def _parts(text: str) -> Iterator[_Part]:
    """What is in brackets, from one to the one that closes it. In linear time."""
    at = 0
    while found := _OPENING.search(text, at):
        part = _part_at(text, found.start())
        yield part
        at = part.end


def _part_at(text: str, at: int) -> _Part:
    try:
        value, end = _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError):
        value = MISSING
    else:
        return _Part(value, text[at:end], at, end)
    end, missing = _end_of(text, at)
    return _Part(value, text[at:end], at, end, missing)


def _lacks_an_end(text: str) -> bool:
    """Whether there is a bracket in it that none closes. In linear time, however long it is and whatever is wrong."""
    at, missing = 0, ""
    while not missing and (found := _OPENING.search(text, at)):
        at, missing = _end_of(text, found.start())
    return bool(missing)


def _end_of(text: str, at: int) -> tuple[int, str]:
    """The place after the bracket that closes the one `at`; the end of the text and what is missing where none does."""
    opened: list[str] = []
    for token in _TOKEN.finditer(text, at):
        mark = token[0]
        if mark in _CLOSING:
            opened.append(_CLOSING[mark])
        elif mark in "}]":
            if opened[-1] != mark and opened[-2:-1] == [mark]:  # one was forgotten before it
                opened.pop()
            opened.pop()
        if not opened:
            return token.end(), ""
    return len(text), "".join(reversed(opened))


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
