"""A page whose database does not answer in time says so, and what still works."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponseBase

from dashboard.access import page
from orchestrator.core.errors import Busy

log = logging.getLogger(__name__)
View = Callable[..., Coroutine[Any, Any, HttpResponseBase]]


def said_when_unread(view: View) -> View:
    """The same view.

    Where it was to change something nobody can say whether it did: who waited gave up, and the transaction may have
    been made by then, or be made yet.
    """

    @wraps(view)
    async def asked(request: HttpRequest, *args: Any, **named: Any) -> HttpResponseBase:
        try:
            return await view(request, *args, **named)
        except (TimeoutError, DatabaseError, Busy) as error:
            log.warning("%s could not be read: %s", request.path, str(error) or type(error).__name__)
            context = {"is_act": request.method == "POST"}
            return await page(request, "dashboard/unread.html", context, status=503)

    return asked
