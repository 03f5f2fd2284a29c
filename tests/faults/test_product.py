"""The product in processes of its own: what is huge takes no memory, and nothing is left under way."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx
import pytest

from tests.faults.dialects import PATHS, ask
from tests.product import Product, until
from tests.provider import Provider
from tests.speeches import GOOD

WAYS = [(path, stream) for path in PATHS for stream in (False, True)]
MOST_MORE = len(WAYS) * 2 * 8 * 1024**2  # bytes of the web worker: twice the longest answer that is taken, for each
HUGE = ("long_line", "endless_line", "endless", "bomb", "bomb_refusal", "long_refusal", "many_headers")


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024


async def ask_all(client: httpx.AsyncClient, name: str) -> None:
    """In every dialect, streamed and whole, at once."""
    asking = (
        ask(client, path, f"openai/{name}~huge{number}", f"{name} {path} {stream}?", stream=stream)
        for number, (path, stream) in enumerate(WAYS)
    )
    for told in await asyncio.gather(*asking):
        assert told.error, name
        assert not told.is_complete
        assert told.complaints == ()


@pytest.mark.parametrize("name", HUGE)
async def test_what_is_huge_is_cut_off_and_takes_little_memory(product: Product, provider: Provider, name: str) -> None:
    (web,) = product.pids("web")
    async with httpx.AsyncClient(base_url=product.base_url, timeout=60) as client:
        right = await ask(client, "/api/chat", "openai/good", f"Before {name}?", stream=True)
        assert right.text == "".join(GOOD)
        before = resident(web)
        await ask_all(client, name)
        assert resident(web) - before <= MOST_MORE
    mine = [call for call in provider.calls if call.model.startswith(f"{name}~huge")]
    until(lambda: not any(call.is_open for call in mine), "the calls to end")
    assert product.pids("web") == [web]


def test_nothing_is_left_under_way(product: Product) -> None:
    def is_quiet() -> bool:
        said = product.get("/metrics")[1].decode()
        found = re.findall(r"^orchestrator_(?:calls_in_flight|listeners)\b.* (\S+)$", said, re.MULTILINE)
        return len(found) >= 2 and set(map(float, found)) == {0.0}

    until(is_quiet, "the gauges to be at zero")
