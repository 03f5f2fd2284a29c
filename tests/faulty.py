"""A bad line to a server: what it says comes late, in drops, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

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
