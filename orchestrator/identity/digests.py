"""What credentials are kept as: keyed hashes, each with the id of the key it was made with.

After a rotation of secrets a hash of before is still known by the key of before, and made anew when its
credential is next shown. Nothing else can make it anew: nobody has the credential.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from base64 import urlsafe_b64encode

from django.conf import settings
from django.db import DatabaseError
from django.db.models import QuerySet

from orchestrator.core.secrets import id_of
from orchestrator.models import ApiKey

log = logging.getLogger(__name__)


def key_digest(credential: str) -> str:
    """What a credential is kept as."""
    return _digest(credential, settings.API_KEY_PEPPER)


def key_digests(credential: str) -> tuple[str, ...]:
    """All it may be kept as: made under any secret that is not retired, or when digests did not yet name theirs."""
    peppers = (settings.API_KEY_PEPPER, *settings.OLD_API_KEY_PEPPERS)
    return tuple(form(credential, pepper) for pepper in peppers for form in (_digest, _nameless))


def is_digest_of(credential: str, kept: str) -> bool:
    """Whether `kept` is of `credential`; takes the same time if not, wherever they differ."""
    return any([hmac.compare_digest(kept, one) for one in key_digests(credential)])  # noqa: C419  # all are compared


def is_of_now(kept: str) -> bool:
    """Whether a digest needs no secret of before."""
    return kept.startswith(f"{id_of(settings.API_KEY_PEPPER)}:")


def renew_digest(key: ApiKey, credential: str) -> None:
    """Keep `key` by the secret of now. It says nothing new of it, so nobody has to read it again."""
    if is_of_now(key.digest):
        return
    try:
        QuerySet(ApiKey).filter(pk=key.pk, digest=key.digest).update(digest=key_digest(credential))
    except DatabaseError as error:
        log.warning("Key %s hangs on a former secret until it is used once more: %s", key.prefix, error)


def _digest(credential: str, pepper: bytes) -> str:
    return f"{id_of(pepper)}:{urlsafe_b64encode(_mac(credential, pepper)).decode().rstrip('=')}"


def _nameless(credential: str, pepper: bytes) -> str:
    return _mac(credential, pepper).hex()


def _mac(credential: str, pepper: bytes) -> bytes:
    return hmac.new(pepper, credential.encode(), hashlib.sha256).digest()
