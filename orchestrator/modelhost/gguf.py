"""What a GGUF file says of itself: its metadata and its tensors' shapes, never the weights.

A file may come from anywhere, so no length in it is believed: each is compared with a bound and
with what is left of the file before anything is read or reserved. Whatever is wrong is a ValueError.
Source: the GGUF specification, docs/gguf.md of ggml; versions 2 and 3, little-endian.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

MOST_KEYS, MOST_TENSORS, MOST_DIMENSIONS = 65_536, 262_144, 4
LONGEST_NAME, LONGEST_TEXT, LONGEST_ARRAY = 65_535, 16 * 1024**2, 16 * 1024**2
SHORT_ARRAY = 1024  # elements of an array that is read even when arrays are not asked for
_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
_U32, _U64 = _SCALARS[4], _SCALARS[10]


def _words(text: str) -> list[str]:
    return text.split()


# general.file_type, by llama.cpp's `enum llama_ftype`
_FILE_TYPES = _words(
    "F32 F16 Q4_0 Q4_1 Q4_1_F16 - - Q8_0 Q5_0 Q5_1 Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K "
    "IQ2_XXS IQ2_XS Q2_K_S IQ3_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ3_M IQ2_S IQ2_M IQ4_XS IQ1_M BF16 - - - "
    "TQ1_0 TQ2_0 MXFP4 NVFP4 Q1_0 Q2_0"
)
# a tensor's type, by ggml's `enum ggml_type`
_TENSOR_TYPES = _words(
    "F32 F16 Q4_0 Q4_1 - - Q5_0 Q5_1 Q8_0 Q8_1 Q2_K Q3_K Q4_K Q5_K Q6_K Q8_K IQ2_XXS IQ2_XS IQ3_XXS IQ1_S IQ4_NL "
    "IQ3_S IQ2_S IQ4_XS I8 I16 I32 I64 F64 IQ1_M BF16 - - - TQ1_0 TQ2_0 - - - MXFP4 NVFP4"
)


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor's name, type and shape; GGUF gives the fastest-moving dimension first."""

    name: str
    type: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Header:
    """Everything before the weights. An array that was skipped is None in `metadata`."""

    metadata: Mapping[str, Any]
    tensors: tuple[Tensor, ...]
    file_size: int  # bytes
    runtime: int = 64 * 1024**2  # bytes beside weights and attention cache; on small models about right

    def text(self, key: str) -> str:
        """The text under `key`; empty when there is none."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    def number(self, key: str) -> int:
        """The whole number under `key` within the architecture, the largest of a list; 0 when there is none."""
        value = self.metadata.get(f"{self.architecture}.{key}")
        if isinstance(value, list):
            value = max((item for item in value if isinstance(item, int)), default=0)
        return value if isinstance(value, int) and value > 0 else 0

    @property
    def architecture(self) -> str:
        """Such as `llama` or `qwen2`: which graph the weights belong to."""
        return self.text("general.architecture")

    @property
    def context_length(self) -> int:
        """The tokens it was trained to keep in view."""
        return self.number("context_length")

    @property
    def embedding_length(self) -> int:
        """Width of its hidden state."""
        return self.number("embedding_length")

    @property
    def parameter_count(self) -> int:
        """How many weights there are."""
        said = self.metadata.get("general.parameter_count")
        return sum(math.prod(tensor.shape) for tensor in self.tensors) or (said if isinstance(said, int) else 0)

    @property
    def quantization(self) -> str:
        """Such as `Q4_K_M`; `unknown` when the file does not say."""
        number = self.metadata.get("general.file_type")
        name = _FILE_TYPES[number] if isinstance(number, int) and 0 <= number < len(_FILE_TYPES) else "-"
        return "unknown" if name == "-" else name

    @property
    def chat_template(self) -> str:
        """The Jinja template that turns messages into a prompt; empty when there is none."""
        return self.text("tokenizer.chat_template")

    @property
    def can_fill_in(self) -> bool:
        """Whether it was trained to write what belongs between two texts; older files have longer names for that."""
        names = (("fim_pre", "prefix"), ("fim_suf", "suffix"), ("fim_mid", "middle"))
        return all(any(f"tokenizer.ggml.{one}_token_id" in self.metadata for one in either) for either in names)

    @property
    def is_embedding_only(self) -> bool:
        """Whether it makes vectors and cannot write."""
        return f"{self.architecture}.pooling_type" in self.metadata

    def kv_bytes_per_token(self) -> int:
        """Memory a token takes in the attention cache, at 16 bits a number."""
        heads = self.number("attention.head_count") or 1
        width = self.embedding_length // heads
        keys = self.number("attention.key_length") or width
        values = self.number("attention.value_length") or width
        kv_heads = self.number("attention.head_count_kv") or heads
        return self.number("block_count") * kv_heads * (keys + values) * 2

    def memory(self, context: int, sequences: int) -> int:
        """Bytes it will take to run `sequences` answers at once, each with `context` tokens in view.

        Weights, attention cache, and what there is besides.
        """
        return self.file_size + self.kv_bytes_per_token() * context * sequences + self.runtime


def read_header(path: Path, *, arrays: bool = False) -> Header:
    """Read a file up to its weights; `arrays` also reads the long lists (the vocabulary).

    Raises ValueError when it is not a sound GGUF file, OSError when it cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb", buffering=1024**2) as file:
        reader = _Reader(file, size, arrays)
        try:
            return reader.header()
        except struct.error:
            raise ValueError(f"{path.name} ends in the middle of its header; fetch the file again") from None
        except UnicodeDecodeError:
            raise ValueError(f"{path.name} holds a name that is not text; fetch the file again") from None


class _Reader:
    """Walks through one file."""

    def __init__(self, file: BinaryIO, size: int, arrays: bool) -> None:
        self.file, self.size, self.arrays = file, size, arrays

    def header(self) -> Header:
        if self.file.read(4) != b"GGUF":
            raise ValueError("not a GGUF file: it does not begin with `GGUF`")
        version = self.number(_U32)
        if version not in (2, 3):
            raise ValueError(f"GGUF version {version} is not supported; 2 and 3 are")
        tensor_count, key_count = self.number(_U64), self.number(_U64)
        if tensor_count > MOST_TENSORS or key_count > MOST_KEYS:
            raise ValueError(f"the file claims {tensor_count} tensors and {key_count} keys, which is too many")
        metadata: dict[str, Any] = {}
        for _ in range(key_count):
            key = self.text(LONGEST_NAME)
            if key in metadata:
                raise ValueError(f"the key {key!r} is there twice")
            metadata[key] = self.value(self.number(_U32))
        tensors = tuple(self.tensor() for _ in range(tensor_count))
        return Header(metadata, tensors, self.size)

    def number(self, kind: struct.Struct) -> Any:
        return kind.unpack(self.file.read(kind.size))[0]

    def left(self) -> int:
        return self.size - self.file.tell()

    def length(self, most: int) -> int:
        length: int = self.number(_U64)
        if length > most or length > self.left():
            raise ValueError(f"a length of {length} is more than the file holds or than is allowed")
        return length

    def text(self, most: int, errors: str = "strict") -> str:
        length = self.length(most)
        data = self.file.read(length)
        if len(data) != length:
            raise ValueError("the file ends in the middle of a text")
        return data.decode(errors=errors)

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text(LONGEST_TEXT, "replace")
        if kind == _ARRAY:
            return self.array()
        scalar = _SCALARS.get(kind)
        if scalar is None:
            raise ValueError(f"a value has the unknown type {kind}")
        return self.number(scalar)

    def array(self) -> list[Any] | None:
        kind = self.number(_U32)
        count = self.length(LONGEST_ARRAY)
        keep = self.arrays or count <= SHORT_ARRAY
        if kind == _STRING:
            if keep:
                return [self.text(LONGEST_TEXT, "replace") for _ in range(count)]
            for _ in range(count):
                self.file.seek(self.length(LONGEST_TEXT), 1)
            return None
        scalar = _SCALARS.get(kind)
        if scalar is None:
            raise ValueError(f"an array holds values of the unknown type {kind}")
        if count * scalar.size > self.left():
            raise ValueError(f"an array of {count} values is longer than the file")
        if not keep:
            self.file.seek(count * scalar.size, 1)
            return None
        return [item for (item,) in scalar.iter_unpack(self.file.read(count * scalar.size))]

    def tensor(self) -> Tensor:
        name = self.text(LONGEST_NAME)
        dimensions = self.number(_U32)
        if dimensions > MOST_DIMENSIONS:
            raise ValueError(f"the tensor {name!r} claims {dimensions} dimensions")
        shape = tuple(self.number(_U64) for _ in range(dimensions))
        if math.prod(shape) >= 2**62:
            raise ValueError(f"the tensor {name!r} claims an impossible size")
        kind, _offset = self.number(_U32), self.number(_U64)
        known = _TENSOR_TYPES[kind] if kind < len(_TENSOR_TYPES) else "-"
        return Tensor(name, f"type {kind}" if known == "-" else known, shape)


def parameter_size(count: int) -> str:
    """How Ollama writes a number of parameters: 134.52M, 3.2B, 7B."""
    for unit, letter, decimals in ((10**9, "B", 1), (10**6, "M", 2)):
        if count >= unit:
            return f"{count // unit}{letter}" if count % unit == 0 else f"{count / unit:.{decimals}f}{letter}"
    return f"{count / 1000:.0f}K" if count >= 1000 else str(count)
