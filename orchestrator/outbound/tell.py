"""Tell an address that an operator wrote down, once. What it answers is not read, but for its status."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx

from orchestrator.outbound.connection import USER_AGENT
from orchestrator.outbound.transport import BoundedTransport


async def tell(address: str, body: bytes, headers: Mapping[str, str], *, within_s: float) -> int:
    """Send JSON, and return the status of the answer. A redirect is an answer like any other: nothing follows it.

    Raises ConnectionError, and TimeoutError when that takes longer than `within_s` in all.
    """
    request = httpx.Request(
        "POST",
        address,
        headers={"User-Agent": USER_AGENT, "Content-Type": "application/json", "Connection": "close", **headers},
        content=body,
        extensions={"timeout": httpx.Timeout(within_s).as_dict()},
    )
    transport = BoundedTransport(1)
    try:
        async with asyncio.timeout(within_s):
            response = await transport.handle_async_request(request)
            await response.aclose()
            return response.status_code
    except httpx.HTTPError as error:
        raise ConnectionError(type(error).__name__) from None  # its words may hold the address, which may be secret
    finally:
        await transport.aclose()
