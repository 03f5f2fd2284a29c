"""What somebody does on a page: in their name, by what API and commands do, and what is wrong with it by field."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

from asgiref.sync import sync_to_async
from django.db import transaction
from django.http import HttpRequest

from dashboard.formats import sentence
from dashboard.once import once
from orchestrator.core.errors import OrchestratorError
from orchestrator.identity.acting import LONGEST_REASON, Actor, of_user

T = TypeVar("T")
NOTHING_WRONG: Mapping[str, str] = {}


async def acted(request: HttpRequest, act: Callable[[Actor], T]) -> T:
    """What `act` does for whoever is signed in, with what they may by now, in one transaction."""

    def make() -> T:
        with transaction.atomic():
            return act(actor(request))

    return await sync_to_async(make)()


async def acted_once(request: HttpRequest, act: Callable[[Actor], T]) -> T:
    """The same by a form whose answer is shown once. Raises SentBefore."""

    def make() -> T:
        with once(request):
            return act(actor(request))

    return await sync_to_async(make)()


async def looked(request: HttpRequest, look: Callable[[Actor], T]) -> T:
    """What `look` finds for whoever is signed in, in no transaction."""
    return await sync_to_async(lambda: look(actor(request)))()


def actor(request: HttpRequest) -> Actor:
    """Who is signed in; with the reason that they gave, and where they are."""
    reason = request.POST.get("reason", "").strip()[:LONGEST_REASON]
    return of_user(request.user, reason=reason, address=request.META.get("REMOTE_ADDR", "") or "")


def faults_of(error: OrchestratorError, fields: Collection[str]) -> Mapping[str, str]:
    """What an error says of which field; of none of them: under the empty name."""
    faults: dict[str, str] = {}
    last = ""
    for part in str(error).split("; "):
        name, colon, words = part.partition(": ")
        field = name.partition(".")[0]
        if colon and field in fields:
            last = field
            faults[field] = " ".join(filter(None, [faults.get(field, ""), sentence(words)]))
        else:
            known = faults.get(last, "").removesuffix(".")
            faults[last] = sentence(f"{known}; {part}" if known else part)
    return faults
