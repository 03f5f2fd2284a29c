"""Where somebody is signed in, and how that ends from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.models import Session
from django.utils import timezone

if TYPE_CHECKING:
    from django.contrib.auth.models import User

# In a session:
WITH_CODE = "with_code"  # it was signed in with a second factor
WAITS_FOR_CODE = "waits_for_code"  # who has shown the first factor, and how long that counts


def end_sessions(user: User, but: str | None = None, *, only_with_code: bool = False) -> int:
    """Sign `user` out everywhere, but for the session of that key. Return how many sessions ended.

    One in which `user` has got half-way in, and a code is waited for, is among them.
    `only_with_code`: those that were signed in with a second factor, which is none any more.
    """
    ended = 0
    for session in Session.objects.filter(expire_date__gt=timezone.now()).exclude(session_key=but):
        said = session.get_decoded()
        is_theirs = said.get(SESSION_KEY) == str(user.pk) or said.get(WAITS_FOR_CODE, {}).get("user") == user.pk
        if is_theirs and (WITH_CODE in said or not only_with_code):
            session.delete()
            ended += 1
    return ended
