"""Links that sign a person in once."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

from django.contrib.auth import get_user_model
from django.utils import timezone

from orchestrator.identity.digests import key_digest, key_digests
from orchestrator.models import SignInLink

if TYPE_CHECKING:
    from django.contrib.auth.models import User

LINK_LIFETIME = timedelta(hours=1)


def make_link(username: str = "operator") -> str:
    """Return the token of a link that signs `username` in once within the hour.

    The user is made, with every right and no password, if there is none of that name.
    """
    users = get_user_model().objects
    user = users.filter(username=username).first() or users.create_superuser(username)
    SignInLink.objects.filter(expires_at__lte=timezone.now()).delete()
    token = secrets.token_urlsafe(32)
    SignInLink.objects.create(user=user, digest=key_digest(token), expires_at=timezone.now() + LINK_LIFETIME)
    return token


def redeem_link(token: str) -> User | None:
    """Return whom the link signs in, and spend it; None when it is unknown, late or spent."""
    link = SignInLink.objects.select_related("user").filter(digest__in=key_digests(token)).first()
    if link is None or link.expires_at <= timezone.now() or not link.user.is_active:
        return None
    spent, _ = SignInLink.objects.filter(pk=link.pk).delete()
    return link.user if spent else None  # of two who come at once, one wins
