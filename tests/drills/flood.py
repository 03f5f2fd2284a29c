"""Questions that come as fast as they are meant to, whoever is answered: an open loop, in a process of its own.

Run by `Flood`: `python -m tests.drills.flood`, with a plan on standard input. A load with a rate sends at its times,
and what finds no connection free waits for one, which counts; one with callers asks again when it was answered, which
finds how much is answered at most. Connections are made before, as callers' pools have them: making thousands a second
would measure how long the kernel puts them off.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import uvloop

from tests.drills.question import Question
from tests.product import PROJECT

TICK_S = 0.005
NUMBER = "#######"  # stands for the question's number, in as many digits
MOST_CONNECTIONS = 1000
CONNECTS_AT_ONCE = 50
WAITED = b"The wait took longer"
ENDS_WITHIN_S = 30.0  # for what was asked last


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Questions of one kind.

    per_s     how many a second; 0: `callers` ask, each as soon as it was answered.
    question  that is asked, under another name each time unless `is_known`; None: a local model is asked.
    """

    name: str
    per_s: float = 0.0
    callers: int = 0
    key: str = ""
    model: str = ""
    question: dict[str, Any] | None = None
    is_known: bool = False

    def request(self) -> bytes:
        """As it is sent, with NUMBER in place of the number."""
        name = self.name if self.is_known else f"{self.name}-{NUMBER}"
        if self.question is None:
            asked: dict[str, Any] = {"model": self.model, "stream": False, "options": {"num_predict": 8}}
            asked["messages"] = [{"role": "user", "content": f"{name}: count to ten."}]
        else:
            asked = Question(**{**self.question, "name": name}).body("/api/chat", stream=False)
        body = json.dumps(asked).encode()
        key = f"Authorization: Bearer {self.key}\r\n" if self.key else ""
        head = f"POST /api/chat HTTP/1.1\r\nHost: localhost\r\n{key}Content-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    def is_right(self, number: int, body: bytes) -> bool:
        """Whether that is the answer to the question of that number."""
        if self.question is None:
            return b'"done":true' in body
        name = self.name if self.is_known else f"{self.name}-{number:0{len(NUMBER)}}"
        return Question(**{**self.question, "name": name}).answer().encode() in body


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of a question. Status 0: nothing. `took_s` is since it was to be asked."""

    at: float
    took_s: float
    status: int
    retry_after: str = ""
    is_right: bool = False
    has_waited: bool = False  # as long as one may, before it was refused
    parts_ms: dict[str, float] = field(default_factory=dict)  # of the time it took, as the product says


class Flood:
    """The process that asks, from outside."""

    def __init__(self, address: str, seconds: float, loads: Sequence[Load]) -> None:
        self._plan = {"address": address, "seconds": seconds, "loads": [asdict(load) for load in loads]}

    async def run(self) -> tuple[dict[str, list[Heard]], float]:
        """What was heard, by the name of the load; and how late the asking process was at most, in seconds."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.drills.flood"),
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            limit=2**30,
        )
        try:
            said, _ = await process.communicate(json.dumps(self._plan).encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        told = json.loads(said)
        return {name: [Heard(**one) for one in heard] for name, heard in told["heard"].items()}, told["late_s"]


@dataclass(slots=True)
class _Asking:
    load: Load
    request: bytes
    heard: list[Heard] = field(default_factory=list)
    number: int = 0


class _Connection(asyncio.Protocol):
    """One connection, one question at a time."""

    def __init__(self, flood: _Flood) -> None:
        self._flood = flood
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._asked: tuple[_Asking, int, float] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # it is one that can be written to

    def ask(self, asking: _Asking, number: int, due: float) -> None:
        """Send the question."""
        self._asked = asking, number, due
        assert self._transport is not None
        self._transport.write(asking.request.replace(NUMBER.encode(), b"%07d" % number))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator or self._asked is None:
            return
        headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if len(body) < int(headers[b"content-length"]):
            return
        self._buffer = b""
        asked, self._asked = self._asked, None
        self._flood.answered(self, asked, int(head[9:12]), headers, body)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._asked is not None:
            asked, self._asked = self._asked, None
            self._flood.answered(None, asked, 0, {}, b"")
        self._flood.lost(self)


class _Flood:
    def __init__(self, plan: dict[str, Any]) -> None:
        self._host, _, port = plan["address"].removeprefix("http://").rpartition(":")
        self._port = int(port)
        self._seconds = float(plan["seconds"])
        self._askings = [_Asking(load, load.request()) for load in (Load(**load) for load in plan["loads"])]
        self._idle: deque[_Connection] = deque()
        self._held: deque[tuple[_Asking, int, float]] = deque()  # until there is a connection
        self._open = 0  # questions
        self._until = 0.0
        self._late_s = 0.0

    async def run(self) -> dict[str, Any]:
        callers = sum(asking.load.callers for asking in self._askings)
        most = MOST_CONNECTIONS if any(asking.load.per_s for asking in self._askings) else callers
        while len(self._idle) < most:
            loop = asyncio.get_running_loop()
            some = range(min(CONNECTS_AT_ONCE, most - len(self._idle)))
            made = await asyncio.gather(
                *(loop.create_connection(lambda: _Connection(self), self._host, self._port) for _ in some)
            )
            self._idle.extend(connection for _, connection in made)
        began = time.monotonic()
        self._until = began + self._seconds
        for asking in self._askings:
            for _ in range(asking.load.callers):
                self._ask(asking, began)
        while (now := time.monotonic()) < self._until:
            for asking in self._askings:
                due = int((now - began) * asking.load.per_s)
                while asking.load.per_s and asking.number <= due:
                    self._ask(asking, began + asking.number / asking.load.per_s)
            await asyncio.sleep(TICK_S)
            self._late_s = max(self._late_s, time.monotonic() - now - TICK_S)
        while self._open and time.monotonic() < self._until + ENDS_WITHIN_S:
            await asyncio.sleep(TICK_S)
        heard = {asking.load.name: [asdict(one) for one in asking.heard] for asking in self._askings}
        return {"heard": heard, "late_s": self._late_s}

    def _ask(self, asking: _Asking, due: float) -> None:
        number = asking.number
        asking.number += 1
        self._open += 1
        if self._idle:
            self._idle.pop().ask(asking, number, due)
        else:
            self._held.append((asking, number, due))

    def answered(
        self,
        connection: _Connection | None,
        asked: tuple[_Asking, int, float],
        status: int,
        headers: dict[bytes, bytes],
        body: bytes,
    ) -> None:
        now = time.monotonic()
        asking, number, due = asked
        parts = [part.split(";dur=") for part in headers.get(b"server-timing", b"").decode().split(", ") if part]
        asking.heard.append(
            Heard(
                due,
                now - due,
                status,
                headers.get(b"retry-after", b"").decode(),
                status == 200 and asking.load.is_right(number, body),
                status != 200 and WAITED in body,
                {part: float(ms) for part, ms in parts},
            )
        )
        self._open -= 1
        if connection is not None and self._held:
            connection.ask(*self._held.popleft())
        elif connection is not None:
            self._idle.append(connection)
        if asking.load.callers and now < self._until:
            self._ask(asking, now)

    def lost(self, connection: _Connection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)


def main() -> None:
    """Ask as the plan says, and tell what was heard."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    plan = json.loads(sys.stdin.read())
    json.dump(uvloop.run(_Flood(plan).run()), sys.stdout)


if __name__ == "__main__":
    main()
