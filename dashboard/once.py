"""Forms whose answer is shown once: what one of them makes is made once, however often it is sent.

Each carries a mark, new whenever the form is shown. It is spent in the session as it is kept, in the transaction of
what the form does: of two that come at the same moment the second waits, and is refused. A form without a mark, as a
program sends it, is taken as often as it comes.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib.sessions.backends.base import SessionBase
from django.db import transaction
from django.http import HttpRequest

from orchestrator.core.errors import Conflict

FIELD = "once"  # of a form
LONGEST_MARK = 32  # characters
_BYTES = 9  # of a mark
_SPENT = "spent_marks"  # in a session, the latest last
_MOST_SPENT = 16  # a session


class SentBefore(Conflict):
    """The form has done what it is for, and its answer was shown."""


def mark() -> str:
    """For a form that is about to be shown."""
    return secrets.token_urlsafe(_BYTES)


@contextmanager
def once(request: HttpRequest) -> Iterator[None]:
    """Do it in one transaction; what fails may be sent again. Raises SentBefore, ahead of anything else."""
    with transaction.atomic():
        if is_spent(request):
            raise SentBefore("This form was sent before.")
        yield
        spend(request)


def is_spent(request: HttpRequest) -> bool:
    """Whether the form was sent before, and did it. In a transaction it stays so until its end."""
    return _mark_of(request) in _spent(request)


def spend(request: HttpRequest) -> None:
    """In the transaction of what the form did, as the last of it."""
    if not (sent := _mark_of(request)):
        return
    spent = [*_spent(request), sent][-_MOST_SPENT:]
    kept = _kept(request)
    kept[_SPENT] = spent
    kept.save()  # before another is let in, and not when the answer goes out
    request.session[_SPENT] = spent


def _spent(request: HttpRequest) -> list[str]:
    return list(_kept(request).get(_SPENT, ()))


def _kept(request: HttpRequest) -> SessionBase:
    """The session as it is by now; what the request has of it is from its begin."""
    return type(request.session)(request.session.session_key)


def _mark_of(request: HttpRequest) -> str:
    return request.POST.get(FIELD, "")[:LONGEST_MARK]
