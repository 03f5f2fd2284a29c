"""HTTP as Ollama speaks it: routes, verbs, slashes, content types, and how a body is read."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
import zstandard

from orchestrator.parts import Parts
from tests.contract.facts import HELLO, PROMPT
from tests.fakes import FakeEngine
from tests.product import Product

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


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_root_says_that_ollama_is_running(client: httpx.AsyncClient, method: str) -> None:
    response = await client.request(method, "/")
    assert (response.status_code, response.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert response.text == ("" if method == "HEAD" else "Ollama is running")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/api/version", "/api/tags"])
async def test_what_is_asked_for_by_get_may_be_asked_for_by_head(
    client: httpx.AsyncClient, path: str, method: str
) -> None:
    response = await client.request(method, path)
    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert bool(response.content) is (method == "GET")


async def test_the_version_is_one_that_every_client_accepts(client: httpx.AsyncClient) -> None:
    version = (await client.get("/api/version")).json()["version"]
    assert tuple(map(int, version.split("."))) >= (0, 6, 4)


MESSAGE = HELLO | {"max_tokens": 5}
INFERENCE = {
    "/v1/chat/completions": HELLO,
    "/v1/completions": PROMPT,
    "/v1/embeddings": {"model": "tiny"},  # what is missing from it is said in the same shape
    "/v1/responses": {"model": "tiny", "input": "hello"},
    "/v1/messages": MESSAGE,
}


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/api/chat", HELLO | {"stream": False}, "application/json; charset=utf-8"),
        ("/api/generate", PROMPT | {"stream": False}, "application/json; charset=utf-8"),
        ("/api/chat", HELLO, "application/x-ndjson"),
        ("/api/generate", PROMPT, "application/x-ndjson"),
        ("/api/show", {"model": "auto"}, "application/json; charset=utf-8"),
        *((path, body, "application/json") for path, body in INFERENCE.items()),
        *((path, body | {"stream": True}, "text/event-stream") for path, body in INFERENCE.items() if len(body) > 1),
    ],
)
async def test_each_answer_has_the_content_type_that_clients_look_for(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], kind: str
) -> None:
    assert (await client.post(path, json=body)).headers["Content-Type"] == kind


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions", "/v1/messages"])
async def test_a_body_is_json_whatever_its_content_type_says(client: httpx.AsyncClient, path: str, kind: str) -> None:
    response = await client.post(path, content=json.dumps(MESSAGE), headers={"Content-Type": kind})
    assert response.status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        '{"model":"tiny","messages":[{"role":"user","content":"hello"}],"no_such_field":{"a":[1]},"stream":false}',
        '{"MODEL":"tiny","Messages":[{"ROLE":"user","Content":"hello"}],"Stream":false}',
        '{"model":"tiny","messages":[{"role":"user","content":"hello"}],"stream":false}{"model":"nobody"} and more',
        '{"model":"tiny","messages":[{"role":"user","content":"hello","images":null}],"stream":false,"options":null,"format":null}',
    ],
    ids=["a field nobody knows", "names in any case", "more after the first value", "null is absent"],
)
async def test_a_body_is_read_as_leniently_as_go_reads_it(
    client: httpx.AsyncClient, engine: FakeEngine, body: str
) -> None:
    response = await client.post("/api/chat", content=body)
    assert (response.status_code, response.json()["message"]["content"]) == (200, "four")
    (asked,) = engine.asked
    assert [turn.content for turn in asked.messages] == ["hello"]
    assert (asked.options, asked.tools, asked.format, asked.think, asked.truncate) == ({}, (), None, None, True)


@pytest.mark.parametrize("shown", ["Bearer ollama", "Bearer ", "Basic dXNlcjpwYXNz", "anything at all"])
async def test_an_authorization_of_any_value_is_ignored_where_no_key_is_required(
    client: httpx.AsyncClient, parts: Parts, shown: str
) -> None:
    for path in ("/api/chat", "/v1/chat/completions"):
        assert (await client.post(path, json=HELLO, headers={"Authorization": shown})).status_code == 200


@pytest.mark.parametrize("path", INFERENCE)
async def test_a_body_for_inference_under_v1_may_be_packed_with_zstd(client: httpx.AsyncClient, path: str) -> None:
    body = INFERENCE[path]
    plain = await client.post(path, json=body)
    packed = zstandard.ZstdCompressor().compress(json.dumps(body).encode())
    unpacked = await client.post(path, content=packed, headers={"Content-Encoding": "zstd"})
    assert unpacked.status_code == plain.status_code
    assert unpacked.json().keys() == plain.json().keys()


@pytest.mark.parametrize(("mebibytes", "status"), [(19, 200), (21, 413)])
async def test_a_packed_body_may_have_20_mebibytes_when_it_is_unpacked(
    client: httpx.AsyncClient, mebibytes: int, status: int
) -> None:
    body = json.dumps(HELLO).encode() + b" " * (mebibytes * 1024**2)
    packed = zstandard.ZstdCompressor().compress(body)
    response = await client.post("/v1/chat/completions", content=packed, headers={"Content-Encoding": "zstd"})
    assert response.status_code == status


PAGE = {"Origin": "http://localhost:3000"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "told"),
    [
        ("HEAD", "/", {}, 200, {"content-type": "text/plain; charset=utf-8"}),
        ("GET", "/nowhere", {}, 404, {"content-type": "text/plain"}),
        ("GET", "/api/chat", {}, 405, {"content-type": "text/plain", "allow": "POST"}),
        ("GET", "/api/tags/", {}, 301, {"location": "/api/tags"}),
        ("POST", "/api/chat/", {}, 307, {"location": "/api/chat"}),
        ("GET", "/api/version", PAGE, 200, {"access-control-allow-origin": PAGE["Origin"], "vary": "Origin"}),
        ("OPTIONS", "/v1/messages", PAGE | {"Access-Control-Request-Method": "POST"}, 204, {}),
        ("GET", "/api/version", {"Origin": "https://evil.example"}, 403, {"content-length": "0"}),
        ("GET", "/api/version", {"Host": "evil.example"}, 403, {"content-length": "0"}),
        ("GET", "/api/version", {"Host": "localhost"}, 200, {}),
    ],
)
def test_the_running_server_has_the_same_manners(
    product: Product, method: str, path: str, headers: dict[str, str], status: int, told: dict[str, str]
) -> None:
    response = httpx.request(method, product.base_url + path, headers=headers, timeout=30)
    assert response.status_code == status
    assert told.items() <= dict(response.headers).items()
