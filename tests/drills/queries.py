"""How many queries a page takes, whichever threads make them; what others do meanwhile is not its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from typing import Any

from django.db import connections
from django.db.backends.signals import connection_created
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import async_only_middleware

from dashboard import beside
from dashboard.reading import Reader
from dashboard.views import settings
from orchestrator.core.threads import WorkerThread

OWN, SHARED = "X-Queries", "X-Shared-Queries"
# That somebody is here is noted once a minute, whatever page that is on.
NOTING = ('UPDATE "django_session"', "SAVEPOINT", "RELEASE")


@dataclass(slots=True)
class Made:
    """What was asked of the database: for this page, and for all who look in the same moment."""

    own: list[str] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)


Handler = Callable[[HttpRequest], Awaitable[HttpResponseBase]]

_made: ContextVar[Made | None] = ContextVar("made", default=None)
_is_shared: ContextVar[bool] = ContextVar("is_shared", default=False)


@async_only_middleware
def counted(get_response: Handler) -> Handler:
    """Count until the answer begins."""
    connection_created.connect(_watch)
    for connection in connections.all(initialized_only=True):
        _watch(connection=connection)
    run = WorkerThread.run

    async def run_within(self: WorkerThread, deadline_s: float, function: Any, *args: Any, **kwargs: Any) -> Any:
        return await run(self, deadline_s, copy_context().run, function, *args, **kwargs)

    fresh = Reader._fresh

    def fresh_shared(self: Reader, name: Any, fresh_s: float, read: Callable[[], Any]) -> Any:
        before = _is_shared.set(True)
        try:
            return fresh(self, name, fresh_s, read)
        finally:
            _is_shared.reset(before)

    beside.words = _shared(beside.words)
    settings.looked = _shared(settings.looked)  # type: ignore[attr-defined]  # what the doctor found
    WorkerThread.run = run_within  # type: ignore[method-assign]  # threads of its own know not whom they work for
    Reader._fresh = fresh_shared  # type: ignore[method-assign]

    async def answer(request: HttpRequest) -> HttpResponseBase:
        made = Made()
        before = _made.set(made)
        try:
            response = await get_response(request)
        finally:
            _made.reset(before)
        own = [sql for sql in made.own if not sql.startswith(NOTING)]
        response[OWN], response[SHARED] = str(len(own)), str(len(made.shared))
        return response

    return answer


def _shared(read: Any) -> Any:
    """The same, counted as what is kept for all who look."""

    async def read_shared(**how: Any) -> Any:
        before = _is_shared.set(True)
        try:
            return await read(**how)
        finally:
            _is_shared.reset(before)

    return read_shared


def _watch(connection: Any, **_: Any) -> None:
    if _note not in connection.execute_wrappers:
        connection.execute_wrappers.append(_note)


def _note(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
    made = _made.get()
    if made is not None:
        (made.shared if _is_shared.get() else made.own).append(sql)
    return execute(sql, params, many, context)
