"""The OpenAI embeddings protocol, as providers speak it."""

from __future__ import annotations

import binascii
import struct
from base64 import b64decode
from math import isfinite
from typing import Any

import orjson

from orchestrator.core.errors import EngineError
from orchestrator.core.types import ChatRequest, Chunk, Done, Usage

WIDEST = 65_536  # numbers in a vector


def to_wire(request: ChatRequest, remote_name: str) -> dict[str, Any]:
    """The request as the provider takes it. Base64 is a third of what numbers take, and loses none of their digits."""
    return {"model": remote_name, "input": list(request.inputs or ()), "encoding_format": "base64"}


def to_chunk(body: bytes, count: int, *, took_ns: int) -> Chunk:
    """The answer, which is to hold `count` vectors. Raises EngineError when it does not."""
    try:
        value = orjson.loads(body)
        found = {int(one["index"]): _vector(one["embedding"]) for one in value["data"]}
        vectors = tuple(found[place] for place in range(count))
        widths = {len(vector) for vector in vectors}
        tokens = (value.get("usage") or {}).get("prompt_tokens")
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error, struct.error, OverflowError):
        raise EngineError("The provider sent something that is no list of vectors.") from None
    if len(found) != count or len(widths) > 1:
        raise EngineError(f"The provider sent {len(found)} vectors of {len(widths)} lengths for {count} texts.")
    counted = tokens if type(tokens) is int and 0 <= tokens < 2**31 else 0
    return Chunk(vectors=vectors, done=Done(reason="stop", usage=Usage(prompt_tokens=counted, prompt_ns=took_ns)))


def _vector(wire: object) -> bytes:
    """As `Chunk.vectors` has it; some providers send numbers whatever they are asked for."""
    if isinstance(wire, str):
        data = b64decode(wire, validate=True)
    elif isinstance(wire, list) and len(wire) <= WIDEST:
        data = struct.pack(f"<{len(wire)}f", *wire)
    else:
        raise ValueError("neither text nor numbers")
    if not data or len(data) % 4 or len(data) > 4 * WIDEST:
        raise ValueError("no whole numbers of 32 bits")
    if not isfinite(sum(struct.unpack(f"<{len(data) // 4}f", data))):  # as soon as one is not
        raise ValueError("numbers that JSON does not have")
    return data
