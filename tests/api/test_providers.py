"""Providers of every kind through the whole application: one question is one answer in every dialect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import httpx
import pytest
from django.conf import settings

from orchestrator import env, wiring
from orchestrator.catalogue import Catalogue
from orchestrator.core.clock import Clock
from orchestrator.core.presets import PRESETS
from orchestrator.core.types import Caller, ChatRequest, Message
from orchestrator.engines import listing
from orchestrator.parts import Parts
from orchestrator.pipeline import answer
from orchestrator.registry.reading import read
from tests.speeches import GOOD, KEY, SPEECHES, SpeechServer

TEXT = "".join(GOOD)


@pytest.fixture
async def servers(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, SpeechServer]]:
    """A server of every API, set up as an operator does it."""
    monkeypatch.setattr(listing, "GLANCE_S", listing.DEADLINE_S)  # the machine may be busy
    servers = {speech.name: await SpeechServer(speech).start() for speech in SPEECHES}
    set_up(monkeypatch, {name: server.address for name, server in servers.items()}, dict.fromkeys(servers, KEY))
    catalogue = Catalogue([parts.local], partial(wiring.engine_for, clock=Clock()))
    catalogue.apply(await parts.reads.run(60, read))
    monkeypatch.setattr(wiring, "_parts", replace(parts, catalogue=catalogue))
    yield servers
    await catalogue.aclose()
    for server in servers.values():
        await server.stop()


def set_up(monkeypatch: pytest.MonkeyPatch, addresses: dict[str, str], keys: dict[str, str]) -> None:
    everything = {provider.name: "" for provider in PRESETS}
    monkeypatch.setattr(settings, "PROVIDER_ADDRESSES", everything | addresses)
    monkeypatch.setattr(settings, "PROVIDER_KEYS", everything | keys)


async def post(client: httpx.AsyncClient, path: str, **body: Any) -> tuple[str, dict[str, Any]]:
    response = await client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.headers["Cache-Status"], response.json()


@pytest.mark.parametrize("name", [speech.name for speech in SPEECHES])
async def test_a_question_in_one_dialect_is_a_hit_in_the_others(
    client: httpx.AsyncClient, servers: dict[str, SpeechServer], name: str
) -> None:
    question = {"model": f"{name}/good", "messages": [{"role": "user", "content": "Capital?"}]}
    said, ours = await post(client, "/api/chat", **question, stream=False)
    assert "fwd=miss" in said
    assert (ours["message"]["content"], ours["done_reason"], ours["eval_count"]) == (TEXT, "stop", 2)
    said, theirs = await post(client, "/v1/messages", **question, max_tokens=100)
    assert "hit" in said
    assert theirs["content"] == [{"type": "text", "text": TEXT}]
    assert theirs["usage"] == {"input_tokens": 11, "output_tokens": 2}
    said, others = await post(client, "/v1/chat/completions", **question)
    assert "hit" in said
    assert others["choices"][0]["message"]["content"] == TEXT
    assert len(servers[name].asked) == 1


@pytest.mark.parametrize("name", [speech.name for speech in SPEECHES])
async def test_half_an_answer_is_not_kept(
    client: httpx.AsyncClient, servers: dict[str, SpeechServer], name: str
) -> None:
    question = {"model": f"{name}/truncated", "messages": [{"role": "user", "content": "Capital?"}]}
    for _ in range(2):
        response = await client.post("/api/chat", json=question | {"stream": False})
        assert (response.status_code, "broke off" in response.json()["error"]) == (502, True)
    streamed = await client.post("/api/chat", json=question)
    assert "broke off" in streamed.text.splitlines()[-1]
    assert '"done":true' not in streamed.text
    assert len(servers[name].asked) == 3


async def test_vectors_of_a_provider_are_a_hit_the_second_time(
    client: httpx.AsyncClient, servers: dict[str, SpeechServer]
) -> None:
    for name in ("openai", "gemini", "ollama"):
        wanted = {"model": f"{name}/embed", "input": ["a", "bb"]}
        _, first = await post(client, "/api/embed", **wanted)
        said, again = await post(client, "/api/embed", **wanted)
        assert "hit" in said
        assert first["embeddings"] == again["embeddings"]
        assert len(first["embeddings"]) == 2


async def test_what_an_answer_cost_is_in_its_record_and_a_hit_costs_nothing(
    client: httpx.AsyncClient, servers: dict[str, SpeechServer], recorded: Callable[[int], Any]
) -> None:
    for name in ("openrouter", "openrouter", "anthropic", "ollama"):
        question = {"model": f"{name}/good", "messages": [{"role": "user", "content": "Capital?"}]}
        await post(client, "/api/chat", **question, stream=False)
    told, hit, untold, free = await recorded(4)
    assert (told.tier, told.is_paid, told.cost_microusd, told.cached_tokens) == ("miss", True, 123, 4)
    assert (hit.tier, hit.cost_microusd, hit.cached_tokens) == ("memory", 0, 0)
    assert (untold.tier, untold.is_paid, untold.cost_microusd) == ("miss", True, None)
    assert (free.tier, free.is_paid, free.cost_microusd) == ("miss", False, 0)
    await post(client, "/api/embed", model="openrouter/embed", input=["a"])
    assert (await recorded(5))[-1].cost_microusd == 123


async def test_an_answer_without_counts_costs_what_it_seems_to_be(
    client: httpx.AsyncClient,
    servers: dict[str, SpeechServer],
    recorded: Callable[[int], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listing = servers["openrouter"].speech.listing()
    listing["data"][0]["id"] = "truncated"
    monkeypatch.setattr(servers["openrouter"].speech, "listing", lambda: listing)
    question = {"model": "openrouter/truncated", "messages": [{"role": "user", "content": "What is it?!"}]}
    assert (await client.post("/api/chat", json=question | {"stream": False})).status_code == 502
    (broken,) = await recorded(1)
    assert (broken.outcome, broken.is_estimated) == ("engine_error", True)
    assert (broken.prompt_tokens, broken.completion_tokens, broken.cost_microusd) == (3, 3, 32)


@pytest.mark.parametrize(("name", "told"), [("anthropic", 11), ("gemini", 11), ("openrouter", 3)])
async def test_who_hangs_up_leaves_a_record_of_what_was_made(
    servers: dict[str, SpeechServer],
    cast: dict[str, Caller],
    recorded: Callable[[int], Any],
    name: str,
    told: int,
) -> None:
    question = (Message(role="user", content="What is it?!"),)
    begun = await answer(ChatRequest(model=f"{name}/stall", messages=question), cast["alice"], wiring.parts())
    assert (await anext(begun.chunks)).text
    await begun.chunks.aclose()
    (left,) = await recorded(1)
    assert (left.outcome, left.is_paid, left.is_estimated) == ("cancelled", True, True)
    assert (left.prompt_tokens, left.completion_tokens > 0) == (told, True)
    assert left.cost_microusd is None, "nobody told the price of this one"


async def test_their_models_are_listed_and_described(
    client: httpx.AsyncClient, servers: dict[str, SpeechServer]
) -> None:
    names = {"openai/good", "openrouter/good", "anthropic/good", "gemini/good", "ollama/good:latest"}
    tags = (await client.get("/api/tags")).json()["models"]
    assert names <= {model["name"] for model in tags}
    listed = (await client.get("/v1/models")).json()["data"]
    assert {(model["id"], model["owned_by"]) for model in listed} >= {(name, name.split("/")[0]) for name in names}
    shown = (await client.post("/api/show", json={"model": "anthropic/good"})).json()
    assert shown["model_info"]["anthropic.context_length"] == 8192
    assert shown["capabilities"] == ["completion", "thinking", "tools", "vision"]
    assert shown["remote_host"] == "anthropic"


async def test_raw_text_goes_to_another_ollama_only(
    client: httpx.AsyncClient, servers: dict[str, SpeechServer]
) -> None:
    raw = {"prompt": "Once", "raw": True, "stream": False}
    await post(client, "/api/generate", model="ollama/good", **raw)
    assert servers["ollama"].asked[0][0] == "/api/generate"
    refused = await client.post("/api/generate", json={"model": "gemini/good", **raw})
    assert (refused.status_code, "cloud model" in refused.text) == (400, True)


@pytest.mark.parametrize("provider", PRESETS, ids=lambda provider: provider.name)
async def test_a_model_of_a_provider_that_is_off_says_what_to_set(
    client: httpx.AsyncClient, provider: Any, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiring, "_parts", replace(parts, catalogue=Catalogue([parts.local])))
    body = {"model": f"{provider.name}/some/model", "messages": [{"role": "user", "content": "hi"}]}
    wanted = f"set {provider.key_variables[0] if provider.address else 'OLLAMA_REMOTE_URL'} to reach it"
    for path in ("/api/chat", "/v1/chat/completions", "/api/show"):
        response = await client.post(path, json=body)
        assert (response.status_code, wanted in response.text) == (404, True)
    embedded = await client.post("/api/embed", json={"model": body["model"], "input": "hi"})
    assert (embedded.status_code, wanted in embedded.text) == (404, True)


async def engines(monkeypatch: pytest.MonkeyPatch, addresses: dict[str, str], keys: dict[str, str]) -> dict[str, str]:
    """The names of the engines there would be, and their addresses."""
    set_up(monkeypatch, addresses, keys)
    made = [wiring.engine_for(entry, Clock()) for entry in (await asyncio.to_thread(read)).providers]
    found = {engine.name: engine._remote.connection.address for engine in made}
    await asyncio.gather(*(engine.aclose() for engine in made))
    return found


async def test_a_provider_is_there_as_soon_as_its_key_or_its_address_is(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await engines(monkeypatch, {}, {}) == {}
    usual = {provider.name: f"{provider.address}/" for provider in PRESETS if provider.address}
    assert await engines(monkeypatch, {}, {provider.name: "k" for provider in PRESETS}) == usual
    assert await engines(monkeypatch, {"ollama": "http://gpu:11434/"}, {}) == {"ollama": "http://gpu:11434/"}


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
async def test_an_address_of_our_own_is_no_provider(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """The shell of somebody who points Anthropic's clients here has it."""
    ours = f"http://{host}:{settings.ADDRESS.port}"
    assert await engines(monkeypatch, {"anthropic": ours, "ollama": ours, "openai": f"{ours}/v1"}, {}) == {}


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[str], None]]:
    yield lambda value: monkeypatch.setenv("TRIED", value)  # type: ignore[misc]  # pytest takes it
    env.SETTINGS.pop("TRIED", None)


@pytest.mark.parametrize("value", ["two words", "clé", "line\nbreak"])
def test_a_key_that_fits_into_no_header_stops_the_start_and_is_not_shown(
    say: Callable[[str], None], value: str
) -> None:
    say(value)
    with pytest.raises(env.BadSetting, match="TRIED=… cannot be used: a key is of ASCII") as refused:
        env.key("TRIED", "")
    assert value not in str(refused.value)


@pytest.mark.parametrize(
    "value", ["sk-a-key", "http://", "http://[::1", "http://host:99999", "http://me:pw@host", "http://host/?key=1"]
)
def test_an_address_that_is_none_stops_the_start_and_is_not_shown(say: Callable[[str], None], value: str) -> None:
    say(value)
    with pytest.raises(env.BadSetting, match="TRIED=… cannot be used: an address that begins with") as refused:
        env.url("TRIED", "", "", schemes=("http", "https"))
    assert value not in str(refused.value).removeprefix("TRIED=… cannot be used: an address that begins with http://")
