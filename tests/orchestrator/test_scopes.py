"""A key is kept to its models, dialects, endpoints and networks, and shows nothing of what lies beyond."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from orchestrator.core.errors import EngineUnreachable, Forbidden
from orchestrator.core.permissions import EVERYBODY
from orchestrator.core.types import Caller
from orchestrator.models import ApiKey, RequestRecord
from orchestrator.parts import Parts
from orchestrator.registry.entries import ModelEntry, Registry
from tests.fakes import FakeEngine
from tests.keys import issue_key

Make = Callable[..., Awaitable[dict[str, str]]]
HELLO = {"messages": [{"role": "user", "content": "hello"}], "stream": False}
ASKED = {
    "/api/chat": HELLO,
    "/api/generate": {"prompt": "hello", "stream": False},
    "/api/embed": {"input": "hello"},
    "/api/embeddings": {"prompt": "hello"},
    "/api/show": {},
    "/v1/chat/completions": HELLO,
    "/v1/completions": {"prompt": "hello"},
    "/v1/responses": {"input": "hello"},
    "/v1/embeddings": {"input": "hello"},
    "/v1/messages": HELLO | {"max_tokens": 9},
    "/v1/messages/count_tokens": HELLO,
}


@pytest.fixture
def key(parts: Parts) -> Make:
    """Makes a key with scopes, as the headers that show it."""

    async def make(name: str = "web", **scopes: Any) -> dict[str, str]:
        return {"x-api-key": await parts.reads.run(60, lambda: issue_key(name, "acme", **scopes))}

    return make


@pytest.mark.parametrize("path", ASKED)
async def test_a_model_out_of_scope_looks_the_same_whether_it_is_there_or_not(
    client: httpx.AsyncClient, parts: Parts, key: Make, path: str, cloud: FakeEngine
) -> None:
    parts.catalogue.apply(Registry(models=(ModelEntry(name="off/one", is_off=True), ModelEntry(name="gone/one"))))
    headers = await key(model_patterns=["tiny*"])
    seen = []
    for name in ("openai/big", "off/one", "gone/one", "nobody/one", "auto", "x:cloud", "gpt-4o"):
        response = await client.post(path, json=ASKED[path] | {"model": name}, headers=headers)
        assert response.status_code == 403, (name, response.text)
        told = response.json()
        assert told.pop("request_id", "req_").startswith("req_")
        seen.append(str(told).replace(name, "NAME"))
    assert len(set(seen)) == 1, seen
    assert cloud.calls == 0
    assert ("'type': 'error'" in seen[0]) == path.startswith("/v1/messages")
    assert ("permission_error" in seen[0]) == path.startswith("/v1/")


async def test_what_is_in_scope_is_answered_and_what_is_not_there_is_said(client: httpx.AsyncClient, key: Make) -> None:
    headers = await key(model_patterns=["TINY", "openai/*"])
    statuses = {
        name: (await client.post("/api/chat", json=HELLO | {"model": name}, headers=headers)).status_code
        for name in ("tiny", "tiny:latest", "openai/big", "openai/none", "tiny:7b")
    }
    assert statuses == {"tiny": 200, "tiny:latest": 200, "openai/big": 200, "openai/none": 404, "tiny:7b": 403}


async def test_lists_show_what_the_key_may_ask(client: httpx.AsyncClient, key: Make) -> None:
    async def listed(headers: dict[str, str]) -> tuple[list[str], list[str]]:
        tags = (await client.get("/api/tags", headers=headers)).json()["models"]
        models = (await client.get("/v1/models", headers=headers)).json()["data"]
        return [one["name"] for one in tags], [one["id"] for one in models]

    assert await listed(await key()) == (
        ["auto:latest", "openai/big", "tiny:latest"],
        ["auto:latest", "openai/big", "tiny:latest"],
    )
    assert await listed(await key("one", model_patterns=["openai/*"])) == (["openai/big"], ["openai/big"])
    assert await listed(await key("two", model_patterns=["auto", "tiny"])) == (
        ["auto:latest", "tiny:latest"],
        ["auto:latest", "tiny:latest"],
    )
    assert await listed(await key("none", model_patterns=["other"])) == ([], [])
    for path in ("/v1/models/openai/big", "/v1/models/nobody/one"):
        assert (await client.get(path, headers=await key(path, model_patterns=["tiny"]))).status_code == 403


async def test_auto_chooses_among_what_the_key_may_ask(
    client: httpx.AsyncClient, key: Make, engine: FakeEngine, cloud: FakeEngine
) -> None:
    headers = await key(model_patterns=["auto", "openai/*"])
    response = await client.post("/api/chat", json=HELLO | {"model": "auto"}, headers=headers)
    assert response.headers["X-Orchestrator-Model"] == "openai/big"
    assert (engine.calls, cloud.calls) == (0, 1)


async def test_no_fallback_leads_out_of_scope_and_no_shared_call_either(
    client: httpx.AsyncClient, parts: Parts, key: Make, engine: FakeEngine, cloud: FakeEngine
) -> None:
    parts.catalogue.apply(Registry(models=(ModelEntry(name="openai/big", fallbacks=("tiny",)),)))
    cloud.pieces, cloud.error = (), EngineUnreachable("nobody there")
    engine.gate = asyncio.Event()
    ask = HELLO | {"model": "openai/big"}
    wide = asyncio.create_task(client.post("/api/chat", json=ask, headers=await key("wide")))
    async with asyncio.timeout(60):
        while not engine.calls:
            await asyncio.sleep(0.01)
    narrow = await client.post("/api/chat", json=ask, headers=await key("narrow", model_patterns=["openai/*"]))
    engine.gate.set()
    assert (await wide).headers["X-Orchestrator-Model"] == "tiny:latest"
    assert narrow.status_code >= 500
    assert engine.calls == 1


@pytest.mark.parametrize("asks", ["auto", "tiny"])
async def test_no_shared_call_leads_out_of_scope_where_the_other_left_the_choice_to_us(
    client: httpx.AsyncClient,
    parts: Parts,
    key: Make,
    engine: FakeEngine,
    cloud: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
    asks: str,
) -> None:
    monkeypatch.setattr(parts.catalogue, "known", lambda: [cloud.model])  # as if it were a provider's
    joined, join = [], parts.inflight.join

    async def noted(*args: Any) -> Any:
        joined.append(args)
        return await join(*args)

    monkeypatch.setattr(parts.inflight, "join", noted)
    engine.pieces, engine.error = (), EngineUnreachable("nobody there")
    cloud.gate = asyncio.Event()
    wide = asyncio.create_task(client.post("/api/chat", json=HELLO | {"model": "auto"}, headers=await key("wide")))
    async with asyncio.timeout(60):
        while not cloud.calls:
            await asyncio.sleep(0.01)
    headers = await key("narrow", model_patterns=["auto", "tiny"])
    narrow = asyncio.create_task(client.post("/api/chat", json=HELLO | {"model": asks}, headers=headers))
    async with asyncio.timeout(60):
        while len(joined) < 2:
            await asyncio.sleep(0.01)
    cloud.gate.set()
    assert (await wide).headers["X-Orchestrator-Model"] == "openai/big"
    assert (await narrow).status_code >= 500
    assert cloud.calls == 1


async def test_a_key_is_for_its_dialects_and_families(client: httpx.AsyncClient, key: Make) -> None:
    async def may(headers: dict[str, str]) -> set[str]:
        asked = {**ASKED, "/api/tags": None, "/v1/models": None, "/api/stats": None}
        return {
            path
            for path, body in asked.items()
            if (
                await client.request(
                    "POST" if body is not None else "GET",
                    path,
                    json=body and {**body, "model": "tiny"},
                    headers=headers,
                )
            ).status_code
            != 403
        }

    assert await may(await key("openai", dialects=["openai"], families=["chat", "embed"])) == {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/responses",
        "/v1/embeddings",
    }
    assert await may(await key("messages", dialects=["anthropic"])) == {
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/api/stats",
    }
    assert await may(await key("lists", families=["models"])) == {"/api/tags", "/v1/models", "/api/show"}


async def test_a_refusal_is_on_the_record_of_the_key(
    client: httpx.AsyncClient, key: Make, recorded: Callable[[int], Awaitable[list[RequestRecord]]]
) -> None:
    headers = await key(families=["embed"])
    await client.post("/api/chat", json=HELLO | {"model": "tiny"}, headers=headers)
    (record,) = await recorded(1)
    assert (record.status, record.outcome, record.tenant.name) == (403, "forbidden", "acme")


async def test_a_key_is_shown_from_its_networks_also_where_it_is_remembered(parts: Parts, key: Make) -> None:
    shown = (await key(networks=["10.0.0.0/8", "2001:db8::/32"]))["x-api-key"]
    one = parts.identity
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "2001:db8::7"):
        caller = await one.caller("", shown, address)
        assert one.remembered("", shown, address) is caller
    for address in ("11.0.0.1", "::ffff:11.0.0.1", "", "/run/socket", "10.1.2.3.4", "::1%eth0"):
        assert one.remembered("", shown, address) is None
        with pytest.raises(Forbidden, match="may not be used from"):
            await one.caller("", shown, address)


async def test_who_is_read_again_unchanged_is_the_same_caller(parts: Parts, key: Make) -> None:
    shown = (await key())["x-api-key"]
    before = await parts.identity.caller("", shown)
    await asyncio.to_thread(parts.generation.bump_policy)
    assert await parts.identity.caller("", shown) is before
    await ApiKey.objects.of(EVERYBODY).aupdate(families=["chat"])
    after = await parts.identity.caller("", shown)
    assert after is not before
    assert after.families == {"chat"}


def test_no_pattern_means_any_model() -> None:
    assert Caller(tenant_id=1, tenant="acme").may_ask("whatever")
