"""Whole numbers as addresses and forms have them."""

from __future__ import annotations

MOST_DIGITS = 18  # so that a database takes every one of them


def whole(typed: str) -> int | None:
    """The number that is meant; None where it is none, in other digits than 0 to 9, or longer than any there is."""
    return int(typed) if typed.isascii() and typed.isdigit() and len(typed) <= MOST_DIGITS else None
