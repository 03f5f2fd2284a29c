"""The account and the helpers of ollama.com: there is none behind this server, and each of them says so."""

from __future__ import annotations

import httpx
import pytest


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
