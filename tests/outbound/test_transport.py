"""What a provider sends ahead of its reader stays with the provider."""

from __future__ import annotations

import asyncio
import socket
import ssl

import httpx
import pytest

from orchestrator.outbound.transport import RECEIVE_BUFFER, BoundedTransport

PIECE = b"x" * 65_536
MUCH = 1000  # pieces
READ = 4 * 1024**2  # bytes
MOST = 2 * 1024**2  # bytes: the buffers of both sides, and what aiohttp reads ahead


async def test_an_answer_that_is_not_read_is_not_taken_in() -> None:
    sent = read = 0
    is_read, is_stuck = asyncio.Event(), asyncio.Event()

    async def is_taken(writer: asyncio.StreamWriter) -> bool:
        """Whether there is room for more; none ever, once nobody reads."""
        while True:
            try:
                async with asyncio.timeout(0.5):
                    await writer.drain()
            except TimeoutError:
                if is_read.is_set():
                    return False
            else:
                return True

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        for _ in range(MUCH):
            writer.write(PIECE)
            sent += len(PIECE)
            if not await is_taken(writer):
                break
        is_stuck.set()
        writer.transport.abort()

    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, RECEIVE_BUFFER)
    async with (
        await asyncio.start_server(endless, sock=listener),
        httpx.AsyncClient(transport=BoundedTransport(2)) as client,
        client.stream("GET", f"http://127.0.0.1:{listener.getsockname()[1]}/") as response,
    ):
        assert response.status_code == 200
        async with asyncio.timeout(60):
            async for part in response.aiter_bytes():  # a quick reader at first: the kernel makes room for more
                read += len(part)
                if read > READ:
                    break
            is_read.set()
            await is_stuck.wait()
    assert sent - read < MOST


async def test_a_connection_that_breaks_is_not_taken_for_one_that_never_was() -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    server = await asyncio.start_server(once, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with httpx.AsyncClient(transport=BoundedTransport(1)) as client, asyncio.timeout(60):
        async with server:
            assert (await client.post(url)).status_code == 200
            with pytest.raises(httpx.ReadError):  # on the connection that was kept
                await client.post(url)
        with pytest.raises((httpx.ConnectError, httpx.ConnectTimeout)):
            await client.post(url)


async def test_there_are_so_many_connections_and_no_more() -> None:
    open_now = most = 0
    go_on = asyncio.Event()
    has_two = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        if open_now == 2:
            has_two.set()
        await reader.readuntil(b"\r\n\r\n")
        await go_on.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        open_now -= 1
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, httpx.AsyncClient(transport=BoundedTransport(2)) as client, asyncio.timeout(60):
        asking = [asyncio.create_task(client.get(url)) for _ in range(5)]
        await has_two.wait()
        go_on.set()
        assert [response.status_code for response in await asyncio.gather(*asking)] == [200] * 5
    assert most == 2


def test_certificates_are_read_once_for_all_providers() -> None:
    one, other = BoundedTransport(1), BoundedTransport(1)
    assert one.ssl_context is other.ssl_context
    assert one.ssl_context.verify_mode is ssl.CERT_REQUIRED
    assert one.ssl_context.check_hostname
