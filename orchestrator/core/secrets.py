"""One secret in a file outside the databases, and a key derived from it for each use."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path


def master_secret(path: Path) -> bytes:
    """Return the 32 bytes in `path`, made on first use; safe when several processes start at once.

    Raises ValueError when the file does not hold 64 hex digits.
    """
    if not path.exists():
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(secrets.token_hex(32))
        draft.chmod(0o600)
        try:
            os.link(draft, path)  # unlike a rename, this loses to whoever came first
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    secret = bytes.fromhex(path.read_text().strip())
    if len(secret) != 32:
        raise ValueError(f"{path} must hold 64 hex digits; restore it from a backup.")
    return secret


def derive(master: bytes, use: str) -> bytes:
    """Return the key for one use. Source: HKDF-Expand of RFC 5869, one block."""
    return hmac.new(master, use.encode() + b"\x01", hashlib.sha256).digest()
