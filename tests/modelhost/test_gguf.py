"""Reading what a GGUF file says of itself."""

import random
import struct
from pathlib import Path

import pytest

from orchestrator.modelhost.gguf import Header, parameter_size, read_header
from tests.modelhost.files import SMALL, gguf, packaged


def read(tmp_path: Path, data: bytes, *, arrays: bool = False) -> Header:
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    return read_header(path, arrays=arrays)


def test_the_embedded_model_says_what_it_is():
    header = read_header(packaged())
    assert header.architecture == "llama"
    assert header.parameter_count == 134_515_008
    assert parameter_size(header.parameter_count) == "134.52M"
    assert header.quantization == "Q4_1"
    assert header.context_length == 8192
    assert header.embedding_length == 576
    assert "<|im_start|>" in header.chat_template
    assert header.metadata["tokenizer.ggml.tokens"] is None
    assert header.tensors[0].shape == (576, 49152)


def test_long_lists_are_read_when_asked_for():
    tokens = read_header(packaged(), arrays=True).metadata["tokenizer.ggml.tokens"]
    assert len(tokens) == 49152
    assert tokens[1] == "<|im_start|>"


def test_memory_grows_with_context_and_answers(tmp_path: Path):
    header = read(tmp_path, gguf(SMALL))
    assert header.kv_bytes_per_token() == 2 * 2 * (16 + 16) * 2  # layers, key heads, widths, bytes
    assert header.memory(2048, 4) - header.memory(2048, 3) == 2048 * header.kv_bytes_per_token()


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (999, "999"),
        (12_000, "12K"),
        (7_000_000, "7M"),
        (134_515_008, "134.52M"),
        (3_212_749_888, "3.2B"),
        (7 * 10**9, "7B"),
    ],
)
def test_a_number_of_parameters_reads_as_in_ollama(count: int, text: str):
    assert parameter_size(count) == text


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "does not begin"),
        (b"GGML" + bytes(100), "does not begin"),
        (b"GGUF", "ends in the middle"),
        (gguf(SMALL, version=1), "version 1"),
        (gguf(SMALL)[:-10], "more than the file holds|ends"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**63, 1), "too many"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**63), "too many"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**62), "more than the file holds"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<I", 77), "unknown type 77"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQB", 9, 9, 1, 0), "unknown type 9"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 4, 2**40), "more than the file"),
        (gguf({}, {"t": (2**40, 2**40)}), "impossible size"),
        (gguf({}, {"t": (1,) * 5}), "5 dimensions"),
    ],
)
def test_a_broken_file_is_refused_with_a_reason(tmp_path: Path, data: bytes, why: str):
    with pytest.raises(ValueError, match=why):
        read(tmp_path, data)


def test_the_same_key_twice_is_refused(tmp_path: Path):
    once = gguf({"a": 1})
    twice = once[:16] + struct.pack("<Q", 2) + once[24:] + once[24:]
    with pytest.raises(ValueError, match="there twice"):
        read(tmp_path, twice)


def test_whatever_is_changed_in_a_file_it_is_read_or_refused(tmp_path: Path):
    sound = gguf(SMALL, {"token_embd.weight": (64, 3), "output.weight": (64, 3)})
    chance = random.Random(20)
    for _ in range(500):
        data = bytearray(sound)
        for _ in range(chance.randint(1, 6)):
            match chance.randrange(4):
                case 0:
                    data[chance.randrange(len(data))] = chance.randrange(256)
                case 1:
                    place = chance.randrange(len(data) - 8)
                    data[place : place + 8] = struct.pack("<Q", chance.choice([0, 2**31, 2**32 - 1, 2**63, 2**64 - 1]))
                case 2:
                    del data[chance.randrange(8, len(data)) :]
                    data += bytes(12)
                case 3:
                    place = chance.randrange(len(data))
                    data[place:place] = chance.randbytes(chance.randint(1, 9))
        try:
            header = read(tmp_path, bytes(data), arrays=True)
        except ValueError:
            continue
        # What was read must be usable, however odd.
        assert header.memory(4096, 4) >= 0
        assert isinstance(header.parameter_count, int)
        assert isinstance(header.quantization, str)
