"""Requests that are wrong in every way we know, byte by byte, for the drill `fuzz`."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import zstandard

from orchestrator.api.body import MAY_BE_PACKED
from orchestrator.api.description import EMBEDDER, EXAMPLES, FIRST_MODEL
from orchestrator.api.options import READERS
from tests.asking import switched_off
from tests.drills.question import MODEL
from tests.shapes import DOCUMENT

CLOUD = f"openai/{MODEL}"
MIB = 1024**2
END = b"\r\n\r\n"
MANAGED = [path for path, example in EXAMPLES.items() if "model" not in example]  # the registry's
QUESTIONS = [path for path in EXAMPLES if path not in MANAGED]
NAMED = "fuzz"  # a provider and a model


@dataclass(frozen=True, slots=True)
class Sent:
    """Bytes for one connection.

    path     whose shapes answers have; empty: whatever comes is the server's own.
    answers  how many at least; 0: the connection may just be closed.
    """

    name: str
    data: bytes
    method: str = "POST"
    path: str = ""
    answers: int = 1


def send(name: str, path: str, body: bytes, *headers: str) -> Sent:
    """A body to an endpoint, as HTTP has it, by the method that the endpoint reads one with."""
    method = method_of(path)
    address = path.replace("{name}", NAMED)
    lines = [f"{method} {address} HTTP/1.1", "Host: localhost", "Connection: close", f"Content-Length: {len(body)}"]
    head = "\r\n".join([*lines, *headers]).encode("latin-1")
    return Sent(f"{path}: {name}", head + END + body, method=method, path=path)


def method_of(path: str) -> str:
    """POST, or PUT where the registry is written."""
    return next(method.upper() for method, operation in DOCUMENT["paths"][path].items() if "requestBody" in operation)


def good(path: str) -> dict[str, Any]:
    """A question that is answered without a local model that talks, or a registry in which nobody is asked."""
    if path in MANAGED:
        return switched_off(EXAMPLES[path])
    asked = EXAMPLES[path] | ({"model": CLOUD} if EXAMPLES[path]["model"] == FIRST_MODEL else {})
    return {name: value for name, value in asked.items() if name != "options"}


def with_field(path: str, name: str, value: str) -> bytes:
    """A good question with one field as it is written."""
    rest = {other: one for other, one in good(path).items() if other != name}
    return json.dumps(rest).encode()[:-1] + b', "%b": %b}' % (name.encode(), value.encode("utf-8", "surrogatepass"))


BODIES: dict[str, bytes] = {
    "nothing": b"",
    "blank": b" \r\n\t",
    "null": b"null",
    "a list": b"[]",
    "a number": b"0",
    "text": b'"x"',
    "half": b'{"model": "x", "mess',
    "lists, 100,000 deep": b"[" * 100_000 + b"]" * 100_000,
    "objects, 100,000 deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "lists without end": b"[" * 100_000,
    "duplicate names": b'{"model": "a", "model": "b", "messages": [{"role": "user", "role": "system"}]}',
    "one name in two cases": b'{"model": "a", "MODEL": "b"}',
    "two values": b'{"model": "nope"} {"model": "other"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"model": "x"}'.encode("utf-16"),
    "overlong UTF-8": b'{"model": "\xc0\xaf\xe0\x80\xaf"}',
    "torn UTF-8": b'{"model": "\xe2\x82"}',
    "surrogates in UTF-8": b'{"model": "\xed\xa0\x80"}',
    "a half surrogate": rb'{"model": "\ud800", "messages": [{"role": "user", "content": "\udfff"}]}',
    "NUL": b'{"model": "a\x00b"}',
    "NUL, escaped": rb'{"model": "\u0000", "messages": [{"role": "user", "content": "\u0000"}]}',
    "control characters": b'{"model": "\x01\x1f\x7f"}',
    "single quotes": b"{'model': 'x'}",
    "a comma too many": b'{"model": "x",}',
    "a comment": b'{"model": "x" /* why */}',
    "not JSON at all": b"model=x&prompt=y",
    "all bytes": bytes(range(256)),
}
NUMBERS = (
    *("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "9" * 5000, "-" + "9" * 5000, "0." + "3" * 5000, "1e-400"),
    *(
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775809",
        "1e308",
        "-0",
        "-1",
        "01",
        "1.5",
        ".5",
        "0x10",
    ),
)
VALUES = (
    *("null", "true", "false", "0", "-1", "1e308", "18446744073709551616", '""', '"x"', '"\\ud800"', '"\\u0000"'),
    *(
        "[]",
        "{}",
        "[[]]",
        "[{}]",
        "[null]",
        '[""]',
        '{"": {}}',
        '[{"type": null}]',
        '[{"type": "text"}]',
        '[{"role": "user"}]',
    ),
    '"' + "x" * 100_000 + '"',
    "[" * 500 + "]" * 500,
    '{"a":' * 500 + "1" + "}" * 500,
)
DURATIONS = (
    "1e400",
    '"1e400h"',
    '"999999999999999999h"',
    '"-1"',
    "-1",
    '"5 m"',
    '"NaN"',
    '"µs"',
    '"1h-1m"',
    '"9"',
    '"٣m"',
)
NAMES = (
    *(
        "../../../etc/passwd",
        "..",
        ".",
        "/",
        "//",
        "a/b/c/d/e/f",
        "a:b:c",
        ":",
        "@",
        "~root",
        "C:\\Windows",
        "%2e%2e%2f",
    ),
    *("%00", "http://169.254.169.254/latest", "file:///etc/passwd", "smollm2:../../x", "smollm2:135m/../../x", "CON"),
    *(
        "openai/",
        "openai//",
        "openai/../../admin",
        "openai/%2e%2e",
        "openai/" + "x" * 100_000,
        "x" * 100_000,
        " ",
        "a b",
    ),
    *(
        "openai/x\r\nX-Injected: yes\r\n\r\n",
        "\u202eevil",
        "\u2028",
        "é" * 300,
        "openai/\u2028",
        "${jndi:ldap://x}",
        "'; DROP TABLE x",
    ),
)


def bodies() -> Iterator[Sent]:
    """What is no question, for every endpoint that reads one."""
    for path in QUESTIONS:
        for name, body in BODIES.items():
            yield send(name, path, body)


def fields() -> Iterator[Sent]:
    """Good questions but for one field, for every field there is."""
    for path in QUESTIONS:
        for field, values in _values_of(path).items():
            for value in values:
                yield send(f"{field} {value[:30]}", path, with_field(path, field, value))
    for path in ("/api/chat", "/api/generate"):
        for option in READERS:
            for value in (*NUMBERS, *VALUES):
                yield send(f"{option} {value[:30]}", path, with_field(path, "options", f'{{"{option}": {value}}}'))


def _values_of(path: str) -> dict[str, tuple[str, ...]]:
    media = DOCUMENT["paths"][path][method_of(path).lower()]["requestBody"]["content"]["application/json"]
    if "$ref" not in media["schema"]:  # a file: it has no fields
        return {}
    shape = DOCUMENT["components"]["schemas"][media["schema"]["$ref"].rpartition("/")[2]]
    values: dict[str, tuple[str, ...]] = {}
    for field, schema in shape["properties"].items():
        kinds = {one.get("type") for one in schema.get("anyOf", [schema])}
        values[field] = (*VALUES, *(NUMBERS if kinds & {"integer", "number"} else ()))
    if "keep_alive" in values:
        values["keep_alive"] += DURATIONS
    for named in {"model", "fallbacks", "aliases"} & values.keys():
        values[named] += tuple(json.dumps(name if named == "model" else [name]) for name in NAMES)
    return values


def managing(key: str) -> Iterator[Sent]:
    """What is no registry, and what hardly is one, from somebody who may write it."""
    may = f"Authorization: Bearer {key}"
    deep = "[" * 100_000 + "]" * 100_000
    many = "{" + ",".join(f'"m{number}": {{}}' for number in range(100_000)) + "}"
    for path in MANAGED:
        for name, body in BODIES.items():
            yield send(name, path, body, may)
        for field, values in _values_of(path).items():
            for value in values:
                yield send(f"{field} {value[:30]}", path, with_field(path, field, value), may)
            yield send(f"{field}, 100,000 deep", path, with_field(path, field, deep), may)
            yield send(f"{field}, 100,000 wide", path, with_field(path, field, many), may)


def large() -> Iterator[Sent]:
    """What takes room."""
    million = b",".join(b'"k%d":%d' % (number, number) for number in range(1_000_000))
    for path in ("/api/chat", "/v1/responses"):
        yield send("a million names", path, b"{" + million + b"}")
        yield send("a million more", path, with_field(path, "options", "{" + million.decode() + "}"))
        yield send("a million objects", path, b'{"messages": [' + b"{}," * 999_999 + b"{}]}")
        yield send("a million numbers", path, b'{"context": [' + b"1," * 999_999 + b"1]}")
        yield send("30 MB of text", path, with_field(path, "model", '"' + "x" * 30 * MIB + '"'))
        yield send("30 MB of escapes", path, b'{"model": "' + rb"\u0041" * (5 * MIB) + b'"}')
        yield send("40 MB", path, b'{"model": "' + b"x" * 40 * MIB)


def deep() -> Iterator[Sent]:
    """What is too deep, within what is right."""
    deep = "[" * 100_000 + "]" * 100_000
    for path in QUESTIONS:
        for field in ("messages", "tools", "options", "format", "input", "system"):
            yield send(f"{field}, 100,000 deep", path, with_field(path, field, deep))


@cache
def bomb(size: int) -> bytes:
    """So many zeros, packed."""
    packing = zstandard.ZstdCompressor(level=1).compressobj()
    return b"".join([packing.compress(bytes(MIB)) for _ in range(size // MIB)]) + packing.flush()


def packed() -> Iterator[Sent]:
    """What is packed wrongly."""
    zstd = "Content-Encoding: zstd"
    whole = zstandard.compress(b'{"model": "nope"}')
    wide = zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters(window_log=27))
    for path in sorted(MAY_BE_PACKED):
        yield send("a bomb of 1 GB", path, bomb(1024 * MIB), zstd)
        yield send("a bomb that fits", path, bomb(20 * MIB), zstd)
        yield send("a thousand small frames too many", path, whole * 2001, zstd)
        yield send("packed twice", path, zstandard.compress(zstandard.compress(whole)), zstd)
        yield send("torn", path, whole[:-3], zstd)
        yield send("not packed", path, b'{"model": "nope"}', zstd)
        yield send("nothing", path, b"", zstd)
        yield send("a wide window", path, wide.compress(bytes(MIB)), zstd)
        yield send("gzip", path, gzip.compress(b"{}"), "Content-Encoding: gzip")
        yield send("two ways", path, whole, "Content-Encoding: zstd, zstd")
        yield send("an odd way", path, whole, "Content-Encoding: \xff" + "z" * 1000)


def paths() -> Iterator[Sent]:
    """What leads nowhere."""
    wanted = (
        *("/v1/models/../../api/tags", "/v1/models/%00", "/v1/models/%ff", "/v1/models//", "/%2e%2e/%2e%2e/etc/passwd"),
        *(
            "//api/tags",
            "/api//tags",
            "/api/tags/",
            "/api/tags?%ff=%00",
            "/api/tags;x",
            "/api/stats?period=%00",
            "/api/stats?period=1h&period=2h",
        ),
        *(
            "/api/blobs/sha256:" + "0" * 64,
            "/api/blobs/../../x",
            "/v1/models/" + "x" * 4000,
            "/api/user/keys/%0d%0aX-Injected:%20yes",
        ),
        *(
            "/v1/models/%0d%0aX-Injected:%20yes",
            "/\xff\xfe",
            "/api/\u0000".replace("\u0000", "%00"),
            "*",
            "http://elsewhere/api/tags",
            "/?" + "x" * 60_000,
        ),
    )
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"):
        for path in wanted:
            head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0".encode(
                "latin-1"
            )
            yield Sent(f"{method} {path[:60]}", head + END, method=method, answers=0 if "\xff" in path else 1)


def heads() -> Iterator[Sent]:
    """Heads that are wrong, or hardly right."""
    ask = b"GET /api/version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    lines: dict[str, bytes] = {
        "an underscore": b"X_Api_Key: x",
        "a space before the colon": b"X-Api-Key : x",
        "no colon": b"X-Api-Key",
        "no name": b": x",
        "CR": b"X-A: a\rX-Injected: yes",
        "LF": b"X-A: a\nX-B: b",
        "a folded line": b"X-A: a\r\n b",
        "NUL": b"X-A: a\x00b",
        "bytes": b"X-Request-Id: \xff\xfe",
        "a key of bytes": b"Authorization: Bearer \xff\xfe",
        "a key of 60 kB": b"Authorization: Bearer " + b"x" * 60_000,
        "an id that injects": b"X-Request-Id: x%0d%0aX-Injected: yes",
        "1 MB": b"X-A: " + b"x" * MIB,
        "10,000 lines": b"\r\n".join(b"X-%d: x" % number for number in range(10_000)),
        "two hosts": b"Host: elsewhere",
        "a host of nonsense": b"Host: \xff[::1",
        "an origin of nonsense": b"Origin: http://[::1",
        "another origin": b"Origin: null",
        "a preflight's words": b"Access-Control-Request-Method: \xff",
        "a cache's words": b'Cache-Control: max-age="\xb2", only-if-cached=\xff, no-cache' + b"," * 1000,
        "a cookie": b"Cookie: sessionid=" + b"x" * 5000 + b"; csrftoken=\xff",
        "types": b"Accept: */*;q=\xff\r\nContent-Type: text/\xff; charset=nope",
        "a range": b"Range: bytes=0-,5-2",
        "a date": b"If-Modified-Since: nope",
        "an upgrade": b"Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: x",
        "a websocket": b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x",
        "forwarded": b"X-Forwarded-For: \xff\r\nX-Forwarded-Proto: nope\r\nForwarded: for=_x",
    }
    for name, line in lines.items():
        yield Sent(f"a header: {name}", ask + line + END, method="GET", answers=0)
    starts: dict[str, bytes] = {
        "no host": b"GET /api/version HTTP/1.1\r\nConnection: close",
        "HTTP/1.0": b"GET /api/version HTTP/1.0",
        "HTTP/0.9": b"GET /api/version",
        "HTTP/9.9": b"GET /api/version HTTP/9.9\r\nHost: x",
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM",
        "no version": b"GET /api/version \r\nHost: x",
        "two spaces": b"GET  /api/version  HTTP/1.1\r\nHost: x\r\nConnection: close",
        "small letters": b"get /api/version http/1.1\r\nHost: x",
        "a method of 5 kB": b"X" * 5000 + b" / HTTP/1.1\r\nHost: x",
        "a method of nonsense": b"G\x00T / HTTP/1.1\r\nHost: x",
        "a path of 100 kB": b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)),
        "blank lines first": b"\r\n\r\nGET /api/version HTTP/1.1\r\nHost: x\r\nConnection: close",
        "another protocol": b"EHLO localhost",
    }
    for name, start in starts.items():
        yield Sent(f"a start: {name}", start + END, method="GET", answers=0)


def framing() -> Iterator[Sent]:
    """Bodies that are longer, shorter or otherwise framed than they say."""
    begun = "POST /api/show HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    lengths = ("-1", "abc", "1e3", "+5", "5, 5", "5 5", "0x5", "", "9" * 30, "\xb2", "100", "33554433", "0")
    for length in lengths:
        data = f"{begun}Content-Length: {length}".encode("latin-1") + END + b'{"x":1}'
        yield Sent(f"a length of {length[:12]!r}", data, answers=0)
    both = f"{begun}Content-Length: 3\r\nContent-Length: 30".encode() + END + b"{}\n"
    yield Sent("two lengths", both, answers=0)
    for named in (
        "chunked",
        "Chunked",
        "identity",
        "gzip, chunked",
        "chunked, chunked",
        "chunked\r\nContent-Length: 5",
        "\xff",
    ):
        data = f"{begun}Transfer-Encoding: {named}".encode("latin-1") + END + b"2\r\n{}\r\n0\r\n\r\n"
        yield Sent(f"an encoding of {named[:20]!r}", data, answers=0)
    chunks: dict[str, bytes] = {
        "no number": b"zz\r\n{}\r\n0\r\n\r\n",
        "below zero": b"-2\r\n{}\r\n0\r\n\r\n",
        "too large": b"fffffffffffffffff\r\n{}",
        "as large as may be": b"7fffffffffffffff\r\n{}",
        "no line end": b"2{}0",
        "too short": b"1\r\n{}\r\n0\r\n\r\n",
        "an extension of 100 kB": b"2;" + b"x" * 100_000 + b"\r\n{}\r\n0\r\n\r\n",
        "trailers": b"2\r\n{}\r\n0\r\nX-Api-Key: x\r\n\r\n",
        "10,000 of one byte": b"1\r\n \r\n" * 10_000 + b"2\r\n{}\r\n0\r\n\r\n",
        "no end": b"2\r\n{}\r\n",
        "LF only": b"2\n{}\n0\n\n",
    }
    for name, data in chunks.items():
        yield Sent(f"chunks: {name}", f"{begun}Transfer-Encoding: chunked".encode() + END + data, answers=0)
    for expected in ("100-continue", "200-ok", "100-continue, 100-continue"):
        head = f"{begun}Expect: {expected}\r\nContent-Length: 2".encode()
        yield Sent(f"expects {expected}", head + END + b"{}", answers=1)
        yield Sent(f"expects {expected}, and sends nothing", head + END, answers=0)


def pipelined() -> Iterator[Sent]:
    """Several requests at once."""
    ask = b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n"
    last = ask + b"Connection: close" + END
    show = b"POST /api/show HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n{"
    yield Sent("three at once", (ask + b"\r\n") * 2 + last, method="GET", answers=3)
    yield Sent("fifty at once", (ask + b"\r\n") * 49 + last, method="GET", answers=50)
    yield Sent("a bad body between", ask + b"\r\n" + show + last, answers=3)
    yield Sent("nonsense after", ask + b"\r\n" + b"\x00\x01\x02" + END, answers=1)
    yield Sent("HTTP/1.0, kept alive", ask.replace(b"1.1", b"1.0") + b"Connection: keep-alive\r\n\r\n" + last)
    smuggled = (
        b"POST /api/show HTTP/1.1\r\nHost: x\r\nContent-Length: 44\r\nTransfer-Encoding: chunked" + END + b"0" + END
    )
    yield Sent("a request within a body", smuggled + last, answers=0)


def local() -> Iterator[Sent]:
    """Options that a model which runs here cannot have, or hardly."""
    odd = {
        "num_ctx": ("-1", "0", "1", "1e9", "4611686018427387904", "-9223372036854775808"),
        "num_batch": ("-1", "0", "1e9"),
        "num_keep": ("-5", "1e9"),
        "num_thread": ("-4", "100000"),
        "num_gpu": ("-5", "100000"),
        "temperature": ("-1", "1e30", "3.4e38"),
        "top_k": ("-1", "4611686018427387904"),
        "top_p": ("-1", "9"),
        "min_p": ("-1", "9"),
        "typical_p": ("-1", "9"),
        "repeat_last_n": ("-5", "1e9"),
        "repeat_penalty": ("-1", "0", "1e30"),
        "presence_penalty": ("1e30",),
        "seed": ("-1", "9223372036854775807"),
    }
    for option, values in odd.items():
        for value in values:
            asked = {"model": FIRST_MODEL, "prompt": "Hi", "stream": False}
            body = json.dumps(asked).encode()[:-1] + b', "options": {"num_predict": 2, "%b": %b}}' % (
                option.encode(),
                value.encode(),
            )
            yield send(f"{option} {value}, here", "/api/generate", body, "Cache-Control: no-store")
    for dimensions in ("-1", "0", "1e9", "4611686018427387904", "1"):
        for path in ("/api/embed", "/v1/embeddings"):
            body = b'{"model": "%b", "input": ["a", ""], "dimensions": %b}' % (EMBEDDER.encode(), dimensions.encode())
            yield send(f"dimensions {dimensions}", path, body)
    yield send("2,049 texts", "/api/embed", json.dumps({"model": EMBEDDER, "input": [""] * 2049}).encode())
    yield send("a text of 1 MB", "/api/embed", json.dumps({"model": EMBEDDER, "input": "a " * (MIB // 2)}).encode())
    yield send(
        "10,000 tokens of context", "/api/generate", with_field("/api/generate", "context", json.dumps([1] * 10_000))
    )
