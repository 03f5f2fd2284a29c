"""What a request may hold, as docs/validation.md says it: every row of its tables is tried, in every dialect.

A refusal is 4xx in the caller's own shape, says what is allowed, and repeats nothing at length. A bound is a bound:
what is just within it gets past it.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard

from orchestrator.api import bounds
from orchestrator.core.images import MOST_PIXELS
from tests.api.test_pictures import png
from tests.fakes import FakeEngine

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "validation.md"
ROW = re.compile(r"\| `(?P<name>[a-z-]+)` \| (?P<what>.+?) \| (?P<bound>.+?) \| (?P<status>\d{3})(?P<more>.*?) \|")
DIALECTS = ("/api/chat", "/v1/chat/completions", "/v1/messages")
MODEL = "openai/big"


def question(path: str, **fields: Any) -> dict[str, Any]:
    """A question in the dialect of `path`."""
    body: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "stream": False}
    return body | ({"max_tokens": 50} if path == "/v1/messages" else {}) | fields


def raw(path: str, value: bytes) -> bytes:
    """A question with a field whose value is these bytes."""
    return json.dumps(question(path))[:-1].encode() + b', "x": ' + value + b"}"


def nested(depth: int) -> bytes:
    """So many levels, the body's own among them."""
    return b"[" * (depth - 1) + b"]" * (depth - 1)


def numbers(count: int) -> bytes:
    return b"[" + b",".join([b"1"] * count) + b"]"


def objects(count: int) -> bytes:
    return b"[" + b",".join([b"{}"] * count) + b"]"


def tools(path: str, count: int) -> list[dict[str, Any]]:
    if path == "/v1/messages":
        return [{"name": f"f{number}", "input_schema": {"type": "object"}} for number in range(count)]
    return [{"type": "function", "function": {"name": f"f{number}", "parameters": {}}} for number in range(count)]


def calls(path: str, count: int) -> list[dict[str, Any]]:
    """A conversation in which so many tools are called at once."""
    ids = [f"c{number}" for number in range(count)]
    said = {"role": "user", "content": "Hi"}
    if path == "/v1/messages":
        used = [{"type": "tool_use", "id": name, "name": "f", "input": {}} for name in ids]
        return [said, {"role": "assistant", "content": used}, said]
    arguments: Any = {} if path == "/api/chat" else "{}"
    made = [{"id": name, "type": "function", "function": {"name": "f", "arguments": arguments}} for name in ids]
    return [said, {"role": "assistant", "content": "", "tool_calls": made}, said]


def pictured(path: str, *pictures: bytes) -> dict[str, Any]:
    shown = [base64.b64encode(picture).decode() for picture in pictures]
    if path == "/api/chat":
        return question(path, messages=[{"role": "user", "content": "Hi", "images": shown}])
    if path == "/v1/messages":
        parts = [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}} for data in shown
        ]
    else:
        parts = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}} for data in shown]
    return question(path, messages=[{"role": "user", "content": [{"type": "text", "text": "Hi"}, *parts]}])


def stops(path: str, given: list[str]) -> dict[str, Any]:
    if path == "/api/chat":
        return question(path, options={"stop": given})
    return question(path, **{"stop_sequences" if path == "/v1/messages" else "stop": given})


def optional(path: str, **options: float) -> dict[str, Any]:
    """With those of the options that the dialect has."""
    if path == "/api/chat":
        return question(path, options=options)
    options.pop("seed" if path == "/v1/messages" else "top_k", None)
    return question(path, **options)


def sized(path: str, size: int) -> bytes:
    """A question of so many bytes."""
    body = json.dumps(question(path)).encode()
    return body + b" " * (size - len(body))


def said(path: str, count: int) -> dict[str, Any]:
    return question(path, messages=[{"role": "user", "content": "Hi"}] * count)


Sent = bytes | dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bound:
    """A row of the table."""

    over: Callable[[str], Sent]
    within: Callable[[str], Sent] | None = None
    over_headers: dict[str, str] | None = None
    within_headers: dict[str, str] | None = None


def tags(count: int, length: int = 3) -> dict[str, str]:
    return {"X-Orchestrator-Tags": ",".join(["t" * length] * count)}


BOUNDS: dict[str, Bound] = {
    "body": Bound(lambda path: sized(path, 32 * 1024**2 + 1), lambda path: sized(path, 32 * 1024**2)),
    "depth": Bound(lambda path: raw(path, nested(bounds.DEEPEST + 1)), lambda path: raw(path, nested(bounds.DEEPEST))),
    "values": Bound(
        lambda path: raw(path, numbers(bounds.MOST_VALUES + 1)),
        lambda path: raw(path, numbers(bounds.MOST_VALUES - 20)),
    ),
    "objects": Bound(
        lambda path: raw(path, objects(bounds.MOST_OBJECTS)), lambda path: raw(path, objects(bounds.MOST_OBJECTS - 2))
    ),
    "duplicates": Bound(lambda path: raw(path, b'{"a": 1, "a": 1}'), lambda path: raw(path, b'{"a": 1, "A": 1}')),
    "no-json": Bound(lambda path: raw(path, b"NaN"), lambda path: raw(path, b"null")),
    "infinity": Bound(lambda path: raw(path, b"-Infinity"), lambda path: raw(path, b"1e308")),
    "numbers": Bound(lambda path: raw(path, b"1e400"), lambda path: raw(path, b"1e300")),
    "digits": Bound(lambda path: raw(path, b"9" * 5000), lambda path: raw(path, b"9" * 300)),
    "surrogates": Bound(lambda path: raw(path, rb'"\ud800"'), lambda path: raw(path, rb'"\ud83d\ude00"')),
    "bytes": Bound(lambda path: raw(path, b'"\xff"'), lambda path: raw(path, '"é"'.encode())),
    "overlong": Bound(lambda path: raw(path, b'"\xc0\xaf"'), lambda path: raw(path, b'"/"')),
    "byte-order": Bound(lambda path: b"\xef\xbb\xbf" + raw(path, b"1"), lambda path: b" \n" + raw(path, b"1")),
    "encoding": Bound(
        lambda path: raw(path, b"1"),
        over_headers={"Content-Encoding": "gzip"},
    ),
    "model": Bound(lambda path: question(path, model=f"openai/{'x' * bounds.LONGEST_MODEL}")),
    "model-path": Bound(lambda path: question(path, model="../../etc/passwd")),
    "model-twin": Bound(lambda path: question(path, model="openai/bi\uff47"), lambda path: question(path)),
    "whole-numbers": Bound(
        lambda path: optional(path, top_k=2**63, seed=2**63),
        lambda path: optional(path, top_k=2**63 - 1, seed=2**63 - 1),
    ),
    "other-numbers": Bound(
        lambda path: optional(path, temperature=1e39), lambda path: optional(path, temperature=3e38)
    ),
    "messages": Bound(lambda path: said(path, bounds.MOST_MESSAGES + 1), lambda path: said(path, bounds.MOST_MESSAGES)),
    "tools": Bound(
        lambda path: question(path, tools=tools(path, bounds.MOST_TOOLS + 1)),
        lambda path: question(path, tools=tools(path, bounds.MOST_TOOLS)),
    ),
    "calls": Bound(
        lambda path: question(path, messages=calls(path, bounds.MOST_CALLS + 1)),
        lambda path: question(path, messages=calls(path, bounds.MOST_CALLS)),
    ),
    "images": Bound(
        lambda path: pictured(path, *[png()] * (bounds.MOST_IMAGES + 1)),
        lambda path: pictured(path, *[png()] * bounds.MOST_IMAGES),
    ),
    "pixels": Bound(
        lambda path: pictured(path, png(1, MOST_PIXELS + 1)), lambda path: pictured(path, png(1, MOST_PIXELS))
    ),
    "stops": Bound(
        lambda path: stops(path, ["x"] * (bounds.MOST_STOPS + 1)), lambda path: stops(path, ["x"] * bounds.MOST_STOPS)
    ),
    "stop-length": Bound(
        lambda path: stops(path, ["x" * (bounds.LONGEST_STOP + 1)]),
        lambda path: stops(path, ["x" * bounds.LONGEST_STOP]),
    ),
    "tags": Bound(question, question, over_headers=tags(bounds.MOST_TAGS + 1), within_headers=tags(bounds.MOST_TAGS)),
    "tag-length": Bound(
        question,
        question,
        over_headers=tags(1, bounds.LONGEST_TAG + 1),
        within_headers=tags(1, bounds.LONGEST_TAG),
    ),
    "tag-letters": Bound(question, over_headers={"X-Orchestrator-Tags": "caf\u00e9"}),
    "namespace": Bound(
        question,
        question,
        over_headers={"X-Orchestrator-Cache-Namespace": "n" * 101},
        within_headers={"X-Orchestrator-Cache-Namespace": "n" * 100},
    ),
    "namespace-letters": Bound(question, over_headers={"X-Orchestrator-Cache-Namespace": "\u00e9"}),
}


def rows() -> dict[str, re.Match[str]]:
    return {row["name"]: row for line in DOCUMENT.read_text().splitlines() if (row := ROW.fullmatch(line))}


async def sent(client: httpx.AsyncClient, path: str, what: Sent, headers: dict[str, str] | None) -> httpx.Response:
    content = what if isinstance(what, bytes) else json.dumps(what, ensure_ascii=False).encode()
    encoded = [(name, value.encode("latin-1")) for name, value in (headers or {}).items()]
    return await client.post(path, content=content, headers=[(name.encode(), value) for name, value in encoded])


def words(path: str, response: httpx.Response) -> str:
    """What the refusal says, in the shape of the dialect."""
    value = response.json()
    if path == "/api/chat":
        assert set(value) == {"error"}
        told = value["error"]
    elif path == "/v1/messages":
        assert set(value) == {"type", "error", "request_id"}
        assert value["type"] == "error"
        told = value["error"]["message"]
    else:
        assert set(value) == {"error"}
        assert set(value["error"]) == {"message", "type", "param", "code"}
        told = value["error"]["message"]
    assert isinstance(told, str)
    return told


@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize("name", BOUNDS)
async def test_what_is_beyond_a_bound_is_refused_and_what_is_within_is_not(
    client: httpx.AsyncClient, cloud: FakeEngine, name: str, path: str
) -> None:
    bound, row = BOUNDS[name], rows()[name]
    response = await sent(client, path, bound.over(path), bound.over_headers)
    if name == "encoding" and path == "/api/chat":
        assert response.status_code == 200  # no body of Ollama's may be packed, so the header means nothing there
        return
    assert response.status_code == int(row["status"]), response.text[:300]
    told = words(path, response)
    assert told.strip()
    assert told.isprintable()
    assert len(response.content) < 1000
    assert "Traceback" not in told
    assert cloud.calls == 0
    if bound.within:
        response = await sent(client, path, bound.within(path), bound.within_headers)
        assert response.status_code == 200, response.text[:300]
        assert cloud.calls == 1


NASTY = "\x1b[2J\u202e\n" + "x" * 50_000


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/api/chat", {"format": NASTY}),
        ("/api/chat", {"keep_alive": NASTY}),
        ("/api/chat", {"think": NASTY}),
        ("/api/chat", {"model": NASTY}),
        ("/api/chat", {"messages": [{"role": NASTY}]}),
        ("/api/chat", {NASTY: 1, NASTY.upper(): 2, "MODEL": "x"}),
        ("/v1/chat/completions", {"reasoning_effort": NASTY}),
        ("/v1/chat/completions", {"model": NASTY}),
        ("/v1/chat/completions", {"messages": [{"role": NASTY, "content": "x"}]}),
        ("/v1/messages", {"model": NASTY}),
        ("/v1/messages", {"thinking": {"type": NASTY}}),
        ("/v1/messages", {"messages": [{"role": "user", "content": [{"type": NASTY}]}]}),
        ("/v1/messages", {"tools": [{"type": NASTY}]}),
    ],
)
async def test_what_a_refusal_repeats_is_short_and_moves_no_terminal(
    client: httpx.AsyncClient, path: str, fields: dict[str, Any]
) -> None:
    response = await sent(client, path, question(path, **fields), None)
    assert response.status_code in {400, 404}
    assert words(path, response).isprintable()
    assert len(response.content) < 1000


def test_the_table_has_each_bound_once_and_says_its_number() -> None:
    found = rows()
    assert found.keys() == BOUNDS.keys()
    numbers_of = {
        "depth": bounds.DEEPEST,
        "values": bounds.MOST_VALUES,
        "objects": bounds.MOST_OBJECTS,
        "model": bounds.LONGEST_MODEL,
        "messages": bounds.MOST_MESSAGES,
        "tools": bounds.MOST_TOOLS,
        "calls": bounds.MOST_CALLS,
        "images": bounds.MOST_IMAGES,
        "pixels": MOST_PIXELS,
        "stops": bounds.MOST_STOPS,
        "stop-length": bounds.LONGEST_STOP,
        "tags": bounds.MOST_TAGS,
        "tag-length": bounds.LONGEST_TAG,
    }
    for name, number in numbers_of.items():
        assert f"{number:,}" in found[name]["bound"], name


@pytest.mark.parametrize("path", [path for path in DIALECTS if path.startswith("/v1/")])
async def test_a_bomb_that_is_packed_is_refused(client: httpx.AsyncClient, cloud: FakeEngine, path: str) -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(bounds.MOST_UNPACKED + 1))
    assert len(bomb) < 10_000
    response = await sent(client, path, bomb, {"Content-Encoding": "zstd"})
    assert response.status_code == 413
    assert f"{bounds.MOST_UNPACKED} bytes" in words(path, response)
