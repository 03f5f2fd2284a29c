"""What endpoints of management share: who acts, the thread they act on, pages of lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Concatenate, ParamSpec, TypeVar

from django.db import OperationalError, transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponseBase
from ninja import Path, Query

from orchestrator.api.calls import caller_of, request_id
from orchestrator.api.replies import json_response
from orchestrator.core.errors import Busy
from orchestrator.identity.acting import Actor, of_caller_now
from orchestrator.wiring import parts

P = ParamSpec("P")
T = TypeVar("T")
M = TypeVar("M", bound=Model)

DEADLINE_S = 20.0
LOOKS = frozenset({"GET", "HEAD"})
MOST_LISTED = 500
LONGEST_NAME = 255  # characters of what is looked for
Limit = Annotated[int, Query(100, ge=1, le=MOST_LISTED, description="How many at most.")]
After = Annotated[str | None, Query(None, max_length=LONGEST_NAME, description="`next` of the page before.")]
OfTenant = Annotated[str | None, Query(None, max_length=LONGEST_NAME, description="Only those of this tenant.")]
Named = Annotated[str, Path(max_length=LONGEST_NAME)]


async def acted(request: HttpRequest, act: Callable[Concatenate[Actor, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `act` does for whoever sent `request`, in a thread that nothing else waits for. Raises Busy.

    It may have to wait there, so what counts is what the key may when it is done: a change is one transaction with
    the look at the key, and what was taken from the key before it does not come too late.
    """

    def make() -> T:
        if request.method in LOOKS:
            return act(actor_now(request), *args, **kwargs)
        with transaction.atomic():  # others write before or after it, not meanwhile
            return act(actor_now(request), *args, **kwargs)

    return await threaded(make)


async def looked(request: HttpRequest, look: Callable[[Actor], T]) -> T:
    """What `look` finds for whoever sent `request`, in a thread as above, and in no transaction. Raises Busy."""
    return await threaded(lambda: look(actor_now(request)))


def actor_now(request: HttpRequest) -> Actor:
    """Who sent `request`, with what they may by now. Raises Unauthorized, Forbidden."""
    return of_caller_now(caller_of(request), request.META.get("REMOTE_ADDR", ""), request_id(request))


async def threaded(make: Callable[[], T]) -> T:
    """What `make` returns, in a thread that nothing else waits for. Raises Busy."""
    try:
        return await parts().managing.run(DEADLINE_S, make)
    except (TimeoutError, OperationalError) as error:
        raise Busy("What is managed could not be reached in time; try again shortly.", retry_after_s=1) from error


async def listed(
    request: HttpRequest,
    kind: str,
    show: Callable[[M], dict[str, Any]],
    place: Callable[[M], object],
    limit: int,
    find: Callable[[Actor], QuerySet[M]],
) -> HttpResponseBase:
    """A page of a list, under the name of its kind. `place` is where the next page goes on."""
    rows = await acted(request, lambda by: [(show(row), place(row)) for row in find(by)[: limit + 1]])
    shown = rows[:limit]
    return told({kind: [one for one, _ in shown], "next": shown[-1][1] if len(rows) > limit else None})


def told(value: Any) -> HttpResponseBase:
    """An answer that nobody on its way keeps."""
    response = json_response(value)
    response["Cache-Control"] = "no-store"
    return response
