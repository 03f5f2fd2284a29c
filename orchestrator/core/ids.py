"""Ids that are made up here."""

import random
import secrets
import string

_LETTERS = string.ascii_lowercase + string.digits
_random = random.Random()  # noqa: S311  # see hex_id


def call_id() -> str:
    """A fresh id for a tool call, of the form clients know: `call_` and eight letters or digits."""
    return "call_" + "".join(secrets.choice(_LETTERS) for _ in range(8))


def hex_id(digits: int) -> str:
    """Random hexadecimal digits, for ids that need not be hard to guess: the system's source of those costs 18 µs."""
    return f"{_random.getrandbits(4 * digits):0{digits}x}"
