"""What a template may call, and how Go writes values."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

LONGEST = 64 * 1024**2  # characters of anything that a function makes; a run may allow fewer
MOST_VERBS = 100  # in one form
WIDEST = 999  # characters a number or text is filled up to
LAZY = frozenset({"and", "or"})  # they look at no more arguments than they need; see `running`
_TYPES = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean", "null": "null"}
_TYPES |= {"array": "any[]", "object": "Record<string, any>"}
_VERB = re.compile(r"%(?P<flags>[-+# 0]*)(?P<width>[0-9]*)(?:\.(?P<digits>[0-9]*))?(?P<verb>.?)", re.DOTALL)
_HTML = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})


class CallError(Exception):
    """A function cannot do that."""


class Struct(dict[str, Any]):
    """Fields by their names in Go; `plain` is what JSON and people are shown of it."""

    def __init__(self, fields: Mapping[str, Any], plain: Any) -> None:
        super().__init__(fields)
        self.plain = plain


class JSONMap(dict[str, Any]):
    """A map that is written as JSON."""


class JSONList(list[Any]):
    """A list that is written as JSON."""


def to_json(value: Any) -> str:
    """As Go's encoding/json writes it."""
    return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"), default=str).translate(_HTML)


def _plain(value: Any) -> Any:
    match value:
        case Struct():
            return value.plain
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list():
            return [_plain(item) for item in value]
    return value


def show(value: Any) -> str:
    """As Go's fmt writes it."""
    match value:
        case str():
            return value
        case None:
            return "<no value>"
        case bool():
            return "true" if value else "false"
        case float():
            return _float(value)
        case Struct() | JSONMap() | JSONList():
            return to_json(value)
        case dict():
            return f"map[{' '.join(f'{key}:{show(value[key])}' for key in sorted(value))}]"
        case list():
            return f"[{' '.join(map(show, value))}]"
    return str(value)


def _float(value: float) -> str:
    if value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}.get(repr(value), repr(value))


def is_true(value: Any) -> bool:
    """Whether `if` takes it for true: what is zero or empty is not."""
    return True if isinstance(value, Struct) else bool(value)


def _equal(first: Any, *others: Any) -> bool:
    if not others:
        raise CallError("eq needs something to compare with")
    return any(_same(first, other) for other in others)


def _same(first: Any, second: Any) -> bool:
    if first is None or second is None:
        return first is second
    if _kind(first) != _kind(second):
        raise CallError(f"{_kind(first)} and {_kind(second)} cannot be compared")
    return bool(first == second)


def _less(first: Any, second: Any) -> bool:
    kind = _kind(first)
    if kind != _kind(second) or kind == "a truth value":
        raise CallError(f"{kind} and {_kind(second)} have no order")
    return bool(first < second)


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "a truth value"
        case int():
            return "a whole number"
        case float():
            return "a number"
        case str():
            return "a text"
    raise CallError("only texts and numbers can be compared")


def _len(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode(errors="replace"))  # Go counts bytes
    if isinstance(value, list | dict) and not isinstance(value, Struct):
        return len(value)
    raise CallError("it has no length")


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, dict) and not isinstance(value, Struct):
            value = value.get(key) if isinstance(key, str) else None
            continue
        if isinstance(value, str):
            value = value.encode(errors="replace")
        if not isinstance(value, list | bytes):
            raise CallError("it cannot be indexed")
        value = value[_place(key, len(value) - 1)]
    return value


def _slice(value: Any, *places: Any) -> Any:
    if len(places) > 2:
        raise CallError("slice takes two places at most")
    whole = value.encode(errors="replace") if isinstance(value, str) else value
    if not isinstance(whole, list | bytes):
        raise CallError("it cannot be cut")
    end = _place(places[1], len(whole)) if len(places) > 1 else len(whole)
    start = _place(places[0], end) if places else 0
    part = whole[start:end]
    return part.decode(errors="replace") if isinstance(part, bytes) else part


def _place(value: Any, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise CallError("a place is a whole number")
    if not 0 <= value <= most:
        raise CallError(f"{value} is out of range")
    return value


def _print(*values: Any) -> str:
    """Spaces stand between two that are no texts."""
    parts: list[str] = []
    for place, value in enumerate(values):
        if place and not isinstance(value, str) and not isinstance(values[place - 1], str):
            parts.append(" ")
        parts.append(show(value))
    return joined(parts)


def _println(*values: Any) -> str:
    parts = [part for value in values for part in (" ", show(value))]
    return joined([*parts[1:], "\n"])


def _printf(form: Any, *values: Any) -> str:
    if not isinstance(form, str):
        raise CallError("printf begins with a text")
    parts, at, given = [], 0, iter(values)
    size = 0
    for count, match in enumerate(_VERB.finditer(form)):
        if count == MOST_VERBS:
            raise CallError(f"printf takes {MOST_VERBS} verbs at most")
        verb = match["verb"]
        written = "%" if verb == "%" else "%!(NOVERB)" if not verb else _written(match, given)
        parts += [form[at : match.start()], written]
        at = match.end()
        size += len(parts[-1]) + len(parts[-2])
        if size > LONGEST:
            raise CallError("the text gets too long")
    return joined([*parts, form[at:]])


def _written(match: re.Match[str], given: Iterator[Any]) -> str:
    verb, flags = match["verb"], match["flags"]
    try:
        value = next(given)
    except StopIteration:
        return f"%!{verb}(MISSING)"
    width = int(match["width"][:6] or 0)
    digits = int(match["digits"][:6] or 0) if match["digits"] is not None else None
    if width > WIDEST or (digits or 0) > WIDEST:
        raise CallError(f"printf fills up to {WIDEST} characters")
    text = _as_verb(verb, value, digits)
    if text is None:
        return f"%!{verb}({show(value)})"
    if "+" in flags and isinstance(value, int | float) and not text.startswith("-"):
        text = f"+{text}"
    if "-" in flags:
        return text.ljust(width)
    return text.zfill(width) if "0" in flags and isinstance(value, int | float) else text.rjust(width)


def _as_verb(verb: str, value: Any, digits: int | None) -> str | None:
    """None when the verb does not fit."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    match verb:
        case "v" | "s":
            return show(value) if digits is None or not isinstance(value, str) else value[:digits]
        case "q" if isinstance(value, str):
            return json.dumps(value, ensure_ascii=False)
        case "t" if isinstance(value, bool):
            return show(value)
        case "d" if is_whole:
            return str(value)
        case "c" if is_whole and (0 <= value < 0xD800 or 0xE000 <= value < 0x110000):
            return chr(value)
        case "x" | "X" if is_whole:
            return format(value, verb)
        case "x" | "X" if isinstance(value, str):
            text = value.encode(errors="replace").hex()
            return text if verb == "x" else text.upper()
        case "g" if isinstance(value, float) and digits is None:
            return show(value)
        case "f" | "e" | "g" if isinstance(value, float):
            return format(value, f".{6 if digits is None else digits}{verb}")
    return None


def joined(parts: Iterable[str]) -> str:
    """One text of several. Raises CallError when it would be too long."""
    parts = list(parts)
    if sum(map(len, parts)) > LONGEST:
        raise CallError("the text gets too long")
    return "".join(parts)


def _today(*form: Any) -> str:
    return datetime.datetime.now().astimezone().strftime("%Y-%m-%d")  # Ollama ignores the form, too


def _yesterday(*form: Any) -> str:
    return (datetime.datetime.now().astimezone() - datetime.timedelta(days=1)).strftime("%Y-%m-%d")


def _typescript(shape: Any) -> str:
    """The type of a tool's argument, as TypeScript has it."""
    if not isinstance(shape, Struct):
        return "any"
    if shape.get("AnyOf"):
        return " | ".join(map(_typescript, shape["AnyOf"]))
    kinds = shape.get("Type")
    return " | ".join(_TYPES.get(str(kind), "any") for kind in (kinds if isinstance(kinds, list) else [kinds]))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "not": lambda value: not is_true(value),
    "eq": _equal,
    "ne": lambda first, second: not _same(first, second),
    "lt": _less,
    "ge": lambda first, second: not _less(first, second),
    "gt": lambda first, second: _less(second, first),
    "le": lambda first, second: not _less(second, first),
    "len": _len,
    "index": _index,
    "slice": _slice,
    "print": _print,
    "println": _println,
    "printf": _printf,
    "json": to_json,
    "toTypeScriptType": _typescript,
    "currentDate": _today,
    "yesterdayDate": _yesterday,
}
