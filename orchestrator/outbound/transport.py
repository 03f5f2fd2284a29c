"""Connections to providers, each with a bound on what the kernel takes in before it is read."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from functools import cache, partial

import aiohttp
import httpx
from aiohttp.client_proto import ResponseHandler
from httpx_aiohttp import AiohttpTransport

from orchestrator.outbound.connection import Connection

# Bytes. Left to itself the kernel takes in megabytes of an answer whose caller has stopped reading.
RECEIVE_BUFFER = 256 * 1024

_NEVER_THERE = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)  # names, addresses, TLS; too slow


class BoundedTransport(AiohttpTransport):
    """aiohttp under httpx, with so many connections at most, and no cookies: they would join callers."""

    def __init__(self, most_connections: int) -> None:
        super().__init__(verify=trusted(), limits=httpx.Limits(max_connections=most_connections))
        self._most_connections = most_connections

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Ask. Raises what httpx raises: ConnectTimeout, or ConnectError, only where no connection came about.

        The transport says so of a connection, too, that was there and broke before the answer began: one that was
        kept, as a rule. Then the question may have been read. And what is no HTTP it does not tell in httpx's words.
        """
        try:
            return await super().handle_async_request(request)
        except aiohttp.ClientResponseError as error:
            raise httpx.RemoteProtocolError(error.message) from error
        except httpx.ConnectTimeout as error:
            if isinstance(error.__cause__, _NEVER_THERE):
                raise
            raise httpx.ReadError(str(error)) from error.__cause__

    def get_client(self) -> aiohttp.ClientSession:
        """Called by the transport, once."""
        connector = aiohttp.TCPConnector(
            limit=self._most_connections,
            keepalive_timeout=self.limits.keepalive_expiry,
            ssl=self.ssl_context,
            socket_factory=_bounded_socket,
        )
        # There is no public way to it.
        connector._factory = partial(_OneAnswerEach, asyncio.get_running_loop())  # type: ignore[assignment]  # it is one
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


def way_to(
    address: str, headers: Mapping[str, str], key: str, *, connect_s: float, silence_s: float, most: int
) -> Connection:
    """The way to a provider an operator wrote down, with `most` connections at once."""
    return Connection(address, headers, httpx.Timeout(silence_s, connect=connect_s), BoundedTransport(most), key)


@cache
def trusted() -> ssl.SSLContext:
    """Whose certificates are believed; as the environment says, or as certifi has it.

    Read once in a process: it takes some 20 ms of the event loop, and providers are set up while others are asked.
    """
    return httpx.create_ssl_context()


class _OneAnswerEach(ResponseHandler):
    """A connection that is not used again once it said something unasked: the next question would be told that."""

    def is_connected(self) -> bool:
        """Whether it may be used; asked by the pool."""
        return super().is_connected() and not self.should_close

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """Whoever reads the body is told, too: a chunk without a length would have them wait for ever."""
        super().set_exception(exc, *cause)
        if self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(aiohttp.ClientPayloadError("It is no HTTP."))


def _bounded_socket(address: tuple[int, int, int, str, object]) -> socket.socket:
    family, kind, protocol, *_ = address
    connection = socket.socket(family, kind, protocol)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    return connection
