"""Purging over the API."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.models import AuditEvent
from orchestrator.parts import Parts
from tests.keys import issue_key

CACHE = "/api/admin/v1/cache"


@pytest.fixture
async def admin(parts: Parts) -> dict[str, str]:
    key = await parts.reads.run(60, lambda: issue_key("ops", "default", role=Role.ADMIN, reaches_all=True))
    return {"Authorization": f"Bearer {key}"}


async def ask(client: httpx.AsyncClient, text: str, **headers: str) -> str:
    body = {"model": "tiny", "prompt": text, "stream": False}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = await client.post("/api/generate", json=body, headers=named)
    return response.headers["Cache-Status"]


async def kept(client: httpx.AsyncClient, admin: dict[str, str], **query: str) -> Any:
    return (await client.get(CACHE, params=query, headers=admin)).json()["tiers"]["memory"]["entries"]


async def test_a_model_or_a_namespace_or_everything_is_purged(client: httpx.AsyncClient, admin: dict[str, str]) -> None:
    await ask(client, "one")
    await ask(client, "two", X_Orchestrator_Cache_Namespace="support")
    assert await kept(client, admin) == 2
    assert await kept(client, admin, namespace="support") == 1
    response = await client.delete(CACHE, params={"namespace": "support"}, headers=admin)
    assert response.json() == {"purged": {"memory": 1}, "unreached": {}}
    event = await AuditEvent.objects.of(EVERYBODY).select_related("tenant").aget()
    assert (event.action, str(event.tenant), event.details["namespace"]) == ("cache.purged", "default", "support")
    assert event.actor == f"key:{admin['Authorization'].split('_')[1]}"
    assert await kept(client, admin) == 1
    assert (await client.delete(CACHE, params={"model": "tiny:latest"}, headers=admin)).json()["purged"] == {
        "memory": 1
    }
    await ask(client, "three")
    await client.delete(CACHE, params={"all": "true"}, headers=admin)
    assert await kept(client, admin) == 0
    assert await ask(client, "three") == "orchestrator; fwd=miss; stored"


async def test_one_tenants_purge_does_not_reach_anothers_answers(
    client: httpx.AsyncClient, parts: Parts, admin: dict[str, str]
) -> None:
    other = await parts.reads.run(60, lambda: issue_key("web", "globex"))
    await ask(client, "one", Authorization=f"Bearer {other}")
    assert await kept(client, admin) == 0
    purged = await client.delete(CACHE, params={"all": "true"}, headers=admin)
    assert purged.json()["purged"] == {"memory": 0}


@pytest.mark.parametrize("query", [{}, {"key": "nonsense"}, {"unknown": "x"}, {"model": ""}])
async def test_an_unclear_scope_purges_nothing(
    client: httpx.AsyncClient, admin: dict[str, str], query: dict[str, str]
) -> None:
    await ask(client, "one")
    assert (await client.delete(CACHE, params=query, headers=admin)).status_code == 400
    assert await kept(client, admin) == 1


async def test_only_a_key_that_may_manage_manages(client: httpx.AsyncClient, parts: Parts) -> None:
    plain = await parts.reads.run(60, lambda: issue_key("web", "default"))
    for headers in ({}, {"Authorization": f"Bearer {plain}"}, {"x-api-key": plain}):
        for method in ("GET", "DELETE"):
            response = await client.request(method, CACHE, params={"all": "true"}, headers=headers)
            assert response.status_code == 403
            assert "--admin" in response.json()["error"]
