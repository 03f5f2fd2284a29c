"""One secret in a file outside the databases, and a key derived from it for each use.

The file holds the master secret in its first line. After a rotation those of before follow, each with when it was
replaced: what they sealed can be opened until they are retired. `unfinished` after the first says that not everything
is sealed with it yet.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

SIZE = 32  # bytes
UNFINISHED = "unfinished"


class NoSecret(ValueError):
    """The file does not hold what it must. Says what to do about it."""


@dataclass(frozen=True, slots=True)
class Former:
    """A master secret of before."""

    secret: bytes = field(repr=False)
    replaced_at: datetime


@dataclass(frozen=True, slots=True)
class Masters:
    """The master secret, and those of before that still open what they sealed; the newest first."""

    current: bytes = field(repr=False)
    former: tuple[Former, ...] = ()
    is_unfinished: bool = False

    @property
    def oldest(self) -> timedelta:
        """How long ago the first of the former ones was replaced; nothing when there is none."""
        return max((datetime.now(UTC) - one.replaced_at for one in self.former), default=timedelta(0))

    def keys(self, use: str) -> tuple[bytes, ...]:
        """The keys for one use: the one that seals, then those that only open."""
        return tuple(derive(secret, use) for secret in (self.current, *(one.secret for one in self.former)))


def master_secret(path: Path, *, may_be_made: bool = True) -> Masters:
    """Return what `path` holds, made on first use; safe when several processes start at once.

    may_be_made  whether there can be nothing yet that was sealed with one.
    Raises NoSecret when the file holds no secret, or is missing and must not be.
    """
    if not path.exists():
        if not may_be_made:
            raise NoSecret(
                f"{path} is missing, and there is data that was sealed with it. Put it back from a backup. If it is"
                f" lost, make another (openssl rand -hex {SIZE} > {path}; chmod 600 {path}): every API key, session and"
                " provider's key of before is void then."
            )
        make(path, f"{secrets.token_hex(SIZE)}\n")
    return read(path)


def read(path: Path) -> Masters:
    """Return what `path` holds. Raises NoSecret, OSError."""
    try:
        first, *rest = [line.split() for line in path.read_text().splitlines() if line.strip()]
        former = tuple(Former(_secret(one[0]), datetime.fromisoformat(one[1])) for one in rest)
        return Masters(_secret(first[0]), former, first[1:] == [UNFINISHED])
    except (ValueError, IndexError):
        raise NoSecret(
            f"{path} must hold {2 * SIZE} hex digits. Restore it from a backup; what it sealed opens with nothing else."
        ) from None


def make(path: Path, text: str) -> None:
    """Write a file that is not there, readable by this user only; whoever comes first wins."""
    draft = _draft(path, text)
    try:
        os.link(draft, path)  # unlike a rename, this loses to whoever came first
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def write(path: Path, masters: Masters) -> None:
    """Put `masters` in place of what `path` holds, in one step that survives a power cut."""
    first = f"{masters.current.hex()} {UNFINISHED}" if masters.is_unfinished else masters.current.hex()
    rest = [f"{one.secret.hex()} {one.replaced_at.isoformat()}" for one in masters.former]
    _draft(path, "\n".join([first, *rest, ""])).replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def renewed(masters: Masters) -> Masters:
    """`masters` with a new secret before them, with which nothing is sealed yet."""
    former = (Former(masters.current, datetime.now(UTC).replace(microsecond=0)), *masters.former)
    return Masters(secrets.token_bytes(SIZE), former, is_unfinished=True)


@lru_cache(maxsize=64)
def id_of(key: bytes) -> str:
    """What tells a key from others, and nothing about it."""
    return derive(key, "id")[:4].hex()


def derive(master: bytes, use: str) -> bytes:
    """Return the key for one use. Source: HKDF-Expand of RFC 5869, one block."""
    return hmac.new(master, use.encode() + b"\x01", hashlib.sha256).digest()


def _secret(digits: str) -> bytes:
    secret = bytes.fromhex(digits)
    if len(secret) != SIZE:
        raise ValueError
    return secret


def _draft(path: Path, text: str) -> Path:
    draft = path.with_suffix(f".{os.getpid()}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:  # noqa: PTH123  # never readable by others
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return draft
