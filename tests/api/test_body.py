"""A body is read as Go reads it, or refused in Go's words."""

import json
import struct
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.body import LARGEST_WINDOW, UnknownEncoding, is_packed, read_json, unpacked
from orchestrator.api.bounds import MOST_FRAMES
from orchestrator.core.errors import BadRequest, RequestTooLarge

MIB = 1024**2
TOO_DEEP = "exceeded max depth: at most 200 lists and objects may be within each other"

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_whatever_json_holds_is_read(value: object) -> None:
    text = json.dumps(value)
    try:
        text.encode()
        json.loads(text)
    except ValueError:
        return
    try:
        assert read_json(text.encode()) == value
    except BadRequest:
        assert any(0xD800 <= ord(char) < 0xE000 for char in json.dumps(value, ensure_ascii=False))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "missing request body"),
        (b" \n\t", "missing request body"),
        (b"{", "unexpected EOF"),
        (b'{"model"', "unexpected EOF"),
        (b'{"model": "x', "unexpected EOF"),
        (b'{"model": "x"', "unexpected EOF"),
        (b"[1, 2", "unexpected EOF"),
        (b"xyz", "invalid character 'x' looking for beginning of value"),
        (b"{model: 1}", "invalid character 'm' looking for beginning of object key string"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a": 1 "b"}', "invalid character '\"' after object key:value pair"),
        (b"[1 2]", "invalid character '2' after array element"),
        (b'{"a": 1,}', "invalid character '}' looking for beginning of object key string"),
        (b"[1,]", "invalid character ']' looking for beginning of value"),
        (b'{"a": trux}', "invalid character 'x' in literal true (expecting 'e')"),
        (b'{"a": NaN}', "invalid character 'N' looking for beginning of value"),
        (b'{"a": -Infinity}', "invalid character 'I' in numeric literal"),
        (b'{"a": "\n"}', r"invalid character '\n' in string literal"),
        (rb'{"a": "\x"}', "invalid character 'x' in string escape code"),
        (rb'{"a": "\u12g4"}', r"invalid character 'g' in \u hexadecimal character escape"),
        (b"[" * 50_000 + b"]" * 50_000, TOO_DEEP),
        (b'{"a":' * 50_000, TOO_DEEP),
        (b"[" * 1000 + b"]" * 1000, TOO_DEEP),
        (b"[" * 201 + b"]" * 201, TOO_DEEP),
        (b"\xef\xbb\xbf{}", "The body begins with a byte order mark; send JSON in UTF-8 without one."),
        (b'{"model": "a", "model": "b"}', 'duplicate name "model" in a JSON object'),
        (b'{"a": {"b": 1, "b": 1}}', 'duplicate name "b" in a JSON object'),
    ],
)
def test_a_bad_body_is_refused_in_words_clients_know(body: bytes, said: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read_json(body)
    assert str(refused.value) == said


def test_what_follows_the_first_value_is_ignored() -> None:
    assert read_json(b'{"a": "}"} {"b": 1} nonsense') == {"a": "}"}


@pytest.mark.parametrize("body", [rb'"\ud800"', b'"\xff"', b'"\xed\xa0\x80"'])
def test_a_lone_surrogate_or_broken_utf8_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match="invalid JSON"):
        read_json(body)


def test_a_name_that_looks_like_another_inside_a_string_is_no_duplicate() -> None:
    assert read_json(rb'{"a": "\"a\": 1, \"a\":", "b": "a\\"}') == {"a": '"a": 1, "a":', "b": "a\\"}


def test_a_long_bad_body_is_not_read_to_its_end() -> None:
    with pytest.raises(BadRequest, match="invalid JSON"):
        read_json(b"[" + b"1," * 100_000 + b"x]")


def pack(text: bytes, *, says_its_size: bool = True, level: int = 3) -> bytes:
    """One frame."""
    return zstandard.ZstdCompressor(level=level, write_content_size=says_its_size).compress(text)


SKIPPED = struct.pack("<II", 0x184D2A50, 4) + b"note"


@given(st.binary(max_size=3000), st.booleans(), st.sampled_from([-5, 1, 3, 19, 22]))
def test_what_was_packed_is_unpacked(text: bytes, says_its_size: bool, level: int) -> None:
    assert unpacked(pack(text, says_its_size=says_its_size, level=level), MIB) == text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", b""),
        (pack(b"a") + pack(b"b") + pack(b""), b"ab"),
        (SKIPPED + pack(b"a") + SKIPPED + pack(b"b") + SKIPPED, b"ab"),
        (pack(b"a") * MOST_FRAMES, b"a" * MOST_FRAMES),
        (pack(b"x" * MIB, says_its_size=False), b"x" * MIB),
    ],
)
def test_frames_follow_each_other_with_or_without_their_size(body: bytes, text: bytes) -> None:
    assert unpacked(body, MIB) == text


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"not zstd", "invalid zstd body: "),
        (b'{"model": "tiny"}', "invalid zstd body: "),
        (pack(b"hello")[:-1], "invalid zstd body: unexpected EOF"),
        (pack(b"hello")[:3], "invalid zstd body: unexpected EOF"),
        (pack(b"hello") + b"{}", "invalid zstd body: "),
        (pack(b"hello") + pack(b"hello")[:8], "invalid zstd body: unexpected EOF"),
        (pack(b"a") * (MOST_FRAMES + 1), "more than 1000 frames"),
    ],
)
def test_a_broken_zstd_body_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(BadRequest) as refused:
        unpacked(body, MIB)
    assert said in str(refused.value)


def test_a_frame_that_was_changed_on_its_way_is_refused() -> None:
    body = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(b"hello"))
    body[-1] ^= 1
    with pytest.raises(BadRequest, match="invalid zstd body: "):
        unpacked(bytes(body), MIB)


def test_a_frame_that_wants_a_larger_window_than_http_allows_is_refused() -> None:
    wide = zstandard.ZstdCompressionParameters(window_log=24, write_content_size=False)
    packer = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    with pytest.raises(BadRequest, match="invalid zstd body: "):
        unpacked(packer.compress(b"x" * 1000) + packer.flush(), 2 * LARGEST_WINDOW)


@pytest.mark.parametrize("says_its_size", [True, False])
@pytest.mark.parametrize("frames", [1, 40])
def test_a_bomb_is_refused_before_it_is_in_memory(says_its_size: bool, frames: int) -> None:
    bomb = pack(bytes(640 * MIB // frames), says_its_size=says_its_size) * frames
    assert len(bomb) < 64 * 1024
    tracemalloc.start()
    try:
        with pytest.raises(RequestTooLarge, match="may have 20971520 bytes at most"):
            unpacked(bomb, 20 * MIB)
        assert tracemalloc.get_traced_memory()[1] < 28 * MIB
    finally:
        tracemalloc.stop()


def test_the_bound_is_kept_to_the_byte() -> None:
    for text in (bytes(MIB), b"ab" * (MIB // 2), json.dumps(list(range(150_000))).encode()[:MIB]):
        assert unpacked(pack(text), len(text)) == text
        with pytest.raises(RequestTooLarge):
            unpacked(pack(text), len(text) - 1)


def test_which_bodies_may_be_packed() -> None:
    assert is_packed("/v1/chat/completions", " ZSTD ")
    assert not is_packed("/v1/messages", "identity")
    assert not is_packed("/v1/messages", "")
    assert not is_packed("/api/chat", "zstd"), "there Ollama does not look"
    for encoding in ("gzip", "zstd, zstd", "br"):
        with pytest.raises(UnknownEncoding, match="send the body as zstd"):
            is_packed("/v1/responses", encoding)
