"""The OpenAI embeddings protocol, as providers speak it."""

from __future__ import annotations

from typing import Any

import orjson

from orchestrator.core.types import ChatRequest
from orchestrator.engines.wires import vectors
from orchestrator.engines.wires.base import Vectors, as_count


def to_wire(request: ChatRequest, remote_name: str) -> dict[str, Any]:
    """The request as the provider takes it. Base64 is a third of what numbers take, and loses none of their digits."""
    return {"model": remote_name, "input": list(request.inputs or ()), "encoding_format": "base64"}


def read(body: bytes) -> Vectors:
    """The answer, in order whatever order it came in. Raises EngineError when it is none."""
    try:
        value = orjson.loads(body)
        # Some providers send numbers whatever they are asked for.
        found = {int(one["index"]): vectors.to_vector(one["embedding"]) for one in value["data"]}
        tokens = as_count((value.get("usage") or {}).get("prompt_tokens"))
        return Vectors(vectors=tuple(found[place] for place in range(len(found))), tokens=tokens)
    except vectors.NO_VECTORS:
        raise vectors.none() from None
