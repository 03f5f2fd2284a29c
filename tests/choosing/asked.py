"""What the tests of choices ask, and what they read of it afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.models import RouteDecision
from orchestrator.parts import Parts
from tests.keys import issue_key

Publish = Callable[..., Awaitable[None]]
Make = Callable[..., Awaitable[dict[str, str]]]
HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "stream": False}
HELLO_TURN = [{"role": "user", "content": "Hello"}]
BIG = HELLO | {"model": "openai/big"}
AUTO = HELLO | {"model": "auto"}


async def decisions(parts: Parts, count: int) -> list[RouteDecision]:
    """Those that were written, once there are `count`."""
    rows: list[RouteDecision] = []
    async with asyncio.timeout(60):
        while len(rows) < count:
            rows = await parts.reads.run(60, lambda: list(RouteDecision.objects.of(EVERYBODY).order_by("id")))
            await asyncio.sleep(0.01)
    return rows


async def admin(parts: Parts) -> dict[str, str]:
    """The headers that show a key which may see usage."""
    return {"x-api-key": await parts.reads.run(60, lambda: issue_key("boss", "acme", role=Role.ADMIN))}
