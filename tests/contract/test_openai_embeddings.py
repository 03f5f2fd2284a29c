"""POST /v1/embeddings, with the model that is built in."""

from __future__ import annotations

import math
from typing import Any

import httpx
import pytest

from tests.api.test_embed import floats
from tests.product import Product

PATH = "/v1/embeddings"
MODEL = "all-minilm"


@pytest.fixture
def running(product: Product) -> Any:
    """A client of the product."""
    with httpx.Client(base_url=product.base_url, timeout=60) as client:
        yield client


@pytest.mark.parametrize("given", ["one text", ["one text", "another"], "", [""]])
def test_each_text_has_a_vector_of_length_one_at_its_place(running: httpx.Client, given: Any) -> None:
    value = running.post(PATH, json={"model": MODEL, "input": given}).json()
    assert (list(value), value["object"], value["model"]) == (["object", "data", "model", "usage"], "list", MODEL)
    texts = [given] if isinstance(given, str) else given
    assert [(one["object"], one["index"]) for one in value["data"]] == [("embedding", i) for i in range(len(texts))]
    for one in value["data"]:
        assert math.hypot(*one["embedding"]) == pytest.approx(1.0)
    assert list(value["usage"]) == ["prompt_tokens", "total_tokens"]
    assert value["usage"]["prompt_tokens"] == value["usage"]["total_tokens"] > 0


@pytest.mark.parametrize("kind", ["base64", "BASE64", "Base64"])
def test_base64_is_of_32_bit_floats_and_the_same_vector(running: httpx.Client, kind: str) -> None:
    ask = {"model": MODEL, "input": "one text"}
    plain, packed = (
        running.post(PATH, json=ask | more).json()["data"][0]["embedding"] for more in ({}, {"encoding_format": kind})
    )
    assert len(floats(packed)) == len(plain) == 384
    assert list(floats(packed)) == pytest.approx(plain, abs=1e-7)


def test_dimensions_cut(running: httpx.Client) -> None:
    (one,) = running.post(PATH, json={"model": MODEL, "input": "one text", "dimensions": 8}).json()["data"]
    assert (len(one["embedding"]), math.hypot(*one["embedding"])) == (8, pytest.approx(1.0))


UNKNOWN = "Invalid value for 'encoding_format' = hex. Supported values: ['float', 'base64']."


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"input": None}, 400, "invalid input"),
        ({}, 400, "invalid input"),
        ({"input": []}, 400, "invalid input"),
        ({"input": [1, 2]}, 400, "invalid input type"),
        ({"input": [[1, 2], [3]]}, 400, "invalid input type"),
        ({"input": "a", "encoding_format": "hex"}, 400, UNKNOWN),
        ({"input": "a", "model": "nobody"}, 404, 'model "nobody" not found, try pulling it first'),
    ],
)
async def test_each_mistake_has_its_words(client: httpx.AsyncClient, body: Any, status: int, said: str) -> None:
    response = await client.post(PATH, json={"model": "tiny", **body})
    assert (response.status_code, response.json()["error"]["message"]) == (status, said)
