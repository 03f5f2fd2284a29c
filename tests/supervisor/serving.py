"""A uvicorn server in this process, with a protocol of ours."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from uvicorn import Config, Server

from orchestrator.supervisor.connections import BoundedConnection

Place = tuple[str, int]


@asynccontextmanager
async def serving(app: Any, protocol: type[BoundedConnection], **settings: Any) -> AsyncIterator[Place]:
    """Serve `app` on a free port; where."""
    config = Config(
        app, host="127.0.0.1", port=0, http=protocol, lifespan="off", proxy_headers=False, log_config=None, **settings
    )
    server = Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    yield server.servers[0].sockets[0].getsockname()[:2]
    await server.shutdown()
