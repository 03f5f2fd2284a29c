"""What an operator may do with a provider: look at it now, have it asked again, switch it off and on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import DatabaseError
from django.utils import timezone

from orchestrator.core.changing import By
from orchestrator.registry import changes
from orchestrator.registry.models import Provider

if TYPE_CHECKING:
    from django.contrib.auth.models import User

log = logging.getLogger(__name__)


def ask_again(name: str, user: User) -> None:
    """Close its breakers in every worker, and write down who did. A provider of the environment gets its row first."""
    if not Provider.objects.filter(name=name).exists():
        changes.ensure_environment()
    row = Provider.objects.get(name=name)
    row.reset_at = timezone.now()
    row.save(update_fields=["reset_at"])
    _remember(row, user, "Asked again: its breakers are closed")


def switch(name: str, user: User, *, is_on: bool) -> None:
    """Switch it on or off, as a version of the registry. Raises NotThere, Conflict."""
    words = f"switched {'on' if is_on else 'off'} on its page"
    changes.switch_provider(name, By(user.get_username(), words, f"user:{user.get_username()}"), is_on=is_on)
    _remember(Provider.objects.get(name=name), user, words.capitalize())


def _remember(row: Provider, user: User, words: str) -> None:
    """Write it into the admin's log. It is done: a failure here is only logged."""
    log.info("%s, provider %s: %s", user.get_username(), row.name, words)
    try:
        LogEntry.objects.create(
            user_id=user.pk,
            content_type=ContentType.objects.get_for_model(Provider),
            object_id=str(row.pk),
            object_repr=row.name,
            action_flag=CHANGE,
            change_message=words,
        )
    except DatabaseError as error:
        log.error("what was done with %s could not be written into the log: %s", row.name, error)
