"""The second factor of local accounts: codes of an authenticator, and codes on paper for when it is lost.

The secret is kept sealed with a key that is not in the database, and bound to its person; recovery codes are kept as
keyed hashes. Each code works once, also when it comes twice at the same moment.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from base64 import b32encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django_otp.oath import hotp

from orchestrator.identity.digests import key_digest, key_digests
from orchestrator.models import RecoveryCode, SecondFactor

if TYPE_CHECKING:
    from django.contrib.auth.models import User

STEP_S = 30
TOLERANCE = 1  # steps: clocks differ, and people type slowly
RECOVERY_CODES = 10
ISSUER = "Orchestrator"
_SECRET, _NONCE = 20, 12  # bytes
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # without those that look like others
_CODE = re.compile(r"\d{6}")


def is_on(user: User) -> bool:
    """Whether a code is asked for when `user` signs in."""
    return SecondFactor.objects.filter(user=user).exclude(sealed="").exists()


def begin(user: User) -> None:
    """Make a secret that is not in use before `confirm`; one that is in use stays so until then."""
    sealed = _seal(os.urandom(_SECRET), user.pk)
    SecondFactor.objects.update_or_create(user=user, defaults={"sealed_next": sealed})


def offered(user: User) -> bytes | None:
    """The secret that waits to be confirmed; None when there is none, or it cannot be opened any more."""
    row = SecondFactor.objects.filter(user=user).exclude(sealed_next="").first()
    return _open(row.sealed_next, user.pk) if row else None


def confirm(user: User, code: str) -> list[str] | None:
    """Use the secret that waits from now on, if `code` was made of it. Return new recovery codes; None if not."""
    secret = offered(user)
    step = None if secret is None else _step_of(secret, code)
    if step is None:
        return None
    with transaction.atomic():
        waiting = SecondFactor.objects.filter(user=user).exclude(sealed_next="")
        if not waiting.update(sealed=F("sealed_next"), sealed_next="", last_step=step, since=timezone.now()):
            return None
        return renew_recovery_codes(user)


def check(user: User, code: str) -> bool:
    """Whether `code` is one of the authenticator's or of the paper's that was not used before; now it is."""
    tidy = re.sub(r"[\s-]", "", code.lower())
    if not _CODE.fullmatch(tidy):
        spent, _ = RecoveryCode.objects.filter(user=user, digest__in=key_digests(_named(user, tidy))).delete()
        return bool(spent)
    row = SecondFactor.objects.filter(user=user).exclude(sealed="").first()
    secret = _open(row.sealed, user.pk) if row else None
    step = _step_of(secret, tidy) if secret else None
    if step is None:
        return False
    return bool(SecondFactor.objects.filter(user=user, last_step__lt=step).update(last_step=step))


def switch_off(user: User) -> None:
    """Ask for no code any more."""
    with transaction.atomic():
        SecondFactor.objects.filter(user=user).delete()
        RecoveryCode.objects.filter(user=user).delete()


def renew_recovery_codes(user: User) -> list[str]:
    """New ones; those before do not work any more. They cannot be shown again."""
    codes = ["".join(secrets.choice(_LETTERS) for _ in range(10)) for _ in range(RECOVERY_CODES)]
    with transaction.atomic():
        RecoveryCode.objects.filter(user=user).delete()
        RecoveryCode.objects.bulk_create(
            RecoveryCode(user=user, digest=key_digest(_named(user, code))) for code in codes
        )
    return [f"{code[:5]}-{code[5:]}" for code in codes]


def uri(user: User, secret: bytes) -> str:
    """What a QR code tells an authenticator. Source: the Key Uri Format of Google Authenticator."""
    label = quote(f"{ISSUER}:{user.get_username()}")
    return f"otpauth://totp/{label}?{urlencode({'secret': shown(secret), 'issuer': ISSUER})}"


def shown(secret: bytes) -> str:
    """The secret for those who type it."""
    return b32encode(secret).decode().rstrip("=")


def _step_of(secret: bytes, code: str) -> int | None:
    """The step of which `code` is the code, by now or nearly so. Source: RFC 6238."""
    tidy = re.sub(r"\s", "", code)
    if not _CODE.fullmatch(tidy):
        return None
    now = int(time.time()) // STEP_S
    steps = range(now - TOLERANCE, now + TOLERANCE + 1)
    return next((step for step in steps if hotp(secret, step) == int(tidy)), None)


def reseal(keys: Sequence[bytes]) -> tuple[int, list[str]]:
    """Seal with the first of `keys` every secret that another opens. Return how many, and whose none opens."""
    count, unopened = 0, []
    with transaction.atomic():
        for row in SecondFactor.objects.select_related("user"):
            for name in ("sealed", "sealed_next"):
                text = getattr(row, name)
                if not text or _open(text, row.user_id, keys[:1]) is not None:
                    continue
                secret = _open(text, row.user_id, keys)
                if secret is None:
                    unopened.append(row.user.get_username())
                    continue
                setattr(row, name, _seal(secret, row.user_id, keys[0]))
                row.save(update_fields=[name])
                count += 1
    return count, unopened


def _named(user: User, code: str) -> str:
    """A recovery code, bound to its person."""
    return f"recovery code {user.pk} {code}"


def _seal(secret: bytes, user_id: int, key: bytes | None = None) -> str:
    nonce = os.urandom(_NONCE)
    box = nonce + AESGCM(key or settings.SECOND_FACTOR_KEY).encrypt(nonce, secret, _bound(user_id))
    return urlsafe_b64encode(box).decode()


def _open(sealed: str, user_id: int, keys: Sequence[bytes] = ()) -> bytes | None:
    for key in keys or (settings.SECOND_FACTOR_KEY, *settings.OLD_SECOND_FACTOR_KEYS):
        try:
            box = urlsafe_b64decode(sealed)
            return AESGCM(key).decrypt(box[:_NONCE], box[_NONCE:], _bound(user_id))
        except (InvalidTag, ValueError):  # sealed with another master secret, or somebody else's
            continue
    return None


def _bound(user_id: int) -> bytes:
    return f"second factor of {user_id}".encode()
