"""A request's head may be neither endless nor endlessly long in coming."""

import asyncio
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest

from orchestrator.core.exchange import EXCHANGE, Exchange
from orchestrator.supervisor.http import MOST_HEAD, BoundedHead
from tests.supervisor.serving import Place, serving

ANSWERS_AFTER_S = 3.0
KEEP_ALIVE_S = 0.5


class Impatient(BoundedHead):
    head_within_s = 0.2


async def hello(scope, receive, send):  # type: ignore[no-untyped-def]
    """Answers after a while, /slow so late that a deadline left armed would show; a POST at once where it may."""
    assert scope["type"] == "http"
    exchange = scope["extensions"][EXCHANGE]
    body = exchange.body()
    if scope["method"] == "POST" and body is not None:
        is_streamed = scope["path"] == "/streamed"
        if exchange.reply(b"x-a: 1\r\n", body[::-1], is_streamed=is_streamed):
            assert not exchange.reply(b"", b"twice", is_streamed=False)
            return
    while (await receive()).get("more_body"):  # hanging up on what is yet to come resets the connection
        pass
    await asyncio.sleep(ANSWERS_AFTER_S if scope["path"] == "/slow" else 0.01)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    async with serving(hello, BoundedHead) as place:
        yield place


async def test_a_slow_answer_is_no_slow_head() -> None:
    class Hasty(BoundedHead):
        head_within_s = ANSWERS_AFTER_S - 0.5  # and no less: the client is in this loop, too

    async with serving(hello, Hasty) as place:
        said = await say(place, b"GET /slow HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    assert said.endswith(b"hello")


async def test_a_head_in_two_pieces_is_read(place: Place) -> None:
    assert (await say(place, b"GET / HTTP/1.1\r\nhost: a\r\n", b"connection: close\r\n\r\n")).endswith(b"hello")


@pytest.mark.parametrize("head", [b"", b"\r\n", b"GET / HT", b"GET / HTTP/1.1\r\nhost: a\r\n"])
async def test_a_head_that_does_not_end_is_refused(head: bytes) -> None:
    async with serving(hello, Impatient) as place:
        assert (await say(place, head)).startswith(b"HTTP/1.1 408 ")


async def test_a_second_head_has_its_deadline_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Later(BoundedHead):
        """Impatient from the second head on."""

    async with serving(hello, Later) as place:
        reader, writer = await asyncio.open_connection(*place)
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert await asyncio.wait_for(reader.readuntil(b"hello"), 60)
        monkeypatch.setattr(Later, "head_within_s", 0.2)
        writer.write(b"GET / HTTP/1.1\r\nhost")
        said = await asyncio.wait_for(reader.read(-1), 60)
        writer.close()
    assert said == b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


async def test_a_head_without_end_is_refused_early(place: Place) -> None:
    answer = await say(place, b"GET / HTTP/1.1\r\n", *[b"x: " + b"y" * 8000 + b"\r\n"] * (MOST_HEAD // 8000 + 1))
    assert answer.startswith(b"HTTP/1.1 431 ")


HEAD = b"GET / HTTP/1.1\r\nhost: a\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"


@pytest.mark.parametrize(
    "begun",
    [
        pytest.param([HEAD + b"\r\n", HEAD], id="behind one that is being answered"),
        pytest.param([HEAD + b"\r\n" + HEAD], id="come with it"),
        pytest.param([CHUNKED + b"0\r\n"], id="after the body"),
    ],
)
@pytest.mark.parametrize("end", [b"\r\n", b""])
async def test_lines_without_end_are_refused_wherever_they_come(begun: list[bytes], end: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    more = [b"x: " + b"y" * 8000 + end, *[(b"x: " if end else b"") + b"y" * 8000 + end] * (MOST_HEAD // 8000)]
    async with serving(app, BoundedHead) as place:
        assert (await say(place, *begun, *more)).startswith(b"HTTP/1.1 431 ")


async def test_lines_after_a_body_are_no_headers() -> None:
    """A proxy in front looks at the headers alone, and says in them who calls."""
    app = Prompt()
    after = b"0\r\nx-forwarded-for: 192.0.2.7\r\n\r\n"
    whole = CHUNKED.replace(b"host: a", b"host: a\r\nconnection: close") + after
    async with serving(app, BoundedHead) as place:
        for pieces in ([whole], [whole[: -len(after)], after]):
            assert answers(await say(place, *pieces)) == [b"later"]
    assert [name for name, _ in app.headers] == [b"host", b"connection", b"transfer-encoding"] * 2


def post(path: str = "/", body: bytes = b"abc", version: str = "1.1", connection: str = "keep-alive") -> bytes:
    head = f"POST {path} HTTP/{version}\r\nhost: a\r\nconnection: {connection}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def answers(said: bytes) -> list[bytes]:
    """The bodies, in order; the heads are read as clients read them."""
    bodies = []
    while said:
        head, said = said.split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        if b"transfer-encoding: chunked" in head:
            size, said = said.split(b"\r\n", 1)
            bodies.append(said[: int(size, 16)])
            assert said[int(size, 16) :].startswith(b"\r\n0\r\n\r\n")
            said = said[int(size, 16) + 7 :]
        else:
            size = head.split(b"content-length: ")[1].split(b"\r\n")[0]
            bodies.append(said[: int(size)])
            said = said[int(size) :]
    return bodies


async def test_a_whole_request_can_be_answered_in_one_write(place: Place) -> None:
    said = await say(place, post(), post("/streamed"), post(connection="close"))
    assert answers(said) == [b"cba"] * 3
    assert said.count(b"x-a: 1\r\n") == 3
    assert said.count(b"connection: close\r\n") == 1


async def test_pipelined_requests_are_answered_in_order(place: Place) -> None:
    get = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
    said = await say(place, post(body=b"12") + get + post("/streamed", b"34") + post(body=b"56", connection="close"))
    assert [said.index(text) for text in (b"21", b"hello", b"43", b"65")] == sorted(
        said.rindex(text) for text in (b"21", b"hello", b"43", b"65")
    )


async def test_a_body_that_comes_late_is_left_to_the_usual_way(place: Place) -> None:
    request = post(connection="close")
    assert (await say(place, request[:-1], request[-1:])).endswith(b"hello")


async def test_a_client_that_knows_no_chunks_gets_none(place: Place) -> None:
    said = await say(place, post("/streamed", version="1.0", connection="close"))
    assert b"chunked" not in said
    assert said.endswith(b"hello")
    assert answers(await say(place, post(version="1.0", connection="close"))) == [b"cba"]


async def say(place: Place, *pieces: bytes, pause_s: float = 0.005) -> bytes:
    """All that comes back until the server hangs up."""
    reader, writer = await asyncio.open_connection(*place)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)  # so that the server sees it as a piece of its own
        return await asyncio.wait_for(reader.read(-1), 60)
    finally:
        writer.close()


class Prompt:
    """Answers some requests without a task, and notes what it was asked so; the others wait for a task's answer."""

    def __init__(self) -> None:
        self.at_once_for: list[str] = []
        self.called_for: list[str] = []
        self.headers: list[tuple[bytes, bytes]] = []

    def at_once(self, scope: Any, exchange: Exchange) -> bool:
        path = scope["path"]
        self.at_once_for.append(path)
        if path == "/broken":
            raise RuntimeError("a fault of its own")
        body = exchange.body()
        assert body is not None, "it is asked for whole requests only"
        if path == "/told-then-broken":
            exchange.reply(b"", body, is_streamed=False)
            raise RuntimeError("a fault of its own")
        return path == "/now" and exchange.reply(b"x-a: 1\r\n", body[::-1], is_streamed=False)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.called_for.append(scope["path"])
        self.headers += scope["headers"]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"later"})


class Reading(Prompt):
    """Reads a body before it answers."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body[::-1]})


async def test_what_can_be_answered_at_once_gets_no_task(caplog: pytest.LogCaptureFixture) -> None:
    app = Prompt()
    async with serving(app, BoundedHead) as place:
        said = await say(place, post("/now") + post("/later") + post("/now", connection="close"))
        assert answers(said) == [b"cba", b"later", b"later"]
        assert (app.at_once_for, app.called_for) == (["/now"], ["/later", "/now"]), "who waits in line has a task"
        request = post("/now", connection="close")
        assert answers(await say(place, request[:-1], request[-1:])) == [b"later"]
        assert app.at_once_for == ["/now"], "a body that comes late"
        assert answers(await say(place, post("/broken"), post("/told-then-broken", connection="close"))) == [
            b"later",
            b"abc",
        ]
    assert app.called_for == ["/later", "/now", "/now", "/broken"], "and each request is answered once"
    assert caplog.text.count("a request could not be answered at once") == 2


@pytest.mark.parametrize("first", ["/now", "/later"])
async def test_who_waits_in_line_with_half_of_a_body_is_answered_when_the_rest_comes(first: str) -> None:
    app = Prompt()
    async with serving(app, BoundedHead) as place:
        second = post("/now", connection="close")
        said = await say(place, post(first) + second[:-1], second[-1:])
    assert answers(said) == [b"cba" if first == "/now" else b"later", b"later"]


async def test_who_waits_in_line_to_be_told_to_go_on_is_told() -> None:
    app = Reading()
    async with serving(app, BoundedHead) as place:
        reader, writer = await asyncio.open_connection(*place)
        second = post("/read", connection="close").replace(b"host: a", b"host: a\r\nexpect: 100-continue")
        writer.write(post("/now") + second[:-3])
        assert await asyncio.wait_for(reader.readuntil(b"100 Continue\r\n\r\n"), 60)
        writer.write(second[-3:])
        assert (await asyncio.wait_for(reader.read(-1), 60)).endswith(b"cba")
        writer.close()


async def test_many_that_come_together_are_all_answered() -> None:
    app = Prompt()
    async with serving(app, BoundedHead) as place:
        said = await asyncio.gather(*(say(place, post("/now", connection="close")) for _ in range(100)))
    assert [answers(one) for one in said] == [[b"cba"]] * 100
    assert (len(app.at_once_for), app.called_for) == (100, [])


async def test_a_connection_is_closed_when_it_was_idle_for_long_enough() -> None:
    async with serving(Prompt(), BoundedHead, timeout_keep_alive=KEEP_ALIVE_S) as place:
        for _ in range(30):
            answered, times = await asked_with_pauses(place, 4)
            if all(later - before < KEEP_ALIVE_S for before, later in pairwise(times[:-1])):
                break  # else the client itself, which is in this loop, may have been silent for so long
    assert answered == 4, "while it is asked it stays"
    assert times[-2] - times[0] > KEEP_ALIVE_S
    assert times[-1] - times[-2] >= KEEP_ALIVE_S


async def asked_with_pauses(place: Place, questions: int) -> tuple[int, list[float]]:
    """How many were answered on one connection; when each was asked, and when the connection ended."""
    reader, writer = await asyncio.open_connection(*place)
    answered, times = 0, []
    try:
        for _ in range(questions):
            times.append(time.monotonic())
            writer.write(post("/later"))
            await asyncio.wait_for(reader.readuntil(b"later"), 60)
            answered += 1
            if answered < questions:
                await asyncio.sleep(0.2)
        assert await asyncio.wait_for(reader.read(-1), 60) == b""
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # it ended before
    times.append(time.monotonic())
    writer.close()
    return answered, times
