"""How a provider behaves, by the name of the model it is asked for: what goes wrong whatever the API is.

Each behaviour is told the provider, the connection, and the call it answers. What it had to say is said when it
returns. A number is a refusal with that status.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from functools import cache
from typing import TYPE_CHECKING
from wsgiref.handlers import format_date_time

from tests.provider.cuts import cut
from tests.provider.line import Line
from tests.provider.log import Call
from tests.provider.openai import TALK, refuse
from tests.speeches import GOOD

if TYPE_CHECKING:
    from tests.provider.server import Provider

Behaviour = Callable[["Provider", Line, Call], Awaitable[None]]
BEHAVIOURS: dict[str, Behaviour] = {"cut": cut}
LONG_LINE = 50 * 1024**2
ENDLESS = 10**12
PIECE = b"x" * 16_384
OTHER = ("another's ", "answer")  # nobody asked for it


def behaviour_of(model: str) -> Behaviour:
    """What is done for a model, whatever follows a `~` in its name; one that is not known is answered well."""
    model = model.partition("~")[0]
    if model.isdigit():
        return refused(int(model), {"Retry-After": "7"})
    return BEHAVIOURS.get(model) or TALK.get(model) or good


def refused(status: int, headers: dict[str, str]) -> Behaviour:
    async def behave(provider: Provider, line: Line, call: Call) -> None:
        await refuse(provider, line, status, headers)

    return behave


def behaviour(function: Behaviour) -> Behaviour:
    BEHAVIOURS[function.__name__] = function
    return function


def _good(provider: Provider) -> list[bytes]:
    return provider.speech.answer()


def _half(provider: Provider) -> bytes:
    """The beginning of a good answer, and some of its text."""
    frames = _good(provider)
    place = next(place for place, frame in enumerate(frames) if GOOD[0].encode() in frame)
    return b"".join(frames[: place + 1])


def _torn(provider: Provider) -> bytes:
    """An event that is no JSON."""
    return next(frame for frame in _good(provider) if b"{" in frame).replace(b"{", b"{{", 1)


@cache
def _packed() -> bytes:
    return gzip.compress(bytes(100 * 1024**2), 1)


# Good answers, however odd the packets.


@behaviour
async def good(provider: Provider, line: Line, call: Call) -> None:
    await line.head()
    for frame in _good(provider):
        await line.chunk(frame)
    await line.end()


@behaviour
async def crlf(provider: Provider, line: Line, call: Call) -> None:
    """Lines that end as those of HTTP do, after a comment."""
    await line.head()
    lines = b"".join(_good(provider)).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    await line.chunk(provider.speech.silence() + lines)
    await line.end()


@behaviour
async def bytewise(provider: Provider, line: Line, call: Call) -> None:
    """Every byte a chunk of its own."""
    await line.head()
    for byte in b"".join(_good(provider)):
        await line.chunk(bytes([byte]))
    await line.end()


@behaviour
async def split(provider: Provider, line: Line, call: Call) -> None:
    """Packets that end within characters of several bytes, and are read one by one."""
    await line.head()
    data = b"".join(_good(provider))
    pieces = data.replace(b"\xc3", b"\xc3\0").replace(b"\xf0\x9f", b"\xf0\x9f\0").split(b"\0")
    for piece in pieces:
        await line.chunk(piece)
        await asyncio.sleep(0.005)
    await line.end()


@behaviour
async def lengthy_head(provider: Provider, line: Line, call: Call) -> None:
    """Interim responses go before the real one."""
    for _ in range(3):
        await line.raw(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
    await good(provider, line, call)


@behaviour
async def until_closed(provider: Provider, line: Line, call: Call) -> None:
    """A body that is over when the connection is."""
    await line.head(headers={"Connection": "close"})
    await line.raw(b"".join(_good(provider)))
    line.hang_up()


@behaviour
async def after_end(provider: Provider, line: Line, call: Call) -> None:
    """More text after the end of the answer."""
    await line.head()
    await line.chunk(b"".join(_good(provider)) + b"".join(provider.speech.answer(OTHER)))
    await line.end()


@behaviour
async def talks_on(provider: Provider, line: Line, call: Call) -> None:
    """More text after the end of the answer, and it does not stop."""
    await line.head()
    await line.chunk(b"".join(_good(provider)))
    while True:
        await line.chunk(b"".join(provider.speech.answer(OTHER)))


@behaviour
async def answers_twice(provider: Provider, line: Line, call: Call) -> None:
    """A second response that nobody asked for."""
    await good(provider, line, call)
    await line.head()
    await line.chunk(b"".join(provider.speech.answer(OTHER)))
    await line.end()


@behaviour
async def other(provider: Provider, line: Line, call: Call) -> None:
    """A good answer that says something else."""
    await line.head()
    await line.chunk(b"".join(provider.speech.answer(OTHER)))
    await line.end()


@behaviour
async def length(provider: Provider, line: Line, call: Call) -> None:
    await line.head()
    await line.chunk(b"".join(provider.speech.answer(GOOD[:1], reason="length")))
    await line.end()


def _counting(prompt: object, completion: object) -> Behaviour:
    async def behave(provider: Provider, line: Line, call: Call) -> None:
        await line.head()
        await line.chunk(b"".join(provider.speech.answer(usage=None if prompt is None else (prompt, completion))))
        await line.end()

    return behave


BEHAVIOURS["no_usage"] = _counting(None, None)
BEHAVIOURS["absurd_usage"] = _counting(-5, 10**30)
BEHAVIOURS["negative_usage"] = _counting(-5, -7)
BEHAVIOURS["great_usage"] = _counting(2_000_000_000, 2_000_000_000)
BEHAVIOURS["odd_usage"] = _counting("eleven", [2])


# No answer.


BEHAVIOURS["busy_date"] = refused(429, {"Retry-After": format_date_time(4_102_444_800)})
BEHAVIOURS["busy_past"] = refused(429, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})
BEHAVIOURS["busy_nonsense"] = refused(503, {"Retry-After": "soon"})
BEHAVIOURS["busy_for_ever"] = refused(429, {"Retry-After": "1000000000"})
BEHAVIOURS["busy_untold"] = refused(503, {})


@behaviour
async def too_long(provider: Provider, line: Line, call: Call) -> None:
    """The question does not fit into the model."""
    await line.json(provider.speech.refusal(400, "prompt is too long: 9000 tokens > 8192 maximum"), 400)


@behaviour
async def no_credit(provider: Provider, line: Line, call: Call) -> None:
    """No money of ours is left, which is told as if the question were wrong."""
    await line.json(provider.speech.refusal(400, "Your credit balance is too low to access the API."), 400)


@behaviour
async def no_parameter(provider: Provider, line: Line, call: Call) -> None:
    """Something of the request is not for this model."""
    await line.json(provider.speech.refusal(400, "Unsupported parameter: it is not supported with this model."), 400)


@behaviour
async def mute(provider: Provider, line: Line, call: Call) -> None:
    """A refusal whose body does not come."""
    await line.head(503, {"Retry-After": "7"})
    await provider.wait()


@behaviour
async def tells(provider: Provider, line: Line, call: Call) -> None:
    """A refusal that repeats our key."""
    said = " ".join([call.headers.get("authorization", ""), *call.headers.values()])
    await line.json({"error": {"message": f"What is {said}?"}}, 500)


@behaviour
async def silent(provider: Provider, line: Line, call: Call) -> None:
    """Accepted, and no answer."""
    await provider.wait()


@behaviour
async def late(provider: Provider, line: Line, call: Call) -> None:
    """Headers come, when nobody waits for them any more."""
    await asyncio.sleep(provider.late_s)
    await good(provider, line, call)


@behaviour
async def held(provider: Provider, line: Line, call: Call) -> None:
    """A good answer, once the gate opens."""
    await provider.wait()
    await good(provider, line, call)


@behaviour
async def half_head(provider: Provider, line: Line, call: Call) -> None:
    await line.raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-str")
    await provider.wait()


@behaviour
async def headers_only(provider: Provider, line: Line, call: Call) -> None:
    await line.head()
    await provider.wait()


@behaviour
async def comments(provider: Provider, line: Line, call: Call) -> None:
    """Signs of life and nothing else."""
    await line.head()
    while True:
        await line.chunk(provider.speech.silence())
        await asyncio.sleep(0.02)


@behaviour
async def closes(provider: Provider, line: Line, call: Call) -> None:
    """Hung up on, without a word."""
    line.hang_up()


@behaviour
async def resets(provider: Provider, line: Line, call: Call) -> None:
    line.reset()


@behaviour
async def no_http(provider: Provider, line: Line, call: Call) -> None:
    await line.raw(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    await provider.wait()


@behaviour
async def great_headers(provider: Provider, line: Line, call: Call) -> None:
    await line.head(headers={"X-Great": "x" * 65_536})
    await provider.wait()


@behaviour
async def many_headers(provider: Provider, line: Line, call: Call) -> None:
    """Headers without end."""
    await line.raw(b"HTTP/1.1 200 OK\r\n")
    for _ in range(ENDLESS):
        await line.raw(b"X-More: " + b"x" * 4_000 + b"\r\n")


@behaviour
async def interim(provider: Provider, line: Line, call: Call) -> None:
    """Interim responses without end."""
    for _ in range(ENDLESS):
        await line.raw(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")


@behaviour
async def html(provider: Provider, line: Line, call: Call) -> None:
    await line.whole(b"<html>All is well</html>", headers={"Content-Type": "text/html"})


@behaviour
async def no_address(provider: Provider, line: Line, call: Call) -> None:
    """As a server says it that knows no such path."""
    await line.whole(b"404 page not found", status=404, headers={"Content-Type": "text/plain"})


@behaviour
async def empty(provider: Provider, line: Line, call: Call) -> None:
    """A good response that says nothing."""
    await line.whole(b"")


@behaviour
async def no_json(provider: Provider, line: Line, call: Call) -> None:
    await line.head()
    await line.chunk(_torn(provider))
    await line.end()


@behaviour
async def error_first(provider: Provider, line: Line, call: Call) -> None:
    await line.head()
    await line.chunk(provider.speech.trouble())
    await line.end()


@behaviour
async def bomb(provider: Provider, line: Line, call: Call) -> None:
    """A little that is a lot once it is unpacked."""
    await line.whole(_packed(), headers={"Content-Encoding": "gzip"})


@behaviour
async def bomb_refusal(provider: Provider, line: Line, call: Call) -> None:
    await line.whole(_packed(), 500, {"Content-Encoding": "gzip"})


@behaviour
async def long_refusal(provider: Provider, line: Line, call: Call) -> None:
    """A refusal with no end of words."""
    await line.head(500)
    for _ in range(ENDLESS):
        await line.chunk(b"no, and " * 2_000)


@behaviour
async def long_line(provider: Provider, line: Line, call: Call) -> None:
    """One line of 50 MB."""
    await line.head()
    await line.chunk(b"data: ")
    for _ in range(LONG_LINE // len(PIECE)):
        await line.chunk(PIECE)
    await line.end()


def _redirected(status: int) -> Behaviour:
    async def behave(provider: Provider, line: Line, call: Call) -> None:
        await line.json({}, status, {"Location": provider.elsewhere})

    return behave


for _status in (301, 302, 303, 307, 308):
    BEHAVIOURS[f"moved_{_status}"] = _redirected(_status)


# Half an answer.


@behaviour
async def truncated(provider: Provider, line: Line, call: Call) -> None:
    """The response is whole, the answer in it is not."""
    await line.head()
    await line.chunk(_half(provider))
    await line.end()


@behaviour
async def hangs_up(provider: Provider, line: Line, call: Call) -> None:
    """FIN where a chunk should follow."""
    await line.head()
    await line.chunk(_half(provider))
    line.hang_up()


@behaviour
async def torn_chunk(provider: Provider, line: Line, call: Call) -> None:
    """A chunk that is shorter than it says, and FIN."""
    await line.head()
    half = _half(provider)
    await line.raw(b"%x\r\n%b" % (len(half) + 100, half))
    line.hang_up()


@behaviour
async def short_body(provider: Provider, line: Line, call: Call) -> None:
    """A body that is shorter than it says, and FIN."""
    await line.head(headers={"Content-Length": str(len(b"".join(_good(provider))))})
    await line.raw(_half(provider))
    line.hang_up()


@behaviour
async def cut_until_closed(provider: Provider, line: Line, call: Call) -> None:
    """A body that is over when the connection is, which comes too early."""
    await line.head(headers={"Connection": "close"})
    await line.raw(_half(provider))
    line.hang_up()


@behaviour
async def bad_chunk(provider: Provider, line: Line, call: Call) -> None:
    """A chunk of no length."""
    await line.head()
    await line.chunk(_half(provider))
    await line.raw(b"what?\r\n")
    await provider.wait()


@behaviour
async def reset(provider: Provider, line: Line, call: Call) -> None:
    """RST after some text."""
    await line.head()
    await line.chunk(_half(provider))
    line.reset()


@behaviour
async def stall(provider: Provider, line: Line, call: Call) -> None:
    """Silence after some text."""
    await line.head()
    await line.chunk(_half(provider))
    await provider.wait()


@behaviour
async def trickle(provider: Provider, line: Line, call: Call) -> None:
    """Some text, and then a byte a second, or so."""
    await line.head()
    await line.chunk(_half(provider))
    for byte in b"".join(_good(provider)):
        await asyncio.sleep(provider.late_s / 30)
        await line.chunk(bytes([byte]))
    await line.end()


@behaviour
async def slow(provider: Provider, line: Line, call: Call) -> None:
    """The rest comes when the gate opens."""
    half = _half(provider)
    await line.head()
    await line.chunk(half)
    await provider.wait()
    await line.chunk(b"".join(_good(provider))[len(half) :])
    await line.end()


@behaviour
async def garbage(provider: Provider, line: Line, call: Call) -> None:
    """No JSON after some text."""
    await line.head()
    await line.chunk(_half(provider) + _torn(provider))
    await line.end()


@behaviour
async def binary(provider: Provider, line: Line, call: Call) -> None:
    """Bytes that are no text, after some."""
    await line.head()
    await line.chunk(_half(provider) + _torn(provider).replace(b"{{", bytes(range(128, 256)), 1))
    await line.end()


@behaviour
async def error_inside(provider: Provider, line: Line, call: Call) -> None:
    await line.head()
    await line.chunk(_half(provider) + provider.speech.trouble())
    await line.end()


@behaviour
async def endless(provider: Provider, line: Line, call: Call) -> None:
    """Text without end."""
    await line.head()
    frames = provider.speech.answer(["y" * 8_192])
    place = next(place for place, frame in enumerate(frames) if b"yy" in frame)
    await line.chunk(b"".join(frames[:place]))
    for _ in range(ENDLESS):
        await line.chunk(frames[place])


@behaviour
async def endless_line(provider: Provider, line: Line, call: Call) -> None:
    """Some text, and a line without end."""
    await line.head()
    await line.chunk(_half(provider) + b"data: ")
    for _ in range(ENDLESS):
        await line.chunk(PIECE)


@behaviour
async def doubled(provider: Provider, line: Line, call: Call) -> None:
    """Every chunk twice."""
    await line.head()
    for frame in _good(provider):
        await line.chunk(frame + frame)
    await line.end()


@behaviour
async def reordered(provider: Provider, line: Line, call: Call) -> None:
    """The last words first."""
    await line.head()
    for frame in reversed(_good(provider)):
        await line.chunk(frame)
    await line.end()
