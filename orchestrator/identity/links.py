"""Links that sign a person in once."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils import timezone

from orchestrator.core.permissions import Role
from orchestrator.identity.digests import key_digest, key_digests
from orchestrator.models import Membership, SignInLink

if TYPE_CHECKING:
    from django.contrib.auth.models import User

LINK_LIFETIME = timedelta(hours=1)
INVITATION_LIFETIME = timedelta(days=3)


def make_link(username: str = "operator") -> str:
    """Return the token of a link that signs `username` in once within the hour.

    The user is made, as an admin of every tenant and with no password, if there is none of that name. Whoever was
    removed stays so: their link opens nothing.
    """
    users = get_user_model().objects
    user = users.filter(username=username).first()
    if user is None:
        with transaction.atomic():
            user = users.create_user(username)
            Membership.objects.create(user=user, tenant=None, role=Role.ADMIN)
    return link_for(user, LINK_LIFETIME)


def link_for(user: User, lifetime: timedelta, *, is_invitation: bool = False) -> str:
    """Return the token of a link that signs `user` in once. Those made before it to the same end are void."""
    token = secrets.token_urlsafe(32)
    with transaction.atomic():
        SignInLink.objects.filter(expires_at__lte=timezone.now()).delete()
        SignInLink.objects.filter(user=user, is_invitation=is_invitation).delete()
        SignInLink.objects.create(
            user=user, digest=key_digest(token), expires_at=timezone.now() + lifetime, is_invitation=is_invitation
        )
    return token


def open_link(token: str) -> SignInLink | None:
    """Return the link, with whom it signs in; None when it is unknown, late or spent."""
    link = SignInLink.objects.select_related("user").filter(digest__in=key_digests(token)).first()
    if link is None or link.expires_at <= timezone.now() or not link.user.is_active:
        return None
    return link


def redeem_link(token: str) -> SignInLink | None:
    """The same, and spend it."""
    link = open_link(token)
    if link is None:
        return None
    spent, _ = SignInLink.objects.filter(pk=link.pk).delete()
    return link if spent else None  # of two who come at once, one wins
