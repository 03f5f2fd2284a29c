"""What is told of a decision: what was decided, what would be, and why."""

from __future__ import annotations

from dataclasses import asdict
from unittest.mock import AsyncMock
from zlib import crc32

import httpx
import numpy as np
import orjson
import pytest

from orchestrator.choosing.explaining import ANOTHER_RELEASE
from orchestrator.choosing.ruled import Look
from orchestrator.choosing.written import ONE_IN
from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.models import RouteDecision
from orchestrator.parts import Parts
from orchestrator.weighing.meaning import Meaning
from routing.analysis import prototypes
from routing.analysis.types import TASKS
from tests.choosing.asked import AUTO, BIG, HELLO, Publish, admin, decisions
from tests.fakes import FakeEngine
from tests.keys import issue_key
from tests.shapes import DOCUMENT, misfits


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
    response = await client.get("/api/admin/v1/decisions/r1", headers=headers)
    told = response.json()
    described = DOCUMENT["paths"]["/api/admin/v1/decisions/{request_id}"]["get"]["responses"]["200"]
    shape = described["content"]["application/json"]["schema"]
    look = asdict(Look("tiny:latest", before=0.5, after=0.25, floor=0.4, is_taken=False))
    for trial in (None, look):
        assert misfits(shape, told | {"trial": trial}) == []
    assert told["trial"] is None
    assert misfits(shape, told | {"trial": look | {"more": 1}})
    assert told["replay"] == {"rules": {"is_same": True}, "decision": {"is_same": True}}
    assert [one["rule"] for one in told["verdict"]["matched"]] == ["rule 1", "rule 2"]
    assert [one["name"] for one in told["decision"]["candidates"]][:1] == ["tiny:latest"]
    assert told["request"]["model"] == "tiny:latest"
    assert told["facts"]["text"] is None
    assert told["facts"]["untold"] == ["budget_left"], "the router had it analysed"
    assert told["facts"]["scores"].keys() >= {"complexity", "reasoning"}
    other = {"x-api-key": await parts.reads.run(60, lambda: issue_key("else", "globex", role=Role.VIEWER))}
    assert (await client.get("/api/admin/v1/decisions/r1", headers=other)).status_code == 404


@pytest.mark.parametrize("part", ["inputs", "verdict", "facts", "version", "no facts"])
async def test_what_another_release_wrote_is_told_as_far_as_it_was_kept(
    client: httpx.AsyncClient, publish: Publish, parts: Parts, part: str
) -> None:
    await publish({"then": {"never": ["nobody/*"]}})
    headers = await admin(parts)
    assert (await client.post("/api/chat", json=AUTO, headers=headers | {"X-Request-Id": "r1"})).status_code == 200
    (row,) = await decisions(parts, 1)
    said = orjson.loads(row.document)
    kept = {name: value for name, value in said["decision"].items() if name not in {"inputs", "why"}}
    if part == "inputs":
        said["decision"]["inputs"]["candidates"] = [{"called": "tiny:latest"}]
    elif part == "verdict":
        said["verdict"]["matched"] = ["rule 1"]
    elif part == "version":
        said["verdict"]["version"] = "one"
    elif part == "facts":
        said["facts"] |= {"tags": 7}
    else:
        del said["facts"]
    written = orjson.dumps(said).decode()
    await parts.managing.run(60, lambda: RouteDecision.objects.of(EVERYBODY).filter(pk=row.pk).update(document=written))
    response = await client.get("/api/admin/v1/decisions/r1", headers=headers)
    assert response.status_code == 200
    told = response.json()
    unread = {"is_same": None, "why": ANOTHER_RELEASE}
    if part == "inputs":
        assert told["replay"] == {"rules": {"is_same": True}, "decision": unread | {"kept": kept}}
        assert told["decision"] is None
    else:
        assert told["replay"] == {"rules": unread, "decision": {"is_same": True}}
        assert (told["verdict"], told["facts"]) == (said["verdict"], said.get("facts", {}))


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
