"""Every route of Ollama is there; what needs ollama.com says that there is none; the router's manners are Ollama's."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from orchestrator.api.absent import MODELS

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize("body", [b"", b"null", b'{"query": "rain"}'])
@pytest.mark.parametrize(
    ("method", "path", "status", "answer"),
    [
        ("GET", "/api/status", 200, {"cloud": {"disabled": True, "source": "none"}}),
        ("POST", "/api/me", 403, {"error": "ollama cloud is disabled: account details are unavailable"}),
        ("POST", "/api/signout", 401, {"error": "you are not currently signed in"}),
        ("DELETE", "/api/user/keys/c3NoLWVk", 401, {"error": "you are not currently signed in"}),
        ("POST", "/api/experimental/web_search", 403, {"error": "ollama cloud is disabled: web search is unavailable"}),
        ("POST", "/api/experimental/web_fetch", 403, {"error": "ollama cloud is disabled: web fetch is unavailable"}),
        ("GET", "/api/experimental/model-recommendations", 200, {"recommendations": []}),
    ],
)
async def test_what_needs_ollama_com_answers_as_an_ollama_without_it(
    client: httpx.AsyncClient, method: str, path: str, status: int, answer: object, body: bytes
) -> None:
    response = await client.request(method, path, content=body)
    assert (response.status_code, response.json()) == (status, answer)
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"


ROUTES = """
    HEAD / | GET / | HEAD /api/version | GET /api/version | GET /api/status
    POST /api/generate | POST /api/chat | POST /api/embed | POST /api/embeddings
    HEAD /api/tags | GET /api/tags | GET /api/ps | POST /api/show
    POST /api/pull | POST /api/push | POST /api/create | POST /api/copy | DELETE /api/delete
    HEAD /api/blobs/sha256:00 | POST /api/blobs/sha256:00
    POST /api/me | POST /api/signout | DELETE /api/user/keys/x
    POST /api/experimental/web_search | POST /api/experimental/web_fetch
    GET /api/experimental/model-recommendations
    POST /v1/chat/completions | POST /v1/completions | POST /v1/embeddings
    GET /v1/models | GET /v1/models/tiny | POST /v1/responses | POST /v1/audio/transcriptions | POST /v1/messages
"""
REGISTERED = [tuple(route.split()) for route in ROUTES.replace("\n", "|").split("|") if route.strip()]


@pytest.mark.parametrize(("method", "path"), REGISTERED)
async def test_every_route_of_ollama_is_there(client: httpx.AsyncClient, method: str, path: str) -> None:
    assert len(REGISTERED) == 34
    response = await client.request(method, path)
    assert response.headers["Content-Type"] != "text/plain", f"{response.status_code} {response.text}"
    if method == "HEAD":
        assert response.content == b""
    elif response.status_code >= 400:
        assert response.json()["error"]


@pytest.mark.parametrize(("method", "path"), REGISTERED)
async def test_a_trailing_slash_leads_to_the_bare_path(client: httpx.AsyncClient, method: str, path: str) -> None:
    if path == "/":
        return
    response = await client.request(method, f"{path}/?verbose=1")
    moved = response.status_code, response.headers["Location"]
    assert moved == (301 if method == "GET" else 307, f"{path}?verbose=1")


@pytest.mark.parametrize("path", ["//", "//evil.example/", "/api//tags/", "/api/nothing/", "/api/tags/%0d%0ax/"])
async def test_no_slash_leads_elsewhere(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(f"http://localhost:11434{path}")
    assert (response.status_code, response.text) == (404, "404 page not found")
    assert "Location" not in response.headers


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/api/chat", "POST"),
        ("DELETE", "/api/tags", "GET, HEAD"),
        ("POST", "/", "GET, HEAD"),
        ("HEAD", "/api/ps", "GET"),
        ("HEAD", "/v1/models", "GET"),
        ("POST", "/api/status", "GET"),
        ("POST", "/api/delete", "DELETE"),
        ("GET", "/api/blobs/sha256:00", "HEAD, POST"),
        ("OPTIONS", "/api/chat", "POST"),
        ("POST", "/api/docs", "GET, HEAD"),
        ("PUT", "/api/openapi.json", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(
    client: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    response = await client.request(method, path)
    assert (response.status_code, response.headers["Allow"]) == (405, allowed)
    assert response.headers["Content-Type"] == "text/plain"
    assert response.text == ("" if method == "HEAD" else "405 method not allowed")


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
async def test_an_unknown_path_is_plain_text(client: httpx.AsyncClient, method: str) -> None:
    response = await client.request(method, "/metrics/nothing")
    assert (response.status_code, response.headers["Content-Type"]) == (404, "text/plain")
    assert response.text == ("" if method == "HEAD" else "404 page not found")


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
    assert (await client.head(f"/api/blobs/{DIGEST}")).status_code == 501
