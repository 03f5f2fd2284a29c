"""The API describes itself truly: the kept file is what the code makes, and every example is answered as it says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from ninja.openapi.schema import get_schema
from playwright.async_api import Browser, Page, expect
from pydantic.json_schema import models_json_schema

from orchestrator.api import answers, description
from orchestrator.api.absent import ABSENT
from orchestrator.api.table import api
from orchestrator.asgi import application
from orchestrator.core.permissions import Role
from orchestrator.parts import Health, Parts
from tests.dashboard.site import served
from tests.keys import issue_key
from tests.product import Product, registry_kept
from tests.shapes import KEPT, faults, misfits

RENEW = (
    ".venv/bin/python manage.py export_openapi_schema --api orchestrator.api.table.api --indent 1 --output"
    " docs/openapi.json"
)
OPERATIONS = [
    (method, path, operation)
    for path, methods in api.get_openapi_schema()["paths"].items()
    for method, operation in methods.items()
]
IDS = [f"{method} {path}" for method, path, _ in OPERATIONS]
every_operation = pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=IDS)


def test_the_kept_description_is_what_the_code_makes() -> None:
    assert json.loads(KEPT.read_text()) == json.loads(json.dumps(api.get_openapi_schema())), f"Renew it: {RENEW}"


async def test_it_is_served_as_it_is_kept(client: httpx.AsyncClient) -> None:
    response = await client.get("/api/openapi.json")
    assert response.json() == json.loads(KEPT.read_text()), f"Renew it: {RENEW}"


@every_operation
def test_every_operation_says_what_it_does_and_how_it_fails(method: str, path: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"].strip().endswith((".", "`"))
    responses = operation["responses"]
    assert ("200" in responses) == (path not in description.REFUSED)
    (shape,) = {
        failure["content"]["application/json"]["schema"]["$ref"]
        for status, failure in responses.items()
        if status != "200" and not (status == "503" and path in description.NOT_READY)
    }
    assert shape.endswith(dialect_error(path))


@every_operation
def test_every_answer_has_a_shape_and_every_body_a_shape_and_an_example(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    shapes = api.get_openapi_schema()["components"]["schemas"]
    for response in operation["responses"].values():
        assert response.get("content") or (method == "head" and response["description"] == "Answered.")
        for kind, media in response.get("content", {}).items():
            if kind in description.NOT_JSON.get(path, ()):
                continue
            if kind == "application/json":
                found = [media["schema"]]
            else:
                found = media["x-itemSchema"].get("anyOf", [media["x-itemSchema"]])
            for schema in found:
                shape = shapes[schema["$ref"].rpartition("/")[2]]
                assert shape.get("additionalProperties") is False or "oneOf" in shape
    if "requestBody" in operation:
        media = operation["requestBody"]["content"]["application/json"]
        assert misfits(media["schema"], media["example"]) == []


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/api/chat", {"keep_alive": "5m"}),
        ("/api/chat", {"keep_alive": -1}),
        ("/api/chat", {"think": "high", "format": "json", "options": {"temperature": 0.5, "stop": ["x"]}}),
        ("/api/chat", {"think": False, "format": {"type": "object"}}),
        ("/api/chat", {"messages": [{"role": "tool", "content": "x", "tool_name": "y"}], "tools": [{}]}),
        ("/api/generate", {"prompt": "x", "system": "y", "context": [1], "images": ["aGk="]}),
        ("/api/embed", {"input": "x", "truncate": False, "dimensions": 3}),
        ("/v1/embeddings", {"input": ["x"], "encoding_format": "base64"}),
        ("/v1/chat/completions", {"stop": "x", "response_format": {"type": "json_object"}}),
        ("/v1/completions", {"prompt": ["x"], "stop": ["x"], "logprobs": 2}),
        ("/v1/responses", {"input": [{"role": "user", "content": "x"}], "reasoning": {"effort": "low"}}),
        ("/v1/messages", {"system": [{"type": "text", "text": "x"}], "thinking": {"type": "enabled"}}),
    ],
)
async def test_what_is_taken_fits_the_shape_of_its_body(
    client: httpx.AsyncClient, path: str, fields: dict[str, Any]
) -> None:
    body = description.EXAMPLES[path] | fields | {"model": "nope"}
    media = api.get_openapi_schema()["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    assert misfits(media["schema"], body) == []
    assert (await client.post(path, json=body)).status_code == 404, "it was read, and there is no such model"


@pytest.mark.parametrize(
    "fields", [{"keep_alive": []}, {"think": "loud"}, {"format": "xml"}, {"options": 1}, {"messages": [{"role": "x"}]}]
)
async def test_what_is_not_taken_does_not_fit(client: httpx.AsyncClient, fields: dict[str, Any]) -> None:
    body = description.EXAMPLES["/api/chat"] | fields | {"model": "nope"}
    media = api.get_openapi_schema()["paths"]["/api/chat"]["post"]["requestBody"]["content"]["application/json"]
    assert misfits(media["schema"], body)
    assert (await client.post("/api/chat", json=body)).status_code == 400


def test_shapes_of_bodies_and_of_answers_have_names_of_their_own() -> None:
    bodies = {name.rpartition("/")[2] for name in references(get_schema(api=api))}
    tables = (*answers.ANSWERS.values(), *(one for many in answers.STREAMED.values() for one in many), *answers.ERRORS)
    _, found = models_json_schema([(model, "serialization") for model in set(tables)])
    assert bodies
    assert bodies.isdisjoint(found["$defs"])
    assert not [name for name in found["$defs"] if "__" in name], "pydantic tells two of one name apart so"


def references(value: Any) -> set[str]:
    return {name for name in json.dumps(value).split('"') if name.startswith("#/components/schemas/")}


def dialect_error(path: str) -> str:
    if path.startswith("/v1/messages"):
        return "/AnthropicError"
    if path.startswith("/api/admin/"):
        return "/ManagementError"
    return "/OpenAIError" if path.startswith("/v1/") else "/OllamaError"


def test_no_two_operations_have_one_name() -> None:
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(set(names)) == len(names)


def test_every_reference_leads_somewhere() -> None:
    schema = api.get_openapi_schema()
    found = {name for name in json.dumps(schema).split('"') if name.startswith("#/")}
    assert found
    assert found <= {f"#/components/schemas/{name}" for name in schema["components"]["schemas"]}


def test_what_is_described_here_is_there() -> None:
    """A path that is gone, or misspelt, would be described for nobody."""
    paths = {path for _, path, _ in OPERATIONS}
    later = {path for _, path in ABSENT}
    named = {
        *description.STREAMS,
        *description.EXAMPLES,
        *description.OPEN,
        *description.NOT_JSON,
        *description.NOT_READY,
    }
    assert named <= paths | later
    assert answers.ANSWERS.keys() <= {(method, path) for method, path, _ in OPERATIONS}
    assert answers.STREAMED.keys() == description.STREAMS.keys()


@every_operation
async def test_a_key_is_asked_for_where_it_says_so(
    client: httpx.AsyncClient,
    parts: Parts,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    path: str,
    operation: dict[str, Any],
) -> None:
    monkeypatch.setattr(parts.identity, "_require_keys", True)
    status = (await client.request(method, path)).status_code
    assert (status == 401) == ("security" in operation)


@every_operation
async def test_what_comes_of_an_empty_request_is_among_what_it_says(
    client: httpx.AsyncClient, method: str, path: str, operation: dict[str, Any]
) -> None:
    status = (await client.request(method, path, content=b"{}")).status_code
    assert status == description.REFUSED.get(path, status)
    assert str(status) in operation["responses"]


WITH_BODY = [(method, path) for method, path, operation in OPERATIONS if "requestBody" in operation]


NAMES = {"name": "vllm", "prefix": "0123456789"}
ACCESS = "/api/admin/v1"


def named(client: httpx.Client, path: str) -> str:
    """The path, with what its example is about, which is there then."""
    names = dict(NAMES)
    if "{prefix}" in path:
        made = client.post(f"{ACCESS}/keys", json={"name": "example"})
        names["prefix"] = made.json()["prefix"]
    if path.startswith(
        tuple(f"{ACCESS}/{kind}" for kind in ("tenants/", "limits", "budgets", "teams", "grants", "people"))
    ):
        for name in ("acme", "globex"):
            assert client.post(f"{ACCESS}/tenants", json={"name": name}).status_code in {200, 409}
        names["name"] = "globex"
    if path.startswith(f"{ACCESS}/people/"):
        person = description.EXAMPLES[f"{ACCESS}/people"] | {"name": "globex"}
        assert client.post(f"{ACCESS}/people", json=person).status_code in {200, 409}
    if path.startswith(f"{ACCESS}/limits/"):
        limit = description.EXAMPLES[f"{ACCESS}/limits"] | {"name": "globex"}
        assert client.post(f"{ACCESS}/limits", json=limit).status_code in {200, 409}
    if path.startswith(f"{ACCESS}/budgets/"):
        budget = description.EXAMPLES[f"{ACCESS}/budgets"] | {"name": "globex"}
        assert client.post(f"{ACCESS}/budgets", json=budget).status_code in {200, 409}
    if path.startswith(f"{ACCESS}/routing/draft/rules/"):
        assert client.post(f"{ACCESS}/routing/draft/rules", json={"name": names["name"]}).status_code == 200
    return path.format(**names)


@pytest.mark.parametrize(("method", "path"), WITH_BODY)
async def test_failures_have_the_shape_it_says(client: httpx.AsyncClient, parts: Parts, method: str, path: str) -> None:
    key = await parts.reads.run(60, lambda: issue_key("ops", "default", role=Role.ADMIN, reaches_all=True))
    headers = {"Authorization": f"Bearer {key}"}
    response = await client.request(method, path.format(**NAMES), content=b"{", headers=headers)
    assert response.status_code == 400
    assert faults_of(response) == []


def faults_of(response: httpx.Response) -> list[str]:
    request, headers = response.request, response.headers
    return faults(
        request.method, request.url.path, response.status_code, headers.get("Content-Type", ""), response.content
    )


ASKED_FOR = [
    (method, path) for method, path, operation in OPERATIONS if "{" not in path and "requestBody" not in operation
]


@pytest.mark.parametrize(("method", "path"), ASKED_FOR)
def test_an_answer_has_the_shape_it_says(product: Product, admin_key: str, method: str, path: str) -> None:
    headers = {"Authorization": f"Bearer {admin_key}"} if path.startswith("/api/admin/") else {}
    query = {"namespace": "nothing-is-kept-here"} if method == "delete" else {}
    with httpx.Client(base_url=product.base_url, timeout=90, headers=headers) as client:
        response = client.request(method, path, params=query)
    assert response.status_code == description.REFUSED.get(path, 200), response.text
    assert faults_of(response) == []


@pytest.mark.parametrize(("method", "path"), WITH_BODY)
def test_every_example_is_answered_as_it_says(product: Product, admin_key: str, method: str, path: str) -> None:
    example = description.EXAMPLES[path]
    headers = {"Authorization": f"Bearer {admin_key}"} if path.startswith("/api/admin/") else {}
    with (
        registry_kept(product, admin_key),
        httpx.Client(base_url=product.base_url, timeout=90, headers=headers) as client,
    ):
        if path == "/api/feedback":  # of an answer, so there has to be one
            asked = {"X-Request-Id": example["request_id"]}
            client.post("/api/chat", json=description.EXAMPLES["/api/chat"], headers=asked).raise_for_status()
        response = client.request(method, named(client, path), json=example)
    assert response.status_code == 200, response.text
    assert faults_of(response) == []
    if path in description.STREAMS:
        streamed = httpx.post(product.base_url + path, json=example | {"stream": True}, timeout=90)
        assert streamed.headers["Content-Type"] == description.STREAMS[path][0]
        assert faults_of(streamed) == []


@pytest.mark.parametrize("name", ["auto", description.FIRST_MODEL, "openai/good", description.EMBEDDER])
def test_a_model_has_the_shape_it_says(product: Product, name: str) -> None:
    for verbose in (False, True):
        shown = httpx.post(f"{product.base_url}/api/show", json={"model": name, "verbose": verbose}, timeout=30)
        assert (shown.status_code, faults_of(shown)) == (200, [])
    one = httpx.get(f"{product.base_url}/v1/models/{name}", timeout=30)
    assert (one.status_code, faults_of(one)) == (200, [])


async def test_who_can_answer_nothing_is_not_ready_in_the_shape_it_says(
    client: httpx.AsyncClient, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def health(_: Parts) -> list[Health]:
        return [Health("ledger", "down", "cannot be read", is_vital=True)]

    monkeypatch.setattr(Parts, "health", health)
    response = await client.get("/readyz")
    assert (response.status_code, faults_of(response)) == (503, [])


def test_the_running_product_has_all_that_the_page_loads(product: Product) -> None:
    page = httpx.get(f"{product.base_url}/api/docs", timeout=30)
    assert page.headers["Content-Security-Policy"] == description.DOCS_POLICY
    loaded = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert len(loaded) >= 4
    for path in loaded:
        assert path.startswith("/static/ninja/")
        assert httpx.get(product.base_url + path, timeout=30).status_code == 200


async def test_the_page_draws_without_another_address(parts: Parts, browser: Browser) -> None:
    asked: set[str] = set()
    complaints: list[str] = []
    async with served(application) as address:
        page: Page = await browser.new_page()
        page.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
        page.on("console", lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        response = await page.goto(f"{address}/api/docs")
        assert response is not None
        assert "default-src 'none'" in (await response.all_headers())["content-security-policy"]
        await expect(page.locator(".opblock")).to_have_count(len(OPERATIONS))
        await expect(page.locator(".info .title")).to_contain_text("AI orchestrator")
        chat = page.locator("#operations-Ollama-chat_chat")
        await chat.get_by_role("button").first.click()
        await expect(chat).to_contain_text("application/x-ndjson")
        await expect(chat).to_contain_text("What is the capital of France?")
        await page.locator("#operations-Ollama-local_version").get_by_role("button").first.click()
        version = page.locator("#operations-Ollama-local_version")
        await version.get_by_role("button", name="Try it out").click()
        await version.get_by_role("button", name="Execute").click()
        await expect(version.locator(".live-responses-table")).to_contain_text('"version"')
        assert asked - {""} == {urlsplit(address).netloc}, "a picture in the stylesheet has no address"
    assert complaints == []


BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", (KEPT.parent / "api.md").read_text(), re.DOTALL)
SHELL = ["bash", "-euc"]
PYTHON = [sys.executable, "-c"]
EXAMPLES_AS_TYPED = [
    *((SHELL, command) for kind, block in BLOCKS if kind == "sh" for command in re.split(r"\n(?=curl)", block)),
    *((PYTHON, block) for kind, block in BLOCKS if kind == "python"),
]


@pytest.mark.parametrize(("interpreter", "typed"), EXAMPLES_AS_TYPED)
def test_what_the_document_types_is_answered(product: Product, interpreter: list[str], typed: str) -> None:
    here = typed.replace("localhost:11434", product.base_url.removeprefix("http://"))
    assert here != typed
    here = here.replace("curl ", "curl --silent --show-error --fail-with-body ")
    done = subprocess.run([*interpreter, here], capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()
