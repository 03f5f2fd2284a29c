"""A Redis in every kind of trouble, and a bad line to it: what it says comes late, in drops, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.servers import RedisServer

_READ = 64 * 1024


class BadLine:
    """A unix socket in front of another, on the event loop that started it. Set its faults as it runs."""

    def __init__(self, server: Path) -> None:
        self._server = server
        self._folder = Path(tempfile.mkdtemp(prefix="line-"))
        self._listener: asyncio.Server | None = None
        self._lines: set[asyncio.Task[None]] = set()
        self.socket = self._folder / "line.sock"
        self.late_s: Callable[[], float] = lambda: 0.0  # asked anew for each reply
        self.drop: int | None = None  # bytes at a time, one such a hundredth of a second
        self.swallows = False  # the server hears everything, its replies are lost

    @property
    def url(self) -> str:
        """Its address, as REDIS_URL has it."""
        return f"unix://{self.socket}?db=0"

    async def start(self) -> BadLine:
        """Listen."""
        self._listener = await asyncio.start_unix_server(self._connected, self.socket)
        return self

    async def stop(self) -> None:
        """Close everything."""
        assert self._listener is not None
        self._listener.close()
        self.cut()
        await asyncio.gather(*self._lines, return_exceptions=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def mend(self) -> None:
        """Pass everything on at once from now on."""
        self.late_s, self.drop, self.swallows = lambda: 0.0, None, False

    def cut(self) -> None:
        """Break every connection there is."""
        for line in self._lines:
            line.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = asyncio.current_task()
        assert line is not None
        self._lines.add(line)
        try:
            there = await asyncio.open_unix_connection(str(self._server))
            async with asyncio.TaskGroup() as both:
                both.create_task(self._requests(reader, there[1]))
                both.create_task(self._replies(there[0], writer))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            self._lines.discard(line)
            writer.close()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            while data := await reader.read(_READ):
                writer.write(data)
                await writer.drain()
        raise ConnectionResetError

    async def _replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_READ):
            if self.swallows:
                continue
            await asyncio.sleep(self.late_s())
            while data:
                size = self.drop or len(data)
                writer.write(data[:size])
                await writer.drain()
                data = data[size:]
                if data:
                    await asyncio.sleep(0.01)
        raise ConnectionResetError


@contextmanager
def line_beside(server: RedisServer) -> Iterator[BadLine]:
    """A bad line on a thread and event loop of its own, for who blocks, or has a loop that is busy."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="bad line", daemon=True)
    thread.start()
    try:
        line = asyncio.run_coroutine_threadsafe(BadLine(server.socket).start(), loop).result(10)
        try:
            yield line
        finally:
            asyncio.run_coroutine_threadsafe(line.stop(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


FAULTS: dict[str, Callable[[RedisServer, BadLine], AbstractContextManager[None]]] = {}


def fault(hurt: Callable[[RedisServer, BadLine], Iterator[None]]) -> None:
    """Register what hurts Redis, up to its `yield`, and mends it after."""
    FAULTS[hurt.__name__] = contextmanager(hurt)


@fault
def killed(server: RedisServer, line: BadLine) -> Iterator[None]:
    server.kill()
    yield
    server.start()


@fault
def stopped(server: RedisServer, line: BadLine) -> Iterator[None]:
    server.pause()
    yield
    server.resume()


@fault
def paused(server: RedisServer, line: BadLine) -> Iterator[None]:
    server.command("CLIENT", "PAUSE", "600000", "ALL")
    yield
    server.kill()  # which also is the only way out: CLIENT UNPAUSE has to wait like all others
    server.start()


@fault
def paused_for_writing(server: RedisServer, line: BadLine) -> Iterator[None]:
    server.command("CLIENT", "PAUSE", "600000", "WRITE")
    yield
    server.command("CLIENT", "UNPAUSE")


@fault
def swallowing(server: RedisServer, line: BadLine) -> Iterator[None]:
    line.swallows = True
    yield
    line.mend()


@fault
def rather_late(server: RedisServer, line: BadLine) -> Iterator[None]:
    line.late_s = lambda: 0.07
    yield
    line.mend()


@fault
def very_late(server: RedisServer, line: BadLine) -> Iterator[None]:
    line.late_s = lambda: 0.5
    yield
    line.mend()


@fault
def now_and_then_late(server: RedisServer, line: BadLine) -> Iterator[None]:
    turns = itertools.cycle([0.0, 0.0, 0.0, 0.3])
    line.late_s = lambda: next(turns)
    yield
    line.mend()


@fault
def trickling(server: RedisServer, line: BadLine) -> Iterator[None]:
    line.drop = 1
    yield
    line.mend()


@fault
def full(server: RedisServer, line: BadLine) -> Iterator[None]:
    server.command("CONFIG", "SET", "maxmemory", "1")
    yield
    server.command("CONFIG", "SET", "maxmemory", "0")


@fault
def read_only(server: RedisServer, line: BadLine) -> Iterator[None]:
    server.command("REPLICAOF", "127.0.0.1", "1")
    yield
    server.command("REPLICAOF", "NO", "ONE")


@fault
def loading(server: RedisServer, line: BadLine) -> Iterator[None]:
    for number in range(200):
        server.command("SET", f"other {number}", "x" * 100)
    server.command("CONFIG", "SET", "loading-process-events-interval-bytes", "1024")
    server.command("CONFIG", "SET", "key-load-delay", "100000")  # microseconds a key
    server.say("DEBUG", "RELOAD")
    yield
    server.kill()
    server.start()


@fault
def failing_to_save(server: RedisServer, line: BadLine) -> Iterator[None]:
    in_the_way = server.socket.with_name("dump.rdb")
    in_the_way.unlink(missing_ok=True)
    in_the_way.mkdir()
    server.command("CONFIG", "SET", "save", "3600 1")
    server.command("BGSAVE")
    give_up = time.monotonic() + 10
    while b"rdb_last_bgsave_status:err" not in server.command("INFO", "persistence"):
        assert time.monotonic() < give_up
    yield
    server.command("CONFIG", "SET", "save", "")
    in_the_way.rmdir()


@fault
def asking_for_a_password(server: RedisServer, line: BadLine) -> Iterator[None]:
    yield from _from_inside(server, b"CONFIG SET requirepass secret", b"CONFIG SET requirepass ''")


@fault
def forbidding(server: RedisServer, line: BadLine) -> Iterator[None]:
    server.command("ACL", "SETUSER", "default", "-getrange", "-set", "-unlink")
    yield
    server.command("ACL", "SETUSER", "default", "+@all")


@fault
def out_of_connections(server: RedisServer, line: BadLine) -> Iterator[None]:
    yield from _from_inside(server, b"CONFIG SET maxclients 1", b"CONFIG SET maxclients 1000")


@fault
def busy_with_a_script(server: RedisServer, line: BadLine) -> Iterator[None]:
    server.command("CONFIG", "SET", "busy-reply-threshold", "1")
    server.say("EVAL", "while true do end", "0")
    yield
    server.command("SCRIPT", "KILL")


STILL_READABLE = {"paused_for_writing", "full", "read_only", "failing_to_save"}


def _from_inside(server: RedisServer, hurt: bytes, mend: bytes) -> Iterator[None]:
    """Give both commands over one connection, and end all others: from then on a new one is in trouble."""
    with socket.socket(socket.AF_UNIX) as inside:
        inside.connect(str(server.socket))
        for command in (hurt, b"CLIENT KILL TYPE normal"):
            inside.sendall(command + b"\r\n")
            assert inside.recv(100)[:1] in b"+:"
        yield
        inside.sendall(mend + b"\r\n")
        assert inside.recv(100) == b"+OK\r\n"
