"""The frames of a stream, which nothing a model says can tear."""

from __future__ import annotations

from typing import Any

from orchestrator.api.replies import to_json

# What JSON leaves as it is in a string, and many readers of lines take for the end of one.
_LINE_ENDS = {end.encode(): f"\\u{ord(end):04x}".encode() for end in ("\u0085", "\u2028", "\u2029")}


def to_line(value: Any) -> bytes:
    """Compact JSON that is one line to every reader, without an end."""
    data = to_json(value)
    for end, escaped in _LINE_ENDS.items():
        if end in data:
            data = data.replace(end, escaped)
    return data


def event(value: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + to_line(value) + b"\n\n"


def typed_event(kind: str, value: dict[str, Any]) -> bytes:
    """One server-sent event of a kind, which its data says, too."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), to_line({"type": kind, **value}))
