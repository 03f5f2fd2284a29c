"""POST /api/embed and /api/embeddings: what is not about one endpoint of ours is in tests/api/test_embed.py."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from orchestrator.core.errors import EngineError
from orchestrator.core.types import Chunk
from tests.contract.facts import HELLO
from tests.fakes import FakeEngine
from tests.product import Product

MODEL = "all-minilm"
EMBED, EMBEDDINGS = "/api/embed", "/api/embeddings"
TOO_LONG = "word " * 1000


@pytest.fixture
def running(product: Product) -> Any:
    """A client of the product."""
    with httpx.Client(base_url=product.base_url, timeout=60) as client:
        yield client


def length(vector: list[float]) -> float:
    return math.sqrt(sum(number * number for number in vector))


@pytest.mark.parametrize("given", ["one text", ["one text"], ["one", "two", "three"], [""]])
def test_each_text_has_a_vector_of_length_one(running: httpx.Client, given: Any) -> None:
    answer = running.post(EMBED, json={"model": MODEL, "input": given}).json()
    assert list(answer) == ["model", "embeddings", "total_duration", "load_duration", "prompt_eval_count"]
    assert answer["model"] == MODEL
    assert len(answer["embeddings"]) == (1 if isinstance(given, str) else len(given))
    assert [length(vector) for vector in answer["embeddings"]] == pytest.approx([1.0] * len(answer["embeddings"]))


@pytest.mark.parametrize("name", ["total_duration", "load_duration", "prompt_eval_count"])
def test_the_counts_are_there_and_above_zero(running: httpx.Client, name: str) -> None:
    for _ in range(2):  # the second from cache
        assert running.post(EMBED, json={"model": MODEL, "input": "counted"}).json()[name] > 0


def test_dimensions_below_the_size_cut_a_vector_and_bring_it_to_length_one_again(running: httpx.Client) -> None:
    whole, cut = (
        running.post(EMBED, json={"model": MODEL, "input": "a text", **more}).json()["embeddings"][0]
        for more in ({}, {"dimensions": 16})
    )
    assert (len(whole), len(cut), length(cut)) == (384, 16, pytest.approx(1.0))
    scale = length(whole[:16])
    assert cut == pytest.approx([number / scale for number in whole[:16]], abs=1e-5)


@pytest.mark.parametrize("given", [{}, {"input": None}, {"input": ""}, {"input": []}])
def test_without_a_text_the_model_is_loaded_and_there_are_no_vectors(
    running: httpx.Client, given: dict[str, Any]
) -> None:
    assert running.post(EMBED, json={"model": MODEL, **given}).json() == {"model": MODEL, "embeddings": []}


@pytest.mark.parametrize("given", [7, 1.5, True, {"a": 1}, [1], ["a", 1], [None], [["a"]]])
@pytest.mark.parametrize("model", [MODEL, "nobody"])
async def test_what_is_no_text_is_refused_before_the_model_is_looked_for(
    client: httpx.AsyncClient, model: str, given: Any
) -> None:
    response = await client.post(EMBED, json={"model": model, "input": given})
    assert (response.status_code, response.json()) == (400, {"error": "invalid input type"})


@pytest.mark.parametrize(("truncate", "status"), [(True, 200), (None, 200), (False, 400)])
def test_a_text_that_is_too_long_is_cut_unless_that_is_forbidden(
    running: httpx.Client, truncate: bool | None, status: int
) -> None:
    response = running.post(EMBED, json={"model": MODEL, "input": TOO_LONG, "truncate": truncate})
    assert response.status_code == status
    if status == 400:
        assert response.json() == {"error": "the input length exceeds the context length"}


def test_the_older_endpoint_has_one_key_and_one_vector(running: httpx.Client) -> None:
    answer = running.post(EMBEDDINGS, json={"model": MODEL, "prompt": "a text"}).json()
    assert list(answer) == ["embedding"]
    assert len(answer["embedding"]) == 384


@pytest.mark.parametrize("given", [{}, {"prompt": ""}, {"prompt": None}])
def test_the_older_endpoint_answers_nothing_with_an_empty_vector(running: httpx.Client, given: dict[str, Any]) -> None:
    assert running.post(EMBEDDINGS, json={"model": MODEL, **given}).json() == {"embedding": []}


@pytest.fixture
def fails(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tiny` makes vectors, and fails at it."""

    async def chat(request: Any, model: Any) -> AsyncIterator[Chunk]:
        raise EngineError("gone")
        yield Chunk()

    monkeypatch.setattr(engine, "chat", chat)
    object.__setattr__(engine.model, "capabilities", frozenset({"embedding"}))


@pytest.mark.usefixtures("fails")
@pytest.mark.parametrize(("path", "field"), [(EMBED, "input"), (EMBEDDINGS, "prompt")])
async def test_a_failure_is_an_error_in_plain_json(client: httpx.AsyncClient, path: str, field: str) -> None:
    response = await client.post(path, json={"model": "tiny", field: "a"})
    assert (response.status_code, response.json()) == (502, {"error": "gone"})


async def test_a_model_that_chats_makes_no_vectors(client: httpx.AsyncClient) -> None:
    response = await client.post(EMBED, json=HELLO | {"input": "a"})
    assert (response.status_code, response.json()) == (400, {"error": "this model does not support embeddings"})
