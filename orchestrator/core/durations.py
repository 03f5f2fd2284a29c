"""Durations as Ollama writes them: Go's `1h30m`, `500ms`, `-1s`, `0`."""

import re

_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
LONGEST = 100  # characters
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)?")


def parse_duration(text: str) -> float:
    """Return seconds, negative where the text says so.

    Raises ValueError with the words of Go's `time.ParseDuration`, which clients know.
    """
    if len(text) > LONGEST:
        raise ValueError(f'time: invalid duration "{text[:LONGEST]}…"')
    quoted = '"' + text.replace('"', '\\"') + '"'
    rest = text[1:] if text[:1] in {"+", "-"} else text
    if rest == "0":
        return 0.0
    if not rest:
        raise ValueError(f"time: invalid duration {quoted}")
    seconds, place = 0.0, 0
    while place < len(rest):
        part = _PART.match(rest, place)
        if part is None:
            unknown = re.match(r"[^\d.]+", rest[place:])
            if place and unknown:
                raise ValueError(f'time: unknown unit "{unknown[0]}" in duration {quoted}')
            raise ValueError(f"time: invalid duration {quoted}")
        number, unit = part.groups()
        if unit is None:
            unknown = re.match(r"[^\d.]+", rest[part.end() :])
            if unknown:
                raise ValueError(f'time: unknown unit "{unknown[0]}" in duration {quoted}')
            raise ValueError(f"time: missing unit in duration {quoted}")
        seconds += float(number) * _UNITS_S[unit]
        place = part.end()
    return -seconds if text[0] == "-" else seconds
