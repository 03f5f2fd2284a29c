"""What is sent to pages: as much as there may be, in time, and what is said of more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from orchestrator.asgi import application
from orchestrator.core.headers import PAGE_POLICY
from orchestrator.parts import Parts
from orchestrator.uploads import Receive, Send, Uploads
from tests.dashboard.site import served

MOST = 1000
PATIENCE_S = 20.0


class Page:
    """Reads what is sent, as Django does, and says how much it was."""

    def __init__(self) -> None:
        self.read = 0
        self.was_told = False
        self.says_at_once = False

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if self.says_at_once:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.was_told = True
                if not self.says_at_once:
                    return
            self.read += len(message.get("body", b""))
            more = message.get("more_body", False)
        if not self.says_at_once:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d" % self.read})


@pytest.fixture
def page() -> Page:
    return Page()


@pytest.fixture
async def address(page: Page) -> AsyncIterator[str]:
    async with served(Uploads(page, MOST, PATIENCE_S)) as address:
        yield address


async def pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * 100


async def post(address: str, content: Any) -> httpx.Response:
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
        return await client.post(address, content=content)


async def test_as_much_as_there_may_be_arrives(address: str) -> None:
    for content in (b"", b"x" * MOST, pieces(MOST // 100)):
        assert (await post(address, content)).status_code == 200


async def test_what_is_announced_to_be_too_large_is_refused_unread(address: str, page: Page) -> None:
    refused = await post(address, b"x" * (MOST + 1))
    assert refused.status_code == 413
    assert refused.text == "What is sent to a page may have 1,000 bytes at most."
    assert refused.headers["cache-control"] == "no-store"
    assert page.read == 0


async def test_what_turns_out_to_be_too_large_is_cut_short(address: str, page: Page) -> None:
    refused = await post(address, pieces(MOST // 100 + 1))
    assert refused.status_code == 413
    assert page.was_told
    assert page.read <= MOST


async def test_what_does_not_arrive_in_time_is_given_up(page: Page) -> None:
    released = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"some"
        await released.wait()

    async with served(Uploads(page, MOST, 0.05)) as address:
        sending = asyncio.create_task(post(address, slowly()))
        async with asyncio.timeout(PATIENCE_S):
            while not page.was_told:
                await asyncio.sleep(0)
        released.set()
        refused = await sending
    assert refused.status_code == 408
    assert "within 0.05 s" in refused.text


@pytest.mark.parametrize(
    ("content", "within_s", "status", "headline"),
    [(b"x" * (MOST + 1), PATIENCE_S, 413, "What was sent is too large"), (None, 0.05, 408, "did not arrive in time")],
)
async def test_who_looks_at_a_page_is_refused_on_one(
    page: Page, content: bytes | None, within_s: float, status: int, headline: str
) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    length = [] if content is None else [(b"content-length", b"%d" % len(content))]
    scope = {"type": "http", "method": "POST", "headers": [(b"accept", b"text/html"), *length]}
    await Uploads(page, MOST, within_s)(scope, receive, send)
    start, shown = sent
    headers = dict(start["headers"])
    assert (start["status"], headers[b"content-type"]) == (status, b"text/html; charset=utf-8")
    assert headers[b"content-security-policy"] == PAGE_POLICY.encode()
    assert headline in shown["body"].decode().partition("<h1>")[2].partition("</h1>")[0]


async def test_what_cannot_be_made_a_page_is_refused_in_words(
    address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: Any) -> str:
        raise OSError("no such file")

    monkeypatch.setattr("dashboard.refusing.render_to_string", fails)
    async with httpx.AsyncClient(timeout=PATIENCE_S, headers={"accept": "text/html"}) as client:
        refused = await client.post(address, content=b"x" * (MOST + 1))
    assert refused.text == "What is sent to a page may have 1,000 bytes at most."
    assert refused.headers["content-type"] == "text/plain; charset=utf-8"
    assert "could not be made a page" in caplog.text


async def test_an_answer_that_has_begun_is_not_answered_twice(address: str, page: Page) -> None:
    page.says_at_once = True
    answer = await post(address, pieces(MOST // 100 + 1))
    assert (answer.status_code, answer.text) == (200, str(page.read))
    assert page.was_told


async def test_pages_are_bounded_as_the_rest_is(parts: Parts, settings: Any) -> None:
    async with served(application) as address:
        assert (await post(f"{address}/dashboard/sign-in/", b"x" * (settings.MAX_BODY + 1))).status_code == 413
