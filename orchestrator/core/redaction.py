"""Secrets that came into words: what is logged or recorded tells that there was one, and not which.

By value: this installation's own, told to `hide`. By shape: keys as we and the known providers make them, for those
that somebody pasted where a model's name belongs. What has no shape and is not ours cannot be told from a word.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache

SHORTEST = 8  # characters; a shorter secret would be found in every other word
SHORTEST_TEXT = 16  # characters; of a shorter one nothing has the shape of a key
_SHAPES = re.compile(
    r"""
    (?P<ours>orch_[a-z0-9]{10}_)[A-Za-z0-9_-]{16,}      # the part that may be shown stays
    | \bsk-[A-Za-z0-9_-]{20,}
    | \b(?:gsk_|hf_|ghp_|tgp_v1_|xai-|pplx-|nvapi-)[A-Za-z0-9_-]{30,}
    | \bAIza[A-Za-z0-9_-]{30,}
    | (?i:(?<=bearer\ )|(?<=basic\ ))[A-Za-z0-9._~+/=-]{16,}
    """,
    re.VERBOSE,
)
# What a log's reader would take for a line of its own, or a terminal for an order; tracebacks keep their lines.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), 127, *range(128, 160)) if chr(code) != "\t"}
_CONTROLS |= {10: "\\n", 13: "\\r", 0x2028: "\\u2028", 0x2029: "\\u2029"}
_hidden: set[str] = set()


def hide(*values: str) -> None:
    """Leave these out of whatever is logged or recorded from now on."""
    _hidden.update(value for value in values if len(value) >= SHORTEST)
    _values.cache_clear()


def redacted(text: str) -> str:
    """`text` with every secret in it left out."""
    if len(text) < SHORTEST:
        return text
    if known := _values():
        text = known.sub("[…]", text)
    return text if len(text) < SHORTEST_TEXT else _SHAPES.sub(lambda match: f"{match['ours'] or ''}[…]", text)


class Lines(logging.Formatter):
    """Log lines without secrets, each message on a line of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's own name
        """The line, but for a traceback."""
        record.message = record.message.translate(_CONTROLS)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        """The line, with a traceback where there is one."""
        return redacted(super().format(record))


@lru_cache(maxsize=1)
def _values() -> re.Pattern[str] | None:
    return re.compile("|".join(map(re.escape, sorted(_hidden, key=len, reverse=True)))) if _hidden else None
