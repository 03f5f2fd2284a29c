"""Answers as bytes, for the tiers outside the process.

    version (1 byte)  checksum (16 bytes)  form (1 byte: 0 plain, 1 zlib)  body

The checksum is keyed and covers the version, the key the answer is kept under, its tenant,
namespace and model, and the body: flipped bits, an answer moved under another key, and anything
written by someone without our secret are all the same `BadEntry`. The body is MessagePack, which,
unlike a pickle, cannot run code.
"""

import hmac
import zlib
from hashlib import blake2b

import msgspec
from django.conf import settings

from cache.entries import CacheKey, Entry
from orchestrator.core.types import Reply

VERSION = 1
LARGEST = 2 * settings.MAX_ANSWER  # bytes, packed or not: an answer's text and what belongs to it

_CHECKSUM_SIZE = 16
_HEAD_SIZE = 1 + _CHECKSUM_SIZE
_PLAIN, _ZLIB = b"\x00", b"\x01"
_WORTH_PACKING = 1024  # bytes; below, the time costs more than the space

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[float, float, Reply])


class BadEntry(Exception):
    """These bytes are not an answer under this key, or this answer cannot be kept as bytes."""


class LongEntry(BadEntry):
    """It unpacks to more than was allowed."""


def encode(entry: Entry) -> bytes:
    """Return `entry` as bytes that `decode` takes, under the same key only.

    Raises BadEntry when it is too large or holds what MessagePack cannot.
    """
    try:
        names = _names(entry.key)
        body = _encoder.encode((entry.created_at, entry.expires_at, entry.reply))
    except (OverflowError, UnicodeEncodeError, TypeError) as error:
        raise BadEntry(f"The answer cannot be kept: {error}.") from None
    if len(body) > LARGEST:
        raise BadEntry(f"The answer takes {len(body):,} bytes; {LARGEST:,} are allowed.")
    form = _PLAIN
    if len(body) >= _WORTH_PACKING:
        packed = zlib.compress(body, level=1)
        if len(packed) < 0.8 * len(body):
            form, body = _ZLIB, packed
    sealed = form + body
    return bytes([VERSION]) + _checksum(names, sealed) + sealed


def decode(key: CacheKey, data: bytes, most: int | None = None) -> Entry:
    """Return the answer that `data` holds. Raises BadEntry when it holds none, or not the one kept under `key`.

    most  bytes it may unpack to, when that is less than any may; raises LongEntry when it is more.
    """
    if not _HEAD_SIZE + 1 < len(data) <= LARGEST:
        raise BadEntry(f"{len(data):,} bytes are no answer.")
    if data[0] != VERSION:
        raise BadEntry(f"Version {data[0]} is not {VERSION}.")
    sealed = data[_HEAD_SIZE:]
    checksum, names = data[1:_HEAD_SIZE], _names(key)
    if not any(hmac.compare_digest(checksum, _checksum(names, sealed, mac_key)) for mac_key in _mac_keys()):
        raise BadEntry("The checksum is wrong.")
    form, body = sealed[:1], sealed[1:]
    try:
        if form == _ZLIB:
            body = _unpack(body, LARGEST if most is None else most)
        created_at, expires_at, reply = _decoder.decode(body)
    except (zlib.error, msgspec.DecodeError) as error:
        raise BadEntry(f"The checksum is right, the content is not: {error}.") from None
    return Entry(key, reply, created_at, expires_at)


def _unpack(packed: bytes, most: int) -> bytes:
    unpacking = zlib.decompressobj()
    body = unpacking.decompress(packed, most)
    if not unpacking.eof:
        raise LongEntry(f"It unpacks to more than {most:,} bytes.")
    return body


def _names(key: CacheKey) -> bytes:
    return _encoder.encode((VERSION, key.hash, key.tenant_id, key.namespace, key.model))


def _mac_keys() -> tuple[bytes, ...]:
    """That of now, then those of before a rotation: what was kept with them is as good."""
    return (settings.CACHE_MAC_KEY, *settings.OLD_CACHE_MAC_KEYS)


def _checksum(names: bytes, sealed: bytes, mac_key: bytes | None = None) -> bytes:
    checksum = blake2b(names, key=mac_key or settings.CACHE_MAC_KEY, digest_size=_CHECKSUM_SIZE)
    checksum.update(sealed)
    return checksum.digest()
