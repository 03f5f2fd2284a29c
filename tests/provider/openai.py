"""What a provider that speaks OpenAI's protocol can say besides: tools, thoughts, vectors, and nonsense of its own."""

from __future__ import annotations

import json
import struct
from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from tests.provider.line import Line
from tests.provider.log import Call

if TYPE_CHECKING:
    from tests.provider.server import Provider

LISTING = {"object": "list", "data": [{"id": "good"}, {"id": "Big/One"}, {"id": None}, {}]}
DONE = b"data: [DONE]\n\n"


def sse(value: dict[str, Any]) -> bytes:
    """One event."""
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def delta(**fields: Any) -> dict[str, Any]:
    """One piece of an answer."""
    choice = {"index": 0, "delta": fields, "finish_reason": None}
    return {"id": "x", "object": "chat.completion.chunk", "choices": [choice]}


def ended(reason: str = "stop") -> bytes:
    """The end of an answer."""
    return sse({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}) + DONE


def _call(arguments: str, **more: Any) -> bytes:
    call = {"index": 0, "id": "call_1", "function": {"name": "weather", "arguments": arguments}, **more}
    return sse(delta(tool_calls=[call]))


_FIRST = sse(delta(content="Par"))
_COUNTED = sse({"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 2, "total_tokens": 13}})
_GOOD = _FIRST + sse(delta(content="is é🎈")) + ended().replace(DONE, _COUNTED + DONE)
_TOKEN = {
    "token": "Par",
    "logprob": -0.5,
    "bytes": None,
    "top_logprobs": [{"token": "par", "logprob": -2.5, "bytes": [112, 97, 114]}],
}
_LIKELY = delta(content="Par")
_LIKELY["choices"][0]["logprobs"] = {"content": [_TOKEN]}
_STREAMS = {
    "thinks": sse(delta(reasoning_content="Hm.")) + _GOOD,
    "tools": _call('{"ci')
    + sse(delta(tool_calls=[{"index": 0, "function": {"arguments": 'ty":"Rome"}'}}]))
    + ended("tool_calls"),
    "json": sse(delta(content='{"city": "Par')) + sse(delta(content='is"}')) + ended(),
    "bad_tools": _call("[1") + ended(),
    "torn_call": _call('{"text":"' + "x" * 4_000) + _call("x" * 4_000, index=0) + b"data: {torn\n\n",
    "odd_index": _call("{}", index="x") + ended(),
    "odd_shape": sse({"choices": [{"delta": {"content": {"not": "text"}}}]}),
    "filtered": _FIRST + ended("content_filter"),
    "logprobs": sse(_LIKELY) + ended(),
}


def _saying(events: bytes) -> Callable[[Provider, Line, Call], Awaitable[None]]:
    async def behave(provider: Provider, line: Line, call: Call) -> None:
        await line.head()
        await line.chunk(events)
        await line.end()

    return behave


async def _agent(provider: Provider, line: Line, call: Call) -> None:
    """Asks for a tool, and answers once it is told what that said."""
    is_told = call.body["messages"][-1]["role"] == "tool"
    await _saying(_GOOD if is_told else _call('{"city":"Rome"}') + ended("tool_calls"))(provider, line, call)


TALK = {name: _saying(events) for name, events in _STREAMS.items()} | {"agent": _agent}


async def refuse(provider: Provider, line: Line, status: int, headers: dict[str, str]) -> None:
    """Answer with an error, in the words of the API."""
    await line.json(provider.speech.refusal(status), status, headers)


async def vectors(provider: Provider, line: Line, call: Call) -> None:
    """Vectors that tell the place and the length of each text, as the model's name says."""
    behaviour = call.model.removeprefix("embed-")
    if behaviour.isdigit():
        await refuse(provider, line, int(behaviour), {})
        return
    if behaviour == "headers_only":
        await line.head()
    if behaviour in {"silent", "headers_only"}:
        await provider.wait()
    if behaviour == "html":
        await line.whole(b"<html>All is well</html>", headers={"Content-Type": "text/html"})
        return
    numbers = [[float(place), float(len(text)), 0.5] for place, text in enumerate(call.body["input"])]
    made: list[Any] = list(numbers)
    if call.body.get("encoding_format") == "base64" and behaviour != "numbers":
        made = [b64encode(struct.pack("<3f", *one)).decode() for one in numbers]
    data = [{"object": "embedding", "index": place, "embedding": one} for place, one in enumerate(made)]
    tokens = 2_000_000_000 if behaviour == "great" else 4
    match behaviour:
        case "shuffled":
            data.reverse()
        case "short":
            data.pop()
        case "uneven":
            data[-1]["embedding"] = [1.0]
        case "torn":
            data[0]["embedding"] = "AAA="
        case "words":
            data[0]["embedding"] = ["one", "two"]
        case "empty":
            data[0]["embedding"] = []
    await line.json({"object": "list", "data": data, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})
