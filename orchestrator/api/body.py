"""A request body becomes a JSON value, and a bad one the error text Ollama's clients know.

One that came packed is unpacked before. Reading follows Go's decoder where clients can tell (the words of
errors, the first value counts, names in any case) and is stricter in two places: duplicate names and
lone surrogates are refused, since two readers of such a body may see different things.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from typing import Any, NoReturn

import orjson
import zstandard

from orchestrator.api.bounds import DEEPEST, MOST_FRAMES, MOST_OBJECTS, MOST_TOKENS_EXPLAINED, MOST_VALUES
from orchestrator.core.errors import BadRequest, OrchestratorError, RequestTooLarge

MAY_BE_PACKED = frozenset(
    f"/v1/{name}" for name in ("chat/completions", "completions", "embeddings", "responses", "messages")
)
FILES = frozenset({"/api/admin/v1/invoices"})  # where a body is a file, which the endpoint reads
ENCODINGS = "zstd"  # besides none, as `Accept-Encoding` has it
LARGEST_WINDOW = 8 * 1024**2  # bytes; RFC 9659: no more is needed to read what is sent over HTTP

_BLANK = b" \t\r\n"
_MARK = b"\xef\xbb\xbf"  # of byte order, as some editors put it first
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"(\s*+:)?', re.DOTALL)
# As far as it is good.
_STRING_START = re.compile(rb'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4})[^"\\\x00-\x1f]*+)*+')
_BLANKS = re.compile(rb"[ \t\r\n]*+")
_HEX = re.compile(rb"[0-9A-Fa-f]*")
_NUMBER = re.compile(rb"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")


_TOO_DEEP = f"exceeded max depth: at most {DEEPEST} lists and objects may be within each other"
_STEP = 4 * 1024**2  # bytes that are unpacked at once, at most
_LARGEST_BLOCK = 128 * 1024
_SMALLEST_BLOCK = 4  # bytes that a largest block can be packed into: a header, and the byte that is repeated


class UnknownEncoding(OrchestratorError):
    """The body is packed in a way that is not read here."""

    status = 415
    kind = "unknown_encoding"


def is_packed(path: str, encoding: str) -> bool:
    """Whether a POST to `path` with this `Content-Encoding` has to be unpacked. Raises UnknownEncoding.

    Where no body may be packed the header means nothing, as with Ollama.
    """
    encoding = encoding.strip().lower()
    if path not in MAY_BE_PACKED or encoding in {"", "identity"}:
        return False
    if encoding != "zstd":
        raise UnknownEncoding(
            f"Content-Encoding {encoding[:40]!r} is not read here: send the body as zstd, or plain without the header."
        )
    return True


def unpacked(body: bytes, most: int) -> bytes:
    """What `body`, any number of zstd frames, holds: `most` bytes at most. Raises BadRequest, RequestTooLarge.

    It is read in steps that cannot become more than there is room for, so what would be too large
    is never in memory, whatever it claims of itself.
    """
    zstd = zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW)
    frame, frames = zstd.decompressobj(), 1
    place = 0
    with BytesIO() as found:  # it is empty again before a refusal travels on
        while place < len(body):
            if frame.eof:
                frame, frames = zstd.decompressobj(), frames + 1
                if frames > MOST_FRAMES:
                    raise BadRequest(f"The zstd body has more than {MOST_FRAMES} frames; pack it as one.")
            room = min(most - found.tell(), _STEP)
            step = body[place : place + max(room // _LARGEST_BLOCK, 1) * _SMALLEST_BLOCK]
            try:
                found.write(frame.decompress(step))
            except zstandard.ZstdError as error:
                raise BadRequest(f"invalid zstd body: {error}") from None
            if found.tell() > most:
                raise RequestTooLarge(f"The unpacked request body may have {most} bytes at most.")
            place += len(step) - len(frame.unused_data)
        if body and not frame.eof:
            raise BadRequest("invalid zstd body: unexpected EOF")
        return found.getvalue()


def read_json(body: bytes) -> Any:
    """Return the value `body` begins with. Raises BadRequest."""
    if not body.strip(_BLANK):
        raise BadRequest("missing request body")
    if body.startswith(_MARK):
        raise BadRequest("The body begins with a byte order mark; send JSON in UTF-8 without one.")
    _check_values(body)
    try:
        value = orjson.loads(body)
    except ValueError as error:
        if "UTF-8" in str(error):
            raise BadRequest("invalid JSON: the body is not UTF-8") from None
        end = _end_of_first_value(body, error)
        body = body[:end]
        try:
            value = orjson.loads(body)
        except ValueError as again:
            raise BadRequest(f"invalid JSON: {again}") from None
    _check(value, body)
    return value


def read_object(text: str) -> dict[str, Any]:
    """The object that is written in `text`, as arguments of tools are. Raises BadRequest as `read_json`, ValueError."""
    body = text.encode()
    _check_values(body)
    value = orjson.loads(body)
    _check(value, body)
    if not isinstance(value, dict):
        raise ValueError("it is no object")
    return value


def _check_values(body: bytes) -> None:
    """Raises BadRequest when there are too many values, before any of them takes memory.

    Each but the first follows a comma or a colon. Not each of those is followed by one: they stand in texts, too.
    """
    if body.count(b",") + body.count(b":") <= MOST_VALUES:
        return
    values = place = 0
    for found in _STRING.finditer(body):
        values += body.count(b",", place, found.start()) + body.count(b":", place, found.start()) + bool(found[1])
        place = found.end()
        if values > MOST_VALUES:
            break
    if values + body.count(b",", place) + body.count(b":", place) > MOST_VALUES:
        raise BadRequest(f"The body has more than {MOST_VALUES:,} JSON values; send it in parts.")


def _check(value: Any, body: bytes) -> None:
    """Raises BadRequest when a value is too deep or has too many objects, or a name twice in one of them."""
    names = objects = depth = 0
    level = [value]
    while level:
        inner: list[Any] = []
        is_deeper = False
        for one in level:
            if isinstance(one, dict):
                objects += 1
                names += len(one)
                inner.extend(one.values())
                is_deeper = True
            elif isinstance(one, list):
                inner.extend(one)
                is_deeper = True
        depth += is_deeper
        level = inner
    if depth > DEEPEST:
        raise BadRequest(_TOO_DEEP)
    if objects > MOST_OBJECTS:
        raise BadRequest(f"The body has {objects:,} JSON objects; at most {MOST_OBJECTS:,} are read.")
    if names != sum(1 for found in _STRING.finditer(body) if found[1]):
        raise BadRequest(f"duplicate name {_duplicate(body)} in a JSON object")


def _duplicate(body: bytes) -> str:
    """Name the first duplicate, in the order in which objects end."""

    def see(pairs: list[tuple[str, Any]]) -> None:
        if len(dict(pairs)) < len(pairs):
            raise _Found(next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1))

    try:
        json.loads(body, object_pairs_hook=see)
    except (_Found, ValueError, RecursionError) as error:
        return json.dumps(str(error)[:100]) if isinstance(error, _Found) else ""
    return ""


class _Found(Exception):  # it carries a find, not a fault
    pass


class _Stop(Exception):
    """Where reading stopped, and Go's word for why."""


def _end_of_first_value(body: bytes, error: ValueError) -> int:
    """Return where the first value ends. Raises BadRequest in Go's words when it does not end well."""
    scan = _Scan(body)
    try:
        return scan.first_value()
    except _Stop as stop:
        raise BadRequest(str(stop)) from None
    except _TooLong:
        raise BadRequest(f"invalid JSON: {error}") from None


class _TooLong(Exception):
    pass


class _Scan:
    """Reads a body token by token, without recursion, to say what is wrong with it."""

    def __init__(self, body: bytes) -> None:
        self.body, self.place = body, 0

    def first_value(self) -> int:
        closers: list[bytes] = []
        expecting = "value"  # value, name, first value, first name, after
        for _ in self._tokens():
            char = self.body[self.place : self.place + 1]
            if expecting == "after":
                expecting = self._after(char, closers)
            elif expecting in {"first name", "first value"} and char == closers[-1]:
                closers.pop()
                self.place += 1
                expecting = "after"
            elif expecting in {"name", "first name"}:
                if char != b'"':
                    self._unexpected("looking for beginning of object key string")
                self._string()
                self._colon()
                expecting = "value"
            elif char in {b"{", b"["}:
                closers.append(b"}" if char == b"{" else b"]")
                if len(closers) > DEEPEST:
                    raise _Stop(_TOO_DEEP)
                self.place += 1
                expecting = "first name" if char == b"{" else "first value"
            else:
                self._scalar(char)
                expecting = "after"
            if expecting == "after" and not closers:
                return self.place
        raise _Stop("unexpected EOF")

    def _tokens(self) -> Iterator[None]:
        for _ in range(MOST_TOKENS_EXPLAINED):
            self._skip_blank()
            if self.place >= len(self.body):
                return
            yield
        raise _TooLong

    def _after(self, char: bytes, closers: list[bytes]) -> str:
        is_object = closers[-1] == b"}"
        if char == b",":
            self.place += 1
            return "name" if is_object else "value"
        if char != closers[-1]:
            self._unexpected("after object key:value pair" if is_object else "after array element")
        closers.pop()
        self.place += 1
        return "after"

    def _colon(self) -> None:
        self._skip_blank()
        if self.body[self.place : self.place + 1] != b":":
            self._unexpected("after object key")
        self.place += 1

    def _scalar(self, char: bytes) -> None:
        if char == b'"':
            return self._string()
        for literal in (b"true", b"false", b"null"):
            if char == literal[:1]:
                return self._literal(literal)
        number = _NUMBER.match(self.body, self.place)
        if number is None:
            if char == b"-":
                self.place += 1
                self._unexpected("in numeric literal")
            self._unexpected("looking for beginning of value")
        self.place = number.end()
        return None

    def _literal(self, literal: bytes) -> None:
        for place, char in enumerate(literal[1:], self.place + 1):
            if self.body[place : place + 1] != literal[place - self.place : place - self.place + 1]:
                self.place = place
                self._unexpected(f"in literal {literal.decode()} (expecting '{chr(char)}')")
        self.place += len(literal)

    def _string(self) -> None:
        start = _STRING_START.match(self.body, self.place)
        self.place = start.end() if start else self.place
        char = self.body[self.place : self.place + 1]
        if char == b'"':
            self.place += 1
            return
        if char != b"\\":
            self._unexpected("in string literal")
        self.place += 1
        if self.body[self.place : self.place + 1] != b"u":
            self._unexpected("in string escape code")
        digits = _HEX.match(self.body, self.place + 1)
        self.place = digits.end() if digits else self.place
        self._unexpected("in \\u hexadecimal character escape")

    def _skip_blank(self) -> None:
        blanks = _BLANKS.match(self.body, self.place)
        assert blanks is not None  # it takes none, too
        self.place = blanks.end()

    def _unexpected(self, where: str) -> NoReturn:
        if self.place >= len(self.body):
            raise _Stop("unexpected EOF")
        char = self.body[self.place : self.place + 4].decode(errors="replace")[0]
        quoted = {"'": r"'\''", '"': "'\"'"}.get(char, repr(char))
        raise _Stop(f"invalid character {quoted} {where}")
