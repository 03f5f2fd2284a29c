"""An answer that breaks off after so many bytes, in every way that a body can be sent and a connection can end."""

from __future__ import annotations

import json
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any

from tests.provider.line import Line
from tests.provider.log import Call
from tests.speeches import Speech

if TYPE_CHECKING:
    from tests.provider.server import Provider

THINKING = "Hm"
TEXT = "é🎈"
TOOL = ("f", {"a": "b"})
# What no answer depends on, and what would be said in each event.
ENVELOPE = {"model", "object", "created", "created_at", "provider", "cost_details", "completion_tokens_details"}
SENT = ("until_closed", "chunked", "of_length")
ENDED = ("fin", "rst")
WAYS = tuple(product(SENT, ENDED))


@cache
def whole(speech: Speech) -> bytes:
    """The answer that is cut: thoughts, text, and a call of a tool, in no more bytes than each kind of event needs."""
    return b"".join(map(_short, speech.answer([TEXT], thinking=THINKING, calls=[TOOL])))


def _short(frame: bytes) -> bytes:
    """One event without what is in every event, or says nothing, and without spaces between."""
    start, brace, _ = frame.partition(b"{")
    if not brace:
        return frame
    text = frame[len(start) :].decode()
    value, end = json.JSONDecoder().raw_decode(text)
    value.pop("id", None)  # calls keep theirs
    written = json.dumps(_told(value), ensure_ascii=False, separators=(",", ":"))
    return start + written.encode() + text[end:].encode()


def _told(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _told(one) for key, one in value.items() if key not in ENVELOPE and one is not None}
    return [_told(one) for one in value] if isinstance(value, list) else value


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
        length_of_it = {"Content-Length": str(len(body))} if sent == "of_length" else {}
        # Said in advance even where the length tells the end: or another question would come, and be lost with it.
        await line.head(headers={"Connection": "close", **length_of_it})
        await line.raw(beginning)
    if ended == "fin":
        line.hang_up()
    else:
        line.reset()
