"""Local models: what is in the store, run by the model host."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.core.errors import EngineError, EngineTimeout, ModelNotFound
from orchestrator.core.types import ChatRequest, Chunk, Model
from orchestrator.engines.lines import body_lines
from orchestrator.modelhost import wire
from orchestrator.modelhost.details import ModelDetails, details
from orchestrator.modelhost.names import is_name
from orchestrator.modelhost.options import NAMES, read_options
from orchestrator.modelhost.store import Store, StoredModel
from orchestrator.modelhost.wire import Preview
from orchestrator.outbound.answers import ConnectError, ConnectTimeout, HTTPError, Request, Response, TimeoutException
from orchestrator.outbound.local import over_socket

NOT_RUNNING = "the model host is not running; it is being restarted"
RESTART_S = 2.0  # how long a call waits for a model host that is being restarted
QUICK_S = 5.0  # for questions that need no model
_RETRY_S = 0.05
REMEMBERED_S = 1.0  # how long a model that was added, changed or removed may go unnoticed
MOST_REMEMBERED = 1000  # names
# What comes of a request besides its question. How a model is loaded (num_gpu, num_thread, use_mmap …) is measured or
# set for all callers, since they share it.
TAKES = NAMES | {"format", "think", "effort", "thinking", "raw", "context", "logprobs", "top_logprobs"}
TAKES |= {"truncate", "shift", "keep_alive", "template"}
TAKES_FOR_VECTORS = frozenset({"num_ctx", "truncate", "keep_alive"})
MOST_ANSWER_BYTES = 1024**3  # as lines of JSON; the answer itself has a bound of its own


class _Resident(msgspec.Struct):
    name: str
    size: int
    context: int
    expires_at: float | None
    slots: int
    users: int
    tokens_per_s: float
    threads: int
    pid: int


class _Loaded(msgspec.Struct):
    load_ns: int


class _Unloaded(msgspec.Struct):
    was_loaded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model in memory."""

    model: Model
    size: int  # bytes of memory, estimated
    context_length: int  # tokens each answer has in view
    expires_at: float | None  # seconds since the epoch; None: it stays
    slots: int  # answers it makes at once
    busy: int  # answers it makes now
    waiting: int  # for one of those to end
    tokens_per_s: float  # of all answers together, over the last second; 0 when idle
    threads: int
    pid: int


class LlamaCpp:
    """An `Engine` for GGUF files on this machine."""

    name = "llamacpp"

    def __init__(self, socket: Path, store: Store) -> None:
        self._store = store
        self._listed: list[Model] = []
        self._listed_until = 0.0
        self._found: dict[str, tuple[float, Model | None]] = {}  # name → until when, what it means
        # To load a model, to wait for a place and to read a long question take as long as they take: the host watches
        # its children, and is watched itself.
        self._client = over_socket(socket, connect_s=QUICK_S)

    async def chat(self, request: ChatRequest, model: Model) -> AsyncGenerator[Chunk, None]:
        """Yield the answer; see `Engine`."""
        plain = replace(request, model=model.name, options=read_options(request.options))
        question = self._client.build_request("POST", "/chat", content=wire.to_frame(plain))
        response = await self._send(question)
        try:
            with _host_errors():
                if response.status_code != 200:
                    raise wire.from_error(await response.aread())
                async for line in body_lines(response, MOST_ANSWER_BYTES):
                    chunk = wire.from_line(line)
                    yield chunk
                    if chunk.done:
                        return
            raise EngineError("the model host ended the answer before its end")
        finally:
            await response.aclose()

    async def preview(self, request: ChatRequest, model: Model) -> Preview:
        """What the model would be given to answer `request`; loads it. Raises what `chat` raises."""
        said = wire.preview_from_line(await self._asked_as("/preview", request, model))
        if said is None:
            raise EngineError("the model host does not say what the model would be given")
        return said

    async def count(self, request: ChatRequest, model: Model) -> int | None:
        """How many tokens the question has, also when it is too long; None when the model is not loaded."""
        said = wire.preview_from_line(await self._asked_as("/count", replace(request, truncate=False), model))
        return said.tokens if said else None

    async def _asked_as(self, path: str, request: ChatRequest, model: Model) -> bytes:
        plain = replace(request, model=model.name, options=read_options(request.options))
        return await self._whole(self._client.build_request("POST", path, content=wire.to_frame(plain)))

    async def models(self) -> list[Model]:
        """Every model in the store, newest first; remembered as long as a look-up is."""
        if self._listed_until <= time.monotonic():
            self._listed = [describe(model) for model in await asyncio.to_thread(self._store.models)]
            self._listed_until = time.monotonic() + REMEMBERED_S
        return list(self._listed)

    async def find(self, name: str) -> Model | None:
        """The stored model a name means, whatever its case; None when there is none, or it is not a name."""
        if not is_name(name):
            return None
        known = self._found.get(name)
        if known and known[0] > time.monotonic():
            return known[1]
        stored = await asyncio.to_thread(self._store.find, name)
        model = describe(stored) if stored else None
        self._remember(name, model)
        return model

    def _remember(self, name: str, model: Model | None) -> None:
        """Keep what was found, in place of what expired; the oldest is first."""
        now = time.monotonic()
        self._found.pop(name, None)
        while self._found:
            oldest = next(iter(self._found))
            if self._found[oldest][0] > now and len(self._found) < MOST_REMEMBERED:
                break
            del self._found[oldest]
        self._found[name] = (now + REMEMBERED_S, model)

    async def load(
        self, model: Model, keep_alive_s: float | None = None, options: Mapping[str, Any] | None = None
    ) -> int:
        """Load a model, or keep it loaded for longer; returns the nanoseconds it took, at least 1.

        keep_alive_s  None: as somebody asked for it last, or the default; negative: for ever.
        """
        said = await self._ask("/load", name=model.name, keep_alive_s=keep_alive_s, options=read_options(options or {}))
        return max(1, msgspec.json.decode(said, type=_Loaded).load_ns)

    async def unload(self, model: Model) -> bool:
        """Let a model go once its running answers are done; False when it was not loaded."""
        return msgspec.json.decode(await self._ask("/unload", name=model.name), type=_Unloaded).was_loaded

    async def ps(self) -> list[LoadedModel]:
        """What is loaded, longest remaining first."""
        request = self._client.build_request("GET", "/ps", timeout=QUICK_S)
        residents = msgspec.json.decode(await self._whole(request), type=list[_Resident])
        loaded = []
        for one in residents:
            model = await self.find(one.name)
            if model is None:  # deleted while it was loaded
                continue
            loaded.append(
                LoadedModel(
                    model=model,
                    size=one.size,
                    context_length=one.context,
                    expires_at=one.expires_at,
                    slots=one.slots,
                    busy=min(one.users, one.slots),
                    waiting=max(0, one.users - one.slots),
                    tokens_per_s=one.tokens_per_s,
                    threads=one.threads,
                    pid=one.pid,
                )
            )
        return sorted(loaded, key=lambda one: -(one.expires_at or float("inf")))

    async def loading(self) -> frozenset[str]:
        """Names of the models that are being loaded."""
        request = self._client.build_request("GET", "/loading", timeout=QUICK_S)
        return frozenset(msgspec.json.decode(await self._whole(request), type=list[str]))

    async def show(self, model: Model, *, verbose: bool = False) -> ModelDetails:
        """What `/api/show` tells. Raises ModelNotFound when it is gone meanwhile."""
        stored = await asyncio.to_thread(self._store.find, model.name)
        if stored is None:
            raise ModelNotFound(f"model '{model.name}' not found")
        return await asyncio.to_thread(details, stored, verbose=verbose)

    async def ready(self) -> bool:
        """Whether the model host answers; asks once and does not wait for a restart."""
        try:
            response = await self._client.get("/healthz", timeout=QUICK_S)
        except HTTPError:
            return False
        return response.status_code == 200

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _ask(self, path: str, **body: Any) -> bytes:
        return await self._whole(self._client.build_request("POST", path, content=msgspec.json.encode(body)))

    async def _whole(self, request: Request) -> bytes:
        response = await self._send(request)
        try:
            with _host_errors():
                body = await response.aread()
        finally:
            await response.aclose()
        if response.status_code != 200:
            raise wire.from_error(body)
        return body

    async def _send(self, request: Request) -> Response:
        """Send and wait for the status; a host that is being restarted is given a moment."""
        deadline = time.monotonic() + RESTART_S
        while True:
            try:
                with _host_errors():
                    return await self._client.send(request, stream=True)
            except _NotRunningError as error:
                if time.monotonic() >= deadline:
                    raise EngineError(NOT_RUNNING, retry_after_s=RESTART_S) from error
                await asyncio.sleep(_RETRY_S)


class _NotRunningError(Exception):
    """Nobody listens on the socket: the request was not sent, so it can be sent again."""


@contextmanager
def _host_errors() -> Iterator[None]:
    """Errors of the way there in, the engine's out."""
    try:
        yield
    except (ConnectError, ConnectTimeout) as error:
        raise _NotRunningError from error
    except TimeoutException as error:
        raise EngineTimeout("the model host was reached and stayed silent") from error
    except HTTPError as error:
        raise EngineError("the connection to the model host broke; ask again") from error


def describe(stored: StoredModel) -> Model:
    """A stored model as everybody else knows it."""
    header = stored.header
    return Model(
        name=str(stored.name),
        digest=stored.digest,
        engine=LlamaCpp.name,
        capabilities=stored.capabilities,
        takes=TAKES_FOR_VECTORS if "embedding" in stored.capabilities else TAKES,
        size=stored.size,
        modified_at=stored.modified_at,
        family=header.architecture,
        families=(header.architecture,),
        parameter_size=stored.parameter_size,
        quantization=header.quantization,
        format=stored.format,
        context_length=header.context_length,
        embedding_length=header.embedding_length,
        edition=datetime.now().astimezone().date().isoformat() if stored.is_dated else "",
    )
