"""What differs between two copies of the same answer: when it was made, under which id, how long it took.

The forms take these from a `Stamps`: `Live` ones for the answer at hand, `HOLES` for a `Template`,
which later fills in the ones of the moment.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from functools import cached_property
from typing import Protocol

from orchestrator.core.ids import hex_id
from orchestrator.ledger.writer import Entry


class Stamps(Protocol):
    """The values that are this copy's own."""

    @property
    def created_at(self) -> str:
        """When, as Ollama writes it."""

    @property
    def created(self) -> int:
        """When, in seconds since the epoch."""

    @property
    def completed(self) -> int:
        """When it was whole, in seconds since the epoch."""

    @property
    def id(self) -> str:
        """24 hex digits, the same each time it is asked for."""

    @property
    def total_ns(self) -> int:
        """How long the request took, 1 at least."""


class Live:
    """Of an answer that is being made."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry

    @property
    def created_at(self) -> str:
        """Now."""
        return rfc3339()

    @cached_property
    def created(self) -> int:
        """When it was asked for first."""
        return int(time.time())

    @property
    def completed(self) -> int:
        """Now: it is asked for at the end."""
        return int(time.time())

    @cached_property
    def id(self) -> str:
        """A fresh one."""
        return hex_id(24)

    @property
    def total_ns(self) -> int:
        """What the record says; it is complete when the last chunk comes."""
        return max(round(self._entry.total_s * 1e9), 1)


class _Holes:
    """Values that stand for others. No answer can hold one by chance, and none is ever sent, so none can on purpose."""

    def __init__(self) -> None:
        self.created_at = f"created_at.{secrets.token_hex(16)}"
        self.id = f"id.{secrets.token_hex(16)}"
        self.created = secrets.randbelow(10**17) + 9 * 10**17  # of one length, so that none begins another
        self.completed = secrets.randbelow(10**17) + 7 * 10**17
        self.total_ns = secrets.randbelow(10**17) + 8 * 10**17

    def names(self) -> dict[bytes, str]:
        """What each stands for."""
        return {str(value).encode(): name for name, value in vars(self).items()}


HOLES = _Holes()
_NAMES = HOLES.names()
_ANY = re.compile(b"|".join(map(re.escape, _NAMES)))
_FILLED: dict[str, Callable[[int, int], bytes]] = {
    "created_at": lambda now_ns, _: rfc3339(now_ns).encode(),
    "created": lambda now_ns, _: b"%d" % (now_ns // 1_000_000_000),
    "completed": lambda now_ns, _: b"%d" % (now_ns // 1_000_000_000),
    "id": lambda *_: hex_id(24).encode(),
    "total_ns": lambda _, took_ns: b"%d" % took_ns,
}


class Template:
    """An answer's bytes with the stamps left out."""

    def __init__(self, body: bytes) -> None:
        """`body` was rendered with `HOLES`."""
        self._form = _ANY.sub(b"%b", body.replace(b"%", b"%%"))
        names = [_NAMES[hole] for hole in _ANY.findall(body)]
        distinct = list(dict.fromkeys(names))
        self._filled = [_FILLED[name] for name in distinct]
        self._places = [distinct.index(name) for name in names]
        self.size = len(self._form)

    def fill(self, now_ns: int, took_ns: int) -> bytes:
        """The answer as of `now_ns`, nanoseconds since the epoch, after `took_ns`."""
        values = [filled(now_ns, took_ns) for filled in self._filled]
        return self._form % tuple([values[place] for place in self._places])


_second = -1
_stamp = ""


def rfc3339(now_ns: int | None = None) -> str:
    """A moment as Go prints it: UTC, up to nine decimals, trailing zeros trimmed.

    now_ns  nanoseconds since the epoch; now, when left out.
    """
    global _second, _stamp
    seconds, fraction = divmod(time.time_ns() if now_ns is None else now_ns, 1_000_000_000)
    if seconds != _second:
        _second, _stamp = seconds, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{_stamp}.{fraction:09d}".rstrip("0").rstrip(".") + "Z"
