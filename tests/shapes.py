"""Whether an answer is what docs/openapi.json says it is, to the last field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema_rs
import orjson

from tests.product import PROJECT

KEPT = PROJECT / "docs" / "openapi.json"
DOCUMENT: dict[str, Any] = json.loads(KEPT.read_text())
LONGEST_SHOWN = 300


def template(path: str) -> str:
    """The path as the file has it. Raises KeyError when it is not there."""
    for part in ("[^/]+", ".+"):  # a name may hold slashes, where no path says more of them
        for known in DOCUMENT["paths"]:
            if re.fullmatch(re.sub(r"\\\{\w+\\\}", part, re.escape(known)), path):
                return str(known)
    raise KeyError(path)


def is_described(method: str, path: str) -> bool:
    """Whether the file has that path, and this method of it."""
    try:
        return method.lower() in DOCUMENT["paths"][template(path)]
    except KeyError:
        return False


@cache
def _validator(schema: bytes) -> Any:
    rooted = orjson.loads(schema) | {"components": DOCUMENT["components"]}
    return jsonschema_rs.validator_for(rooted, validate_formats=True)


def misfits(schema: dict[str, Any], value: Any) -> list[str]:
    """Where `value` is not as a schema of the file says."""
    found = _validator(orjson.dumps(schema)).iter_errors(value)
    return [f"{'/'.join(map(str, one.instance_path))}: {one.message[:LONGEST_SHOWN]}" for one in found]


def faults(method: str, path: str, status: int, content_type: str, body: bytes) -> list[str]:
    """What is not as the file says; empty when all of it is.

    path  as it was asked for, or as the file has it; without a query.
    """
    operation = DOCUMENT["paths"][template(path)][method.lower()]
    described = operation["responses"].get(str(status)) or operation["responses"]["default"]
    if method.upper() == "HEAD":
        return ["an answer to HEAD has a body"] if body else []
    kind = content_type.partition(";")[0]
    if kind not in described["content"]:
        return [f"{status} as {content_type!r}, which is not described"]
    media = described["content"][kind]
    if media["schema"].get("type") != "string":
        return _misfits(media["schema"], body)
    if "x-itemSchema" not in media:
        return misfits(media["schema"], body.decode())
    pieces = list(lines(body) if kind.endswith("ndjson") else event_data(body))
    return [fault for piece in pieces for fault in _misfits(media["x-itemSchema"], piece)] or (
        [] if pieces else ["a stream of nothing"]
    )


def _misfits(schema: dict[str, Any], data: bytes) -> list[str]:
    try:
        value = orjson.loads(data)
    except ValueError as error:
        return [f"not JSON ({error}): {data[:LONGEST_SHOWN]!r}"]
    return misfits(schema, value)


def lines(body: bytes) -> Iterator[bytes]:
    """The lines of NDJSON, which ends with one."""
    *found, rest = body.split(b"\n")
    yield from found
    if rest:
        yield rest


def event_data(body: bytes) -> Iterator[bytes]:
    """The data of each server-sent event, but for the mark of the end."""
    *found, rest = body.split(b"\n\n")
    for frame in [*found, rest] if rest else found:
        fields = [line.partition(b": ") for line in frame.split(b"\n")]
        data = b"\n".join(value for name, _, value in fields if name == b"data")
        if {name for name, _, _ in fields} - {b"data", b"event"}:
            yield frame  # is no JSON, and so is told
        elif data != b"[DONE]":
            yield data
