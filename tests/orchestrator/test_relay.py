"""Connections that another process serves: whole and in pieces, both ways, and when it ends or is not there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator import relay as relay_module
from orchestrator.core.headers import DATA_POLICY, PAGE_POLICY
from orchestrator.core.listening import listening_at
from orchestrator.relay import App, Message, Receive, Relay, Send, serving

PATIENCE_S = 20.0
GET: dict[str, Any] = {
    "type": "http",
    "method": "GET",
    "scheme": "https",
    "path": "/dashboard/",
    "raw_path": b"/dashboard/",
    "query_string": b"a=1",
    "headers": [(b"host", b"here"), (b"cookie", b"\xff=1")],
    "client": ("10.0.0.1", 0),
    "server": ("127.0.0.1", 11434),
    "extensions": {"ours": object(), "websocket.http.response": {}},
    "state": object(),
}
TOLD = GET | {"extensions": {"websocket.http.response": {}}}
del TOLD["state"]
SOCKET = GET | {"type": "websocket", "subprotocols": []}
REQUEST: Message = {"type": "http.request", "body": b"", "more_body": False}
START: Message = {"type": "http.response.start", "status": 200, "headers": [(b"x-from", b"there")]}


class Caller:
    """Who asks: what is received is put in, what was sent is kept."""

    def __init__(self, *messages: Message) -> None:
        self.says: asyncio.Queue[Message] = asyncio.Queue()
        self.heard: list[Message] = []
        self.hears = asyncio.Event()
        for message in messages:
            self.says.put_nowait(message)

    async def send(self, message: Message) -> None:
        self.heard.append(message)
        self.hears.set()

    async def ask(self, relay: Relay, scope: dict[str, Any]) -> list[Message]:
        async with asyncio.timeout(PATIENCE_S):
            await relay(scope, self.says.get, self.send)
        return self.heard

    async def something(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.hears.wait()
        self.hears.clear()


def page(text: bytes) -> App:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        await send(START)
        await send({"type": "http.response.body", "body": text, "more_body": False})

    return app


here = page(b"here")
Serve = Callable[[App], Awaitable[None]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pages.sock"


@pytest.fixture
def relay(path: Path, monkeypatch: pytest.MonkeyPatch) -> Relay:
    for deadline in ("CONNECTS_WITHIN_S", "TAKEN_WITHIN_S"):
        monkeypatch.setattr(relay_module, deadline, PATIENCE_S)
    return Relay(path, here)


@pytest.fixture
async def serve(path: Path) -> AsyncIterator[Serve]:
    async with AsyncExitStack() as stack:

        async def serve(app: App) -> None:
            await stack.enter_async_context(there(app, path))

        yield serve


@asynccontextmanager
async def there(app: App, path: Path) -> AsyncIterator[None]:
    with listening_at(path) as listening:
        async with serving(app, listening):
            yield


def body(heard: list[Message]) -> bytes:
    return b"".join(message.get("body", b"") for message in heard)


async def test_another_process_is_told_all_of_a_request_and_its_answer_comes_back(relay: Relay, serve: Serve) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        seen.append(scope)
        seen.extend([await receive(), await receive()])
        await send(START)
        for number in range(300):
            await send({"type": "http.response.body", "body": b"%d," % number * 1000, "more_body": number < 299})

    await serve(app)
    parts = [{"type": "http.request", "body": b"\x00" * 70_000, "more_body": is_first} for is_first in (True, False)]
    heard = await Caller(*parts).ask(relay, GET)
    scope, *received = seen
    assert received == parts
    assert scope == TOLD
    assert [type(scope[name]) for name in ("client", "server")] == [tuple, tuple]
    assert heard[0]["status"] == 200
    assert [tuple(header) for header in heard[0]["headers"]] == START["headers"]
    assert body(heard) == b"".join(b"%d," % number * 1000 for number in range(300))


async def test_while_nobody_is_there_it_is_served_here(relay: Relay, path: Path) -> None:
    assert body(await Caller(REQUEST).ask(relay, GET)) == b"here"
    await asyncio.to_thread(path.touch)  # what is no socket
    assert body(await Caller(REQUEST).ask(relay, GET)) == b"here"


async def test_what_a_hung_process_does_not_take_is_served_here_and_never_there(
    relay: Relay, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its socket takes connections all the same; what it finds later is over by then. No POST is done twice."""
    called: list[bytes] = []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        called.append(scope["query_string"])
        await page(b"there")(scope, receive, send)

    connect: Message = {"type": "websocket.connect"}
    with listening_at(path) as listening:
        monkeypatch.setattr(relay_module, "TAKEN_WITHIN_S", 0.05)
        for scope, first in ((GET, REQUEST), (GET | {"method": "POST"}, REQUEST), (SOCKET, connect)):
            assert body(await Caller(first).ask(relay, scope)) == b"here"
        monkeypatch.setattr(relay_module, "TAKEN_WITHIN_S", PATIENCE_S)
        async with serving(app, listening):
            assert body(await Caller(REQUEST).ask(relay, GET | {"query_string": b"late"})) == b"there"
    assert called == [b"late"]


async def test_many_are_served_at_once_and_apart(relay: Relay, serve: Serve) -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await page(scope["query_string"])(scope, receive, send)

    await serve(app)
    scopes = [GET | {"query_string": b"%d" % number} for number in range(200)]
    heard = await asyncio.gather(*(Caller(REQUEST).ask(relay, scope) for scope in scopes))
    assert [body(one) for one in heard] == [scope["query_string"] for scope in scopes]


async def dies(scope: Any, receive: Receive, send: Send) -> None:
    await receive()
    raise ConnectionAbortedError("killed")


@pytest.mark.parametrize(
    ("method", "status", "said"), [("GET", 200, b"here"), ("HEAD", 200, b"here"), ("POST", 503, b"See whether")]
)
async def test_who_ends_before_an_answer_began_is_asked_no_second_time_for_what_may_be_done(
    relay: Relay, serve: Serve, method: str, status: int, said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    await serve(dies)
    heard = await Caller(REQUEST).ask(relay, GET | {"method": method})
    assert heard[0]["status"] == status
    assert body(heard).startswith(said) or said in body(heard)


@pytest.mark.parametrize(("besides", "is_page"), [((), True), (((b"hx-request", b"true"),), False)])
async def test_what_is_not_known_to_be_done_is_said_on_a_page(
    relay: Relay, serve: Serve, besides: Any, is_page: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    await serve(dies)
    asked = [*GET["headers"], (b"accept", b"text/html,*/*;q=0.8"), *besides]
    heard = await Caller(REQUEST).ask(relay, GET | {"method": "POST", "headers": asked})
    assert heard[0]["status"] == 503
    headers = [name for name, _ in heard[0]["headers"]]
    assert len(set(headers)) == len(headers)
    found = dict(heard[0]["headers"])
    text = body(heard).decode()
    assert ("<h1>Whether it was done is not known.</h1>" in text) == is_page
    assert "ask again if not" in text
    assert found[b"content-type"] == (b"text/html; charset=utf-8" if is_page else b"text/plain; charset=utf-8")
    assert found[b"content-security-policy"] == (PAGE_POLICY if is_page else DATA_POLICY).encode()


async def test_an_answer_that_broke_off_is_not_completed(
    relay: Relay, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ConnectionAbortedError("killed")

    await serve(app)
    heard = await Caller(REQUEST).ask(relay, GET)
    assert body(heard) == b"half"
    assert heard[-1]["more_body"]
    assert "a page failed: /dashboard/" in caplog.text


async def test_what_does_not_begin_is_given_up(
    relay: Relay, serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def hangs(scope: Any, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(relay_module, "BEGINS_WITHIN_S", 0.05)
    await serve(hangs)
    heard = await Caller(REQUEST).ask(relay, GET | {"method": "POST"})
    assert heard[0]["status"] == 503
    assert "did not begin within 0.05 s" in caplog.text


async def test_an_answer_is_waited_for_from_the_last_piece_of_an_upload_on(
    relay: Relay, serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    taken = asyncio.Event()

    async def hangs(scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        taken.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(relay_module, "BEGINS_WITHIN_S", 10 * PATIENCE_S)
    await serve(hangs)
    caller = Caller(REQUEST | {"more_body": True})
    asking = asyncio.create_task(caller.ask(relay, GET | {"method": "POST"}))
    await taken.wait()
    monkeypatch.setattr(relay_module, "BEGINS_WITHIN_S", 0.05)
    caller.says.put_nowait(REQUEST)
    await asking
    assert caller.heard[0]["status"] == 503
    assert "did not begin within 0.05 s" in caplog.text


async def test_who_hangs_up_is_told_to_the_page_and_waited_for_no_longer(relay: Relay, serve: Serve) -> None:
    told = asyncio.Event()

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send(START)
        while (await receive())["type"] != "http.disconnect":
            pass
        assert (await receive())["type"] == "http.disconnect"
        told.set()

    await serve(app)
    assert await Caller(REQUEST, {"type": "http.disconnect"}).ask(relay, GET) == [
        {**START, "headers": [[b"x-from", b"there"]]}
    ]
    async with asyncio.timeout(PATIENCE_S):
        await told.wait()


async def test_a_page_that_goes_on_after_its_reader_has_gone_is_left(
    relay: Relay, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "ENDS_WITHIN_S", 0.05)
    ended = asyncio.Event()

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await send(START)
        await ended.wait()

    await serve(app)
    await Caller(REQUEST, {"type": "http.disconnect"}).ask(relay, GET)
    ended.set()


async def echo(scope: Any, receive: Receive, send: Send) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept", "headers": []})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"].upper()})


async def test_a_websocket_goes_both_ways_until_its_page_leaves(relay: Relay, serve: Serve) -> None:
    await serve(echo)
    caller = Caller({"type": "websocket.connect"})
    asking = asyncio.create_task(caller.ask(relay, SOCKET))
    await caller.something()
    for text in ("one", "two"):
        caller.says.put_nowait({"type": "websocket.receive", "text": text})
        await caller.something()
    caller.says.put_nowait({"type": "websocket.disconnect", "code": 1001})
    assert [message.get("text") for message in await asking] == [None, "ONE", "TWO"]


async def test_a_page_whose_process_ends_is_told_to_come_again(relay: Relay, path: Path) -> None:
    async with there(echo, path):
        caller = Caller({"type": "websocket.connect"})
        asking = asyncio.create_task(caller.ask(relay, SOCKET))
        await caller.something()
    assert (await asking)[-1] == {"type": "websocket.close", "code": 1012}
    assert not await asyncio.to_thread(path.exists)


async def test_a_message_longer_than_there_may_be_ends_a_connection(
    relay: Relay, serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await serve(page(b"x" * 10_000))
    monkeypatch.setattr(relay_module, "MOST_MESSAGE", 5000)
    assert body(await Caller(REQUEST).ask(relay, GET)) == b""
    assert "is more than there may be" in caplog.text
