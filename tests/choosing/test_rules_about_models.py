"""Which requests a rule about a model is about: those for it by any name, and those for its places."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import orjson
import pytest

from orchestrator.choosing.explaining import explained
from orchestrator.core.errors import EngineUnreachable
from orchestrator.models import RequestRecord
from orchestrator.parts import Parts
from orchestrator.registry.entries import LOCAL, DeploymentEntry, ModelEntry, Registry
from tests.choosing.asked import AUTO, BIG, HELLO, Publish, decisions
from tests.fakes import FakeEngine


async def test_a_rule_sends_a_request_to_another_model(
    client: httpx.AsyncClient, publish: Publish, cloud: FakeEngine, engine: FakeEngine
) -> None:
    await publish({"when": [{"fact": "model", "op": "is", "value": ["tiny"]}], "then": {"use": ["openai/big"]}})
    answer = await client.post("/api/chat", json=HELLO)
    assert answer.headers["X-Orchestrator-Model"] == "openai/big"
    assert answer.headers["X-Orchestrator-Route"] == 'rule "rule 1"'
    assert (engine.calls, cloud.calls) == (0, 1)
    assert (await client.post("/api/chat", json=BIG)).headers["X-Orchestrator-Route"] == "named"


SPELLED = [
    "tiny",
    "TINY:Latest",
    "library/tiny",
    "tiny:latest:local",
    "tiny:local",
    "registry.ollama.ai/library/tiny",
    "https://registry.ollama.ai/library/tiny:latest:local",
    "Swift",
    "ours/quick:latest",
]
NAMING: list[dict[str, Any]] = [
    *({"when": [{"fact": "model", "op": "is", "value": [name]}]} for name in (*SPELLED, "tin*", "ours/*")),
    {"when": [{"fact": "model", "op": "is_not", "value": ["ti?y*"]}]},  # of patterns, * alone is one
    {"when": [{"fact": "model", "op": "is_not", "value": ["openai/*"]}]},
    {"expression": "model == 'tiny'"},
]


@pytest.mark.parametrize("rule", NAMING, ids=str)
async def test_a_rule_about_a_model_is_met_however_its_name_is_written(
    client: httpx.AsyncClient, publish: Publish, parts: Parts, engine: FakeEngine, rule: dict[str, Any]
) -> None:
    parts.catalogue.apply(Registry(models=(ModelEntry(name="library/Tiny", aliases=("swift", "ours/quick")),)))
    await publish(rule | {"then": {"forbid": "no"}})
    for name in SPELLED:
        answer = await client.post("/api/chat", json=HELLO | {"model": name})
        assert (name, answer.status_code) == (name, 403)
    assert engine.calls == 0


async def test_a_rule_about_a_registered_model_is_met_by_each_of_its_names_and_replayed(
    client: httpx.AsyncClient, publish: Publish, parts: Parts, cloud: FakeEngine
) -> None:
    places = (DeploymentEntry(provider="openai", remote_name="big"),)
    entry = ModelEntry(name="Ours", aliases=("fast", "unsaid", "team/fast"), deployments=places)
    parts.catalogue.apply(Registry(models=(entry,)))
    await publish(
        {"name": "by alias", "when": [{"fact": "model", "op": "is", "value": ["fast"]}], "then": {"forbid": "no"}}
    )
    for name in ("fast", "FAST:latest", "ours", "Ours:latest", "team/Fast", "unsaid"):
        assert (await client.post("/api/chat", json=HELLO | {"model": name})).status_code == 403
    refused = await client.post("/api/chat", json=BIG)  # what keeps something of a model keeps it of each place
    assert (refused.status_code, cloud.calls) == (403, 0)
    assert refused.json()["error"] == 'Forbidden by rule "by alias": no (openai/big is a place of fast)'
    first, *_ = await decisions(parts, 7)
    kept = orjson.loads(first.document)
    assert (kept["facts"]["model"], kept["facts"]["aliases"]) == ("Ours", ["fast"])
    told = await parts.managing.run(60, lambda: explained(orjson.loads(first.document)))
    assert told["replay"]["rules"] == {"is_same": True}


OURS_HERE = ModelEntry(
    name="Ours", aliases=("fast",), deployments=(DeploymentEntry(provider=LOCAL, remote_name="tiny"),)
)
OURS_THERE = ModelEntry(
    name="Ours", aliases=("fast",), deployments=(DeploymentEntry(provider="openai", remote_name="BIG"),)
)
OF_OURS = {"when": [{"fact": "model", "op": "is", "value": ["ours"]}]}


async def test_what_keeps_something_of_a_model_keeps_it_of_a_place_by_its_own_name(
    client: httpx.AsyncClient, publish: Publish, parts: Parts, cloud: FakeEngine, engine: FakeEngine
) -> None:
    parts.catalogue.apply(Registry(models=(OURS_THERE,)))
    for then in ({"forbid": "no"}, {"local_only": True}, {"only": ["tiny"]}, {"never": ["ours"]}):
        await publish(OF_OURS | {"then": then})
        for name in ("ours", "fast", "openai/big", "OpenAI/Big"):
            answer = await client.post("/api/chat", json=HELLO | {"model": name})
            assert (then, name, answer.status_code) == (then, name, 403)
    assert cloud.calls == 0
    *_, asked = (await decisions(parts, 16))[:3]
    told = await parts.managing.run(60, lambda: explained(orjson.loads(asked.document)))
    assert (told["facts"]["model"], told["facts"]["places_of"]) == ("openai/big", ["Ours"])
    assert told["replay"]["rules"] == {"is_same": True}
    await publish(OF_OURS | {"then": {"cache": {"write": False}}})
    for _ in range(2):
        assert (await client.post("/api/chat", json=BIG)).status_code == 200
    assert cloud.calls == 2

    parts.catalogue.apply(Registry(models=(OURS_HERE,)))
    await publish(OF_OURS | {"then": {"forbid": "no"}})
    for name in SPELLED[:7]:  # also what only the last look finds
        answer = await client.post("/api/chat", json=HELLO | {"model": name})
        assert (name, answer.status_code) == (name, 403)
    assert engine.calls == 0


async def test_a_rule_that_sends_elsewhere_or_is_about_others_goes_by_the_own_name_of_a_place(
    client: httpx.AsyncClient, publish: Publish, parts: Parts, cloud: FakeEngine, engine: FakeEngine
) -> None:
    parts.catalogue.apply(Registry(models=(OURS_THERE,)))
    for then in ({"use": ["tiny"]}, {"canary": {"share": 1, "use": ["tiny"]}}, {"most_tokens": 5}):
        await publish(OF_OURS | {"then": then})
        answer = await client.post("/api/chat", json=BIG | {"messages": [{"role": "user", "content": str(then)}]})
        assert (answer.status_code, answer.headers["X-Orchestrator-Model"]) == (200, "openai/big")
    assert [(one.options, engine.calls) for one in cloud.asked] == [({}, 0)] * 3
    is_not = {"fact": "model", "op": "is_not", "value": ["ours"]}
    for rule in ({"when": [is_not]}, {"expression": "model != 'Ours'"}):
        await publish(rule | {"then": {"forbid": "no"}})
        assert (await client.post("/api/chat", json=BIG)).status_code == 403
        assert (await client.post("/api/chat", json=HELLO | {"model": "ours"})).status_code == 200
    await publish({"expression": "model == 'Ours'", "then": {"forbid": "no"}})
    assert (await client.post("/api/chat", json=BIG)).status_code == 200


async def test_a_model_that_never_answers_does_not_under_the_name_of_its_place(
    client: httpx.AsyncClient, publish: Publish, parts: Parts, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts.catalogue, "known", lambda: [cloud.model])
    parts.catalogue.apply(Registry(models=(OURS_THERE, ModelEntry(name="other", fallbacks=("openai/big",)))))
    await publish({"name": "not ours", "then": {"never": ["ours", "tiny"]}})
    refused = await client.post("/api/chat", json=BIG)
    said = "openai/big may not answer this (openai/big is a place of Ours)."
    assert (refused.status_code, refused.json()["error"]) == (403, f'Forbidden by rule "not ours": {said}')
    for name in ("auto", "ours", "other"):
        answer = await client.post("/api/chat", json=HELLO | {"model": name})
        assert (name, answer.status_code) == (name, 403)
    await publish({"then": {"only": ["openai/*", "ours"]}}, never=["ours"])
    assert (await client.post("/api/chat", json=AUTO)).status_code == 403
    assert cloud.calls == 0
    parts.catalogue.apply(Registry(models=(OURS_HERE,)))
    for name in ("tiny", "tiny:local", "library/tiny"):
        await publish({"then": {"never": ["ours"]}})
        assert (await client.post("/api/chat", json=HELLO | {"model": name})).status_code == 403
    await publish({"then": {"only": ["tiny"], "never": ["nothing"]}})
    assert (await client.post("/api/chat", json=HELLO)).status_code == 200


BOTH = (
    DeploymentEntry(provider=LOCAL, remote_name="tiny"),
    DeploymentEntry(provider="openai", remote_name="big", rank=1),
)
AT_HOME = {"when": [{"fact": "tags", "op": "has", "value": ["eu"]}], "then": {"never": ["openai/*"]}}
EU = {"x-orchestrator-tags": "eu"}


async def test_what_a_barred_place_answered_others_is_not_served_from_the_cache(
    client: httpx.AsyncClient, publish: Publish, parts: Parts, cloud: FakeEngine, engine: FakeEngine
) -> None:
    parts.catalogue.apply(Registry(models=(ModelEntry(name="ours", deployments=BOTH),)))
    await publish(AT_HOME)
    engine.error, engine.pieces = EngineUnreachable("down"), ()
    ours = HELLO | {"model": "ours"}
    told = [await client.post("/api/chat", json=ours) for _ in range(2)]
    assert [one.headers["X-Orchestrator-Model"] for one in told] == ["openai/big"] * 2
    assert told[1].headers["Cache-Status"] == "orchestrator; hit; detail=memory"
    engine.error, engine.pieces = None, ("he", "re")
    answers = [await client.post("/api/chat", json=ours, headers=EU) for _ in range(3)]
    assert [one.headers["X-Orchestrator-Model"] for one in answers] == ["tiny:latest"] * 3
    assert ["hit" in one.headers["Cache-Status"] for one in answers] == [False, True, True]
    assert (cloud.calls, engine.calls) == (1, 2)
    plain = await client.post("/api/chat", json=ours)
    assert (plain.headers["X-Orchestrator-Model"], "hit" in plain.headers["Cache-Status"]) == ("tiny:latest", True)


@pytest.mark.parametrize("never", ["openai/*", "tiny"])
async def test_what_a_barred_place_is_about_to_answer_others_is_not_heard(
    client: httpx.AsyncClient, publish: Publish, parts: Parts, cloud: FakeEngine, engine: FakeEngine, never: str
) -> None:
    parts.catalogue.apply(Registry(models=(ModelEntry(name="ours", deployments=BOTH),)))
    others = {"when": [{"fact": "tags", "op": "has", "value": ["us"]}], "then": {"never": ["tiny", "tiny:latest"]}}
    await publish(AT_HOME, others)
    barred, other = (cloud, engine) if never == "openai/*" else (engine, cloud)
    headers = [EU, {"x-orchestrator-tags": "us"}]
    first, second = (headers[1], headers[0]) if barred is cloud else (headers[0], headers[1])
    barred.gate = asyncio.Event()
    ours = HELLO | {"model": "ours"}
    waiting = asyncio.create_task(client.post("/api/chat", json=ours, headers=first))
    while not barred.calls:
        await asyncio.sleep(0.01)
    async with asyncio.timeout(60):
        answer = await client.post("/api/chat", json=ours, headers=second)
    assert answer.headers["X-Orchestrator-Model"] == other.model.name
    barred.gate.set()
    assert (await waiting).headers["X-Orchestrator-Model"] == barred.model.name
    assert (barred.calls, other.calls) == (1, 1)


async def test_a_model_under_the_name_of_its_only_place_is_no_place_of_itself(parts: Parts) -> None:
    place = (DeploymentEntry(provider="openai", remote_name="big"),)
    other = (DeploymentEntry(provider="openai", remote_name="else"),)
    itself, named_so = (
        ModelEntry(name="openai/Big", deployments=place),
        ModelEntry(name="openai/big", deployments=other),
    )
    ours = ModelEntry(name="ours", aliases=("fast",), deployments=place)
    for models, places_of in (((itself,), ()), ((itself, ours), ("ours", "fast")), ((named_so, ours), ())):
        parts.catalogue.apply(Registry(models=models))
        found = await parts.catalogue.called("openai/big")
        assert found is not None
        assert found.places_of == places_of


async def test_a_rule_about_a_model_that_is_not_here_hears_what_the_caller_wrote(
    client: httpx.AsyncClient,
    publish: Publish,
    recorded: Callable[[int], Awaitable[list[RequestRecord]]],
) -> None:
    gone = {"fact": "model", "op": "is", "value": ["gpt-4", "gpt-oss:120b-cloud"]}
    await publish({"when": [gone], "then": {"use": ["tiny"]}})
    names = ["GPT-4", "library/gpt-4:latest", "gpt-oss:120b-cloud"]
    for name in names:
        answer = await client.post("/api/chat", json=HELLO | {"model": name})
        assert (name, answer.status_code) == (name, 200)
    assert (await client.post("/api/chat", json=HELLO | {"model": "gpt-5"})).status_code == 404
    assert [one.asked_model for one in await recorded(4)] == [*names, "gpt-5"]
