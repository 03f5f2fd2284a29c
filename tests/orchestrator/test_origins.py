"""Which web pages and host names may speak to the server."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from orchestrator.origins import Origins


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def ask(
    method: str = "GET", is_loopback: bool = True, origins: tuple[str, ...] = (), **headers: str
) -> httpx.Response:
    app = Origins(hello, origins=origins, is_loopback=is_loopback, hosts=())  # type: ignore[arg-type]  # a plain function
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:11434") as client:
        return await client.request(
            method, "/", headers={name.replace("_", "-"): value for name, value in headers.items()}
        )


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:3000",
        "https://127.0.0.1",
        "http://0.0.0.0:8080",
        "http://[::1]:5173",
        "app://obsidian.md",
        "vscode-webview://abc",
        "tauri://localhost",
    ],
)
async def test_local_pages_may_call(origin: str) -> None:
    response = await ask(origin=origin)
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == origin
    assert response.headers["Vary"] == "Origin"
    assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://localhost.evil.example",
        "https://evil.example/localhost",
        "null",
        "http://[",
        "chrome-extension://abc",
    ],
)
async def test_other_pages_may_not(origin: str) -> None:
    response = await ask(origin=origin)
    assert (response.status_code, response.content) == (403, b"")


async def test_a_page_of_the_server_itself_needs_no_leave() -> None:
    response = await ask(origin="http://localhost:11434")
    assert response.status_code == 200
    assert "Access-Control-Allow-Origin" not in response.headers


async def test_listed_origins_are_allowed_with_one_wildcard() -> None:
    allowed = ("https://*.example.com",)
    assert (await ask(origin="https://chat.example.com", origins=allowed)).status_code == 200
    assert (await ask(origin="https://chat.example.org", origins=allowed)).status_code == 403


async def test_a_star_allows_all_and_says_so() -> None:
    response = await ask(origin="https://anywhere.example", origins=("*",))
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "Vary" not in response.headers


async def test_a_preflight_is_answered_here() -> None:
    response = await ask("OPTIONS", origin="http://localhost:3000", access_control_request_method="POST")
    assert response.status_code == 204
    assert response.headers["Access-Control-Max-Age"] == "43200"
    assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
    assert "X-Api-Key" in response.headers["Access-Control-Allow-Headers"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:11434", 200),
        ("127.0.0.1:11434", 200),
        ("192.168.1.7", 200),
        ("[::1]:11434", 200),
        ("box.local", 200),
        ("host.docker.internal:11434", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("8.8.8.8", 403),
    ],
)
async def test_on_loopback_only_local_host_names_are_served(host: str, status: int) -> None:
    assert (await ask(host=host)).status_code == status


async def test_beyond_loopback_any_host_name_is_served() -> None:
    assert (await ask(is_loopback=False, host="ai.example.com")).status_code == 200
