"""What rules make of a request on its way, with a fake engine and everything else real."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock
from zlib import crc32

import httpx
import numpy as np
import orjson
import pytest

from cache.entries import Scope
from orchestrator.checks.machine import router_knows_models
from orchestrator.choosing.explaining import explained
from orchestrator.choosing.ruled import Ruled
from orchestrator.choosing.written import ONE_IN
from orchestrator.core.budgets import EVER
from orchestrator.core.errors import EngineUnreachable
from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.core.prices import Price
from orchestrator.core.threads import WorkerThread
from orchestrator.core.types import ChatRequest, Model
from orchestrator.models import Budget, BudgetPeriod, RequestRecord, RouteDecision
from orchestrator.outcomes.posting import Noted
from orchestrator.parts import Parts
from orchestrator.registry.entries import LOCAL, DeploymentEntry, ModelEntry, Registry
from orchestrator.ruling.watch import RuleWatch
from orchestrator.weighing import left
from orchestrator.weighing import router as weighing
from orchestrator.weighing.meaning import Meaning
from routing.analysis import prototypes
from routing.analysis.types import TASKS
from routing.models import RuleVersion
from routing.predictor import priors
from routing.predictor.predict import Predictor
from routing.predictor.types import State
from routing.rules.checking import read_document
from routing.rules.compiled import compile_rules
from routing.rules.facts import MOST_CONVERSATION, Facts
from tests.fakes import FakeEngine
from tests.keys import issue_key

Publish = Callable[..., Awaitable[None]]
Make = Callable[..., Awaitable[dict[str, str]]]
HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "stream": False}
HELLO_TURN = [{"role": "user", "content": "Hello"}]
BIG = HELLO | {"model": "openai/big"}


@pytest.fixture
async def publish(parts: Parts) -> Publish:
    """A function that publishes rules; those of `parts` are then kept up with, as in the product."""
    thread = WorkerThread("rules")
    watch = RuleWatch(thread, parts.generation.policy)
    object.__setattr__(parts, "rules", watch)
    watch.start()
    await watch.catch_up()

    async def publish(*rules: dict[str, Any], **auto: Any) -> None:
        document = {"rules": [{"name": f"rule {at}", **rule} for at, rule in enumerate(rules, 1)], "auto": auto}
        read_document(document)

        def save() -> None:
            number = RuleVersion.objects.count() + 1
            RuleVersion(number=number, at="2026-01-01T00:00:00Z", by="anna", document=document).save()

        await parts.managing.run(5, save)

    return publish


@pytest.fixture
def key(parts: Parts) -> Make:
    """Makes a key with scopes, as the headers that show it."""

    async def make(**scopes: Any) -> dict[str, str]:
        return {"x-api-key": await parts.reads.run(5, lambda: issue_key("web", "acme", **scopes))}

    return make


async def decisions(parts: Parts, count: int) -> list[RouteDecision]:
    """Those that were written, once there are `count`."""
    rows: list[RouteDecision] = []
    async with asyncio.timeout(10):
        while len(rows) < count:
            rows = await parts.reads.run(5, lambda: list(RouteDecision.objects.of(EVERYBODY).order_by("id")))
            await asyncio.sleep(0.01)
    return rows


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
    told = await parts.managing.run(5, lambda: explained(orjson.loads(first.document)))
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
    told = await parts.managing.run(5, lambda: explained(orjson.loads(asked.document)))
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
    async with asyncio.timeout(5):
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


@pytest.mark.parametrize(
    ("path", "body", "shape"),
    [
        ("/api/chat", HELLO, lambda said: said["error"]),
        ("/v1/chat/completions", HELLO, lambda said: said["error"]["message"]),
        ("/v1/messages", HELLO | {"max_tokens": 9}, lambda said: said["error"]["message"]),
    ],
)
async def test_what_a_rule_forbids_is_refused_in_its_words_and_recorded(
    client: httpx.AsyncClient,
    publish: Publish,
    parts: Parts,
    engine: FakeEngine,
    recorded: Callable[[int], Awaitable[list[RequestRecord]]],
    path: str,
    body: dict[str, Any],
    shape: Callable[[Any], str],
) -> None:
    await publish({"name": "no small talk", "then": {"forbid": "Please ask a person."}})
    answer = await client.post(path, json=body, headers={"X-Request-Id": "r1"})
    assert answer.status_code == 403
    assert shape(answer.json()) == 'Forbidden by rule "no small talk": Please ask a person.'
    assert engine.calls == 0
    (record,) = await recorded(1)
    assert (record.status, record.outcome) == (403, "forbidden_by_rule")
    (decision,) = await decisions(parts, 1)
    assert (decision.request_id, decision.rule, decision.rules) == ("r1", "no small talk", 1)
    assert "Hello" not in decision.document


async def test_a_model_that_cannot_be_had_is_passed_over_and_traffic_goes_on(
    client: httpx.AsyncClient, publish: Publish, parts: Parts, engine: FakeEngine
) -> None:
    await publish({"then": {"use": ["nobody/one", "openai/big"]}})
    answer = await client.post("/api/chat", json=HELLO)
    assert answer.headers["X-Orchestrator-Model"] == "openai/big"
    await publish({"then": {"use": ["nobody/one"]}})
    answer = await client.post("/api/chat", json=HELLO)
    assert answer.headers["X-Orchestrator-Model"] == "tiny:latest"
    assert answer.headers["X-Orchestrator-Route"] == 'named; rule "rule 1" in vain'
    named, in_vain = await decisions(parts, 2)
    assert (named.rule, in_vain.rule) == ("rule 1", "")
    assert any("nobody/one" in note for note in orjson.loads(in_vain.document)["notes"])


async def test_no_rule_leads_out_of_the_scopes_of_a_key(
    client: httpx.AsyncClient, publish: Publish, key: Make, cloud: FakeEngine
) -> None:
    await publish({"then": {"use": ["openai/big"]}})
    answer = await client.post("/api/chat", json=HELLO, headers=await key(model_patterns=["tiny"]))
    assert answer.headers["X-Orchestrator-Model"] == "tiny:latest"
    assert cloud.calls == 0


async def test_what_has_to_stay_here_is_not_sent_out(
    client: httpx.AsyncClient, publish: Publish, cloud: FakeEngine
) -> None:
    await publish({"name": "eu only", "then": {"local_only": True}})
    answer = await client.post("/api/chat", json=BIG)
    assert answer.status_code == 403
    assert answer.json()["error"].startswith('Forbidden by rule "eu only": nothing may leave this machine')
    assert (await client.post("/api/chat", json=HELLO)).status_code == 200
    assert (await client.post("/api/chat", json=HELLO | {"model": "auto"})).status_code == 200
    assert cloud.calls == 0


async def test_a_model_of_this_machine_that_may_not_answer_is_called_as_its_caller_does(
    client: httpx.AsyncClient, publish: Publish
) -> None:
    await publish({"name": "not here", "then": {"never": ["tiny*"]}})
    answer = await client.post("/api/chat", json=HELLO)
    assert answer.json() == {"error": 'Forbidden by rule "not here": tiny:latest may not answer this.'}


SECRET = {"role": "tool", "tool_name": "files", "content": "Project Falcon is delayed."}
CALLS = {"id": "1", "function": {"name": "open", "arguments": {"paths": [{"name": "falcon.txt"}]}}}
TURNS: list[list[dict[str, Any]]] = [
    [{"role": "user", "content": "Falcon?"}, {"role": "assistant", "content": "Yes."}],
    [{"role": "system", "content": "You know of FALCON."}],
    [{"role": "assistant", "content": "", "tool_calls": [CALLS]}, {**SECRET, "content": "-"}],
    [SECRET],
]


@pytest.mark.parametrize("turns", TURNS, ids=["earlier turn", "instructions", "call of a tool", "result of a tool"])
async def test_what_was_said_before_is_heard_in_the_conversation(
    client: httpx.AsyncClient, publish: Publish, cloud: FakeEngine, turns: list[dict[str, Any]]
) -> None:
    hears = {"fact": "conversation", "op": "contains", "value": ["falcon"]}
    await publish({"name": "falcon stays", "when": [hears], "then": {"local_only": True}})
    last = {"role": "user", "content": "And what of it?"}
    assert (await client.post("/api/chat", json=BIG | {"messages": [*turns, last]})).status_code == 403
    assert cloud.calls == 0
    assert (await client.post("/api/chat", json=BIG | {"messages": [last]})).status_code == 200


async def test_what_is_sent_beside_the_turns_is_heard_in_the_conversation(
    client: httpx.AsyncClient, publish: Publish, cloud: FakeEngine
) -> None:
    hears = {"fact": "conversation", "op": "contains", "value": ["falcon"]}
    await publish({"name": "falcon stays", "when": [hears], "then": {"local_only": True}})
    call = {"id": "falcon-1", "function": {"name": "open", "arguments": {}}}
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    for body in (
        {"options": {"stop": ["ten", "Falcon"]}},
        {"messages": [*turns, {"role": "tool", "content": "-", "tool_call_id": "1"}]},
        {"messages": [*HELLO_TURN, {"role": "tool", "content": "-", "tool_call_id": "falcon-1"}]},
    ):
        assert (await client.post("/api/chat", json=BIG | body)).status_code == 403
    assert cloud.calls == 0


async def test_a_conversation_too_long_to_be_read_stays_here_where_a_rule_listens(
    client: httpx.AsyncClient, publish: Publish, parts: Parts, cloud: FakeEngine
) -> None:
    hears = {"fact": "conversation", "op": "contains", "value": ["falcon"]}
    await publish(
        {"name": "small one", "when": [hears], "then": {"use": ["tiny"]}},
        {"name": "falcon stays", "when": [hears], "then": {"forbid": "Ask a person."}},
    )
    said = f"{'a' * MOST_CONVERSATION} falcon {'b' * MOST_CONVERSATION}"
    answer = await client.post("/api/chat", json=BIG | {"messages": [{"role": "user", "content": said}, *HELLO_TURN]})
    assert answer.status_code == 403
    assert "Ask a person. (The conversation cannot be read whole" in answer.json()["error"]
    assert cloud.calls == 0
    (decision,) = await decisions(parts, 1)
    kept = orjson.loads(decision.document)
    assert kept["verdict"]["unread"] == ["small one", "falcon stays"]
    assert [one["rule"] for one in kept["verdict"]["matched"]] == ["falcon stays"]
    assert '"small one" does not count as met, "falcon stays" counts as met' in kept["notes"][0]
    assert "aaaa" not in decision.document


@pytest.mark.parametrize("then", [{"local_only": True}, {"never": ["openai/*"]}, {"most_cost": "0.000001"}])
async def test_of_a_model_with_several_places_those_are_asked_that_rules_leave(
    client: httpx.AsyncClient,
    publish: Publish,
    parts: Parts,
    engine: FakeEngine,
    cloud: FakeEngine,
    then: dict[str, Any],
) -> None:
    here, there = (
        DeploymentEntry(provider=LOCAL, remote_name="tiny"),
        DeploymentEntry(provider="openai", remote_name="big", rank=1),
    )
    parts.catalogue.apply(Registry(models=(ModelEntry(name="ours", deployments=(here, there)),)))
    await publish({"then": then}, never=["tiny"], explore=0.0)
    assert (await client.post("/api/chat", json=AUTO)).headers["X-Orchestrator-Model"] == "tiny:latest"
    engine.pieces, engine.error = (), EngineUnreachable("nobody there")
    assert (await client.post("/api/chat", json=AUTO | {"keep_alive": 7, "options": {"seed": 2}})).status_code >= 500
    assert cloud.calls == 0


async def test_a_place_with_its_price_stands_for_the_same_model(parts: Parts) -> None:
    places = tuple(
        DeploymentEntry(provider=one, remote_name=name) for one, name in ((LOCAL, "tiny"), ("openai", "big"))
    )
    parts.catalogue.apply(Registry(models=(ModelEntry(name="ours", deployments=places),)))
    route = await parts.catalogue.places("ours")
    assert route is not None
    priced = await parts.catalogue.priced(route)
    assert [one.stands_for.name for one in priced.candidates] == ["ours", "ours"]


@pytest.mark.parametrize("then", [{"never": ["openai/*"]}, {"only": ["tiny"]}])
async def test_models_that_may_not_answer_are_not_asked(
    client: httpx.AsyncClient, publish: Publish, cloud: FakeEngine, then: dict[str, Any]
) -> None:
    await publish({"then": then})
    assert (await client.post("/api/chat", json=BIG)).status_code == 403
    assert (await client.post("/api/chat", json=HELLO)).status_code == 200
    assert cloud.calls == 0


async def test_a_rule_caps_an_answer_and_a_smaller_cap_of_the_caller_stays(
    client: httpx.AsyncClient, publish: Publish, engine: FakeEngine
) -> None:
    await publish({"then": {"most_tokens": 100}})
    for cap in (None, 1000, 50):
        await client.post("/api/chat", json=HELLO | {"options": {"num_predict": cap} if cap else {}})
    await client.post(
        "/api/chat", json=HELLO | {"messages": [{"role": "user", "content": "a"}], "options": {"num_predict": 50}}
    )
    assert [asked.cap for asked in engine.asked] == [100, 50]  # the second was within what the first said


async def test_a_call_that_may_cost_too_much_is_not_made(
    client: httpx.AsyncClient, publish: Publish, cloud: FakeEngine
) -> None:
    cloud.model = replace(cloud.model, price=Price(input=Decimal(1), output=Decimal(10)))
    await publish({"then": {"most_cost": "0.01"}})
    refused = await client.post("/api/chat", json=BIG)
    assert refused.status_code == 403
    assert "Set a smaller max_tokens (num_predict), or ask the operator about this rule." in refused.json()["error"]
    capped = await client.post("/api/chat", json=BIG | {"options": {"num_predict": 100}})
    assert capped.status_code == 200
    cloud.model = replace(cloud.model, price=None)
    refused = await client.post("/api/chat", json=BIG | {"options": {"num_predict": 9}, "keep_alive": 1})
    assert "nobody knows what openai/big charges" in refused.text or refused.status_code == 200


async def test_nobody_stands_in_the_record_of_a_refused_auto_request(
    client: httpx.AsyncClient, publish: Publish, recorded: Callable[[int], Awaitable[list[RequestRecord]]]
) -> None:
    await publish({"name": "only those", "then": {"only": ["nosuch/*"]}})
    refused = await client.post("/api/chat", json=HELLO | {"model": "auto"})
    assert refused.status_code == 403
    assert "can be had. Ask the operator to change this rule, or for one of these models." in refused.json()["error"]
    (record,) = await recorded(1)
    assert (record.asked_model, record.model, record.provider) == ("auto", "", "")
    assert record.outcome == "forbidden_by_rule"


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions", "/v1/messages"])
async def test_while_all_who_could_answer_are_down_it_is_to_be_asked_again(
    client: httpx.AsyncClient, parts: Parts, engine: FakeEngine, cloud: FakeEngine, path: str
) -> None:
    asking = {"model": "auto", "messages": HELLO_TURN, "stream": False, "max_tokens": 9}
    engine.model = replace(engine.model, capabilities=frozenset({"embedding"}))
    parts.catalogue.apply(Registry(models=(ModelEntry(name="openai/big"),)))
    parts.places.down = frozenset({"openai"})
    answer = await client.post(path, json=asking)
    assert (answer.status_code, answer.headers["Retry-After"], cloud.calls) == (503, "15", 0)
    assert "openai/big: it does not answer at the moment" in answer.text
    cloud.model = replace(cloud.model, context_length=1)
    answer = await client.post(path, json=asking)
    assert (answer.status_code, "Retry-After" in answer.headers) == (404, False), "no time mends that"


async def test_the_cache_does_what_a_rule_says_and_no_more_than_the_caller_allows(
    client: httpx.AsyncClient, publish: Publish, parts: Parts, engine: FakeEngine
) -> None:
    await publish({"then": {"cache": {"read": False, "write": False}}})
    for _ in range(2):
        assert "bypass" in (await client.post("/api/chat", json=HELLO)).headers["Cache-Status"]
    await publish({"then": {"cache": {"read": True, "write": True}}})
    for _ in range(2):
        no_store = await client.post("/api/chat", json=HELLO, headers={"Cache-Control": "no-store"})
        assert no_store.headers["Cache-Status"] == "orchestrator; fwd=bypass"
    await publish({"then": {"cache": {"ttl_s": 5}}})
    await client.post("/api/chat", json=HELLO)
    hit = await client.post("/api/chat", json=HELLO)
    assert hit.headers["Cache-Status"] == "orchestrator; hit; detail=memory"
    assert engine.calls == 5


async def test_a_question_is_asked_again_by_its_caller_and_by_no_rule(
    client: httpx.AsyncClient, publish: Publish, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[Noted] = []
    monkeypatch.setattr(parts.outcomes, "note", noted.append)
    await publish({"then": {"use": ["tiny"], "cache": {"read": False}}})
    for at in range(3):
        answer = await client.post("/api/chat", json=HELLO, headers={"X-Request-Id": f"r{at}"})
        assert answer.headers["X-Orchestrator-Route"] == 'rule "rule 1"'
    assert noted == []
    await client.post("/api/chat", json=HELLO, headers={"Cache-Control": "no-store"})
    assert noted == []
    await client.post("/api/chat", json=HELLO, headers={"Cache-Control": "no-cache"})
    assert [one.kind for one in noted] == ["retry"]


async def test_vectors_are_another_models_only_where_a_rule_says_so_of_vectors(
    client: httpx.AsyncClient, publish: Publish, engine: FakeEngine, cloud: FakeEngine
) -> None:
    for fake in (engine, cloud):
        fake.model = replace(fake.model, capabilities=frozenset({"completion", "embedding"}))
        fake.pieces = ()
    everything = {"then": {"use": ["openai/big"]}}
    explicit = everything | {"when": [{"fact": "embedding", "op": "is", "value": True}]}
    await publish(everything)
    first = await client.post("/v1/embeddings", json={"model": "tiny", "input": "a"})
    await publish(everything, explicit)
    second = await client.post("/v1/embeddings", json={"model": "tiny", "input": "a"})
    assert [answer.headers.get("X-Orchestrator-Model") for answer in (first, second)] == ["tiny:latest", "openai/big"]


async def test_a_published_rule_ends_what_is_replayed(
    client: httpx.AsyncClient, publish: Publish, engine: FakeEngine
) -> None:
    await publish({"then": {"most_tokens": 1000}})
    for _ in range(3):
        await client.post("/api/chat", json=HELLO)
    await publish({"then": {"forbid": "no more"}})
    assert (await client.post("/api/chat", json=HELLO)).status_code == 403


@pytest.mark.parametrize(
    ("use", "counted"), [(["gone/away"], ("", "", "")), (["gone/away", "openai/big"], ("rule 1", "rule 1", "canary"))]
)
async def test_a_request_counts_for_an_arm_only_where_a_model_of_it_could_be_had(
    client: httpx.AsyncClient, publish: Publish, parts: Parts, use: list[str], counted: tuple[str, str, str]
) -> None:
    await publish({"then": {"canary": {"use": use, "share": 1.0}}})
    await client.post("/api/chat", json=HELLO)
    (row,) = await decisions(parts, 1)
    assert (row.rule, row.split, row.arm) == counted


async def test_what_was_decided_is_explained_and_decides_the_same_again(
    client: httpx.AsyncClient, publish: Publish, parts: Parts
) -> None:
    await publish(
        {"when": [{"fact": "text", "op": "contains", "value": ["hello"]}], "then": {"use": ["auto"]}},
        {"expression": "tokens < 100 && text.contains('ell')", "then": {"never": ["nobody/*"], "most_tokens": 500}},
    )
    headers = await admin(parts)
    asked = await client.post("/api/chat", json=BIG, headers=headers | {"X-Request-Id": "r1"})
    assert asked.headers["X-Orchestrator-Model"] == "tiny:latest"
    assert asked.headers["X-Orchestrator-Route"].startswith('rule "rule 1": ')
    await decisions(parts, 1)
    told = (await client.get("/api/admin/v1/decisions/r1", headers=headers)).json()
    assert told["replay"] == {"rules": {"is_same": True}, "decision": {"is_same": True}}
    assert [one["rule"] for one in told["verdict"]["matched"]] == ["rule 1", "rule 2"]
    assert [one["name"] for one in told["decision"]["candidates"]][:1] == ["tiny:latest"]
    assert told["request"]["model"] == "tiny:latest"
    assert told["facts"]["text"] is None
    other = {"x-api-key": await parts.reads.run(5, lambda: issue_key("else", "globex", role=Role.VIEWER))}
    assert (await client.get("/api/admin/v1/decisions/r1", headers=other)).status_code == 404


async def test_who_would_be_asked_is_told_and_nobody_is(
    client: httpx.AsyncClient, publish: Publish, parts: Parts, engine: FakeEngine, cloud: FakeEngine
) -> None:
    await publish({"when": [{"fact": "tags", "op": "has", "value": ["mail"]}], "then": {"use": ["openai/big"]}})
    headers = await admin(parts)
    for body, model in (
        ({"tags": ["mail"]}, "openai/big"),
        ({}, "tiny:latest"),
        ({"model": "openai/big"}, "openai/big"),
    ):
        told = (await client.post("/api/admin/v1/decide", json={"text": "Hello"} | body, headers=headers)).json()
        assert told["model"] == model
    await publish({"then": {"forbid": "closed"}})
    told = (await client.post("/api/admin/v1/decide", json={"text": "Hello"}, headers=headers)).json()
    assert told["refused"] == {"status": 403, "why": 'Forbidden by rule "rule 1": closed'}
    assert (engine.calls, cloud.calls) == (0, 0)


async def test_a_question_is_analysed_with_its_reasons(client: httpx.AsyncClient, parts: Parts) -> None:
    headers = await admin(parts)
    text = "Prove that the square root of 2 is irrational, step by step."
    told = (await client.post("/api/admin/v1/analyze", json={"text": text}, headers=headers)).json()
    assert told["complexity"] > 0
    assert any(dimension["terms"] for dimension in told["dimensions"])
    long = await client.post("/api/admin/v1/analyze", json={"text": "a" * 200_000}, headers=headers)
    assert long.status_code in {400, 422}
    assert (await client.post("/api/admin/v1/analyze", json={}, headers=headers)).status_code == 400


async def admin(parts: Parts) -> dict[str, str]:
    """The headers that show a key which may see usage."""
    return {"x-api-key": await parts.reads.run(5, lambda: issue_key("boss", "acme", role=Role.ADMIN))}


@pytest.fixture
def two_sides(parts: Parts, engine: FakeEngine, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A weak model here, and a strong one for money, which its provider lists with its price."""
    cloud.model = replace(cloud.model, name="openai/big-70b", price=Price(input=Decimal(1), output=Decimal(2)))
    monkeypatch.setattr(parts.catalogue, "known", lambda: [cloud.model])


AUTO = HELLO | {"model": "auto"}


@pytest.mark.usefixtures("two_sides")
async def test_the_slider_says_who_is_asked(
    client: httpx.AsyncClient, publish: Publish, engine: FakeEngine, cloud: FakeEngine
) -> None:
    said = []
    for share in (0.0, 1.0):
        await publish(aim={"share": share}, explore=0.0)
        answer = await client.post("/api/chat", json=AUTO)
        said.append((answer.headers["X-Orchestrator-Model"], answer.headers["X-Orchestrator-Route"].split(" (")[0]))
    assert said[0] == ("tiny:latest", "auto: local is good enough")
    assert said[1][0] == "openai/big-70b"
    assert (engine.calls, cloud.calls) == (1, 1)


@pytest.mark.parametrize(
    ("then", "own", "is_tried"), [({}, {}, True), ({"cascade": False}, {}, False), ({}, {"cascade": False}, False)]
)
@pytest.mark.usefixtures("two_sides")
async def test_in_two_minds_a_local_answer_is_tried_first_where_that_is_allowed(
    client: httpx.AsyncClient,
    publish: Publish,
    parts: Parts,
    engine: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
    then: dict[str, Any],
    own: dict[str, Any],
    is_tried: bool,
) -> None:
    tried = await client.post("/api/admin/v1/decide", json=AUTO, headers=await admin(parts))
    monkeypatch.setattr(parts.router, "threshold", lambda *_: tried.json()["decision"]["gain"])  # on the line
    engine.logprob = -5.0
    await publish({"then": then}, explore=0.0, **own)
    answer = await client.post("/api/chat", json=AUTO)
    assert answer.headers["X-Orchestrator-Model"] == "openai/big-70b"
    assert engine.calls == is_tried
    assert ("local is tried first" in answer.headers["X-Orchestrator-Route"]) == is_tried


@pytest.mark.usefixtures("two_sides")
async def test_where_the_first_does_not_answer_the_next_does(
    client: httpx.AsyncClient, publish: Publish, engine: FakeEngine, cloud: FakeEngine
) -> None:
    await publish(aim={"share": 0.0}, explore=0.0)
    engine.pieces, engine.error = (), EngineUnreachable("nobody there")
    answer = await client.post("/api/chat", json=AUTO)
    assert answer.headers["X-Orchestrator-Model"] == "openai/big-70b"


@pytest.mark.usefixtures("two_sides")
async def test_where_nobody_who_is_paid_may_be_asked_who_is_free_answers(
    client: httpx.AsyncClient, publish: Publish, parts: Parts, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"7b": 1, "30b": 2, "70b": 3, "405b": 4}
    models = {
        (name := f"openai/big-{size}"): replace(
            cloud.model, name=name, price=Price(input=Decimal(at), output=Decimal(at))
        )
        for size, at in sizes.items()
    }

    async def find(name: str) -> Model | None:
        return models.get(name)

    monkeypatch.setattr(parts.catalogue, "known", lambda: [*models.values()])
    monkeypatch.setattr(cloud, "find", find)

    def budget() -> None:
        row = Budget.objects.create(name="all", period="total", each="all", amount_microusd=100)
        BudgetPeriod.objects.create(budget_id=row.pk, under="", begins=EVER, spent_microusd=100)

    await parts.managing.run(5, budget)
    await publish(aim={"share": 1.0}, explore=0.0)
    answer = await client.post("/api/chat", json=AUTO)
    assert (answer.status_code, answer.headers.get("X-Orchestrator-Model")) == (200, "tiny:latest")
    assert cloud.calls == 0


@pytest.mark.usefixtures("two_sides")
async def test_a_choice_is_kept_and_says_who_answered_and_what_it_saved(
    client: httpx.AsyncClient,
    publish: Publish,
    parts: Parts,
    cloud: FakeEngine,
    recorded: Callable[[int], Awaitable[list[RequestRecord]]],
) -> None:
    await publish(aim={"share": 1.0}, explore=0.0)
    answers = [await client.post("/api/chat", json=AUTO) for _ in range(3)]
    assert {answer.headers["X-Orchestrator-Model"] for answer in answers} == {"openai/big-70b"}
    assert [answer.headers["Cache-Status"].split("; ")[1] for answer in answers] == ["fwd=miss", "hit", "hit"]
    assert cloud.calls == 1
    records = await recorded(3)
    assert [record.saved_why for record in records] == [None, "charge", "charge"]
    assert records[1].saved_microusd == records[0].cost_microusd == 11
    await parts.cache.purge(Scope(model="openai/big-70b"))
    again = await client.post("/api/chat", json=AUTO)
    assert "miss" in again.headers["Cache-Status"], "its answers are purged, whatever it was asked as"


@pytest.mark.usefixtures("two_sides")
async def test_who_may_be_given_another_model_shares_neither_answer_nor_call(
    client: httpx.AsyncClient, publish: Publish, key: Make, engine: FakeEngine, cloud: FakeEngine
) -> None:
    await publish(aim={"share": 1.0}, explore=0.0)
    wide = await client.post("/api/chat", json=AUTO, headers=await key())
    narrow = await client.post("/api/chat", json=AUTO, headers=await key(model_patterns=["auto", "tiny"]))
    assert wide.headers["X-Orchestrator-Model"] == "openai/big-70b"
    assert (narrow.headers["X-Orchestrator-Model"], "miss" in narrow.headers["Cache-Status"]) == ("tiny:latest", True)
    await publish({"then": {"local_only": True}}, aim={"share": 1.0}, explore=0.0)
    local = await client.post("/api/chat", json=AUTO, headers=await key())
    assert local.headers["X-Orchestrator-Model"] == "tiny:latest"


@pytest.mark.usefixtures("two_sides")
async def test_who_leaves_the_choice_to_us_shares_a_call_and_says_who_makes_it(
    client: httpx.AsyncClient, publish: Publish, parts: Parts, engine: FakeEngine, cloud: FakeEngine
) -> None:
    await publish(aim={"share": 0.5}, explore=0.2)  # some draw another
    engine.gate = cloud.gate = asyncio.Event()
    asking = [asyncio.create_task(client.post("/api/chat", json=AUTO)) for _ in range(20)]
    async with asyncio.timeout(10):
        while parts.inflight.listeners < len(asking):
            await asyncio.sleep(0.01)
    engine.gate.set()
    answers = await asyncio.gather(*asking)
    assert engine.calls + cloud.calls == 1
    assert len({answer.headers["X-Orchestrator-Model"] for answer in answers}) == 1


@pytest.mark.usefixtures("two_sides")
async def test_what_a_model_cannot_do_it_is_not_chosen_for(
    client: httpx.AsyncClient, publish: Publish, engine: FakeEngine, cloud: FakeEngine
) -> None:
    await publish(aim={"share": 0.0}, explore=0.0)
    tools = AUTO | {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]}
    assert (await client.post("/api/chat", json=tools)).headers["X-Orchestrator-Model"] == "openai/big-70b"
    engine.model = replace(engine.model, context_length=20)
    long = AUTO | {"messages": [{"role": "user", "content": "a word " * 100}]}
    await publish(aim={"share": 0.0}, explore=0.0)
    assert (await client.post("/api/chat", json=long)).status_code == 200
    assert (engine.calls, cloud.calls) == (0, 2)


async def test_a_budget_that_is_nearly_spent_is_a_fact(
    client: httpx.AsyncClient,
    publish: Publish,
    parts: Parts,
    key: Make,
    cloud: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(left, "DEADLINE_S", 20.0)
    cloud.model = replace(cloud.model, price=Price(input=Decimal(1), output=Decimal(2)))
    headers = await key()

    def budget() -> None:
        row = Budget.objects.create(name="all", period="total", each="all", amount_microusd=100)
        BudgetPeriod.objects.create(budget_id=row.pk, under="", begins=EVER, spent_microusd=90)

    await parts.managing.run(5, budget)
    await publish({"when": [{"fact": "budget_left", "op": "below", "value": 0.2}], "then": {"use": ["tiny"]}})
    answer = await client.post("/api/chat", json=BIG, headers=headers)
    assert answer.headers["X-Orchestrator-Model"] == "tiny:latest"
    assert cloud.calls == 0


@pytest.mark.usefixtures("two_sides")
async def test_no_fault_of_what_looks_at_a_question_ends_it(
    client: httpx.AsyncClient, publish: Publish, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("routing.analysis.analyse.analyse", fail)
    monkeypatch.setattr("routing.predictor.predict.Predictor.place", fail)
    await publish({"when": [{"fact": "complexity", "op": "at_least", "value": 0.5}], "then": {"forbid": "too hard"}})
    answer = await client.post("/api/chat", json=AUTO)
    assert answer.status_code == 200
    notes = orjson.loads((await decisions(parts, 1))[0].document)["notes"]
    assert [note.split(":")[0] for note in notes if "ZeroDivisionError" in note] == [
        "The question could not be analysed",
        "The question could not be analysed",
        "By the models' names and prices alone",
    ]


@pytest.mark.usefixtures("two_sides")
async def test_a_question_is_shown_as_it_is_seen_when_somebody_is_chosen(
    client: httpx.AsyncClient, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers, asked = await admin(parts), {"text": "Hello"}
    plain = (await client.post("/api/admin/v1/analyze", json=asked, headers=headers)).json()
    assert any(note.startswith("Without the question's vector") for note in plain["notes"])
    with np.load(prototypes.FILE) as kept:
        vector = kept["vectors"][TASKS.index("translation")].astype("<f4").tobytes()
    monkeypatch.setattr(parts.router.meanings, "of", AsyncMock(return_value=Meaning(vector)))
    told = (await client.post("/api/admin/v1/analyze", json=asked, headers=headers)).json()
    assert (await client.post("/api/chat", json=AUTO)).status_code == 200
    (chosen,) = await decisions(parts, 1)
    assert (plain["task"], told["task"], chosen.task) == ("chat", "translation", "translation")
    assert told["complexity"] == chosen.complexity
    assert told["notes"] == []


@pytest.fixture
def broken_priors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What ships is damaged, and was not read before."""
    damaged = tmp_path / "priors.npz"
    damaged.write_bytes(b"PK not really")
    monkeypatch.setattr(priors, "FILE", damaged)
    priors.shipped.cache_clear()
    yield
    priors.shipped.cache_clear()


@pytest.mark.usefixtures("two_sides", "broken_priors")
async def test_without_what_ships_auto_goes_by_names_and_prices_and_says_so_once(
    client: httpx.AsyncClient, parts: Parts, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    monkeypatch.setattr(weighing, "_without_outcomes", lambda: (made.append(1), Predictor(State()))[1])
    with caplog.at_level(logging.WARNING, "orchestrator.weighing"):
        for text in ("one", "two", "three"):
            asked = AUTO | {"messages": [{"role": "user", "content": text}]}
            assert (await client.post("/api/chat", json=asked)).status_code == 200
    records = [record for record in caplog.records if record.name.startswith("orchestrator.weighing")]
    assert [record.exc_info for record in records] == [None]
    assert "models are chosen by their names and prices" in caplog.text
    assert len(made) == 1, "it is not read anew for each request"
    notes = [note for one in await decisions(parts, 3) for note in orjson.loads(one.document)["notes"]]
    assert notes.count("By the models' names and prices alone: Unusable.") == 3
    (told,) = router_knows_models()
    assert "cannot be read" in told.msg


def test_with_what_ships_the_doctor_is_content() -> None:
    assert list(router_knows_models()) == []


@pytest.mark.parametrize(
    ("rule", "is_replayed"),
    [
        ({"then": {"most_tokens": 100}}, True),
        ({"then": {"canary": {"use": ["nobody/one"], "share": 0.5, "by": "conversation"}}}, True),
        ({"then": {"canary": {"use": ["nobody/one"], "share": 0.5, "by": "request"}}}, False),
        ({"when": [{"fact": "budget_left", "op": "below", "value": 0.5}], "then": {"forbid": "spent"}}, False),
    ],
)
def test_what_may_be_another_verdict_for_the_same_bytes_is_not_replayed(
    rule: dict[str, Any], is_replayed: bool
) -> None:
    rules = compile_rules(read_document({"rules": [{"name": "a", **rule}]}), 1)
    facts = Facts(at=90.0)
    said = Ruled(ChatRequest(model="tiny"), rules.decide(facts), rules, facts)
    assert (said.same_until is None) == is_replayed
    hours = {"fact": "time", "op": "within", "value": {"since": "08:00", "until": "09:00"}}
    timed = compile_rules(read_document({"rules": [{"name": "a", "when": [hours]}]}), 1)
    assert Ruled(ChatRequest(model="tiny"), timed.decide(facts), timed, facts).same_until == 120.0


async def test_of_requests_that_nothing_was_decided_about_a_few_are_kept_for_drafts_to_be_tried_on(
    client: httpx.AsyncClient, parts: Parts
) -> None:
    sampled = next(f"r{at}" for at in range(1000) if crc32(f"r{at}".encode()) % ONE_IN == 0)
    others = [name for name in ("r-other", "r-next") if crc32(name.encode()) % ONE_IN]
    assert others
    for request_id in (*others, sampled):  # the last of them is a hit
        await client.post("/api/chat", json=HELLO, headers={"X-Request-Id": request_id})
    other = HELLO | {"messages": [{"role": "user", "content": "Another question"}]}
    await client.post("/api/chat", json=other, headers={"X-Request-Id": sampled})
    (row,) = await decisions(parts, 1)
    said = orjson.loads(row.document)
    assert (row.request_id, row.rules, said["verdict"], said["facts"]["model"]) == (sampled, 0, {}, "tiny")


async def test_a_key_for_auto_and_no_model_is_told_so(client: httpx.AsyncClient, parts: Parts, key: Any) -> None:
    answer = await client.post("/api/chat", json=AUTO, headers=await key(model_patterns=["auto"]))
    assert answer.status_code == 404
    assert "may ask for 'auto' and for no model there is" in answer.json()["error"]
