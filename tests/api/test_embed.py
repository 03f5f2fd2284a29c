"""The three endpoints that give vectors."""

from __future__ import annotations

import struct
from base64 import b64decode
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from orchestrator.core.types import ChatRequest, Chunk, Done, Model, Usage
from tests.fakes import FakeEngine

VECTORS = {"a": (3.0, 4.0, 0.0), "b": (0.0, 0.0, 2.0), "": (1.0, 0.0, 0.0), "zero": (0.0, 0.0, 0.0)}


@pytest.fixture(autouse=True)
def makes_vectors(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tiny` makes vectors of three numbers and does not chat."""

    async def chat(request: ChatRequest, model: Model) -> AsyncGenerator[Chunk, None]:
        engine.calls += 1
        engine.asked.append(request)
        vectors = tuple(struct.pack("<3f", *VECTORS[text]) for text in request.inputs or ())
        yield Chunk(vectors=vectors, done=Done(reason="stop", usage=Usage(prompt_tokens=4, load_ns=3)))

    monkeypatch.setattr(engine, "chat", chat)
    engine.model = replace(engine.model, capabilities=frozenset({"embedding"}))


def floats(text: str) -> tuple[float, ...]:
    data = b64decode(text)
    return struct.unpack(f"<{len(data) // 4}f", data)


async def test_embed_gives_vectors_of_length_1(client: httpx.AsyncClient) -> None:
    answer = (await client.post("/api/embed", json={"model": "tiny", "input": ["a", "b"]})).json()
    assert list(answer) == ["model", "embeddings", "total_duration", "load_duration", "prompt_eval_count"]
    assert answer["model"] == "tiny"
    assert answer["embeddings"] == [[0.6, 0.8, 0.0], [0.0, 0.0, 1.0]], "and 32-bit numbers have no tail"
    assert answer["prompt_eval_count"] == 4
    assert answer["total_duration"] > 0
    one = (await client.post("/api/embed", json={"model": "tiny", "input": "zero"})).json()
    assert one["embeddings"] == [[0.0, 0.0, 0.0]]


async def test_an_option_that_means_nothing_to_vectors_is_said(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.model = replace(engine.model, takes=frozenset({"num_ctx"}))
    for path, asked in (("/api/embed", {"input": "a"}), ("/api/embeddings", {"prompt": "a"})):
        options = {"num_ctx": 9, "temperature": 1, "mirostat": 1}
        answer = await client.post(path, json={"model": "tiny", "options": options} | asked)
        assert answer.headers["X-Orchestrator-Unsupported"] == "mirostat, temperature"
    (question,) = engine.asked
    assert question.options == {"num_ctx": 9}


async def test_dimensions_cut_and_scale_again(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    ask = {"model": "tiny", "input": ["a"]}
    for dimensions, expected in ((1, [1.0]), (2, [0.6, 0.8]), (99, [0.6, 0.8, 0.0]), (0, [0.6, 0.8, 0.0])):
        answer = await client.post("/api/embed", json=ask | {"dimensions": dimensions})
        assert answer.json()["embeddings"] == [expected]
    assert engine.calls == 1, "one vector serves them all"
    assert (await client.post("/api/embed", json=ask | {"dimensions": -1})).status_code == 400


async def test_the_old_endpoint_gives_one_vector_as_it_was_made(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/embeddings", json={"model": "tiny", "prompt": "a"})
    assert answer.json() == {"embedding": [3.0, 4.0, 0.0]}


@pytest.mark.parametrize("kind", ["base64", "Base64", "float", "FLOAT", None])
async def test_openais_gives_numbers_or_base64(client: httpx.AsyncClient, kind: str | None) -> None:
    body = {"model": "tiny", "input": ["a", ""], "encoding_format": kind}
    answer = (await client.post("/v1/embeddings", json=body)).json()
    assert answer["object"] == "list"
    assert answer["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    assert [(one["object"], one["index"]) for one in answer["data"]] == [("embedding", 0), ("embedding", 1)]
    vectors = [one["embedding"] for one in answer["data"]]
    if (kind or "float").lower() == "base64":
        vectors = [list(floats(vector)) for vector in vectors]
    assert vectors == [pytest.approx([0.6, 0.8, 0.0]), [1.0, 0.0, 0.0]]


async def test_one_vector_serves_every_endpoint_and_is_replayed(
    client: httpx.AsyncClient, engine: FakeEngine, recorded: Any
) -> None:
    first = await client.post("/api/embed", json={"model": "tiny", "input": "a"})
    assert first.headers["cache-status"] == "orchestrator; fwd=miss; stored"
    for path, body in (
        ("/api/embed", {"input": ["a"]}),
        ("/api/embeddings", {"prompt": "a"}),
        ("/v1/embeddings", {"input": "a", "encoding_format": "base64"}),
    ):
        answer = await client.post(path, json={"model": "tiny", **body})
        assert answer.headers["cache-status"] == "orchestrator; hit; detail=memory", path
    assert engine.calls == 1
    records = await recorded(4)
    assert [(one.endpoint, one.tier, one.prompt_tokens, one.outcome) for one in records] == [
        ("/api/embed", "miss", 4, "done"),
        ("/api/embed", "memory", 4, "done"),
        ("/api/embeddings", "memory", 4, "done"),
        ("/v1/embeddings", "memory", 4, "done"),
    ]


async def test_nothing_to_embed_loads_the_model(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    for empty in ({}, {"input": None}, {"input": ""}, {"input": []}):
        answer = await client.post("/api/embed", json={"model": "tiny", **empty})
        assert answer.json() == {"model": "tiny", "embeddings": []}
    assert engine.loaded == ["tiny:latest"] * 4
    assert (await client.post("/api/embeddings", json={"model": "tiny"})).json() == {"embedding": []}
    await client.post("/api/embed", json={"model": "tiny", "keep_alive": 0})
    assert engine.loaded == []
    assert (await client.post("/api/embed", json={"model": "tiny", "input": [""]})).json()["embeddings"] == [[1, 0, 0]]


async def test_truncate_and_options_reach_the_engine(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    body = {"model": "tiny", "input": "a", "truncate": False, "options": {"num_ctx": 64}, "keep_alive": "1m"}
    await client.post("/api/embed", json=body)
    asked = engine.asked[-1]
    assert (asked.inputs, asked.truncate, asked.options, asked.keep_alive_s) == (("a",), False, {"num_ctx": 64}, 60.0)


@pytest.mark.parametrize("path", ["/api/embed", "/v1/embeddings"])
@pytest.mark.parametrize("wrong", [7, True, {"a": 1}, [1, 2], [[1, 2]], ["a", None]])
async def test_what_is_no_text_is_refused(client: httpx.AsyncClient, path: str, wrong: object) -> None:
    answer = await client.post(path, json={"model": "not there", "input": wrong})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["message"] if path.startswith("/v1") else error) == "invalid input type"


async def test_too_many_texts_are_refused_with_what_to_do(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/embed", json={"model": "tiny", "input": ["a"] * 2049})
    assert answer.status_code == 400
    assert "send it in parts" in answer.json()["error"]


async def test_errors_are_in_the_callers_dialect(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    for path, body, status, words in (
        ("/api/embed", {"input": "a"}, 404, "model '' not found"),
        ("/api/embeddings", {"prompt": "a"}, 400, "model is required"),
        ("/api/embed", {"model": "none", "input": "a"}, 404, 'model "none" not found, try pulling it first'),
        ("/api/embeddings", {"model": "none", "prompt": "a"}, 404, 'model "none" not found, try pulling it first'),
        (
            "/api/chat",
            {"model": "tiny", "messages": [{"role": "user", "content": "a"}]},
            400,
            '"tiny" does not support chat',
        ),
    ):
        answer = await client.post(path, json=body)
        assert (answer.status_code, answer.json()["error"]) == (status, words)
    for body, status, words in (
        ({"model": "none", "input": "a"}, 404, 'model "none" not found, try pulling it first'),
        ({"model": "tiny"}, 400, "invalid input"),
        ({"model": "tiny", "input": []}, 400, "invalid input"),
        (
            {"model": "tiny", "input": "a", "encoding_format": "hex"},
            400,
            "Invalid value for 'encoding_format' = hex. Supported values: ['float', 'base64'].",
        ),
    ):
        answer = await client.post("/v1/embeddings", json=body)
        assert (answer.status_code, answer.json()["error"]["message"]) == (status, words)
    for path, verb in (
        ("/api/generate", "generate"),
        ("/v1/completions", "generate"),
        ("/v1/chat/completions", "chat"),
    ):
        body = {"model": "tiny", "prompt": "a", "messages": [{"role": "user", "content": "a"}]}
        answer = await client.post(path, json=body)
        assert f"does not support {verb}" in answer.text
    engine.model = replace(engine.model, capabilities=frozenset({"completion"}))
    answer = await client.post("/api/embed", json={"model": "tiny", "input": "a"})
    assert (answer.status_code, answer.json()["error"]) == (400, "this model does not support embeddings")


async def test_auto_finds_a_model_that_makes_vectors(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/embed", json={"model": "auto", "input": "a"})
    assert answer.headers["x-orchestrator-model"] == "tiny:latest"
    assert answer.json()["model"] == "auto"
