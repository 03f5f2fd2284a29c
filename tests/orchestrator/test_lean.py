"""The lean handler at its bounds, spoken to without a server between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard

from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.identity.acting import at_terminal
from orchestrator.identity.issuing import revoke
from orchestrator.lean import BODIES_HELD, HungUp, LeanHandler, _unless_hung_up
from orchestrator.models import ApiKey
from orchestrator.parts import Parts
from tests.fakes import FakeEngine
from tests.keys import issue_key
from tests.product import Product, until

MIB = 1024**2
COMPLETIONS = "/v1/chat/completions"
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


async def test_a_key_that_is_revoked_while_its_body_comes_does_nothing_more(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.lean.ASKED_AGAIN_S", 0)
    key = await parts.reads.run(60, lambda: issue_key("stolen", "acme", role=Role.ADMIN))
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        await parts.reads.run(60, lambda: revoke(at_terminal(), key.split("_")[1]))
        return {"type": "http.request", "body": b'{"name": "to stay", "tenant": "acme"}', "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = SCOPE | {"path": "/api/admin/v1/keys", "headers": [(b"host", b"localhost"), (b"x-api-key", key.encode())]}
    await LeanHandler(1000, 5)(scope, receive, send)  # type: ignore[arg-type]
    assert statuses == [401]
    names = await parts.reads.run(60, lambda: [one.name for one in ApiKey.objects.of(EVERYBODY)])
    assert names == ["stolen"]


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


ZSTD = {"Content-Encoding": "zstd"}


def pack(body: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(body)


async def test_a_zstd_body_is_the_same_question_as_the_plain_one(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    packed = await client.post(COMPLETIONS, content=pack(HELLO), headers=ZSTD)
    assert (packed.status_code, packed.json()["choices"][0]["message"]["content"]) == (200, "four")
    plain = await client.post(COMPLETIONS, content=HELLO)
    assert plain.headers["Cache-Status"] == "orchestrator; hit; detail=memory"
    assert engine.calls == 1


async def test_a_large_zstd_body_is_answered(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    body = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "long story " * 1_000_000}]}).encode()
    response = await client.post(COMPLETIONS, content=pack(body), headers=ZSTD)
    assert response.status_code == 200
    assert len(engine.asked[0].messages[0].content) == 11_000_000


@pytest.mark.parametrize(
    ("body", "encoding", "status", "said"),
    [
        (HELLO, "zstd", 400, "invalid zstd body"),
        (pack(HELLO)[:-3], "zstd", 400, "invalid zstd body: unexpected EOF"),
        (pack(b""), "zstd", 400, "EOF"),
        (b"", "zstd", 400, "EOF"),
        (pack(b"{"), "zstd", 400, "unexpected EOF"),
        (pack(HELLO), "identity", 400, "the body is not UTF-8"),
        (pack(bytes(21 * MIB)), "zstd", 413, "20971520 bytes at most"),
        (HELLO, "gzip", 415, "send the body as zstd"),
        (HELLO, "zstd, gzip", 415, "send the body as zstd"),
    ],
)
async def test_a_body_that_cannot_be_unpacked_is_refused_in_the_callers_dialect(
    client: httpx.AsyncClient, body: bytes, encoding: str, status: int, said: str
) -> None:
    response = await client.post(COMPLETIONS, content=body, headers={"Content-Encoding": encoding})
    assert response.status_code == status, response.text
    assert said in response.json()["error"]["message"]
    assert response.headers["X-Request-Id"]
    assert response.headers.get("Accept-Encoding") == ("zstd" if status == 415 else None)


async def test_a_small_bound_for_bodies_holds_for_what_is_in_them(parts: Parts) -> None:
    statuses: list[int] = []

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    handler = LeanHandler(1000, 5)
    scope = SCOPE | {"path": COMPLETIONS, "headers": [(b"host", b"localhost"), (b"content-encoding", b"zstd")]}
    for body in (pack(HELLO + b" " * 1000), pack(HELLO)):
        await handler(dict(scope), sending(body), send)  # type: ignore[arg-type]
    assert statuses == [413, 200]
    assert handler._held_bytes == 0


async def test_unpacking_does_not_hold_up_the_event_loop(parts: Parts) -> None:
    handler = LeanHandler(32 * MIB, 30)
    body = pack(b"[" + b" " * (20 * MIB - 2) + b"]")
    scope = SCOPE | {"path": COMPLETIONS, "headers": [(b"host", b"localhost"), (b"content-encoding", b"zstd")]}
    inside = asyncio.Event()
    free = asyncio.Event()
    loop = asyncio.get_running_loop()
    run = handler._unpacking.run

    async def watched(deadline_s: float, work: Callable[..., Any], *args: Any) -> Any:
        def slowly() -> Any:
            loop.call_soon_threadsafe(inside.set)
            asyncio.run_coroutine_threadsafe(free.wait(), loop).result(10)  # for ever, were the loop waiting for us
            return work(*args)

        return await run(deadline_s, slowly)

    handler._unpacking.run = watched  # type: ignore[method-assign]
    statuses: list[int] = []

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    asking = asyncio.create_task(handler(scope, sending(body), send))  # type: ignore[arg-type]
    await asyncio.wait_for(inside.wait(), 60)
    await handler(dict(SCOPE), sending(HELLO), send)  # type: ignore[arg-type]
    assert statuses == [200], "somebody else is answered meanwhile"
    free.set()
    await asyncio.wait_for(asking, 60)
    assert statuses == [200, 400], "a list is no request"


async def test_what_may_not_be_packed_is_read_as_it_came(client: httpx.AsyncClient) -> None:
    assert (await client.post("/api/chat", content=HELLO, headers={"Content-Encoding": "gzip"})).status_code == 200
    assert (await client.post("/api/chat", content=pack(HELLO), headers=ZSTD)).status_code == 400
    assert (await client.get(COMPLETIONS, headers={"Content-Encoding": "gzip"})).status_code == 405


async def test_a_stranger_has_nothing_unpacked(
    client: httpx.AsyncClient, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts.identity, "_require_keys", True)
    assert (await client.post(COMPLETIONS, content=b"no zstd", headers=ZSTD)).status_code == 401


def test_a_replay_is_of_the_packed_bytes_with_their_encoding(product: Product) -> None:
    question = json.dumps(
        {
            "model": "smollm2:135m",
            "messages": [{"role": "user", "content": "Say one word, packed."}],
            "max_tokens": 2,
            "seed": 4,
        }
    ).encode()
    with httpx.Client(base_url=product.base_url, timeout=60) as client:
        made = client.post(COMPLETIONS, content=pack(question), headers=ZSTD)
        assert made.status_code == 200, made.text

        def replayed() -> httpx.Response | None:  # it comes from memory first, and then from the front
            again = client.post(COMPLETIONS, content=pack(question), headers=ZSTD)
            return again if again.headers["Server-Timing"].startswith("total;") else None

        again = until(replayed, "a replay")
        assert again.json()["choices"] == made.json()["choices"]
        assert client.post(COMPLETIONS, content=pack(question)).status_code == 400, "without the header it is no JSON"
        assert client.post(COMPLETIONS, content=question, headers=ZSTD).status_code == 400
        other = client.post(COMPLETIONS, content=pack(question), headers={"Content-Encoding": "gzip"})
        assert other.status_code == 415


def test_bombs_from_many_callers_are_refused_and_not_kept(product: Product) -> None:
    bombs = [pack(bytes(640 * MIB)), zstandard.ZstdCompressor(write_content_size=False).compress(bytes(640 * MIB))]
    (pid,) = product.pids("web")

    def most_memory() -> int:
        """The most it ever took, in bytes."""
        return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]) * 1024

    def throw(bomb: bytes) -> int:
        return httpx.post(product.base_url + COMPLETIONS, content=bomb, headers=ZSTD, timeout=60).status_code

    throw(bombs[0])
    before = most_memory()
    with ThreadPoolExecutor(16) as callers:
        statuses = set(callers.map(throw, bombs * 32))
    assert statuses - {503} == {413}, "503 is whose turn did not come in the time that this product gives a body"
    assert most_memory() - before < 40 * MIB
