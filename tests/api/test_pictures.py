"""Pictures by address: refused as Ollama refuses them, unless an operator lets them be fetched."""

from __future__ import annotations

import asyncio
import base64
import struct
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from django.conf import settings

from orchestrator import pictures, wiring
from orchestrator.api.offers import SLOT, Slot
from orchestrator.choosing.trying import tried
from orchestrator.core.errors import Busy
from orchestrator.core.tasks import end
from orchestrator.core.types import Caller, ChatRequest, Message
from orchestrator.parts import Parts
from orchestrator.pictures import MOST_AT_ONCE, MOST_NAMED, Pictures
from routing.rules.checking import read_document
from routing.rules.compiled import RuleSet, compile_rules
from tests.fakes import FakeEngine
from tests.outbound.serving import ALLOWED, Server, response, serving

DIALECTS = ["/v1/chat/completions", "/v1/responses", "/v1/messages"]


def png(width: int = 1, height: int = 1) -> bytes:
    """A picture that says it is so large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")


def question(path: str, *urls: str) -> dict[str, Any]:
    """What is in these pictures, as the dialect of `path` asks it."""
    body: dict[str, Any] = {"model": "openai/big"}
    if path == "/v1/responses":
        parts = [{"type": "input_image", "image_url": url} for url in urls]
        return body | {"input": [{"role": "user", "content": [{"type": "input_text", "text": "What?"}, *parts]}]}
    if path == "/v1/messages":
        parts = [{"type": "image", "source": {"type": "url", "url": url}} for url in urls]
        body["max_tokens"] = 50
    else:
        parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return body | {"messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}, *parts]}]}


@pytest.fixture
async def server(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    """A server of pictures, from which they are fetched."""
    async with serving() as server:
        monkeypatch.setattr(settings, "FETCH_IMAGES", True)
        monkeypatch.setattr(wiring, "_parts", replace(parts, pictures=Pictures(server.rules())))
        server.answers["/a.png"] = response(png(), "Content-Type: image/png")
        yield server


def at(server: Server, path: str = "/a.png") -> str:
    return f"http://{ALLOWED}:{server.port}{path}"


def error(answer: httpx.Response) -> str:
    assert answer.status_code == 400, answer.text
    return str(answer.json()["error"]["message"])


@pytest.mark.parametrize("path", DIALECTS)
async def test_they_are_refused_unless_it_is_allowed(client: httpx.AsyncClient, cloud: FakeEngine, path: str) -> None:
    assert "base64" in error(await client.post(path, json=question(path, "https://x.example/a.png")))
    assert not cloud.asked


@pytest.mark.parametrize("path", DIALECTS)
async def test_a_model_is_shown_what_is_there(
    client: httpx.AsyncClient, cloud: FakeEngine, server: Server, path: str
) -> None:
    answer = await client.post(path, json=question(path, at(server), at(server)))
    assert answer.status_code == 200, answer.text
    shown = base64.b64encode(png()).decode()
    assert [image for message in cloud.asked[0].messages for image in message.images] == [shown, shown]
    assert server.connections == 1


async def test_another_picture_at_the_same_address_is_another_question(
    client: httpx.AsyncClient, cloud: FakeEngine, server: Server
) -> None:
    asked = question(DIALECTS[0], at(server))
    assert "miss" in (await client.post(DIALECTS[0], json=asked)).headers["Cache-Status"]
    assert "hit" in (await client.post(DIALECTS[0], json=asked)).headers["Cache-Status"]
    server.answers["/a.png"] = response(png(2), "Content-Type: image/png")
    assert "miss" in (await client.post(DIALECTS[0], json=asked)).headers["Cache-Status"]
    assert cloud.calls == 2


async def test_pictures_are_held_up_to_a_bound_until_their_requests_are_over(
    client: httpx.AsyncClient, cloud: FakeEngine, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "MOST_HELD", 2 * len(base64.b64encode(png())))
    cloud.gate = asyncio.Event()
    path, asked = DIALECTS[0], question(DIALECTS[0], at(server))
    first = asyncio.create_task(client.post(path, json=asked))
    while not cloud.calls:
        await asyncio.sleep(0)
    refused = await client.post(path, json=asked)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    cloud.gate.set()
    assert (await first).status_code == 200
    again = await asyncio.create_task(client.post(path, json=asked))
    assert again.status_code == 200


def asking(address: str) -> ChatRequest:
    return ChatRequest(model="big", messages=(Message(role="user", content="What?", images=(address,)),))


async def test_a_tenant_that_fetches_much_takes_no_place_from_another(server: Server) -> None:
    """One alone may have all places, and gives up its newest when another comes that has fewer."""
    silent = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silent.wait()

    server.answers["/slow"] = wait
    fetcher = Pictures(server.rules())
    flood = [asyncio.create_task(fetcher.fetched(asking(at(server, "/slow")), 1)) for _ in range(MOST_AT_ONCE)]
    async with asyncio.timeout(60):
        while server.connections < MOST_AT_ONCE:
            await asyncio.sleep(0.001)
    with pytest.raises(Busy):
        await fetcher.fetched(asking(at(server)), 1)
    got = await fetcher.fetched(asking(at(server)), 2)
    assert got.messages[0].images == (base64.b64encode(png()).decode(),)
    with pytest.raises(Busy, match="being fetched"):
        await flood.pop()
    assert not any(one.done() for one in flood)
    await fetcher.fetched(asking(at(server)), 1)  # the place is free again
    flood[0].cancel()
    with pytest.raises(asyncio.CancelledError):  # who hangs up is not told that it was too much
        await flood[0]
    await end(flood)
    silent.set()


async def test_a_tenant_that_holds_much_leaves_room_for_another(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "MOST_HELD", 6 * len(base64.b64encode(png())))
    fetcher = Pictures(server.rules())
    over = asyncio.Event()
    held = 0

    async def hold(tenant: int) -> None:
        nonlocal held
        await fetcher.fetched(asking(at(server)), tenant)
        held += 1
        await over.wait()

    async def holds(tenant: int) -> asyncio.Task[None]:
        before, task = held, asyncio.create_task(hold(tenant))
        async with asyncio.timeout(60):
            while held == before and not task.done():
                await asyncio.sleep(0.001)
        return task

    mine = [await holds(1) for _ in range(5)]
    assert [one.done() for one in mine] == [False] * 4 + [True], "two thirds of it"
    with pytest.raises(Busy, match="held"):
        await mine.pop()
    theirs = await holds(2)
    assert not theirs.done()
    over.set()
    await asyncio.gather(*mine, theirs)
    over.clear()
    again = [await holds(3) for _ in range(4)]
    assert not any(one.done() for one in again)
    over.set()
    await asyncio.gather(*again)


async def test_its_answer_is_not_given_again_unseen(parts: Parts, server: Server) -> None:
    from orchestrator.lean import LeanHandler

    slots = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        slots.append(scope.setdefault(SLOT, Slot()))
        await LeanHandler(1024**2, 10)(scope, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        for named in (question(DIALECTS[0], at(server)), question(DIALECTS[0])):
            for _ in range(2):
                assert (await client.post(DIALECTS[0], json=named)).status_code == 200
    assert [slot.offer is not None for slot in slots] == [False, False, False, True]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (response(b"<svg/>", "Content-Type: image/svg+xml"), "image/svg"),
        (response(b"<html>", "Content-Type: image/png"), "no JPEG, PNG, GIF or WebP"),
        (response(png(100_000, 100_000), "Content-Type: image/png"), "pixels"),
        (response(b"", status="404 Not Found"), "HTTP 404"),
    ],
)
@pytest.mark.parametrize("path", DIALECTS)
async def test_what_is_no_picture_is_refused(
    client: httpx.AsyncClient, cloud: FakeEngine, server: Server, path: str, answer: bytes, words: str
) -> None:
    server.answers["/a.png"] = answer
    assert words in error(await client.post(path, json=question(path, at(server))))
    assert not cloud.asked


@pytest.mark.parametrize("path", DIALECTS)
async def test_no_address_inside_is_fetched(client: httpx.AsyncClient, server: Server, path: str) -> None:
    inside = f"http://127.0.0.1:{server.port}/a.png"
    assert "public internet" in error(await client.post(path, json=question(path, inside)))
    many = [at(server, f"/{place}") for place in range(MOST_NAMED + 1)]
    assert f"name {MOST_NAMED} pictures" in error(await client.post(path, json=question(path, *many)))
    assert server.connections == 0


async def test_a_model_that_sees_nothing_has_nothing_fetched(client: httpx.AsyncClient, server: Server) -> None:
    await client.post(DIALECTS[0], json=question(DIALECTS[0], at(server)) | {"model": "tiny"})
    assert server.connections == 0


class Kept:
    """Rules that stay as they are."""

    def __init__(self, *rules: dict[str, Any]) -> None:
        self._rules = compile_rules(read_document({"rules": list(rules)}), 1)

    async def catch_up(self) -> None:
        pass

    async def aclose(self) -> None:
        pass

    def rules(self) -> RuleSet:
        return self._rules


@pytest.mark.parametrize("path", DIALECTS)
async def test_none_is_fetched_for_what_has_to_stay_here(
    client: httpx.AsyncClient, engine: FakeEngine, server: Server, path: str
) -> None:
    engine.model = replace(engine.model, capabilities=engine.model.capabilities | {"vision"})
    here = {"name": "stays here", "then": {"local_only": True}}
    object.__setattr__(wiring.parts(), "rules", Kept(here))
    for model in ("auto", "tiny", "openai/big"):
        answer = await client.post(path, json=question(path, at(server)) | {"model": model})
        assert answer.status_code == 403, answer.text
        said = answer.json()["error"]["message"]
        assert said.startswith('Forbidden by rule "stays here": nothing may leave this machine, and a picture')
        assert said.endswith("Send it as base64.")
    assert (server.connections, engine.calls) == (0, 0)
    told = await tried(replace(asking(at(server)), model="tiny"), Caller(tenant="acme", tenant_id=1), wiring.parts())
    assert told["refused"] == {"status": 403, "why": said}
    shown = {"role": "user", "content": "What?", "images": [base64.b64encode(png()).decode()]}
    for model in ("auto", "tiny"):
        answer = await client.post("/api/chat", json={"model": model, "stream": False, "messages": [shown]})
        assert answer.status_code == 200, answer.text
    assert engine.calls == 2
