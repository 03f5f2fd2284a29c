"""Amounts of money as people read and write them: dollars, of which the ledger has millionths in whole numbers."""

from __future__ import annotations

import re

MICRO = 1_000_000
_WRITTEN = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,6}))?")


def dollars(microusd: int) -> str:
    """The amount with two digits after the point, or as many as it has: `50.00`, `0.001234`."""
    whole, rest = divmod(abs(microusd), MICRO)
    digits = f"{rest:06}"
    return f"{'-' if microusd < 0 else ''}{whole}.{digits[:2]}{digits[2:].rstrip('0')}"


def read_dollars(text: str) -> int:
    """Millionths of a dollar. Raises ValueError for what is no amount, or has a part that is smaller."""
    match = _WRITTEN.fullmatch(text.strip())
    if match is None:
        raise ValueError
    return int(match[1]) * MICRO + int((match[2] or "").ljust(6, "0"))
