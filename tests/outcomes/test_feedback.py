"""What callers say of answers: their tenant's, and nobody else's. It is said at once, before there may be a record."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from orchestrator.core.errors import NotThere
from orchestrator.core.permissions import EVERYBODY
from orchestrator.models import AnswerOutcome
from orchestrator.outcomes.saying import say
from orchestrator.parts import Parts
from tests.dashboard.site import record
from tests.keys import issue_key
from tests.shapes import faults

QUESTION = {"model": "tiny", "messages": [{"role": "user", "content": "What is 2+2?"}], "stream": False}


@pytest.fixture
async def keys(parts: Parts) -> dict[str, dict[str, str]]:
    found = {}
    for name, tenant in (("alice", "acme"), ("bob", "acme"), ("charlie", "globex")):
        found[name] = {"x-api-key": await parts.reads.run(60, issue_key, name, tenant)}
    return found


async def answered(client: httpx.AsyncClient, headers: dict[str, str]) -> str:
    response = await client.post("/api/chat", json=QUESTION, headers=headers)
    assert response.status_code == 200, response.text
    return str(response.headers["X-Request-Id"])


async def said(client: httpx.AsyncClient, headers: dict[str, str], **body: Any) -> httpx.Response:
    response = await client.post("/api/feedback", json=body, headers=headers)
    assert (
        faults("POST", "/api/feedback", response.status_code, response.headers["Content-Type"], response.content) == []
    )
    return response


async def kept(parts: Parts) -> list[tuple[str, float, str]]:
    rows = await parts.reads.run(60, lambda: list(AnswerOutcome.objects.of(EVERYBODY).order_by("id")))
    return [(one.model, one.good, one.note) for one in rows]


async def test_feedback_is_kept_beside_who_answered(client: httpx.AsyncClient, parts: Parts, keys: Any) -> None:
    asked = await answered(client, keys["alice"])
    response = await said(client, keys["alice"], request_id=asked, good=False, note="It is 4.")
    assert (response.status_code, response.json()) == (200, {"request_id": asked, "model": "tiny:latest", "good": 0.0})
    assert await kept(parts) == [("tiny:latest", 0.0, "It is 4.")]


async def test_who_changes_their_mind_replaces_what_they_said(
    client: httpx.AsyncClient, parts: Parts, keys: Any
) -> None:
    asked = await answered(client, keys["alice"])
    for who, good in (("alice", True), ("alice", 0.25), ("bob", True)):
        assert (await said(client, keys[who], request_id=asked, good=good)).status_code == 200
    assert sorted(good for _, good, _ in await kept(parts)) == [0.25, 1.0]


async def test_another_tenants_answer_is_not_there(client: httpx.AsyncClient, parts: Parts, keys: Any) -> None:
    asked = await answered(client, keys["alice"])
    theirs, none = [await said(client, keys["charlie"], request_id=one, good=True) for one in (asked, "no-such")]
    assert (theirs.status_code, none.status_code) == (404, 404)
    assert theirs.json()["error"].replace(asked, "") == none.json()["error"].replace("no-such", "")
    assert await kept(parts) == []


@pytest.mark.parametrize(
    ("outcome", "first_us", "is_answered"),
    [
        ("done", 1, True),
        ("cut", 1, True),
        ("cancelled", 1, True),
        ("cancelled", None, False),
        ("engine_timeout", None, False),
        ("engine_error", 1, False),
        ("", None, False),
    ],
)
def test_only_of_an_answer_something_is_said(
    transactional_db: None, outcome: str, first_us: int | None, is_answered: bool
) -> None:
    record(request_id="r", model="tiny:latest", outcome=outcome, first_us=first_us)
    if is_answered:
        assert say(EVERYBODY, "r", 1.0, by="somebody").model == "tiny:latest"
    else:
        with pytest.raises(NotThere):
            say(EVERYBODY, "r", 1.0, by="somebody")


def test_what_is_said_again_is_learned_once(transactional_db: None) -> None:
    record(request_id="r", model="tiny:latest", outcome="done", first_us=1)
    first = say(EVERYBODY, "r", 1.0, by="somebody")
    AnswerOutcome.objects.of(EVERYBODY).update(learned_in=7)
    for good, note, learned_in in ((1.0, "", 7), (1.0, "It is right.", 7), (0.5, "", None)):
        say(EVERYBODY, "r", good, by="somebody", note=note)
        (row,) = AnswerOutcome.objects.of(EVERYBODY)
        assert (row.pk, row.good, row.note, row.learned_in) == (first.pk, good, note, learned_in)
        assert (row.at == first.at) is (learned_in is not None), "who learns meanwhile goes by when it was said"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"request_id": "r"},
        {"request_id": "r", "good": 2},
        {"request_id": "r", "good": -0.1},
        {"request_id": "r", "good": "yes"},
        {"request_id": "r", "good": None},
        {"request_id": "", "good": True},
        {"request_id": "r" * 65, "good": True},
        {"request_id": "r", "good": True, "note": "n" * 501},
        {"request_id": "r", "good": True, "rating": 5},
    ],
)
async def test_what_cannot_be_meant_is_refused(client: httpx.AsyncClient, parts: Parts, keys: Any, body: Any) -> None:
    response = await said(client, keys["alice"], **body)
    assert response.status_code == 400, response.text
    assert await kept(parts) == []


@pytest.mark.parametrize("good", [2, -0.1, "yes", None, []])
async def test_how_good_it_can_have_been_is_told(client: httpx.AsyncClient, parts: Parts, keys: Any, good: Any) -> None:
    response = await said(client, keys["alice"], request_id="r", good=good)
    assert response.json() == {"error": "good is true, false or a number from 0 to 1"}
