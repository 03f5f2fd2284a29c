"""The page of one request: what it says first, what it proves it by, and who sees what of it."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient

from cache.models import CacheEntry
from dashboard.reading import reader
from dashboard.requests.one import read_one
from orchestrator.core.errors import Busy
from orchestrator.core.permissions import EVERYBODY, NOBODY, Role
from orchestrator.models import (
    AnswerOutcome,
    Attempt,
    AuditEvent,
    Charge,
    RequestRecord,
    RouteDecision,
    Tenant,
)
from tests.dashboard.site import fill, record, somebody
from tests.dashboard.tried import third_try

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]

PAGE = "/dashboard/requests/"


@pytest.fixture
async def staff(operator: Any, console: Any) -> AsyncClient:
    """A client that is signed in."""
    client = AsyncClient()
    await client.aforce_login(operator)
    return client


def text(response: Any) -> str:
    """The words of a page, tags taken out."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", unescape(response.content.decode())))


async def test_a_request_says_who_answered_on_which_try_and_why(staff: AsyncClient) -> None:
    number = await sync_to_async(third_try)()
    said = text(await staff.get(f"{PAGE}{number}/"))
    for words in (
        "Answered by claude-haiku-4.5 in 4.15 s, on the third try.",
        "No tier had it. smollm2:135m was not sure enough. groq/llama-3.3-70b sent nothing for 800 ms.",
        "Before any model, 13 ms",
        "Models, 4,134 ms",
        "388 tokens, 160 a second",
        "0.58",
        "tried, was not sure enough",
        "It costs too much.",
        "chosen",
        "version 14",
        "hard ones",
        "0.003144",
        "Asked afterwards, beside the request; not in its total.",
        "too short",
        "its answer is alike by 0.70",
        "The text of a question never is",
        "smollm2:135m was on trial: 0.55 was wanted of its answer, which came to 0.21, so another model was asked.",
    ):
        assert words in said, words
    assert "Its charges are no longer all kept" not in said


async def test_parts_that_are_gone_are_said_to_be(staff: AsyncClient) -> None:
    number = await sync_to_async(third_try)()
    for model in (Charge, Attempt, RouteDecision):
        await model.objects.of(EVERYBODY).all().adelete()
    said = text(await staff.get(f"{PAGE}{number}/"))
    assert "Its charges are no longer all kept; the total is what was booked." in said
    assert "Answered by claude-haiku-4.5 in 4.15" in said


@pytest.mark.parametrize(
    ("fields", "headline"),
    [
        ({}, "Answered from memory in 0.3 ms."),
        ({"tier": "semantic"}, "Answered by meaning in 0.3 ms."),
        ({"tier": "collapsed"}, "Answered by smollm2:135m in 0.3 ms, by a call that was under way."),
        ({"tier": "miss", "outcome": "cut"}, "Answered by smollm2:135m in 0.3 ms, cut at its length limit."),
        ({"tier": "miss", "outcome": "cancelled"}, "Cancelled by its caller after 0.3 ms."),
        ({"tier": "", "outcome": "model_not_found", "status": 404}, "Refused: model not found, 0.3 ms."),
        ({"tier": "miss", "outcome": "engine_error", "status": 502}, "Not answered: engine error, 0.3 ms."),
        ({"tier": "bypass", "first_us": None}, "Answered by smollm2:135m in 0.3 ms."),
        ({"cost_microusd": None, "error": "<b>", "tags": "a,b", "unsupported": "top_k", "tier": "miss"}, "Answered by"),
        ({"saved_why": "price", "saved_microusd": 412, "saved_of": "nobody"}, "$0.000412"),
        ({"saved_why": "free", "saved_microusd": 0}, "its model answers for nothing"),
        (
            {"tier": "miss", "route": "auto: local is tried first (0.7); not_sure: x"},
            "The router chose: local is tried first (0.7).",
        ),
        ({"cache_key": "", "total_us": 0, "first_us": None, "tier": "", "outcome": "", "status": 500}, "Not answered"),
    ],
)
async def test_every_way_to_end_has_its_words(staff: AsyncClient, fields: dict[str, Any], headline: str) -> None:
    await sync_to_async(record)(**fields)
    row = await RequestRecord.objects.of(EVERYBODY).alatest("pk")
    response = await staff.get(f"{PAGE}{row.pk}/")
    assert response.status_code == 200
    assert headline in text(response)
    assert "<b></td>" not in response.content.decode()


async def test_a_request_that_is_gone_or_somebody_elses_is_not_there(staff: AsyncClient, console: Any) -> None:
    number = await sync_to_async(third_try)("globex")
    missing = await staff.get(f"{PAGE}99999999/")
    assert missing.status_code == 404
    assert "There is no such request." in text(missing)
    client = AsyncClient()
    await client.aforce_login(await sync_to_async(somebody)("ada", Role.OPERATOR, "acme"))
    theirs = await client.get(f"{PAGE}{number}/")
    assert theirs.status_code == 404
    assert "There is no such request." in text(theirs)
    assert "globex" not in text(theirs)
    for path in ("judged", "again"):
        assert (await client.post(f"{PAGE}{number}/{path}/", {"good": "1"})).status_code == 404
    assert not await AnswerOutcome.objects.of(EVERYBODY).filter(kind="feedback").aexists()


async def test_of_a_shared_answer_another_tenants_request_is_not_named(staff: AsyncClient) -> None:
    payer = await sync_to_async(third_try)("globex")
    await sync_to_async(record)(request_id="child", saved_why="charge", saved_microusd=9, saved_of="third")
    child = await RequestRecord.objects.of(EVERYBODY).alatest("pk")
    assert f"{PAGE}{payer}/" not in (await staff.get(f"{PAGE}{child.pk}/")).content.decode()
    own = await sync_to_async(third_try)("acme")
    await sync_to_async(record)(request_id="second", saved_why="charge", saved_microusd=9, saved_of="third")
    child = await RequestRecord.objects.of(EVERYBODY).alatest("pk")
    assert f"{PAGE}{own}/" in (await staff.get(f"{PAGE}{child.pk}/")).content.decode()


async def test_two_requests_of_one_id_are_told_apart(staff: AsyncClient) -> None:
    number = await sync_to_async(third_try)()
    await sync_to_async(record)(request_id="third", tier="miss")
    later = await RequestRecord.objects.of(EVERYBODY).alatest("pk")
    said = text(await staff.get(f"{PAGE}{later.pk}/"))
    assert "groq/llama-3.3-70b" not in said
    response = await staff.post(f"{PAGE}{number}/judged/", {"good": "0"})
    assert response.status_code == 409
    assert "A later request has the same id" in text(response)


async def test_an_answer_is_marked_and_the_audit_knows_by_whom(staff: AsyncClient) -> None:
    number = await sync_to_async(third_try)()
    assert (await staff.post(f"{PAGE}{number}/judged/", {"good": "2"})).status_code == 422
    response = await staff.post(f"{PAGE}{number}/judged/", {"good": "0", "note": "nonsense"}, follow=True)
    assert "Noted: the answer was wrong. The router learns from it." in text(response)
    kept = await AnswerOutcome.objects.of(EVERYBODY).aget(kind="feedback")
    assert (kept.good, kept.by, kept.note) == (0.0, "user mira", "nonsense")
    event = await AuditEvent.objects.of(EVERYBODY).aget(action="answer.judged")
    assert (event.actor, event.subject) == ("user:mira", "third")


async def test_a_record_of_the_admin_is_marked_as_its_page_is(staff: AsyncClient) -> None:
    number = await sync_to_async(third_try)()
    said = f"/admin/orchestrator/requestrecord/{number}/said/"
    assert "Noted: the answer was wrong." in text(await staff.post(said, {"good": "0"}, follow=True))
    event = await AuditEvent.objects.of(EVERYBODY).aget(action="answer.judged")
    assert (event.actor, event.subject, event.request_id) == ("user:mira", "third", "third")
    await sync_to_async(record)(request_id="third", tier="miss")
    assert "A later request has the same id" in text(await staff.post(said, {"good": "1"}, follow=True))
    assert (await AnswerOutcome.objects.of(EVERYBODY).aget(kind="feedback")).good == 0.0
    assert await AuditEvent.objects.of(EVERYBODY).filter(action="answer.judged").acount() == 1


@pytest.mark.parametrize(
    ("how", "may"),
    [
        ({"outcome": "cancelled", "first_us": 1}, True),
        ({"outcome": "cancelled", "first_us": None}, False),
        ({"outcome": "engine_timeout", "first_us": None}, False),
    ],
)
async def test_what_somebody_heard_a_part_of_can_be_marked(staff: AsyncClient, how: dict[str, Any], may: bool) -> None:
    await sync_to_async(record)(**how)
    row = await RequestRecord.objects.of(EVERYBODY).alatest("pk")
    assert ('id="judge"' in (await staff.get(f"{PAGE}{row.pk}/")).content.decode()) is may


async def test_who_may_only_look_is_offered_no_act(console: Any) -> None:
    number = await sync_to_async(third_try)()
    client = AsyncClient()
    await client.aforce_login(await sync_to_async(somebody)("vera", Role.VIEWER, "acme"))
    page = (await client.get(f"{PAGE}{number}/")).content.decode()
    for act in ('id="judge"', 'id="purge"', 'id="playground"', 'id="record"'):
        assert act not in page
    assert (await client.post(f"{PAGE}{number}/judged/", {"good": "1"})).status_code == 403


async def test_a_kept_answer_is_shown_to_who_may_see_answers(staff: AsyncClient, console: Any) -> None:
    tenant = await Tenant.objects.acreate(name="keeper")
    await fill(console, 1, tenant_id=tenant.pk, text="It is <i>four</i>.")
    kept = await CacheEntry.objects.of(EVERYBODY).aget()
    await sync_to_async(record)(tenant="keeper", cache_key=kept.hash)
    row = await RequestRecord.objects.of(EVERYBODY).alatest("pk")
    page = (await staff.get(f"{PAGE}{row.pk}/")).content.decode()
    assert "It is &lt;i&gt;four&lt;/i&gt;." in page
    assert f"what=key&amp;key={kept.hash}" in page
    viewer = AsyncClient()
    await viewer.aforce_login(await sync_to_async(somebody)("vera", Role.VIEWER, "keeper"))
    seen = text(await viewer.get(f"{PAGE}{row.pk}/"))
    assert "four" not in seen
    assert "shown to who may see answers" in seen
    await CacheEntry.objects.of(EVERYBODY).filter(pk=kept.pk).aupdate(body=b"rubbish that is no answer at all")
    assert "No text is kept" in text(await staff.get(f"{PAGE}{row.pk}/"))


async def test_a_ledger_that_cannot_be_read_is_said(staff: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*args: Any) -> None:
        raise Busy("Too many wait.")

    monkeypatch.setattr(reader, "run", fails)
    response = await staff.get(f"{PAGE}1/")
    assert response.status_code == 503
    assert "The request could not be read." in text(response)


@pytest.mark.parametrize(
    "document", ["", "[]", "null", '{"decision": {}}', '{"decision": {"inputs": {"candidates": 3}}}']
)
async def test_a_decision_of_another_release_is_left_out(staff: AsyncClient, document: str) -> None:
    number = await sync_to_async(third_try)()
    await RouteDecision.objects.of(EVERYBODY).all().aupdate(document=document)
    response = await staff.get(f"{PAGE}{number}/")
    assert response.status_code == 200
    assert "Answered by claude-haiku-4.5" in text(response)


def test_it_takes_few_queries(transactional_db: None, django_assert_max_num_queries: Any) -> None:
    number = third_try()
    with django_assert_max_num_queries(7):
        assert read_one(number, EVERYBODY, sees_answers=NOBODY) is not None
