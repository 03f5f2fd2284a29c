"""A look at our own port: is what listens there ready, and is it us?"""

from __future__ import annotations

import asyncio
import http.client


async def look(host: str, port: int, path: str) -> tuple[int, bytes]:
    """The status and the body of a GET. Raises OSError, and ValueError when the answer is no HTTP."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        # HTTP/1.0: the answer ends where the connection does.
        writer.write(b"GET %b HTTP/1.0\r\nhost: localhost\r\n\r\n" % path.encode())
        head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
    finally:
        writer.close()
    protocol, _, rest = head.partition(b" ")
    if not protocol.startswith(b"HTTP/1."):
        raise ValueError("what answered is no HTTP")
    return int(rest[:3]), body


def greeting(host: str, port: int, within_s: float) -> tuple[dict[str, str], bytes]:
    """The headers, in lower case, and the first bytes of what is at `/`; both empty where nothing answers in HTTP."""
    connection = http.client.HTTPConnection(host, port, timeout=within_s)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        return {name.lower(): value for name, value in response.headers.items()}, response.read(100)
    except (OSError, http.client.HTTPException):
        return {}, b""
    finally:
        connection.close()
