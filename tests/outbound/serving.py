"""Servers on this machine that say what they are told to, and remember who came."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network

from orchestrator.outbound.places import Rules

Answer = bytes | Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ALLOWED = "127.0.0.2"  # the one address of this machine that the tests' rules let through
NAME = "pictures.example"


class Server:
    """Answers each path with bytes, or in a way of its own."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[bytes] = []  # the heads
        self.connections = 0
        self.port = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head)
            answer = self.answers.get(
                head.split(b" ", 2)[1].decode(), b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
            )
            if callable(answer):
                await answer(reader, writer)
            else:
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def rules(self) -> Rules:
        """What lets a fetch come here, and nowhere else inside."""
        return Rules(ports={self.port}, networks=(ip_network(ALLOWED),))

    async def resolve(self, host: str, port: int) -> list[str]:
        """Every name stands for this server."""
        return [ALLOWED]

    def url(self, path: str = "/", scheme: str = "http") -> str:
        """Where it is, by name."""
        return f"{scheme}://{NAME}:{self.port}{path}"


@asynccontextmanager
async def serving(host: str = ALLOWED, tls: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[Server]:
    """A server that runs meanwhile."""
    server = Server()
    async with await asyncio.start_server(server._serve, host, port, ssl=tls) as listening:
        server.port = listening.sockets[0].getsockname()[1]
        yield server


def response(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    """A redirect."""
    return response(b"", f"Location: {location}", status=status) if location.isascii() else raw_redirect(location)


def raw_redirect(location: str) -> bytes:
    """A redirect in UTF-8, as some servers write it."""
    return b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location.encode("utf-8", "replace") + b"\r\n\r\n"
