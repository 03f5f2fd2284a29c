"""Errors under /api: the status and the exact words, row by row."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.core.errors import Busy, EngineCrashed, EngineError
from orchestrator.core.types import ChatRequest, Message
from orchestrator.modelhost.residents import BUSY, Residents
from orchestrator.modelhost.runner import CRASHED
from orchestrator.modelhost.store import Store
from orchestrator.modelhost.threads import Remembered
from tests.api.test_ollama import lines
from tests.contract.facts import HELLO, PROMPT
from tests.fakes import FakeEngine
from tests.modelhost.files import SMALL, gguf
from tests.modelhost.test_residents import USUAL
from tests.modelhost.test_store import put_manifest

CHAT, GENERATE, SHOW, EMBED, EMBEDDINGS = "/api/chat", "/api/generate", "/api/show", "/api/embed", "/api/embeddings"
ALL = (CHAT, GENERATE, SHOW, EMBED, EMBEDDINGS)
PULL_FIRST = 'model "nobody" not found, try pulling it first'
LEVELS = '(must be "high", "medium", "low", "max", true, or false)'


def chatting(**fields: Any) -> dict[str, Any]:
    return HELLO | fields


def generating(**fields: Any) -> dict[str, Any]:
    return PROMPT | fields


def saying(**fields: Any) -> dict[str, Any]:
    return HELLO | {"messages": [{"role": "user", "content": "hello", **fields}]}


ROWS: list[tuple[str, Any, int, str]] = [
    *((path, b"", 400, "missing request body") for path in ALL),
    *((path, b" \n\t", 400, "missing request body") for path in ALL),
    *((path, b'{"model":"tiny"', 400, "unexpected EOF") for path in ALL),
    (CHAT, b"x", 400, "invalid character 'x' looking for beginning of value"),
    (CHAT, b'{"model" 1}', 400, "invalid character '1' after object key"),
    (CHAT, b"{'a': 1}", 400, "invalid character '\\'' looking for beginning of object key string"),
    (GENERATE, b'{"model":"tiny",}', 400, "invalid character '}' looking for beginning of object key string"),
    (
        GENERATE,
        generating(options="hot"),
        400,
        "json: cannot unmarshal string into Go struct field GenerateRequest.options of type map[string]interface {}",
    ),
    (
        CHAT,
        chatting(stream="yes"),
        400,
        "json: cannot unmarshal string into Go struct field ChatRequest.stream of type bool",
    ),
    (
        SHOW,
        {"model": 5},
        400,
        "json: cannot unmarshal number into Go struct field ShowRequest.model of type string",
    ),
    *(
        (path, {"model": 5}, 400, f"json: cannot unmarshal number into Go struct field {struct}.model of type string")
        for path, struct in (
            (CHAT, "ChatRequest"),
            (GENERATE, "GenerateRequest"),
            (EMBED, "EmbedRequest"),
            (EMBEDDINGS, "EmbeddingRequest"),
        )
    ),
    (
        CHAT,
        saying(content=["a"]),
        400,
        "json: cannot unmarshal array into Go struct field ChatRequest.messages.content of type string",
    ),
    # No model is named
    *((path, {"model": name}, 404, "model '' not found") for path in (GENERATE, EMBED) for name in ("", None)),
    *((path, {"model": name}, 400, "model is required") for path in (CHAT, EMBEDDINGS, SHOW) for name in ("", None)),
    # It is no name
    (CHAT, chatting(model="a b"), 400, "invalid model name"),
    (GENERATE, generating(model="m@sha256:0"), 400, "invalid model name"),
    (SHOW, {"model": "-m"}, 400, "invalid model name"),
    # It is not there
    (CHAT, chatting(model="Nobody"), 404, "model 'Nobody' not found"),
    (GENERATE, generating(model="nobody:1b"), 404, "model 'nobody:1b' not found"),
    (SHOW, {"model": "nobody"}, 404, "model 'nobody:latest' not found"),
    (EMBED, {"model": "nobody", "input": "a"}, 404, PULL_FIRST),
    (EMBEDDINGS, {"model": "nobody", "prompt": "a"}, 404, PULL_FIRST),
    # It cannot do that
    *((CHAT, chatting(think=think), 400, '"tiny" does not support thinking') for think in (True, "low", "max")),
    (GENERATE, generating(think=True), 400, '"tiny" does not support thinking'),
    (
        CHAT,
        chatting(tools=[{"type": "function", "function": {"name": "f"}}]),
        400,
        "registry.ollama.ai/library/tiny:latest does not support tools",
    ),
    (GENERATE, generating(suffix="x"), 400, "registry.ollama.ai/library/tiny:latest does not support insert"),
    # A field is wrong
    (CHAT, saying(images=["AA!A"]), 400, "illegal base64 data at input byte 2"),
    (GENERATE, generating(images=["****"]), 400, "illegal base64 data at input byte 0"),
    (CHAT, chatting(think="loud"), 400, f'invalid think value: "loud" {LEVELS}'),
    (GENERATE, generating(think="yes"), 400, f'invalid think value: "yes" {LEVELS}'),
    *(
        (path, body | {"top_logprobs": number}, 400, "top_logprobs must be between 0 and 20")
        for path, body in ((CHAT, HELLO), (GENERATE, PROMPT))
        for number in (-1, 21)
    ),
    *(
        (
            GENERATE,
            generating(raw=True, **{field: value}),
            400,
            "raw mode does not support template, system, or context",
        )
        for field, value in (("template", "x"), ("system", "x"), ("context", [1]))
    ),
    (CHAT, chatting(keep_alive="10"), 400, 'time: missing unit in duration "10"'),
    (CHAT, chatting(keep_alive=""), 400, 'time: invalid duration ""'),
    (CHAT, chatting(keep_alive=True), 400, "Unsupported type: 'bool'"),
    (EMBED, {"model": "tiny", "keep_alive": "1x"}, 400, 'time: unknown unit "x" in duration "1x"'),
]


@pytest.mark.parametrize(
    ("path", "body", "status", "said"), ROWS, ids=[f"{path} {status} {said}" for path, _, status, said in ROWS]
)
async def test_each_mistake_has_its_status_and_its_words(
    client: httpx.AsyncClient, path: str, body: Any, status: int, said: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = await client.post(path, content=content)
    assert (response.status_code, response.json()) == (status, {"error": said})
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize(("path", "verb"), [(GENERATE, "generate"), (CHAT, "chat")])
async def test_a_model_for_embeddings_neither_generates_nor_chats(
    client: httpx.AsyncClient, engine: FakeEngine, path: str, verb: str
) -> None:
    engine.model = replace(engine.model, capabilities=frozenset({"embedding"}))
    response = await client.post(path, json=HELLO | PROMPT)
    assert (response.status_code, response.json()) == (400, {"error": f'"tiny" does not support {verb}'})


async def test_only_401_has_a_second_key(client: httpx.AsyncClient) -> None:
    for path, body in ((CHAT, {}), (SHOW, {"model": "nobody"}), ("/api/me", {}), ("/api/pull", {})):
        value = (await client.post(path, json=body)).json()
        assert list(value) == ["error"]
        assert isinstance(value["error"], str)


def question(**fields: Any) -> ChatRequest:
    return ChatRequest(model="tiny", messages=(Message(role="user", content="hello"),), **fields)


async def test_who_finds_the_queue_full_is_told_to_try_again(
    client: httpx.AsyncClient, engine: FakeEngine, tmp_path: Path
) -> None:
    store = Store(tmp_path / "models")
    put_manifest(store, "registry.ollama.ai/library/tiny/latest", [("model", gguf(SMALL))])
    full = Residents(store, replace(USUAL, queue=0), Remembered(tmp_path / "threads.json"))
    with pytest.raises(Busy) as caught:
        async with aclosing(full.answer(question())) as lines_of_json:
            await anext(lines_of_json)
    await full.close()
    engine.pieces, engine.error = (), caught.value
    response = await client.post(CHAT, json=HELLO)
    assert (response.status_code, response.json()) == (503, {"error": BUSY})
    assert BUSY == "server busy, please try again.  maximum pending requests exceeded"


async def test_a_crash_of_the_runner_is_500_and_points_to_the_logs(
    client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    engine.pieces, engine.error = (), EngineCrashed(CRASHED)
    response = await client.post(CHAT, json=HELLO)
    said = (
        "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error, "
        "check ollama server logs for details"
    )
    assert (response.status_code, response.json()) == (500, {"error": said})


async def test_a_provider_that_cannot_be_reached_is_502(client: httpx.AsyncClient, cloud: FakeEngine) -> None:
    cloud.pieces, cloud.error = (), EngineError("cannot connect")
    response = await client.post(CHAT, json=HELLO | {"model": "openai/big"})
    assert (response.status_code, response.json()) == (502, {"error": "cannot connect"})


async def test_a_caller_who_leaves_stops_the_work_and_is_recorded_as_gone(
    client: httpx.AsyncClient, engine: FakeEngine, recorded: Callable[[int], Any]
) -> None:
    engine.gate = asyncio.Event()
    asking = asyncio.create_task(client.post(CHAT, json=HELLO))
    async with asyncio.timeout(60):
        while not engine.calls:
            await asyncio.sleep(0.01)
        asking.cancel()
        while not engine.closed:
            await asyncio.sleep(0.01)
    (record,) = await recorded(1)
    assert record.outcome == "cancelled"


@pytest.mark.parametrize(("path", "body"), [(CHAT, HELLO), (GENERATE, PROMPT)])
async def test_an_error_before_the_first_chunk_has_its_own_status_though_a_stream_was_asked_for(
    client: httpx.AsyncClient, engine: FakeEngine, path: str, body: dict[str, Any]
) -> None:
    engine.pieces, engine.error = (), EngineError("gone")
    response = await client.post(path, json=body | {"stream": True})
    assert (response.status_code, response.json()) == (502, {"error": "gone"})
    assert response.headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize(("path", "body"), [(CHAT, HELLO), (GENERATE, PROMPT)])
async def test_an_error_later_is_the_last_line_of_a_stream_of_status_200(
    client: httpx.AsyncClient, engine: FakeEngine, path: str, body: dict[str, Any]
) -> None:
    engine.error = EngineError("gone")
    response = await client.post(path, json=body)
    *good, last = lines(response)
    assert (response.status_code, last) == (200, {"error": "gone"})
    assert [line["done"] for line in good] == [False, False]


@pytest.mark.parametrize(("path", "body"), [(CHAT, HELLO), (GENERATE, PROMPT)])
async def test_no_good_chunk_has_an_error_and_no_line_is_blank(
    client: httpx.AsyncClient, engine: FakeEngine, path: str, body: dict[str, Any]
) -> None:
    engine.pieces = ("a\n\nb", "\r\n", "\u2028", "")
    response = await client.post(path, json=body)
    raw = response.content.split(b"\n")
    assert raw.pop() == b""
    assert all(raw)
    assert not any("error" in json.loads(line) for line in raw)
