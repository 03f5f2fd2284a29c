"""The playground: one question to two models, by the way of every request."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import AsyncClient
from django.utils import timezone

from dashboard import playing
from dashboard.views import playground
from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.models import RequestRecord, Tenant
from orchestrator.parts import Parts
from tests.dashboard.site import record, session_of, somebody
from tests.fakes import FakeEngine

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]
PAGE, ASK = "/dashboard/playground/", "/dashboard/playground/ask/"


@pytest.fixture
def acme(transactional_db: None) -> Tenant:
    return Tenant.objects.create(name="acme")


@pytest.fixture
def visitor(console: Parts, operator: User) -> AsyncClient:
    return signed_in(operator)


def signed_in(user: User) -> AsyncClient:
    client = AsyncClient()
    client.cookies["orchestrator_session"] = session_of(user)
    return client


def form(tenant: Tenant, **fields: str) -> dict[str, str]:
    return {"question": "What is 2+2?", "a": "tiny", "b": "openai/big", "tenant": str(tenant.pk)} | fields


def text(response: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


async def lines(client: AsyncClient, asked: dict[str, str]) -> list[dict[str, str]]:
    response = await client.post(ASK, asked, headers={"Accept": playground.LINES})
    assert response["Content-Type"] == playground.LINES
    body = b"".join([piece async for piece in response.streaming_content])
    return [json.loads(line) for line in body.splitlines()]


async def test_both_answers_come_piece_by_piece_and_then_what_they_took(
    visitor: AsyncClient, acme: Tenant, recorded: Any
) -> None:
    heard = await lines(visitor, form(acme))
    for column in "ab":
        mine = [line for line in heard if line.get("to") == column]
        assert "".join(line.get("text", "") for line in mine) == "four"
        assert "First piece" in mine[-1]["facts"]
    assert "unknown" in heard[-1]["verdict"], "nobody knows what openai/big charges"
    records = await recorded(2)
    assert {row.model for row in records} == {"tiny:latest", "openai/big"}
    assert {(row.tenant.name, row.tags, row.endpoint) for row in records} == {("acme", "playground", PAGE)}


async def test_what_was_asked_before_comes_from_cache_unless_it_is_gone_past(
    visitor: AsyncClient, acme: Tenant, engine: FakeEngine
) -> None:
    asked = form(acme, b="")
    await lines(visitor, asked)
    heard = await lines(visitor, asked)
    assert "memory" in heard[-2]["facts"]
    assert engine.calls == 1
    await lines(visitor, asked | {"fresh": "1"})
    assert engine.calls == 2


async def test_without_a_script_the_page_comes_with_both_answers(visitor: AsyncClient, acme: Tenant) -> None:
    response = await visitor.post(ASK, form(acme, question="<b>2+2?"))
    assert response.status_code == 200
    assert text(response).count("four") == 2
    assert "&lt;b&gt;2+2?" in response.content.decode()


async def test_one_that_fails_is_said_beside_the_other(visitor: AsyncClient, acme: Tenant) -> None:
    response = await visitor.post(ASK, form(acme, b="nobody-has-this"))
    words = text(response)
    assert "tiny:latest answered, nobody-has-this did not." in words
    assert "nobody-has-this" in words
    assert "No answer." in words


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"question": " "}, "Type a question."),
        ({"question": "x" * 20_001}, "At most 20,000 characters"),
        ({"a": "", "b": ""}, "Name a model, or auto."),
        ({"a": "m" * 300}, "at most 255 characters"),
        ({"most_tokens": "-1"}, "A whole number from 1 to 32,768."),
        ({"most_tokens": "9" * 400}, "A whole number from 1 to 32,768."),
        ({"tenant": "999999"}, "That tenant is suspended, or not yours."),
        ({"tenant": "²"}, "That tenant is suspended, or not yours."),
        ({"tenant": ""}, "That tenant is suspended, or not yours."),
    ],
)
async def test_what_is_wrong_is_said_beside_it_and_nothing_typed_is_lost(
    visitor: AsyncClient, acme: Tenant, engine: FakeEngine, wrong: dict[str, str], said: str
) -> None:
    for headers in ({}, {"Accept": playground.LINES}):
        response = await visitor.post(ASK, form(acme, system="Be brief.") | wrong, headers=headers)
        assert response.status_code == 422
        assert said in text(response)
        assert "Be brief." in text(response)
    assert engine.calls == 0


async def test_a_suspended_tenant_is_not_asked_for(visitor: AsyncClient, acme: Tenant) -> None:
    acme.suspended_at = timezone.now()
    await acme.asave()
    assert (await visitor.post(ASK, form(acme))).status_code == 422


async def test_nobody_asks_at_anothers_cost(console: Parts, acme: Tenant, engine: FakeEngine) -> None:
    await Tenant.objects.acreate(name="globex")
    tina = await asyncio.to_thread(somebody, "tina", Role.OPERATOR, "globex")
    client = await asyncio.to_thread(signed_in, tina)
    assert (await client.post(ASK, form(acme))).status_code == 422
    assert "acme" not in text(await client.get(PAGE))
    assert engine.calls == 0


@pytest.mark.parametrize(("role", "status"), [(Role.VIEWER, 403), (Role.OPERATOR, 200), (Role.AUDITOR, 403)])
async def test_who_may_ask(console: Parts, role: Role, status: int) -> None:
    client = await asyncio.to_thread(lambda: signed_in(somebody("carol", role)))
    assert (await client.get(PAGE)).status_code == status


async def test_whoever_stops_listening_stops_the_answers(
    console: Parts, cast: Any, engine: FakeEngine, recorded: Any
) -> None:
    engine.gate = asyncio.Event()
    question = playing.Question(text="2+2?", models={"a": "tiny", "b": ""})
    pieces = playing.play(question, cast["alice"], "")
    assert (await anext(pieces)).text == "fo"
    await pieces.aclose()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("playground")]
    assert (await recorded(1))[0].outcome == "cancelled"


async def test_an_answer_that_never_ends_is_stopped(
    visitor: AsyncClient, acme: Tenant, engine: FakeEngine, monkeypatch: Any
) -> None:
    engine.gate = asyncio.Event()
    monkeypatch.setattr(playing, "PATIENCE_S", 0.2)
    assert "It was not done within 0.2 s, and was stopped." in text(await visitor.post(ASK, form(acme, b="")))


async def test_a_field_that_is_left_empty_asks_nobody_and_says_so(visitor: AsyncClient, acme: Tenant) -> None:
    def fields(body: str) -> list[tuple[str, str]]:
        return re.findall(r'id="model-[ab]" value="([^"]*)"[^>]* placeholder="([^"]*)"', body)

    assert fields((await visitor.get(PAGE)).content.decode()) == [("auto", "nobody"), ("", "nobody")]
    assert fields((await visitor.get(PAGE, {"a": ""})).content.decode())[0] == ("", "nobody")


async def test_the_models_of_a_request_are_filled_in(visitor: AsyncClient, acme: Tenant) -> None:
    await asyncio.to_thread(record, asked_model="auto", model="qwen2.5:3b-instruct", request_id="told")
    number = (await RequestRecord.objects.of(EVERYBODY).aget()).pk
    body = (await visitor.get(PAGE, {"request": str(number)})).content.decode()
    assert 'value="auto"' in body
    assert 'value="qwen2.5:3b-instruct"' in body
    assert "Its question is not kept" in body
    assert "Its question is not kept" not in (await visitor.get(PAGE, {"request": "9" * 30})).content.decode()
