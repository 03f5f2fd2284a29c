"""A stream that breaks off after any byte, on a real connection: an error, or all of it; no part is ever kept."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx

from orchestrator.parts import Parts
from tests.faults.conftest import Serve, Start, entry
from tests.provider.cuts import TEXT, THINKING, TOOL, WAYS, name, whole
from tests.speeches import Speech

AT_ONCE = 24
OTHERS = 4  # bytes from one cut in another way to the next
QUESTION = [{"role": "user", "content": "What?"}]
Said = tuple[str, str, list[tuple[str, Any]], str]  # thoughts, text, calls, and how it ended: nothing where it did not
ALL = (THINKING, TEXT, [TOOL], "stop")


async def heard(client: httpx.AsyncClient, model: str, *, is_kept: bool = False) -> tuple[int, Said, str]:
    """The status, what was said, and the error."""
    headers = {"Cache-Control": "only-if-cached"} if is_kept else {}
    response = await client.post("/api/chat", json={"model": model, "messages": QUESTION}, headers=headers, timeout=60)
    lines = [json.loads(line) for line in response.content.splitlines()]
    parts = [line["message"] for line in lines if "message" in line]
    calls = [call["function"] for part in parts for call in part.get("tool_calls", ())]
    said = (
        "".join(part.get("thinking", "") for part in parts),
        "".join(part["content"] for part in parts),
        [(call["name"], call["arguments"]) for call in calls],
        "".join(line.get("done_reason", "") for line in lines),
    )
    return response.status_code, said, "".join(line.get("error", "") for line in lines)


async def test_an_answer_that_breaks_off_after_any_byte_is_an_error_or_all_of_it(
    client: httpx.AsyncClient, parts: Parts, serve: Serve, started: Start, speech: Speech
) -> None:
    provider = await started(speech=speech)
    await serve(entry(speech, provider.address))
    body = whole(speech)
    # Each length in the way that tells least: the connection's end is all there is. In the others the framing tells as
    # well, wherever it is, so it is enough to have each of them all over the answer, and at its end.
    cuts = [(*WAYS[0], length) for length in range(len(body) + 1)]
    cuts += [(*WAYS[1 + place % (len(WAYS) - 1)], length) for place, length in enumerate(range(0, len(body), OTHERS))]
    cuts += [(*way, len(body) - short) for way in WAYS for short in range(3)]
    complete: set[str] = set()
    at_once = asyncio.Semaphore(AT_ONCE)

    async def judge(sent: str, ended: str, length: int) -> None:
        model = f"{speech.name}/{name(sent, ended, length)}"
        async with at_once:
            status, said, error = await heard(client, model)
        if said[-1]:
            assert (status, said, error) == (200, ALL, ""), model
            complete.add(model)
        else:
            assert error, model
            assert status in {200, 502}

    await asyncio.gather(*(judge(*one) for one in dict.fromkeys(cuts)))
    asked = [call.model for call in provider.calls]
    assert len(asked) == len(set(asked)), "nobody is asked twice"
    # One that was to go over a connection that the provider was just closing was not asked, and is an error.
    unasked = {f"{speech.name}/{name(*one)}" for one in dict.fromkeys(cuts)} - {f"{speech.name}/{one}" for one in asked}
    assert not unasked & complete
    assert f"{speech.name}/{name(*WAYS[0], len(body))}" in complete
    assert (await parts.cache.holding_here())["memory"].entries == len(complete), "nothing else was kept"
    for model in complete:
        assert await heard(client, model, is_kept=True) == (200, ALL, ""), model
    assert not len(parts.inflight)
