"""Providers and models over the API: what is written is checked, kept as a version, and can be taken back."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import httpx
import pytest
from django.conf import settings

from orchestrator.api.answers import registry as told
from orchestrator.catalogue import Catalogue
from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.core.presets import PRESETS
from orchestrator.models import AuditEvent
from orchestrator.parts import Parts
from orchestrator.registry.document import DeploymentPart, ModelPart, ProviderPart
from orchestrator.registry.models import RegistryVersion
from orchestrator.registry.reading import read
from tests.keys import issue_key
from tests.registry.conftest import CANARY, EVERYTHING
from tests.shapes import faults

ROOT = "/api/admin/v1"
pytestmark = pytest.mark.usefixtures("no_environment")


@pytest.fixture
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = {preset.name: "" for preset in PRESETS}
    monkeypatch.setattr(settings, "PROVIDER_KEYS", nothing)
    monkeypatch.setattr(settings, "PROVIDER_ADDRESSES", nothing)


@pytest.fixture
async def admin(client: httpx.AsyncClient, parts: Parts) -> httpx.AsyncClient:
    """A client with a key called `ops` that may manage."""
    key = await parts.reads.run(60, lambda: issue_key("ops", "default", role=Role.ADMIN, reaches_all=True))
    client.headers["Authorization"] = f"Bearer {key}"
    return client


async def ask(admin: httpx.AsyncClient, method: str, path: str, status: int = 200, **how: Any) -> Any:
    """The value of an answer, which has the shape that is described."""
    response = await admin.request(method, ROOT + path, **how)
    assert response.status_code == status, response.text
    kind = response.headers["Content-Type"]
    assert faults(method, response.request.url.path, status, kind, response.content) == []
    assert CANARY not in response.text
    if status == 200 and "version" in response.json():
        assert response.headers["ETag"] == f'"{response.json()["version"]}"'
    return response.json()


async def test_the_whole_registry_goes_in_and_comes_out(admin: httpx.AsyncClient, parts: Parts) -> None:
    assert await ask(admin, "GET", "/registry") == {"version": 0, "providers": {}, "models": {}}
    change = await ask(admin, "PUT", "/registry", json=EVERYTHING, params={"reason": "the first"})
    assert "provider openai: key given" in change["changes"]
    now = await ask(admin, "GET", "/registry")
    assert now["providers"]["openai"]["key"] == {"set": True, "from": "registry", "hint": "…WXYZ"}
    assert now["providers"]["gpu"]["key"] == {"set": False, "from": None, "hint": None}
    assert now["models"]["smart"]["deployments"][0]["input_price"] == "2.5"
    assert (await ask(admin, "PUT", "/registry", json=now))["changes"] == []
    (version,) = (await ask(admin, "GET", "/registry/versions"))["versions"]
    assert (version["by"], version["reason"], version["changes"]) == ("ops", "the first", change["changes"])
    event = await AuditEvent.objects.of(EVERYBODY).aget()
    number = version["number"]
    assert (event.action, event.subject, event.actor[:4]) == ("registry.changed", f"version {number}", "key:")
    assert event.details == {"reason": "the first", "changes": change["changes"]}
    assert (await parts.reads.run(60, read)).providers[1].key == CANARY


async def test_checking_tells_all_that_is_wrong_or_what_would_change(admin: httpx.AsyncClient) -> None:
    wrong = {
        "providers": {"a": {"kind": "openai", "key": f"{CANARY} {CANARY}"}, "b": {"kind": "x"}},
        "models": {"m": {"colour": "red"}},
    }
    found = await ask(admin, "POST", "/registry/check", json=wrong)
    assert found["changes"] == []
    assert {one["path"]: one["words"].split(";")[0] for one in found["faults"]} == {
        "providers.a.key": "a key is of up to 4096 ASCII characters, without spaces",
        "providers.b.kind": "there is no such kind",
        "models.m.colour": "there is no such field",
    }
    circles = {"models": {"a": {"fallbacks": ["b"]}, "b": {"fallbacks": ["A:latest"]}}}
    found = await ask(admin, "POST", "/registry/check", json=circles)
    assert found["faults"] == [{"path": "models.a.fallbacks", "words": "they lead in a circle: a → b → a"}]
    found = await ask(admin, "POST", "/registry/check", json={"models": {"a": {"tags": ["x"]}}})
    assert found["changes"] == ["model a: added", 'model a: tags: ["x"]']
    assert found["faults"] == []
    nowhere = {"path": "models.a", "words": "it runs nowhere: it has no deployments, and no model is called so here"}
    assert found["warnings"] == [nowhere]
    assert (await ask(admin, "PUT", "/models/a", json={}))["warnings"] == [nowhere]
    await ask(admin, "DELETE", "/models/a")
    both = {"models": {"a": {"fallbacks": ["b"], "tags": 5}, "b": {"fallbacks": ["a"]}}}
    found = await ask(admin, "POST", "/registry/check", json=both)
    assert [one["path"] for one in found["faults"]] == ["models.a.tags", "models.a.fallbacks"]
    assert (await ask(admin, "GET", "/registry"))["models"] == {}


@pytest.mark.parametrize("body", [[], None, 5, {"providers": []}, {"providers": {"a": None}}, {"odd": 1}])
async def test_what_is_no_document_is_refused_in_words(admin: httpx.AsyncClient, body: Any) -> None:
    error = (await ask(admin, "PUT", "/registry", 400, json=body))["error"]
    assert "pydantic" not in error
    assert "Go " not in error
    if body is not None:  # which is no body at all
        assert (await ask(admin, "POST", "/registry/check", json=body))["faults"]


async def test_a_fault_says_where_and_changes_nothing(admin: httpx.AsyncClient) -> None:
    await ask(admin, "PUT", "/registry", json=EVERYTHING)
    before = await ask(admin, "GET", "/registry")
    body = {"deployments": [{"provider": "nobody", "remote_name": "x"}]}
    error = (await ask(admin, "PUT", "/models/new", 400, json=body))["error"]
    assert error == "models.new.deployments[0].provider: there is no provider 'nobody' here; `local` is this machine"
    error = (await ask(admin, "PUT", "/models/new", 400, json={"fallbacks": 5}))["error"]
    assert error == "fallbacks: should be a valid list"
    assert await ask(admin, "GET", "/registry") == before


@pytest.mark.parametrize("written", ["openai/gpt-4o-mini", "openai%2Fgpt-4o-mini", "a/b/c:d", "caf%C3%A9"])
async def test_a_models_name_may_hold_slashes(admin: httpx.AsyncClient, written: str) -> None:
    path = f"/models/{written}"
    if "%C3" in written:
        await ask(admin, "PUT", path, 400, json={})
        return
    await ask(admin, "PUT", path, json={"tags": ["cheap"]})
    name = written.replace("%2F", "/")
    assert list((await ask(admin, "GET", "/models"))["models"]) == [name]
    one = await ask(admin, "GET", path)
    assert one["tags"] == ["cheap"]
    assert (await ask(admin, "PUT", path, json=one))["changes"] == []
    assert (await ask(admin, "DELETE", path))["changes"] == [f"model {name}: removed"]
    assert name in (await ask(admin, "GET", path, 404))["error"]


async def test_a_provider_alone(admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"kind": "openai", "key": CANARY}
    assert (await ask(admin, "PUT", "/providers/main", json=body))["changes"][-1] == "provider main: key given"
    await ask(admin, "PUT", "/providers/off", json={"kind": "groq"})
    one = await ask(admin, "GET", "/providers/main")
    assert (one["key"]["hint"], one["is_paid"]) == ("…WXYZ", True)
    assert (await ask(admin, "PUT", "/providers/main", json=one | {"most_calls": 3}))["changes"] == [
        "provider main: most_calls: – → 3"
    ]
    found = await ask(admin, "GET", "/providers")
    assert list(found["providers"]) == ["main", "off"]
    assert found["off"] == {"off": "it has no key; give it one"}
    assert found["unpriced"] == {}
    monkeypatch.setattr(Catalogue, "unpriced", lambda _, name: ["new"] if name == "main" else [])
    assert (await ask(admin, "GET", "/providers"))["unpriced"] == {"main": ["new"]}
    moved = one | {"address": "https://evil.example.com"}
    assert "give it again" in (await ask(admin, "PUT", "/providers/main", 400, json=moved))["error"]
    await ask(admin, "PUT", "/models/m", json={"deployments": [{"provider": "main", "remote_name": "x"}]})
    used = (await ask(admin, "DELETE", "/providers/main", 409))["error"]
    assert used == "main is used by m; change that first."
    await ask(admin, "DELETE", "/models/m")
    await ask(admin, "DELETE", "/providers/main")
    await ask(admin, "DELETE", "/providers/main", 404)


async def test_a_provider_of_the_environment_says_so(admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings.PROVIDER_KEYS, "groq", CANARY)
    await ask(admin, "PUT", "/providers/groq", json={"kind": "groq"})
    one = await ask(admin, "GET", "/providers/groq")
    assert one["key"] == {"set": True, "from": "environment:GROQ_API_KEY", "hint": "…WXYZ"}
    assert "switch it off instead" in (await ask(admin, "DELETE", "/providers/groq", 409))["error"]


async def test_who_read_an_older_version_is_refused(admin: httpx.AsyncClient) -> None:
    first = (await ask(admin, "PUT", "/models/a", json={}))["version"]
    second = (await ask(admin, "PUT", "/models/b", json={}, headers={"If-Match": f'"{first}"'}))["version"]
    for method, path in (
        ("PUT", "/registry"),
        ("PUT", "/models/c"),
        ("DELETE", "/models/a"),
        ("POST", f"/registry/versions/{first}/restore"),
    ):
        how = {"json": {}} if method == "PUT" else {}
        error = await ask(admin, method, path, 409, headers={"If-Match": f'W/"{first}"'}, **how)
        assert f"at version {second} by now" in error["error"]
    error = await ask(admin, "PUT", "/registry", 409, json={"version": first})
    assert f"at version {second} by now" in error["error"]
    error = await ask(admin, "PUT", "/models/c", 400, json={}, headers={"If-Match": "seven"})
    assert "ETag" in error["error"]
    await ask(admin, "PUT", "/models/c", json={}, headers={"If-Match": "*"})


async def test_a_version_comes_back(admin: httpx.AsyncClient) -> None:
    first = (await ask(admin, "PUT", "/registry", json=EVERYTHING))["version"]
    then = await ask(admin, "GET", "/registry")
    await ask(admin, "PUT", "/registry", json={})
    shown = await ask(admin, "GET", f"/registry/versions/{first}")
    assert shown["document"]["models"] == then["models"]
    assert shown["document"]["providers"]["openai"]["key"] == {"set": True, "from": "registry", "hint": None}
    change = await ask(admin, "POST", f"/registry/versions/{first}/restore")
    assert await ask(admin, "GET", "/registry") == then | {"version": change["version"]}
    assert (await AuditEvent.objects.of(EVERYBODY).alatest("pk")).actor.startswith("key:")
    history = (await ask(admin, "GET", "/registry/versions", params={"limit": 2}))["versions"]
    assert [one["number"] for one in history] == [first + 2, first + 1]
    older = await ask(admin, "GET", "/registry/versions", params={"before": first + 1})
    assert [one["number"] for one in older["versions"]] == [first]
    await ask(admin, "GET", "/registry/versions/1000000", 404)
    await ask(admin, "POST", "/registry/versions/1000000/restore", 404)


async def test_no_key_is_kept_or_told_in_the_open(admin: httpx.AsyncClient, parts: Parts) -> None:
    await ask(admin, "PUT", "/registry", json=EVERYTHING)
    kept = await parts.reads.run(60, lambda: json.dumps(list(RegistryVersion.objects.values("summary", "document"))))
    assert "sealed_key" in kept
    assert CANARY not in kept
    for path in ("/registry", "/providers", "/providers/openai", "/registry/versions", "/registry/versions/1"):
        response = await admin.get(ROOT + path)
        assert CANARY not in response.text
        assert "sealed" not in response.text


@pytest.mark.parametrize("key", [5, [], {"set": 1}, "with space", "x" * 5000, CANARY + "\n"])
async def test_a_wrong_key_is_not_said_again(admin: httpx.AsyncClient, key: Any) -> None:
    body = {"kind": "openai", "key": key, "address": f"http://{CANARY}@host/"}
    error = (await ask(admin, "PUT", "/providers/main", 400, json=body))["error"]
    assert "with space" not in error
    assert "xxx" not in error
    alone = (await ask(admin, "PUT", "/providers/main", 400, json={"kind": "openai", "key": key}))["error"]
    assert alone in {
        "key: a key is text, or null",
        "key: a key is of up to 4096 ASCII characters, without spaces",
    }


@pytest.mark.parametrize("number", ["9" * 25, "-9223372036854775809", "1e30"])
async def test_a_number_that_a_body_cannot_have_is_refused(admin: httpx.AsyncClient, number: str) -> None:
    """Read as a float it would be another one."""
    body = f'{{"kind": "openai", "extra_body": {{"seed_of_ours": {number}}}}}'
    error = (await ask(admin, "PUT", "/providers/main", 400, content=body))["error"]
    assert error == "extra_body: a number may have 64 bits at most; write it as text"


async def test_only_a_key_that_may_manage_manages(client: httpx.AsyncClient) -> None:
    for method, path in (("GET", "/registry"), ("PUT", "/registry"), ("GET", "/models"), ("DELETE", "/models/a/b")):
        assert (await client.request(method, ROOT + path, content=b"{}")).status_code == 403


def test_what_is_told_has_the_fields_of_what_is_taken() -> None:
    for taken, shape in (
        (ProviderPart, told.ProviderTold),
        (ModelPart, told.ModelTold),
        (DeploymentPart, told.DeploymentTold),
    ):
        assert list(taken.model_fields) == list(shape.model_fields)


async def test_nothing_else_waits_for_a_change(admin: httpx.AsyncClient, parts: Parts) -> None:
    """Thousands of models take seconds to check, and meanwhile we are as ready as before."""
    go_on = threading.Event()
    busy = asyncio.create_task(parts.managing.run(30, go_on.wait))
    asked = asyncio.create_task(admin.get(f"{ROOT}/registry"))
    assert (await admin.get("/readyz")).status_code == 200
    assert not asked.done()
    go_on.set()
    assert await busy
    assert (await asked).status_code == 200
