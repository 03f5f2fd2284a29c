"""Who may ask what is said in one table, and what is not said is refused."""

from __future__ import annotations

import httpx
import pytest

from orchestrator.api import policy
from orchestrator.api.table import api
from orchestrator.core.permissions import FAMILIES, Permission, Role
from orchestrator.parts import Parts
from tests.fakes import FakeEngine
from tests.keys import issue_key


def test_every_method_of_every_route_has_a_row_and_every_row_a_route() -> None:
    offered = {(method, path) for path, methods in policy.offered(api).items() for method in methods}
    assert {one for one in offered if policy.need_of(*one) is None} == set(), "say in the table who may ask it"
    assert policy.TABLE.keys() - offered == set()
    assert {str(need) for need in policy.TABLE.values()} <= {policy.ANYBODY, policy.METRICS, *FAMILIES, *Permission}


async def test_what_has_no_row_is_refused_to_everybody_and_logged_once(
    client: httpx.AsyncClient, parts: Parts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    key = await parts.reads.run(60, lambda: issue_key("ops", "default", role=Role.ADMIN, reaches_all=True))
    rest = {row: need for row, need in policy.TABLE.items() if row != ("GET", "/api/tags")}
    monkeypatch.setattr(policy, "TABLE", rest)
    for method in ("GET", "HEAD", "GET"):
        assert (await client.request(method, "/api/tags", headers={"x-api-key": key})).status_code == 403
    said = [record for record in caplog.records if "no row" in record.message]
    assert [record.args for record in said] == [("GET", "/api/tags"), ("HEAD", "/api/tags")]


async def test_a_strangers_body_is_not_read(client: httpx.AsyncClient, parts: Parts, engine: FakeEngine) -> None:
    async def endless() -> object:
        yield b"{"
        raise AssertionError("somebody asked for more")

    plain = await parts.reads.run(60, lambda: issue_key("web", "acme", families=["embed"]))
    for path in ("/api/admin/v1/registry/check", "/v1/chat/completions"):
        response = await client.post(path, content=endless(), headers={"x-api-key": plain})  # type: ignore[arg-type]
        assert response.status_code == 403
    assert engine.calls == 0


async def test_another_tenants_answers_are_purged_by_who_may_for_every_tenant(
    client: httpx.AsyncClient, parts: Parts
) -> None:
    ask = {"model": "tiny", "prompt": "one", "stream": False}
    web, one, every = [
        await parts.reads.run(60, lambda name=name, scopes=scopes: issue_key(name, "acme", **scopes))
        for name, scopes in (
            ("web", {}),
            ("one", {"role": Role.OPERATOR}),
            ("every", {"role": Role.OPERATOR, "reaches_all": True}),
        )
    ]
    await parts.reads.run(60, lambda: issue_key("other", "globex"))
    await client.post("/api/generate", json=ask, headers={"x-api-key": web})

    async def purge(key: str, tenant: str) -> tuple[int, object]:
        response = await client.delete(
            "/api/admin/v1/cache", params={"all": "true", "tenant": tenant}, headers={"x-api-key": key}
        )
        return response.status_code, response.json().get("purged")

    refused = [await purge(one, tenant) for tenant in ("globex", "nobody")]
    assert refused == [(403, None), (403, None)], "the same whether there is such a tenant or not"
    assert await purge(every, "nobody") == (404, None)
    assert await purge(every, "globex") == (200, {"memory": 0})
    assert await purge(one, "acme") == (200, {"memory": 1})
