"""One web worker: `python -m orchestrator.supervisor.web LISTENING_FD`.

The only file that knows which server speaks HTTP.
"""

import asyncio
import faulthandler
import gc
import math
import socket
import sys

import django
from django.conf import settings
from uvicorn import Config, Server

from orchestrator.core.files import most_callers
from orchestrator.core.heart import Heart
from orchestrator.supervisor.http import BoundedHead

APPLICATION = "orchestrator.asgi:application"
KEEP_ALIVE_S = 75  # longer than client pools keep a connection, so that it is they who close it
MOST_WEBSOCKET_MESSAGE = 1024**2  # bytes
TICKS_A_BEAT = 10  # uvicorn ticks every 0.1 s
NEW_OBJECTS = 10_000  # between two looks of the collector; at Python's 700 it took a tenth of each answer's time


class Worker(Server):
    """A uvicorn server that gives its supervisor a sign of life each second."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._heart = Heart()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn once: load, listen. What is there by then stays, so the collector need not look at it."""
        await super().startup(sockets)
        gc.freeze()
        gc.set_threshold(NEW_OBJECTS, *gc.get_threshold()[1:])
        gc.enable()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn once: what is under way may finish, also for those who hear it from another worker."""
        from orchestrator import wiring

        telling = asyncio.create_task(wiring.parts().inflight.drain())
        self.server_state.tasks.add(telling)  # uvicorn waits for these, and cancels them when the time is up
        telling.add_done_callback(self.server_state.tasks.discard)
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn from its start on."""
        if counter % TICKS_A_BEAT == 0:
            self._heart.beat()
        return await super().on_tick(counter)


def main() -> None:
    """Serve until SIGTERM; then let running answers finish."""
    faulthandler.enable()  # a worker that hangs is ended with SIGABRT, which shows where it hung
    gc.disable()  # until all is loaded: a tenth of the time to get ready
    listener = socket.socket(fileno=int(sys.argv[1]))
    django.setup()
    BoundedHead.head_within_s = settings.BODY_TIMEOUT_S
    BoundedHead.send_within_s = settings.SEND_TIMEOUT_S
    BoundedHead.most_connections = most_callers()
    config = Config(
        APPLICATION,
        loop="uvloop" if sys.platform != "win32" else "auto",
        http=BoundedHead,
        ws="websockets-sansio",
        ws_max_size=MOST_WEBSOCKET_MESSAGE,
        lifespan="on",
        log_config=None,  # ours stands
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # see `orchestrator.forwarded`
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=math.ceil(settings.DRAIN_S),
    )
    Worker(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
