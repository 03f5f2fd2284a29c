"""Arguments of tools as a model wrote them, made such that every dialect can write them again."""

from __future__ import annotations

from typing import Any

import orjson

from orchestrator.core.types import JSON

_LARGEST = 2**64  # and what is larger, orjson itself reads as a float


def as_arguments(value: object) -> dict[str, JSON] | None:
    """An object that was read from JSON, such that it can be written; None where it is none, or too deep for that.

    Half surrogates, which a model writes that escapes half an emoji, become U+FFFD, and integers beyond 64 bits floats.
    """
    if not isinstance(value, dict):
        return None
    try:
        if _is_writable(value):
            return value
        tame: dict[str, JSON] = _tame(value)
    except (OverflowError, RecursionError):
        return None
    return tame if _is_writable(tame) else None


def whole_text(text: str) -> str:
    """`text` with U+FFFD for every half surrogate, which UTF-8 cannot hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _is_writable(value: object) -> bool:
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


def _tame(value: Any) -> Any:
    if isinstance(value, str):
        return whole_text(value)
    if isinstance(value, dict):
        return {whole_text(name): _tame(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_tame(item) for item in value]
    if isinstance(value, int) and not -_LARGEST // 2 <= value < _LARGEST:
        return float(value)
    return value
