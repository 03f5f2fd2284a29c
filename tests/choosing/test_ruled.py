"""What rules make of a request on its way, with fake engines and everything else real."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import httpx
import orjson
import pytest

from orchestrator.choosing.ruled import Ruled
from orchestrator.core.errors import EngineUnreachable
from orchestrator.core.prices import Price
from orchestrator.core.types import ChatRequest
from orchestrator.models import RequestRecord
from orchestrator.outcomes.posting import Noted
from orchestrator.parts import Parts
from orchestrator.registry.entries import LOCAL, DeploymentEntry, ModelEntry, Registry
from routing.rules.checking import read_document
from routing.rules.compiled import compile_rules
from routing.rules.facts import MOST_CONVERSATION, Facts
from tests.choosing.asked import AUTO, BIG, HELLO, HELLO_TURN, Make, Publish, decisions
from tests.fakes import FakeEngine


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
