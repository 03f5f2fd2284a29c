"""How large a picture says it is."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.images import kind_of, pixels_of

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 300, 200)
GIF = b"GIF89a" + struct.pack("<HH", 300, 200)
JPEG = b"\xff\xd8\xff\xe0" + struct.pack(">H", 4) + b"xx\xff\xff\xc4" + struct.pack(">H", 2)
JPEG += b"\xff\xc2" + struct.pack(">HBHH", 17, 8, 200, 300)
RIFF = b"RIFF\0\0\0\0WEBP"
LOSSY = RIFF + b"VP8 " + bytes(10) + struct.pack("<HH", 300, 200)
LOSSLESS = RIFF + b"VP8L" + bytes(4) + b"\x2f" + struct.pack("<I", 299 | 199 << 14)
EXTENDED = RIFF + b"VP8X" + bytes(8) + bytes([299 & 255, 1, 0, 199, 0, 0])


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (PNG, "image/png"),
        (GIF, "image/gif"),
        (JPEG, "image/jpeg"),
        (LOSSY, "image/webp"),
        (LOSSLESS, "image/webp"),
        (EXTENDED, "image/webp"),
    ],
)
def test_it_says_so_in_its_head(data: bytes, kind: str) -> None:
    assert kind_of(data) == kind
    assert pixels_of(data) == 60_000
    for end in range(len(data)):
        assert pixels_of(data[:end]) >= 0  # what is cut off says nothing


@given(st.sampled_from([b"", PNG[:8], b"\xff\xd8\xff", GIF[:6], RIFF, LOSSY[:16]]), st.binary(max_size=300))
def test_whatever_comes_is_read_without_harm(head: bytes, rest: bytes) -> None:
    assert pixels_of(head + rest) >= 0
