"""The least a gateway could do, under the product's own server: `python -m bench.floor LISTENING_FD`.

A bare ASGI function that reads the body and answers with the bytes it was given, in as many sends
as the product takes, by one web worker with the product's settings. What the product does beyond
this is the product.

BENCH_ANSWERS  a file: path → {"headers": [[name, value]…], "frames": [text…], "pause_s": seconds}
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from orchestrator.supervisor import web

Answer = tuple[dict[str, Any], list[dict[str, Any]], float]


def read_answers() -> dict[str, Answer]:
    """What to send, by path."""
    found = json.loads(Path(os.environ["BENCH_ANSWERS"]).read_text())
    return {path: messages(**answer) for path, answer in found.items()}


def messages(headers: list[list[str]], frames: list[str], pause_s: float) -> Answer:
    """The ASGI messages of one answer, and how long to wait before each frame but the first."""
    named = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    start = {"type": "http.response.start", "status": 200, "headers": named}
    if len(frames) == 1:
        return start, [{"type": "http.response.body", "body": frames[0].encode("latin-1")}], pause_s
    bodies = [{"type": "http.response.body", "body": frame.encode("latin-1"), "more_body": True} for frame in frames]
    return start, [*bodies, {"type": "http.response.body", "body": b""}], pause_s


answers = read_answers() if "BENCH_ANSWERS" in os.environ else {}


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Read all, send all."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    start, bodies, pause_s = answers[scope["path"]]
    await send(start)
    for number, body in enumerate(bodies):
        if pause_s and 0 < number < len(bodies) - 1:
            await asyncio.sleep(pause_s)
        await send(body)


if __name__ == "__main__":
    web.APPLICATION = "bench.floor:application"  # all else stays the product's
    web.main()
