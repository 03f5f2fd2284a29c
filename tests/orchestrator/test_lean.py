"""The lean handler at its bounds, spoken to without a server between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from orchestrator.lean import BODIES_HELD, HungUp, LeanHandler, _unless_hung_up
from orchestrator.parts import Parts

HELLO = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}).encode()
SCOPE = {
    "type": "http",
    "http_version": "1.1",
    "method": "POST",
    "path": "/api/chat",
    "query_string": b"",
    "headers": [(b"host", b"localhost")],
    "server": ("127.0.0.1", 1),
    "client": ("127.0.0.1", 2),
}
Receive = Callable[[], Awaitable[dict[str, Any]]]


def sending(*bodies: bytes, more: bool = False) -> Receive:
    """A client that sends these pieces, and then stays."""
    left = list(bodies)

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.Event().wait()
        piece = left.pop(0)
        return {"type": "http.request", "body": piece, "more_body": more or bool(left)}

    return receive


async def test_bodies_that_are_read_at_the_same_time_have_a_bound_together(parts: Parts) -> None:
    handler = LeanHandler(1000, 0.5)
    statuses: list[int] = []

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    slow = [sending(b"x" * 900, more=True) for _ in range(BODIES_HELD + 4)]
    await asyncio.gather(*(handler(dict(SCOPE), receive, send) for receive in slow))  # type: ignore[arg-type]
    assert statuses.count(503) >= 1
    assert set(statuses) == {503, 408}
    await handler(dict(SCOPE), sending(HELLO), send)  # type: ignore[arg-type]
    assert statuses[-1] == 200, "what was refused takes no room"


async def test_a_hang_up_just_as_the_answer_is_done_cancels_nothing_later() -> None:
    gone = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def work() -> str:
        gone.set()
        await asyncio.sleep(0)
        return "done"

    async def ask() -> str:
        done = await _unless_hung_up(work(), receive)
        for _ in range(5):
            await asyncio.sleep(0)  # a stray cancellation would come here
        return done

    for _ in range(3):
        gone.clear()
        (result,) = await asyncio.gather(ask(), return_exceptions=True)
        assert result == "done" or isinstance(result, HungUp)
