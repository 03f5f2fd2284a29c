"""What a caller hears in each dialect, streamed or whole: the text, the error, and whether it was called complete."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.shapes import event_data, faults
from tests.speeches import KEY

PATHS = ("/api/chat", "/v1/chat/completions", "/v1/messages", "/v1/responses")
INTERNALS = re.compile(r"Traceback|File \"|\.py\b|\baiohttp\b|\bhttpx\b|0x[0-9a-f]{6}")


@dataclass(frozen=True, slots=True)
class Heard:
    """One response, read to its end.

    is_complete  whether anything in it says that the answer is whole.
    """

    status: int
    headers: httpx.Headers = field(repr=False)
    body: bytes
    text: str
    error: str
    is_complete: bool
    complaints: tuple[str, ...]  # what is not in the dialect's own form, or was not to be shown


def body(path: str, model: str, question: str, *, stream: bool) -> dict[str, Any]:
    """The request that asks it."""
    asked = {"model": model, "stream": stream}
    if path == "/v1/responses":
        return asked | {"input": question}
    return asked | {"messages": [{"role": "user", "content": question}]} | ({"max_tokens": 64} if "ges" in path else {})


async def ask(
    client: httpx.AsyncClient, path: str, model: str, question: str, *, stream: bool, **headers: str
) -> Heard:
    """Ask, and hear it to its end. Underscores in the names of headers stand for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    asked = body(path, model, question, stream=stream)
    async with asyncio.timeout(60):
        response = await client.post(path, json=asked, headers=named, timeout=60)
    return heard(path, response)


async def ask_in_every_way(client: httpx.AsyncClient, model: str, question: str) -> dict[tuple[str, bool], Heard]:
    """At once, in every dialect, streamed and whole; each asks a model of its own, of which nothing is known yet."""
    ways = [(path, stream) for path in PATHS for stream in (False, True)]
    asking = (
        ask(client, path, f"{model}~{number}", question, stream=stream) for number, (path, stream) in enumerate(ways)
    )
    return dict(zip(ways, await asyncio.gather(*asking), strict=True))


async def eventually(found: Callable[[], object], what: str) -> None:
    """Wait until `found` says so."""
    async with asyncio.timeout(60):
        while not found():
            await asyncio.sleep(0.005)
    assert found(), what


def heard(path: str, response: httpx.Response) -> Heard:
    """What a response says."""
    kind, data = response.headers["content-type"], response.content
    complaints = faults("POST", path, response.status_code, kind, data)
    if INTERNALS.search(data.decode()):
        complaints.append("it tells what is inside")
    if KEY.encode() in data:
        complaints.append("it tells our key")
    if kind.startswith("text/event-stream"):
        said = _of_events(path, data)
    elif kind.startswith("application/x-ndjson"):
        said = _of_values(map(json.loads, data.splitlines()), _of_ollama)
    else:
        said = _of_values([json.loads(data)], _WHOLE[path])
    return Heard(response.status_code, response.headers, data, *said, tuple(complaints))


Said = tuple[str, str, bool]  # text, error, whether it is over


def _of_events(path: str, data: bytes) -> Said:
    text, error, is_over = _of_values(map(json.loads, event_data(data)), _STREAMED[path])
    return text, error, is_over or b"[DONE]" in data


def _of_values(values: Iterable[dict[str, Any]], read: Callable[[dict[str, Any]], Said]) -> Said:
    said = [read(value) for value in values]
    assert all(not error for _, error, _ in said[:-1]), "an error is the end"
    return "".join(text for text, _, _ in said), "".join(error for _, error, _ in said), any(over for *_, over in said)


def _error(value: dict[str, Any]) -> str:
    error = value.get("error") or {}
    return str(error["message"]) if error else ""


def _of_ollama(value: dict[str, Any]) -> Said:
    if "error" in value:
        return "", value["error"], False
    return value["message"]["content"], "", value["done"]


def _of_openai(value: dict[str, Any]) -> Said:
    if "error" in value:
        return "", _error(value), False
    choice = (value["choices"] or [{}])[0]
    part = choice.get("delta", choice.get("message", {}))
    return part.get("content") or "", "", bool(choice.get("finish_reason"))


def _of_message(value: dict[str, Any]) -> Said:
    if value["type"] == "error":
        return "", _error(value), False
    return "".join(block["text"] for block in value["content"]), "", bool(value["stop_reason"])


def _of_message_event(value: dict[str, Any]) -> Said:
    if value["type"] == "error":
        return "", _error(value), False
    is_over = value["type"] == "message_stop" or bool(value.get("delta", {}).get("stop_reason"))
    return value.get("delta", {}).get("text", ""), "", is_over


def _of_response(value: dict[str, Any]) -> Said:
    if not value.get("output"):
        return "", _error(value), False
    parts = [part for item in value["output"] for part in item["content"]]
    return "".join(part["text"] for part in parts), "", value["status"] in {"completed", "incomplete"}


def _of_response_event(value: dict[str, Any]) -> Said:
    match value["type"]:
        case "response.output_text.delta":
            return value["delta"], "", False
        case "response.failed":
            return "", _error(value["response"]), False
        case kind:
            return "", "", kind in {"response.completed", "response.incomplete"}


_STREAMED = {
    "/v1/chat/completions": _of_openai,
    "/v1/messages": _of_message_event,
    "/v1/responses": _of_response_event,
}
_WHOLE = {
    "/api/chat": _of_ollama,
    "/v1/chat/completions": _of_openai,
    "/v1/messages": _of_message,
    "/v1/responses": _of_response,
}
