"""An answer that breaks off after so many bytes, in every way that a body can be sent and a connection can end."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from tests.provider.line import Line
from tests.provider.log import Call
from tests.speeches import Speech

if TYPE_CHECKING:
    from tests.provider.server import Provider

THINKING = "Hm."
TOOL = ("weather", {"city": "Rome"})
SENT = ("until_closed", "chunked", "of_length")
ENDED = ("fin", "rst")
WAYS = tuple(product(SENT, ENDED))


def whole(speech: Speech) -> bytes:
    """The answer that is cut: thoughts, text, and a call of a tool."""
    return b"".join(speech.answer(thinking=THINKING, calls=[TOOL]))


def name(sent: str, ended: str, length: int) -> str:
    """The model whose answer breaks off so."""
    return f"cut~{sent}~{ended}~{length}"


async def cut(provider: Provider, line: Line, call: Call) -> None:
    """Break off as the model's name says."""
    _, sent, ended, length = call.model.split("~")
    body = whole(provider.speech)
    beginning = body[: int(length)]
    if sent == "chunked":
        await line.head()
        middle = len(beginning) // 2
        await line.chunk(beginning[:middle])
        await line.chunk(beginning[middle:])
    else:
        await line.head(
            headers={"Connection": "close"} if sent == "until_closed" else {"Content-Length": str(len(body))}
        )
        await line.raw(beginning)
    if ended == "fin":
        line.hang_up()
    else:
        line.reset()
