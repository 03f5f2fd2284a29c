"""When the product as a whole is ready: `GET /readyz` says so."""

from __future__ import annotations

import asyncio
import logging
import time

from orchestrator.env import Address

log = logging.getLogger(__name__)

EVERY_S = 0.05
ANSWER_WITHIN_S = 5.0
PATIENCE_S = 30.0  # after this it is said, once, what is missing
NOT_READY = 503


async def until_ready(address: Address) -> None:
    """Return when the server at `address` says it is ready. Waits as long as it takes; the caller may cancel."""
    began, has_said = time.monotonic(), False
    while True:
        status, body = await _ask(address)
        if status not in {0, NOT_READY}:
            return
        if not has_said and time.monotonic() - began > PATIENCE_S:
            log.warning("not ready yet: %s", body or "no answer from /readyz")
            has_said = True
        await asyncio.sleep(EVERY_S)


async def _ask(address: Address) -> tuple[int, str]:
    """The status and the body's beginning; status 0 when there was no answer."""
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            reader, writer = await asyncio.open_connection(address.host, address.port, limit=64 * 1024)
            try:
                writer.write(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
            finally:
                writer.close()
            return int(head.split(b" ", 2)[1]), body[:1000].decode(errors="replace")
    except (OSError, TimeoutError, ValueError, IndexError):
        return 0, ""
