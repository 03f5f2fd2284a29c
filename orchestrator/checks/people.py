"""Keys and accounts: who may do much, and how well that is kept."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import identify_hasher
from django.core import checks
from django.db import DatabaseError
from django.db.models import Q
from django.utils import timezone

from orchestrator.checks import DOCTOR
from orchestrator.checks.finding import Found, unsafe, unwise
from orchestrator.checks.ledger import has_ledger
from orchestrator.core.permissions import EVERYBODY, Role

UNUSED_DAYS = 90
GOOD_HASHERS = {"argon2", "scrypt", "pbkdf2_sha256", "bcrypt_sha256"}
_MOST_NAMED = 5


def _of_the_ledger(check: Callable[[], Found]) -> Callable[..., Found]:
    """Where there is no ledger, or none that can be read, there is nothing to say here."""

    def checked(**_: Any) -> Found:
        if not has_ledger():
            return []
        try:
            return list(check())
        except DatabaseError:
            return []  # said by what looks at the ledger

    return checked


@checks.register(DOCTOR, deploy=True)
@_of_the_ledger
def keys_end() -> Found:
    """A key that nobody uses is missed by nobody when it is taken."""
    from orchestrator.models import ApiKey

    long_ago = timezone.now() - timedelta(days=UNUSED_DAYS)
    lives = ApiKey.objects.of(EVERYBODY).filter(revoked_at=None)
    unused = lives.filter(expires_at=None, created_at__lt=long_ago).filter(
        Q(last_used_at=None) | Q(last_used_at__lt=long_ago)
    )
    if names := _named(unused):
        yield unsafe(
            23,
            f"Keys that never expire and were not used for {UNUSED_DAYS} days: {names}.",
            "Revoke them, or give them an end.",
        )
    mighty = lives.exclude(role="").filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()))
    if names := _named(mighty.filter(networks=[])):
        yield unwise(
            24,
            f"Keys that may manage are taken from any address: {names}.",
            "Keep each to the networks it comes from, such as 10.0.0.0/8.",
        )
    if names := _named(mighty.filter(expires_at=None, reaches_all=True)):
        yield unwise(
            25, f"Keys that may manage every tenant never expire: {names}.", "Give them an end, and replace them."
        )
    if settings.REQUIRE_KEYS and not lives.exists():
        yield unwise(29, "Every call needs a key, and there is none.", "`manage.py issue_key NAME` prints one.")


@checks.register(DOCTOR, deploy=True)
@_of_the_ledger
def passwords_are_kept_well() -> Found:
    """A hash that is quick to make is quick to guess."""
    users = get_user_model().objects.filter(is_active=True).order_by("username")
    weak = [user.get_username() for user in users if _is_weak(user.password)]
    if weak:
        yield unsafe(
            26,
            f"The passwords of {_list(weak)} are kept as hashes that are quick to guess.",
            "Have each sign in once, which hashes it anew, or set a new one: `manage.py changepassword NAME`.",
        )


@checks.register(DOCTOR, deploy=True)
@_of_the_ledger
def administrators_have_a_second_factor() -> Found:
    """A password can be guessed, found elsewhere, or asked for by a page that looks like this one."""
    from orchestrator.models import Membership, SecondFactor

    admins = Membership.objects.filter(role=Role.ADMIN).values("user_id")
    guarded = SecondFactor.objects.exclude(sealed="").values("user_id")
    users = get_user_model().objects.filter(Q(is_superuser=True) | Q(pk__in=admins), is_active=True)
    bare = [user.get_username() for user in users.exclude(pk__in=guarded) if user.has_usable_password()]
    if bare:
        yield unsafe(
            28,
            f"{_list(bare)} may do everything here, with a password and nothing besides.",
            "Have each set up an authenticator under /dashboard/account/.",
        )


def _is_weak(password: str) -> bool:
    if not password or password.startswith("!"):
        return False
    try:
        hasher = identify_hasher(password)
    except ValueError:  # of a kind that is not known here
        return True
    return hasher.algorithm not in GOOD_HASHERS


def _named(keys: Any) -> str:
    return _list([str(key) for key in keys.order_by("prefix")])


def _list(names: list[str]) -> str:
    more = [f"{len(names) - _MOST_NAMED} more"] if len(names) > _MOST_NAMED else []
    return ", ".join([*names[:_MOST_NAMED], *more])
