"""Managing models is not there yet. Each route says so, as clients read errors, before it reads a byte of a model."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from orchestrator.api.absent import MODELS

DIGEST = "sha256:" + "0" * 64
ROUTES = [
    ("POST", "/api/pull", {"model": "tiny"}),
    ("POST", "/api/push", {"model": "alice/tiny", "stream": False}),
    ("POST", "/api/create", {"model": "mine", "from": "tiny"}),
    ("POST", "/api/copy", {"source": "tiny", "destination": "mine"}),
    ("DELETE", "/api/delete", {"model": "tiny"}),
    ("POST", f"/api/blobs/{DIGEST}", None),
]


@pytest.mark.parametrize(("method", "path", "body"), ROUTES, ids=[path for _, path, _ in ROUTES])
async def test_a_route_that_manages_models_says_what_to_do_instead(
    client: httpx.AsyncClient, method: str, path: str, body: object
) -> None:
    response = await client.request(method, path, json=body)
    assert (response.status_code, response.json()) == (501, {"error": MODELS})
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert "OLLAMA_MODELS" in MODELS


async def test_a_blob_is_neither_there_nor_asked_for(client: httpx.AsyncClient) -> None:
    response = await client.head(f"/api/blobs/{DIGEST}")
    assert (response.status_code, response.content) == (501, b""), "404 would make a client send it"


async def test_a_model_that_cannot_be_taken_is_not_read_first(client: httpx.AsyncClient) -> None:
    read = 0

    async def gigabytes() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(100):
            read += 1
            yield b"x" * 1024**2

    response = await client.post(f"/api/blobs/{DIGEST}", content=gigabytes())
    assert (response.status_code, response.json()) == (501, {"error": MODELS})
    assert read <= 3
