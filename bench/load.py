"""Callers on raw sockets, light enough to share the machine with what they measure."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from statistics import quantiles
from typing import Any
from urllib.parse import urlsplit

GRACE_S = 30.0  # beyond what a load should take

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CACHE = re.compile(rb"\r\ncache-status: [^\r]*?(?:detail|fwd)=(\w+)", re.IGNORECASE)


class Question:
    """The bytes of a request, with a number in it that makes each its own.

    `ask(n)` and `ask(n + 1)` are different questions of the same length.
    """

    PLACE = "00000000"

    def __init__(self, address: str, model: str, *, is_streamed: bool, key: str = "") -> None:
        self.model, self.is_streamed = model, is_streamed
        url = urlsplit(address)
        asked = f"Question {self.PLACE}. What is the capital of France, and since when? " + "Please say why, too. " * 6
        options: dict[str, Any] = {"temperature": 0}
        if url.path.startswith("/api/"):
            options = {"options": options}
        elif url.path == "/v1/messages":
            options["max_tokens"] = 1000  # it has to be there; the answer ends before
        body = {"model": model, "stream": is_streamed, "messages": [{"role": "user", "content": asked}], **options}
        self.body = json.dumps(body)
        self.headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self.path = url.path
        self.host, self.port = str(url.hostname), url.port or 80
        head = [f"POST {self.path} HTTP/1.1", f"Host: {url.netloc}", f"Content-Length: {len(self.body)}"]
        head += [f"{name}: {value}" for name, value in self.headers.items()]
        request = "\r\n".join([*head, "", self.body]).encode()
        self._before, self._after = request.split(self.PLACE.encode())

    @property
    def url(self) -> str:
        """Where it is asked."""
        return f"http://{self.host}:{self.port}{self.path}"

    def ask(self, number: int) -> bytes:
        """The request for question `number`, below 10⁸."""
        return self._before + b"%08d" % number + self._after


@dataclass
class Load:
    """What a load came to. `latencies` in seconds, `sources` the cache's word for where answers came from."""

    latencies: list[float] = field(default_factory=list)
    took: dict[int, float] = field(default_factory=dict)  # the latency of each question, as it was asked last
    sources: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0  # the callers' own

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    def percentile_ms(self, percent: int) -> float:
        """Of the latencies, in milliseconds."""
        return 1000 * percentile(self.latencies, percent)


def percentile(values: list[float], percent: int) -> float:
    """The `percent`-th percentile. Raises RuntimeError when there is nothing to take it of."""
    if not values:
        raise RuntimeError("nothing was answered, so there is nothing to measure")
    return quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]


class Caller(asyncio.Protocol):
    """One connection that asks the next question as soon as the last is answered, and the first in any case."""

    def __init__(self, question: Question, numbers: Iterator[int], load: Load, until: float) -> None:
        self._question = question
        self._numbers = numbers
        self._number = 0
        self._load = load
        self._until = until  # on `time.perf_counter`
        self._received = b""
        self._left = 0  # bytes of the body; below zero: until the last chunk
        self._asked_at: float | None = None  # None before the first
        self.over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # it is one
        self._transport = transport
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            self._load.failed += 1
            self.over.set_result(None)

    def _ask(self) -> None:
        now = time.perf_counter()
        number = next(self._numbers, None) if now < self._until or self._asked_at is None else None
        if number is None:
            self.over.set_result(None)
            self._transport.close()
            return
        self._received = b""
        self._number = number
        self._asked_at = now
        self._transport.write(self._question.ask(number))

    def data_received(self, data: bytes) -> None:
        received = self._received = self._received + data
        end_of_head = received.find(b"\r\n\r\n")
        if end_of_head < 0:
            return
        length = _LENGTH.search(received, 0, end_of_head + 2)
        if length is None:
            if not received.endswith(b"\r\n0\r\n\r\n"):
                return
        elif len(received) < end_of_head + 4 + int(length[1]):
            return
        assert self._asked_at is not None, "nothing is said before something is asked"
        took_s = time.perf_counter() - self._asked_at
        self._load.latencies.append(took_s)
        self._load.took[self._number] = took_s
        if received.startswith(b"HTTP/1.1 200"):
            source = _CACHE.search(received, 0, end_of_head + 2)
            self._load.sources[source[1].decode() if source else ""] += 1
        else:
            self._load.failed += 1
        self._ask()


async def closed_loop(
    question: Question, numbers: Iterator[int], *, callers: int, seconds: float, ramp_s: float = 0.0
) -> Load:
    """Ask by `callers` at once until `numbers` or `seconds` are used up, whichever comes first.

    A caller that is connected only then asks once all the same, if a number is left.

    ramp_s  over how long they come in, one after another: all at once they are a burst that is waited in line for.
    Raises TimeoutError when something is not answered long after that.
    """
    load = Load()
    loop = asyncio.get_running_loop()
    began, cpu = time.perf_counter(), time.process_time()
    asking = []
    async with asyncio.timeout(seconds + GRACE_S):
        for place in range(callers):
            if ramp_s:
                await asyncio.sleep(max(began + ramp_s * place / callers - time.perf_counter(), 0))
            _, caller = await loop.create_connection(
                lambda: Caller(question, numbers, load, began + seconds), question.host, question.port
            )
            asking.append(caller.over)
        await asyncio.gather(*asking)
    load.seconds, load.cpu_s = time.perf_counter() - began, time.process_time() - cpu
    return load


class Listener(asyncio.Protocol):
    """One connection that asks once for a stream and notes when its frames come."""

    def __init__(self, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._request = request
        self._tail = b""
        self.began = self.ended = self._last = 0.0
        self.frames = 0
        self.gaps: list[float] = []
        self.first: asyncio.Future[bool] = loop.create_future()  # whether a frame came
        self.over: asyncio.Future[bool] = loop.create_future()  # whether it came to its end

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # it is one
        self.transport = transport
        self.began = time.perf_counter()
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        # A frame is what an event (SSE) or a line (NDJSON) with content is; both carry one such word each.
        frames = data.count(b'"content":')
        if frames:
            if self.frames:
                self.gaps.append(now - self._last)
            else:
                _settle(self.first, data.startswith(b"HTTP/1.1 200") or not data.startswith(b"HTTP/"))
            self.frames += frames
            self._last = now
        tail = self._tail + data
        if tail.endswith(b"\r\n0\r\n\r\n"):
            self.ended = now
            _settle(self.over, True)
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 200"):
            _settle(self.first, False)
            _settle(self.over, False)
        self._tail = tail[-7:]

    def connection_lost(self, exc: Exception | None) -> None:
        _settle(self.first, False)
        _settle(self.over, False)


def _settle(future: asyncio.Future[bool], value: bool) -> None:
    if not future.done():
        future.set_result(value)


async def open_streams(question: Question, numbers: Iterator[int], within_s: float) -> list[Listener]:
    """Ask for a stream with each of `numbers`, all at once.

    Return when each has had its first frame or failed, or after `within_s` seconds. Raises TimeoutError
    when it takes longer to connect.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(within_s):
        opened = await asyncio.gather(
            *(
                loop.create_connection(partial(Listener, question.ask(number)), question.host, question.port)
                for number in numbers
            )
        )
    listeners = [listener for _, listener in opened]
    await asyncio.wait([one.first for one in listeners], timeout=within_s)
    return listeners


def fetch(request: bytes, host: str, port: int, *, within_s: float = 30.0) -> tuple[bytes, list[bytes]]:
    """Ask once; return the head and the body, a part for each HTTP chunk. Raises OSError, RuntimeError unless 200."""
    with socket.create_connection((host, port), timeout=within_s) as connection:
        connection.sendall(request)
        stream = connection.makefile("rb")
        head = b"".join(iter(stream.readline, b"\r\n"))
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError((head + stream.read1(2000)).decode(errors="replace"))
        if length := _LENGTH.search(head):
            return head, [stream.read(int(length[1]))]
        parts = []
        while size := int(stream.readline(), 16):
            parts.append(stream.read(size))
            stream.readline()
        return head, parts


def source(head: bytes) -> str:
    """The cache's word for where an answer came from; empty when it says nothing."""
    found = _CACHE.search(head)
    return found[1].decode() if found else ""
