"""Which web pages and which host names may speak to the server, for every path and before anything else."""

from __future__ import annotations

import socket

import httpx
import pytest

from tests.orchestrator.test_origins import ask

PAGE = "http://localhost:3000"
ALLOWED = ["http://localhost", "https://localhost", "http://127.0.0.1", "https://127.0.0.1"]
ALLOWED += ["http://0.0.0.0", "https://0.0.0.0", "http://localhost:1", "https://127.0.0.1:65535", "http://0.0.0.0:8080"]
ALLOWED += ["app://obsidian.md", "file://", "tauri://localhost", "vscode-webview://1a2b", "vscode-file://vscode-app"]
REFUSED = ["https://evil.example", "http://localhost.evil.example", "http://127.0.0.1.evil.example", "null"]
EXTENSIONS = ["chrome-extension", "moz-extension", "safari-web-extension"]
STAINLESS = (
    "arch async custom-poll-interval helper-method lang os package-version poll-helper retry-count runtime "
    "runtime-version timeout"
)
HEADERS = ["authorization", "content-type", "user-agent", "accept", "x-requested-with", "openai-beta"]
HEADERS += [f"x-stainless-{name}" for name in STAINLESS.split()]


@pytest.mark.parametrize("origin", [None, "http://localhost:11434", "https://localhost:11434"])
async def test_a_request_of_no_page_or_of_the_servers_own_gets_no_cors_headers(
    client: httpx.AsyncClient, origin: str | None
) -> None:
    response = await client.get("/api/version", headers={"Origin": origin} if origin else {})
    assert response.status_code == 200
    assert not [name for name in response.headers if name.startswith("access-control") or name == "vary"]


@pytest.mark.parametrize("origin", ALLOWED)
async def test_a_local_page_is_always_allowed(client: httpx.AsyncClient, origin: str) -> None:
    response = await client.get("/api/version", headers={"Origin": origin})
    assert (response.status_code, response.headers["Access-Control-Allow-Origin"]) == (200, origin)
    assert response.headers["Vary"] == "Origin"
    assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize("origin", [*REFUSED, *(f"{scheme}://abcdef" for scheme in EXTENSIONS)])
@pytest.mark.parametrize(("method", "path"), [("GET", "/api/version"), ("GET", "/nowhere"), ("PUT", "/api/chat")])
async def test_any_other_page_is_refused_without_a_word_whatever_it_asks_for(
    client: httpx.AsyncClient, method: str, path: str, origin: str
) -> None:
    response = await client.request(method, path, headers={"Origin": origin})
    assert (response.status_code, response.content) == (403, b"")


@pytest.mark.parametrize(("path", "status"), [("/nowhere", 404), ("/api/chat", 405)])
async def test_what_is_not_found_has_the_headers_too(client: httpx.AsyncClient, path: str, status: int) -> None:
    response = await client.get(path, headers={"Origin": PAGE})
    assert (response.status_code, response.headers["Access-Control-Allow-Origin"]) == (status, PAGE)


@pytest.mark.parametrize("scheme", EXTENSIONS)
async def test_a_browser_extension_is_allowed_once_it_is_listed(scheme: str) -> None:
    assert (await ask(origin=f"{scheme}://abcdef", origins=(f"{scheme}://*",))).status_code == 200


@pytest.mark.parametrize(
    ("listed", "origin", "status"),
    [
        ("https://chat.example", "https://chat.example", 200),
        ("https://chat.example", "https://chat.example:8443", 403),
        ("https://*.example", "https://a.b.example", 200),
        ("https://*.example", "https://a.example.evil", 403),
        ("https://chat.example:*", "https://chat.example:8443", 200),
        ("https://chat.example", PAGE, 200),
    ],
)
async def test_listed_origins_are_added_to_the_local_ones_with_one_wildcard_each(
    listed: str, origin: str, status: int
) -> None:
    assert (await ask(origin=origin, origins=(listed,))).status_code == status


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
async def test_a_star_in_the_list_allows_every_page_and_does_not_vary(method: str) -> None:
    response = await ask(
        method, origin="https://anywhere.example", origins=("*",), access_control_request_method="POST"
    )
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "Vary" not in response.headers


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions", "/nowhere"])
async def test_an_allowed_preflight_is_204_and_names_methods_and_age(client: httpx.AsyncClient, path: str) -> None:
    response = await client.options(path, headers={"Origin": PAGE, "Access-Control-Request-Method": "POST"})
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["Access-Control-Allow-Origin"] == PAGE
    assert response.headers["Access-Control-Allow-Methods"] == "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"
    assert response.headers["Access-Control-Max-Age"] == "43200"
    vary = {word.strip().lower() for word in response.headers["Vary"].split(",")}
    assert vary == {"origin", "access-control-request-method", "access-control-request-headers"}


@pytest.mark.parametrize("header", [*HEADERS, "x-api-key", "anthropic-version"])
async def test_a_preflight_allows_every_header_that_browsers_clients_send(
    client: httpx.AsyncClient, header: str
) -> None:
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": header}
    allowed = (await client.options("/api/chat", headers=asked)).headers["Access-Control-Allow-Headers"]
    assert header in allowed.lower().split(",")


async def test_a_preflight_of_a_page_that_is_not_allowed_is_refused(client: httpx.AsyncClient) -> None:
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    response = await client.options("/api/chat", headers=asked)
    assert (response.status_code, response.content) == (403, b"")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("127.0.0.1", 200),
        ("127.8.8.8:11434", 200),
        ("[::1]", 200),
        ("0.0.0.0", 200),  # noqa: S104  # asked for, not bound
        ("10.1.2.3", 200),
        ("172.16.0.1:11434", 200),
        ("192.168.1.7", 200),
        ("[fd00::1]:11434", 200),
        ("", 200),
        (socket.gethostname(), 200),
        (f"{socket.gethostname().upper()}:11434", 200),
        ("app.localhost", 200),
        ("box.local:11434", 200),
        ("host.docker.internal", 200),
        ("example.com", 403),
        ("localhost.example.com", 403),
        ("8.8.8.8", 403),
        ("[2001:4860:4860::8888]:11434", 403),
        ("local", 403),
    ],
)
@pytest.mark.parametrize("path", ["/", "/nowhere"])
async def test_bound_to_loopback_only_hosts_of_this_machine_and_its_network_are_served(
    client: httpx.AsyncClient, path: str, host: str, status: int
) -> None:
    response = await client.get(path, headers={"Host": host})
    assert response.status_code == (404 if status == 200 and path == "/nowhere" else status)
    if status == 403:
        assert response.content == b""


@pytest.mark.parametrize("host", ["example.com", "8.8.8.8:80", "localhost"])
async def test_bound_to_anything_else_every_host_is_served(host: str) -> None:
    assert (await ask(is_loopback=False, host=host)).status_code == 200
