"""A body that two readers would end at different places is no request, and nothing within it is taken for one."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.supervisor.http import MOST_HEADERS, BoundedHead
from tests.supervisor.serving import serving
from tests.supervisor.test_http import say

END = b"\r\n\r\n"
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a" + END
LENGTH = b"Content-Length: %d" % len(HIDDEN)
CHUNKED = b"Transfer-Encoding: chunked"


def post(*lines: bytes, body: bytes = b"0" + END + HIDDEN) -> bytes:
    return b"\r\n".join([b"POST / HTTP/1.1", b"Host: a", *lines]) + END + body


def chunks(size: bytes, rest: bytes = b"\r\n") -> bytes:
    return post(CHUNKED, body=size + rest + HIDDEN)


CORPUS = {
    "a length and an encoding": post(b"Content-Length: 6", CHUNKED),
    "an encoding and a length": post(CHUNKED, b"Content-Length: 6"),
    "a length of all and an encoding": post(LENGTH, CHUNKED),
    "two lengths": post(b"Content-Length: 0", LENGTH, body=HIDDEN),
    "two lengths, the other way": post(LENGTH, b"Content-Length: 0", body=HIDDEN),
    "the same length twice": post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello" + HIDDEN),
    "a list of lengths": post(b"Content-Length: 5, 5", body=b"hello" + HIDDEN),
    "a length with a sign": post(b"Content-Length: +5", body=b"hello" + HIDDEN),
    "a length below zero": post(b"Content-Length: -1", body=HIDDEN),
    "a hex length": post(b"Content-Length: 0x5", body=b"hello" + HIDDEN),
    "a length with a blank": post(b"Content-Length: 5 5", body=b"hello" + HIDDEN),
    "a length of letters": post(b"Content-Length: \xb2", body=b"h" + HIDDEN),
    "a length that wraps around": post(b"Content-Length: 18446744073709551616", body=HIDDEN),
    "a blank before the colon": post(b"Content-Length : 5", body=b"hello" + HIDDEN),
    "a blank before the encoding's colon": post(b"Transfer-Encoding : chunked"),
    "a blank before the name": post(b" Transfer-Encoding: chunked"),
    "a folded line": post(b"X: a\r\n Content-Length: 5", b"Transfer-Encoding:\r\n chunked"),
    "a folded length": post(b"Content-Length:\r\n 5", body=b"hello" + HIDDEN),
    "another encoding": post(b"Transfer-Encoding: xchunked"),
    "an encoding twice": post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
    "an encoding after chunked": post(b"Transfer-Encoding: chunked, identity"),
    "a control in the encoding": post(b"Transfer-Encoding: \x0bchunked"),
    "CR in a line": post(b"X: a\rTransfer-Encoding: chunked", b"Content-Length: 0"),
    "LF in a line": post(b"X: a\nContent-Length: 0\n", LENGTH, body=HIDDEN),
    "NUL in a line": post(b"X: \x00", LENGTH, body=HIDDEN),
    "a chunk of no number": chunks(b"zz"),
    "a chunk below zero": chunks(b"-1"),
    "a chunk with a sign": chunks(b"+0"),
    "a chunk in 0x": chunks(b"0x0"),
    "a chunk with a blank": chunks(b" 0"),
    "a chunk that wraps around": chunks(b"10000000000000000"),
    "a chunk that ends in LF": chunks(b"0", b"\n\n"),
    "a chunk that is longer than it says": post(CHUNKED, body=b"1\r\nxx\r\n0" + END + HIDDEN),
    "an extension with LF": chunks(b"5;a=\n"),
    "an extension with CR": chunks(b"5;a=\rb"),
}


class App:
    """Remembers what it took for requests."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.headers: list[tuple[bytes, bytes]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.paths.append(scope["path"])
        self.headers = scope["headers"]
        while (message := await receive()).get("more_body"):
            pass
        if message["type"] != "http.disconnect":
            closing = [(b"content-length", b"0"), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": 200, "headers": closing})
            await send({"type": "http.response.body"})


@pytest.mark.parametrize("name", CORPUS)
async def test_nothing_hidden_is_taken_for_a_request(name: str) -> None:
    app = App()
    async with serving(app, BoundedHead) as place:
        answer = await say(place, CORPUS[name])
    assert "/hidden" not in app.paths
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert HIDDEN[:11] not in answer


async def test_the_hidden_request_is_a_request_where_it_stands_by_itself() -> None:
    app = App()
    async with serving(app, BoundedHead) as place:
        await say(place, HIDDEN)
    assert app.paths == ["/hidden"]


async def test_a_head_of_too_many_lines_is_refused_once() -> None:
    app = App()
    lines = [b"X-%d: x" % number for number in range(MOST_HEADERS)]
    async with serving(app, BoundedHead) as place:
        answer = await say(place, post(*lines, b"Content-Length: 5", body=b"hello") + HIDDEN)
        assert (
            answer == b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
        assert not app.paths
        most = lines[: MOST_HEADERS - 2]  # the host and the length are two
        assert (await say(place, post(*most, b"Content-Length: 0", body=b""))).startswith(b"HTTP/1.1 200 ")
