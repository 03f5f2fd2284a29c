"""The page of settings, and of what the doctor finds."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import checks
from django.db import connection
from django.test import AsyncClient
from django.test.utils import CaptureQueriesContext

from dashboard import doctor
from orchestrator import env
from orchestrator.checks.finding import fatal, unwise
from orchestrator.core.permissions import Role
from orchestrator.env import SETTINGS, Setting
from tests.dashboard.site import session_of, somebody

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]
PAGE, REPORT = "/dashboard/settings/", "/dashboard/settings/doctor/"


@pytest.fixture(autouse=True)
def _not_looked_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_last", None)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[checks.CheckMessage]:
    """What the doctor finds, for a test to say."""
    said: list[checks.CheckMessage] = []
    monkeypatch.setattr(doctor, "findings", lambda: said)
    return said


def signed_in(user: User) -> AsyncClient:
    client = AsyncClient()
    client.cookies["orchestrator_session"] = session_of(user)
    return client


@pytest.fixture
def operator_client(operator: User) -> AsyncClient:
    return signed_in(operator)


def text(response: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


async def test_every_setting_is_there_and_where_it_was_set(operator_client: AsyncClient, monkeypatch: Any) -> None:
    monkeypatch.setitem(SETTINGS, "SHOWN", Setting("SHOWN", "1", "Shows `this`.", section="Cache", is_set=True))
    monkeypatch.setenv("SHOWN", "<b>2")
    body = (await operator_client.get(PAGE)).content.decode()
    for name in SETTINGS:
        assert f"<code>{name}</code>" in body
    assert "<code>&lt;b&gt;2</code>" in body
    assert "Shows <code>this</code>." in body


async def test_a_secret_is_never_shown(operator_client: AsyncClient, monkeypatch: Any) -> None:
    monkeypatch.setitem(SETTINGS, "HIDDEN", Setting("HIDDEN", "", "A secret.", True, "Cache", True))
    monkeypatch.setenv("HIDDEN", "hunter2-of-the-test")
    response = await operator_client.get(PAGE)
    assert "hunter2" not in response.content.decode()
    assert "set, not shown" in text(response)


async def test_settings_are_found_by_a_few_letters(operator_client: AsyncClient) -> None:
    words = text(await operator_client.get(PAGE, {"q": "ORCHESTRATOR_cache_ttl"}))
    assert "ORCHESTRATOR_CACHE_TTL_S" in words
    assert "ORCHESTRATOR_MAX_BODY" not in words
    words = text(await operator_client.get(PAGE, {"q": "<script>"}))
    assert "No setting matches" in words
    assert "ORCHESTRATOR_MAX_BODY" not in text(
        await operator_client.get(PAGE, {"show": "set", "q": "ORCHESTRATOR_MAX"})
    )


async def test_the_heaviest_comes_first_with_its_remedy(operator_client: AsyncClient, found: Any) -> None:
    found += [fatal(7, "The ledger is gone.", "Put a backup in its place."), unwise(14, "Few files.", "Raise it.")]
    words = text(await operator_client.get(PAGE))
    assert "2 things to mend, 1 fatal." in words
    assert words.index("The ledger is gone.") < words.index("Put a backup in its place.") < words.index("Few files.")
    report = await operator_client.get(REPORT)
    assert report["Content-Type"].startswith("text/plain")
    assert "FATAL The ledger is gone. [E007]\n  → Put a backup in its place." in report.content.decode()


async def test_nothing_to_mend_is_said(operator_client: AsyncClient, found: Any) -> None:
    assert "The doctor finds nothing to mend." in text(await operator_client.get(PAGE))


async def test_a_doctor_who_is_not_done_in_time_does_not_hold_up_the_page(
    operator_client: AsyncClient, monkeypatch: Any
) -> None:
    monkeypatch.setattr(doctor, "DEADLINE_S", 0.0)
    monkeypatch.setattr(doctor, "KEPT_S", 0.0)  # a look that ends late is there for who asks next
    words = text(await operator_client.get(PAGE))
    assert "How safe it is, is not known." in words
    assert "ORCHESTRATOR_CACHE_TTL_S" in words
    assert (await operator_client.get(REPORT)).status_code == 503


async def test_many_who_look_cost_one_look(operator_client: AsyncClient, monkeypatch: Any) -> None:
    looks: list[int] = []
    monkeypatch.setattr(doctor, "findings", lambda: looks.append(1) or [])
    for _ in range(3):
        await operator_client.get(PAGE)
    assert len(looks) == 1
    await operator_client.get(PAGE, {"again": "1"})
    await operator_client.get(REPORT)
    assert len(looks) == 1


async def test_looking_again_is_an_act_and_a_few_seconds_apart(operator_client: AsyncClient, monkeypatch: Any) -> None:
    looks: list[int] = []
    monkeypatch.setattr(doctor, "findings", lambda: looks.append(1) or [])
    await operator_client.get(PAGE)
    response = await operator_client.post(PAGE)
    assert (response.status_code, response["Location"]) == (302, PAGE)
    assert len(looks) == 1, "the last look is a moment old"
    monkeypatch.setattr(doctor, "LEAST_S", 0.0)
    await operator_client.post(PAGE)
    assert len(looks) == 2
    await operator_client.get(PAGE)
    assert len(looks) == 2


async def test_who_asks_while_somebody_looks_gets_that_look(monkeypatch: Any) -> None:
    looks: list[int] = []
    monkeypatch.setattr(doctor, "findings", lambda: looks.append(1) or [])
    await asyncio.gather(*(doctor.doctor(anew=True) for _ in range(5)))
    assert len(looks) == 1


@pytest.mark.parametrize(("role", "status"), [(Role.VIEWER, 403), (Role.OPERATOR, 200), (Role.AUDITOR, 200)])
def test_who_may_look(transactional_db: None, client: Any, role: Role, status: int) -> None:
    client.force_login(somebody("carol", role))
    assert client.get(PAGE).status_code == status


def test_it_is_not_a_tenants(transactional_db: None, client: Any) -> None:
    client.force_login(somebody("tina", Role.ADMIN, "acme"))
    assert client.get(PAGE).status_code == 403


def test_every_setting_is_in_a_section() -> None:
    assert all(one.section for one in SETTINGS.values())
    assert env.SETTINGS["ORCHESTRATOR_CACHE_TTL_S"].section == "Cache"


def test_few_queries(transactional_db: None, client: Any, operator: User, found: Any) -> None:
    client.force_login(operator)
    with CaptureQueriesContext(connection) as queries:
        assert client.get(PAGE).status_code == 200
    assert len(queries) < 10
