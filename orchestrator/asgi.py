"""The ASGI table: the API by the lean handler, live pages by Channels, other pages by Django; replays come first."""

import asyncio
import logging
import os
from importlib import import_module
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator.settings")

from django.core.asgi import get_asgi_application

pages = get_asgi_application()  # first: it makes the models importable

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from django.conf import settings  # noqa: E402

from dashboard.routing import websocket_urlpatterns  # noqa: E402
from dashboard.sockets import guarded_socket  # noqa: E402
from orchestrator import wiring  # noqa: E402
from orchestrator.lean import LeanHandler  # noqa: E402
from orchestrator.origins import Origins  # noqa: E402
from orchestrator.replay import ReplayFront  # noqa: E402

log = logging.getLogger(__name__)
PAGES = ("/dashboard/", "/admin/", "/static/")
PAGES_AFTER_S = 1.0

api = LeanHandler(settings.MAX_BODY, settings.BODY_TIMEOUT_S, has_tls=settings.TRUSTED_PROXY)
sockets = guarded_socket(AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))))


async def table(scope: Any, receive: Any, send: Any) -> None:
    """Pass each connection to whoever serves it."""
    match scope["type"]:
        case "http" if (scope["path"] + "/").startswith(PAGES):
            await pages(scope, receive, send)
        case "http":
            await api(scope, receive, send)
        case "websocket":
            await sockets(scope, receive, send)
        case "lifespan":
            await lifespan(receive, send)


async def load_pages() -> None:
    """Import the pages in a thread: whoever came first for one would hold up the event loop with it."""
    await asyncio.sleep(PAGES_AFTER_S)
    await asyncio.to_thread(import_module, settings.ROOT_URLCONF)


async def lifespan(receive: Any, send: Any) -> None:
    """Build the parts before the first request, close them after the last."""
    loading = asyncio.create_task(load_pages())
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            try:
                wiring.parts()
            except Exception as error:
                log.exception("cannot start")
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                raise
            await send({"type": "lifespan.startup.complete"})
        else:
            loading.cancel()
            await wiring.close()
            await send({"type": "lifespan.shutdown.complete"})
            return


origins = Origins(table, origins=settings.ORIGINS, is_loopback=settings.IS_LOOPBACK, hosts=settings.PUBLIC_HOSTS)
application = ReplayFront(origins, wiring.parts, settings.REPLAY_MEMORY)  # type: ignore[arg-type]  # messages are dicts
