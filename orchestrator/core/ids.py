"""Ids that are made up here."""

import secrets
import string

_LETTERS = string.ascii_lowercase + string.digits


def call_id() -> str:
    """A fresh id for a tool call, of the form clients know: `call_` and eight letters or digits."""
    return "call_" + "".join(secrets.choice(_LETTERS) for _ in range(8))
