"""The ASGI table: the API by the lean handler, live pages by Channels, other pages by Django; replays come first.

Ahead of all of them is told who calls, where proxies are trusted to say so. Pages are made by the process that is there
for them, and in this one while there is none.
"""

import asyncio
import gc
import logging
import os
from importlib import import_module
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator.settings")

from django.core.asgi import get_asgi_application

django_pages = get_asgi_application()  # first: it makes the models importable

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from django.conf import settings  # noqa: E402

from dashboard.routing import websocket_urlpatterns  # noqa: E402
from dashboard.sockets import guarded_socket  # noqa: E402
from orchestrator import wiring  # noqa: E402
from orchestrator.core.headers import DATA, HSTS  # noqa: E402
from orchestrator.forwarded import Forwarded  # noqa: E402
from orchestrator.lean import LeanHandler  # noqa: E402
from orchestrator.origins import Origins  # noqa: E402
from orchestrator.relay import Relay  # noqa: E402
from orchestrator.replay import ReplayFront  # noqa: E402
from orchestrator.uploads import Uploads  # noqa: E402

log = logging.getLogger(__name__)
PAGES = ("/dashboard/", "/admin/", "/static/")
OF_MEMORY = "/dashboard/cache/"

api = LeanHandler(settings.MAX_BODY, settings.BODY_TIMEOUT_S, has_tls=settings.TRUSTED_PROXY)
sockets = guarded_socket(AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))))


_are_loaded = False


async def pages(scope: Any, receive: Any, send: Any) -> None:
    """Pages and what is live in them, made in this process."""
    global _are_loaded
    if not _are_loaded:
        await load_pages()
        _are_loaded = True
    await (sockets if scope["type"] == "websocket" else django_pages)(scope, receive, send)


async def load_pages() -> None:
    """Import the pages in a thread: whoever came first for one would hold up the event loop with it.

    They stay, so the collector need not look at them, which held it up for 20 ms and more each time.
    """
    await asyncio.to_thread(import_module, settings.ROOT_URLCONF)
    gc.freeze()


relay = Relay(settings.PAGES_SOCKET, pages)


async def pages_somewhere(scope: Any, receive: Any, send: Any) -> None:
    """Pages, by the process that is there for them; what tells of the memory that answers come from, by this one."""
    is_of_memory = scope["path"].startswith(OF_MEMORY)
    await (pages if is_of_memory else relay)(scope, receive, send)


site = Uploads(pages_somewhere, settings.MAX_BODY, settings.BODY_TIMEOUT_S)


async def table(scope: Any, receive: Any, send: Any) -> None:
    """Pass each connection to whoever serves it."""
    match scope["type"]:
        case "http" if (scope["path"] + "/").startswith(PAGES):
            await site(scope, receive, send)
        case "http":
            await api(scope, receive, send)
        case "websocket":
            await site(scope, receive, send)
        case "lifespan":
            await lifespan(receive, send)


async def lifespan(receive: Any, send: Any) -> None:
    """Build the parts before the first request, close them after the last."""
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
            await wiring.close()
            await send({"type": "lifespan.shutdown.complete"})
            return


origins = Origins(table, origins=settings.ORIGINS, is_loopback=settings.IS_LOOPBACK, hosts=settings.PUBLIC_HOSTS)
guards = DATA | HSTS if settings.TRUSTED_PROXY else DATA
application: Any = ReplayFront(origins, wiring.parts, settings.REPLAY_MEMORY, guards)  # type: ignore[arg-type]  # messages are dicts
if settings.TRUSTED_PROXIES:
    application = Forwarded(application, settings.TRUSTED_PROXIES)
