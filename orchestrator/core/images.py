"""What a picture says of itself in its first bytes: its kind, and how large it is."""

from __future__ import annotations

import struct

MOST_PIXELS = 64_000_000  # 8,000 × 8,000: more is taken by no provider, and costs whoever unpacks it 256 MB

_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_SEGMENTS = 1000
_NO_SIZE = frozenset({0xC4, 0xC8, 0xCC})  # among the frames of a JPEG: tables


def kind_of(data: bytes) -> str:
    """The content type of a picture, empty when it is of none that is known."""
    if data.startswith(_PNG):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return "image/webp" if data.startswith(b"RIFF") and data[8:12] == b"WEBP" else ""


def pixels_of(data: bytes) -> int:
    """How many pixels it says it has; 0 where it does not say so in a way that is known."""
    try:
        match kind_of(data):
            case "image/png":
                width, height = struct.unpack_from(">II", data, 16)
            case "image/gif":
                width, height = struct.unpack_from("<HH", data, 6)
            case "image/webp":
                width, height = _webp(data)
            case "image/jpeg":
                width, height = _jpeg(data)
            case _:
                return 0
    except struct.error:  # it ends before
        return 0
    return int(width * height)


def _webp(data: bytes) -> tuple[int, int]:
    match data[12:16]:
        case b"VP8X":
            low, middle, high, low_2, middle_2, high_2 = struct.unpack_from("<6B", data, 24)
            return 1 + (low | middle << 8 | high << 16), 1 + (low_2 | middle_2 << 8 | high_2 << 16)
        case b"VP8L":
            (bits,) = struct.unpack_from("<I", data, 21)
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
    return 0, 0


def _jpeg(data: bytes) -> tuple[int, int]:
    place = 2
    for _ in range(_MOST_SEGMENTS):
        mark, kind, length = struct.unpack_from(">BBH", data, place)
        if mark != 0xFF:
            break
        if kind == 0xFF:  # padding
            place += 1
            continue
        if 0xC0 <= kind <= 0xCF and kind not in _NO_SIZE:
            height, width = struct.unpack_from(">HH", data, place + 5)
            return width, height
        place += 2 + length
    return 0, 0
