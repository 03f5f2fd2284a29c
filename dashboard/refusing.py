"""What is refused ahead of every page: as a page to whoever is shown one, in plain words to whoever else asks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

from django.template.loader import render_to_string

from orchestrator.core.headers import DATA, PAGE, as_bytes

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]


async def refuse(scope: Any, send: Send, status: HTTPStatus, headline: str, words: str) -> None:
    """Answer a request for a page.

    headline  a sentence without its full stop; only on a page.
    words     what there may be, or what to do next.
    """
    body, kind, guards = words, "plain", DATA
    if _is_shown(scope):
        try:
            told = {"headline": headline, "words": words}
            body = await asyncio.to_thread(render_to_string, "refusal.html", told)
            kind, guards = "html", PAGE
        except Exception:
            log.exception("a refusal could not be made a page")
    headers = [*as_bytes(guards), (b"content-type", b"text/%s; charset=utf-8" % kind.encode())]
    await send({"type": "http.response.start", "status": status.value, "headers": headers})
    await send({"type": "http.response.body", "body": body.encode()})


def _is_shown(scope: Any) -> bool:
    """Whether a browser shows what comes: a part of a page is asked for by a script, which says itself what failed."""
    asked = dict(scope["headers"])
    return b"text/html" in asked.get(b"accept", b"") and b"hx-request" not in asked
