"""The same table of URLs served by Django's own ASGI handler, to be measured beside the lean one.

BENCH_MIDDLEWARE  `default`: what `django-admin startproject` sets up; `none`: the bare handler.
"""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator.settings")

from django.conf import settings

DEFAULT = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
settings.MIDDLEWARE = DEFAULT if os.environ.get("BENCH_MIDDLEWARE") == "default" else []

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
