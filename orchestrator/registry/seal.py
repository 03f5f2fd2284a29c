"""Providers' keys as they are kept: sealed with a secret that is not in the database.

A sealed key is of four words: the form's version, which master secret sealed it, where it may be sent to, and the
ciphertext. The provider's name and the scheme, host and port of its address are part of what is authenticated, so
that a key cannot be made another provider's, nor be sent anywhere else, by editing the database or the address.
"""

from __future__ import annotations

import json
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from orchestrator.core.secrets import derive, id_of

FORM = "1"
_NONCE = 12  # bytes
SHOWN = 4  # the last characters of a key, by which people tell two apart
SHORTEST_SHOWN = 16  # of a shorter one that would be too much


class CannotOpen(Exception):
    """A sealed key that is of no use here. Says why, in words for an operator."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed key, taken apart."""

    secret: str  # the id of the master secret
    origin: str  # scheme, host and port
    box: bytes

    @classmethod
    def parse(cls, text: str) -> Sealed:
        """Raises CannotOpen when it is not of this form."""
        try:
            form, secret, origin, box = text.split(" ")
            if form != FORM:
                raise ValueError
            return cls(secret, origin, urlsafe_b64decode(box))
        except ValueError:
            raise CannotOpen("its key is not in a form that can be read; give it again") from None

    def __str__(self) -> str:
        return " ".join((FORM, self.secret, self.origin, urlsafe_b64encode(self.box).decode()))


class Sealer:
    """Seals keys with what one master secret makes of itself for this use, and opens those of before as well."""

    def __init__(self, secret: bytes, *former: bytes) -> None:
        """Each has 32 bytes: `derive(master, "provider keys")`."""
        self.id = id_of(secret)
        self._ciphers = {id_of(one): AESGCM(derive(one, "cipher")) for one in (secret, *former)}

    def __repr__(self) -> str:
        return f"Sealer({self.id})"

    def seal(self, key: str, provider: str, origin: str) -> str:
        """The key, for a provider and the place it may be sent to."""
        nonce = os.urandom(_NONCE)
        box = nonce + self._ciphers[self.id].encrypt(nonce, key.encode(), _bound(provider, origin))
        return str(Sealed(self.id, origin, box))

    def open(self, text: str, provider: str, origin: str) -> str:
        """The key, to be sent to `origin` for a provider. Raises CannotOpen."""
        sealed = Sealed.parse(text)
        if sealed.origin != origin:
            raise CannotOpen(f"its key was given for {sealed.origin}, and its address is at {origin}; give it again")
        cipher = self._ciphers.get(sealed.secret)
        if cipher is None:
            raise CannotOpen(
                "its key was sealed with another master secret; put that back (keys/master in the data directory),"
                " use `manage.py registry reseal`, or give the key again"
            )
        try:
            nonce, box = sealed.box[:_NONCE], sealed.box[_NONCE:]
            return cipher.decrypt(nonce, box, _bound(provider, origin)).decode()
        except (InvalidTag, ValueError):
            raise CannotOpen("its key was changed where it is kept, or is another provider's; give it again") from None

    def opens(self, text: str, provider: str, origin: str) -> str | None:
        """The key; None where it cannot be opened."""
        try:
            return self.open(text, provider, origin)
        except CannotOpen:
            return None


def origin_of_sealed(text: str) -> str:
    """Where a sealed key may be sent to; empty when that cannot be read."""
    try:
        return Sealed.parse(text).origin
    except CannotOpen:
        return ""


def hint(key: str) -> str:
    """The end of a key, for people to tell it from another; empty for a short one."""
    return f"…{key[-SHOWN:]}" if len(key) >= SHORTEST_SHOWN else ""


def _bound(provider: str, origin: str) -> bytes:
    return json.dumps(["provider key", FORM, provider, origin]).encode()
