"""Vectors as providers send them."""

from __future__ import annotations

import binascii
import struct
from base64 import b64decode
from collections.abc import Sequence
from math import isfinite

from orchestrator.core.errors import EngineError
from orchestrator.core.types import Chunk, Done, Usage

WIDEST = 65_536  # numbers in a vector
# What reading something else than vectors raises.
NO_VECTORS = (ValueError, KeyError, TypeError, AttributeError, binascii.Error, struct.error, OverflowError)


def to_vector(wire: object) -> bytes:
    """As `Chunk.vectors` has it, from base64 or a list of numbers. Raises one of `NO_VECTORS`."""
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


def to_chunk(vectors: Sequence[bytes], count: int, usage: Usage) -> Chunk:
    """The answer, which is to hold `count` vectors of one length. Raises EngineError when it does not."""
    lengths = len({len(vector) for vector in vectors})
    if len(vectors) != count or lengths > 1:
        raise EngineError(f"The provider sent {len(vectors)} vectors of {lengths} lengths for {count} texts.")
    return Chunk(vectors=tuple(vectors), done=Done(reason="stop", usage=usage))


def none() -> EngineError:
    """What is said of anything else."""
    return EngineError("The provider sent something that is no list of vectors.")
