"""The provider itself: it listens, reads questions, and leaves what to say to a table of behaviours."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

from tests.provider.behaviours import behaviour_of
from tests.provider.line import Line, Request
from tests.provider.listing import tell
from tests.provider.log import Call, Opened
from tests.provider.openai import vectors
from tests.speeches import OpenAISpeech, Speech

GONE = (ConnectionResetError, asyncio.CancelledError)


@dataclass
class Provider:
    """Its address, what it was asked, and what became of each call.

        provider = await Provider().start()

    speech  the API it speaks.    late_s  how late it is where it is late.    elsewhere  where it redirects to.
    instead  how it behaves whatever the model's name says; empty: as that says.
    listing  how it behaves when it is asked for its models (`tests.provider.listing`).
    """

    speech: Speech = field(default_factory=OpenAISpeech)
    late_s: float = 30.0
    elsewhere: str = "http://169.254.169.254/latest/meta-data/"
    instead: str = ""
    listing: str = "good"
    waiting: int = 0  # at the gate, all that ever did
    address: str = ""
    calls: list[Call] = field(default_factory=list)  # every question; not who only lists models
    opened: list[Opened] = field(default_factory=list)  # every connection
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    _lines: set[Line] = field(default_factory=set)
    _server: asyncio.Server | None = None
    _loop: asyncio.AbstractEventLoop | None = None

    async def start(self, port: int = 0) -> Provider:
        """Listen, on a free port unless one is named."""
        self._loop = asyncio.get_running_loop()
        self._server = await self._loop.create_server(self._line, "127.0.0.1", port, backlog=1024)
        self.address = f"http://127.0.0.1:{self.port}" + ("/v1" if self.speech.name == "openai" else "")
        return self

    async def stop(self) -> None:
        """Refuse new connections and reset those there are: as a provider does that dies."""
        assert self._server is not None
        self._server.close()
        await asyncio.gather(*[line.aclose() for line in self._lines])
        await self._server.wait_closed()

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def let_go(self) -> None:
        """Let every call that waits go on, and those to come; from any thread."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self.gate.set)

    def hold(self) -> None:
        """Have calls wait that come from now on; from any thread."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self.gate.clear)

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The bodies of the questions."""
        return [call.body for call in self.calls]

    @property
    def keys(self) -> list[str]:
        """What each question showed for a bearer's key."""
        return [call.headers.get("authorization", "") for call in self.calls]

    @property
    def connections(self) -> set[int]:
        """The connections that questions came over."""
        return {call.connection.number for call in self.calls}

    @property
    def finished(self) -> int:
        """How many calls said all that they had to say."""
        return sum(call.is_whole for call in self.calls)

    @property
    def hung_up(self) -> int:
        """How many calls the other side ended."""
        return sum(call.closed_at is not None for call in self.calls)

    def _line(self) -> Line:
        opened = Opened(len(self.opened), time.monotonic())
        self.opened.append(opened)
        return Line(opened, self._serve)

    async def _serve(self, line: Line) -> None:
        self._lines.add(line)
        try:
            while not line.is_over:
                await self._answer(line, await line.request())
        except GONE:
            line.hang_up()
        finally:
            self._lines.discard(line)

    async def _answer(self, line: Line, request: Request) -> None:
        if request.method == "GET":
            await tell(self, line, request)
            return
        body = json.loads(request.body)
        model = self.speech.model(request.path, body)
        call = Call(model, request.path, time.monotonic(), line.opened, request.headers, body)
        line.opened.calls += 1
        line.call = call
        self.calls.append(call)
        try:
            if "input" in body:
                await vectors(self, line, call)
            else:
                await behaviour_of(self.instead or model)(self, line, call)
            call.is_whole = True
        finally:
            call.ended_at = time.monotonic()
            line.call = None

    async def wait(self) -> None:
        """Wait at the gate."""
        self.waiting += 1
        async with asyncio.timeout(60):
            await self.gate.wait()
