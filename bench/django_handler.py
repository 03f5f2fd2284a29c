"""The same table of URLs served by Django's own ASGI handler, to be measured beside the lean one."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator.settings")

from django.conf import settings

settings.MIDDLEWARE = []

from typing import Any  # noqa: E402

from django.core.asgi import get_asgi_application  # noqa: E402

handler = get_asgi_application()

from orchestrator.asgi import lifespan  # noqa: E402


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Everything to Django, but for starting and stopping."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    else:
        await handler(scope, receive, send)
