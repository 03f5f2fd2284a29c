"""The model host: an HTTP server on a unix socket, in front of the loaded models.

    POST /chat     a request as MessagePack; lines of JSON come back, each as soon as there is one
    POST /preview  the same; {"text", "tokens"}: what the model would be given
    POST /count    the same, or null when the model is not loaded
    POST /load     {"name", "keep_alive_s"?, "options"?} → {"load_ns"}
    POST /unload   {"name"} → {"was_loaded"}
    GET  /ps       [{"name", "size", "context", …}]
    GET  /healthz  {"status": "ok"}

Its callers are this product's own processes; the socket lies in a folder that only their user may enter.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import signal
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec
import uvicorn
from django.conf import settings

from orchestrator.core.errors import BadRequest, ModelLoadFailed, OrchestratorError, RequestTooLarge
from orchestrator.core.heart import Heart
from orchestrator.core.listening import listening_at
from orchestrator.modelhost import minilm, wire
from orchestrator.modelhost.embedded import install_embedded
from orchestrator.modelhost.memory import FREE_SHARE, available, readable
from orchestrator.modelhost.residents import Bounds, Residents
from orchestrator.modelhost.threads import Remembered

TICKS_A_BEAT = 10  # of the server, which looks after itself so often

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]


class Named(msgspec.Struct):
    """Which model, and how it should be loaded."""

    name: str
    keep_alive_s: float | None = None
    options: dict[str, Any] = {}  # msgspec copies it


class App:
    """The ASGI application."""

    def __init__(self, residents: Residents, largest_body: int) -> None:
        self.residents, self._largest_body = residents, largest_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a caller who leaves ends the work for it at once."""
        if scope["type"] != "http":
            return
        try:
            body = await self._body(receive)
        except OrchestratorError as error:
            await _respond(send, error.status, wire.to_error(error))
            return
        if body is None:
            return
        working = asyncio.create_task(self._work(scope["method"], scope["path"], body, send))
        leaving = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            if not working.done():
                working.cancel()
            await asyncio.wait({working, leaving})
        if not working.cancelled():
            working.result()

    async def _body(self, receive: Receive) -> bytes | None:
        body = bytearray()
        while True:
            event = await receive()
            if event["type"] != "http.request":
                return None
            body += event.get("body", b"")
            if len(body) > self._largest_body:
                raise RequestTooLarge(f"the request is longer than {readable(self._largest_body)}")
            if not event.get("more_body"):
                return bytes(body)

    async def _work(self, method: str, path: str, body: bytes, send: Send) -> None:
        answer = {("POST", "/chat"): self._chat}.get((method, path))
        if answer:
            await answer(body, send)
            return
        simple = {
            ("POST", "/preview"): self._preview,
            ("POST", "/count"): self._count,
            ("POST", "/load"): self._load,
            ("POST", "/unload"): self._unload,
            ("GET", "/ps"): self._ps,
            ("GET", "/loading"): self._loading,
            ("GET", "/healthz"): self._healthz,
        }.get((method, path))
        if simple is None:
            await _respond(send, 404, b'{"error": "no such path", "kind": "bad_request"}')
            return
        try:
            status, said = 200, msgspec.json.encode(await simple(body))
        except OrchestratorError as error:
            status, said = error.status, wire.to_error(error)
        await _respond(send, status, said)

    async def _chat(self, body: bytes, send: Send) -> None:
        """The status waits for the first piece of the answer: until then it may still be an error."""
        has_begun = False
        try:
            async with contextlib.aclosing(self.residents.answer(wire.from_frame(body))) as lines:
                async for line in lines:
                    if not has_begun:
                        await _begin(send, 200, b"application/x-ndjson")
                        has_begun = True
                    await send({"type": "http.response.body", "body": line, "more_body": True})
        except OrchestratorError as error:
            if not has_begun:
                await _respond(send, error.status, wire.to_error(error))
                return
            await send({"type": "http.response.body", "body": wire.to_error(error) + b"\n", "more_body": True})
        await send({"type": "http.response.body"})

    async def _preview(self, body: bytes) -> object:
        return await self.residents.preview(wire.from_frame(body))

    async def _count(self, body: bytes) -> object:
        return await self.residents.count(wire.from_frame(body))

    async def _load(self, body: bytes) -> object:
        asked = _named(body)
        return {"load_ns": await self.residents.load(asked.name, asked.keep_alive_s, asked.options)}

    async def _unload(self, body: bytes) -> object:
        return {"was_loaded": await self.residents.unload(_named(body).name)}

    async def _ps(self, body: bytes) -> object:
        return self.residents.loaded()

    async def _loading(self, body: bytes) -> object:
        return self.residents.loading()

    async def _healthz(self, body: bytes) -> object:
        return {"status": "ok"}


def _named(body: bytes) -> Named:
    try:
        return msgspec.json.decode(body, type=Named)
    except msgspec.MsgspecError as error:
        raise BadRequest(str(error)) from error


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _begin(send: Send, status: int, kind: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})


async def _respond(send: Send, status: int, body: bytes) -> None:
    await _begin(send, status, b"application/json")
    await send({"type": "http.response.body", "body": body})


class Server(uvicorn.Server):
    """Gives the supervisor a sign of life each second: who waits for a model waits for as long as this lives."""

    def __init__(self, config: uvicorn.Config, heart: Heart) -> None:
        super().__init__(config)
        self._heart = heart

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second."""
        if counter % TICKS_A_BEAT == 0:
            self._heart.beat()
        return await super().on_tick(counter)


async def serve() -> None:
    """Serve until told to stop; then let running answers finish, for a while, and end the children."""
    heart = Heart()
    store = minilm.open_store(settings.MODELS_DIR)
    try:
        await asyncio.to_thread(install_embedded, store)
    except ModelLoadFailed as error:
        log.error("%s; other models are served", error)
    try:
        await asyncio.to_thread(minilm.checked_files)
    except (ValueError, OSError) as error:
        log.error("%s makes no embeddings: %s", minilm.NAME, error)
    bounds = Bounds(
        memory=settings.MODEL_MEMORY or int(FREE_SHARE * available()),
        models=settings.MAX_LOADED_MODELS,
        slots=settings.NUM_PARALLEL,
        context=settings.CONTEXT_LENGTH,
        queue=settings.MAX_QUEUE,
        keep_alive_s=settings.KEEP_ALIVE_S,
        load_timeout_s=settings.LOAD_TIMEOUT_S,
        threads=settings.MODEL_THREADS,
    )
    residents = Residents(store, bounds, Remembered(settings.DATA_DIR / "threads.json"))
    # A request is larger here than it came in, by what it is wrapped in.
    config = uvicorn.Config(
        App(residents, 2 * settings.MAX_BODY),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=max(1, round(settings.DRAIN_S)),
    )
    with listening_at(settings.MODELS_SOCKET) as listening:
        log.info("The model host listens; models may take %s", readable(bounds.memory))
        try:
            await Server(config, heart).serve(sockets=[listening])
        finally:
            await residents.close()


def run() -> None:
    """Serve, as a process of its own."""
    faulthandler.enable()  # one that hangs is ended with SIGABRT, which shows where it hung
    # uvicorn repeats the signal that stopped it once it is done; by then it must not kill.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    asyncio.run(serve())
