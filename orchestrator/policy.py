"""A change of who may do what is noticed at once by every process of this machine."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import models, transaction
from django.db.models.signals import post_delete, post_save

from cache.generation import Generation
from orchestrator.models import policy_updated

log = logging.getLogger(__name__)


def watch(*watched: type[models.Model]) -> None:
    """Count a change of policy up whenever a row of one of `watched` was changed, and that is committed."""
    for model in watched:
        for signal in (post_save, post_delete, policy_updated):
            signal.connect(_changed, sender=model, dispatch_uid="policy")


def watch_people(*watched: type[models.Model]) -> None:
    """Count up what may have ended a session, in a file of its own: keys have nothing to do with it."""
    for model in watched:
        for signal in (post_save, post_delete, policy_updated):
            if model is Session and signal is post_save:
                continue  # a session that is written to goes on
            signal.connect(_person_changed, sender=model, dispatch_uid="people")


def _person_changed(using: str, **_: Any) -> None:
    transaction.on_commit(_count_people, using=using)


def _count_people() -> None:
    _count(settings.PEOPLE_FILE, Generation.bump)


def _changed(using: str, **_: Any) -> None:
    """Once for a transaction, however many rows it changes."""
    waiting = transaction.get_connection(using).run_on_commit  # what a savepoint took back is not in it
    if not any(function is _count_up for _, function, *_ in waiting):
        transaction.on_commit(_count_up, using=using)


def _count_up() -> None:
    _count(settings.GENERATION_FILE, Generation.bump_policy)


def _count(file: Path, bump: Callable[[Generation], int]) -> None:
    try:
        generation = Generation(file)
        try:
            bump(generation)
        finally:
            generation.close()
    except (OSError, TimeoutError) as error:  # the change itself is done, and what is remembered ages
        log.warning("The processes cannot be told of a change of keys or people; they notice a little later: %s", error)
