"""The finder: what begins so, for who may see it."""

from __future__ import annotations

import re

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connection
from django.test import AsyncClient
from django.test.utils import CaptureQueriesContext

from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.models import ApiKey, RequestRecord, Tenant
from orchestrator.registry.models import Provider
from routing.models import RuleDraft
from tests.dashboard.site import fill, record, somebody
from tests.keys import issue_key

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]

GO = "/dashboard/go/"


@pytest.fixture
async def site(console: object, operator: User) -> AsyncClient:
    """An admin of every tenant."""
    client = AsyncClient()
    await client.aforce_login(operator)
    return client


async def found(site: AsyncClient, wanted: str) -> str:
    return (await site.get(GO, {"q": wanted, "part": "found"})).content.decode()


def _things() -> None:
    acme = Tenant.objects.get_or_create(name="acme")[0]
    globex = Tenant.objects.get_or_create(name="globex")[0]
    ApiKey.objects.create(tenant=acme, name="web-app", prefix="k7web", digest="x")
    ApiKey.objects.create(tenant=globex, name="web-shop", prefix="k8shop", digest="x")
    record(request_id="req-one", tenant="acme")
    record(request_id="req-two", tenant="globex")
    Provider.objects.create(name="groq", kind="groq")
    RuleDraft.objects.create(place=0, name="mail stays here")


async def test_each_kind_is_found_by_how_it_begins(site, console):
    await sync_to_async(_things)()
    await fill(console, 2)
    number = await sync_to_async(lambda: RequestRecord.objects.of(EVERYBODY).get(request_id="req-one").pk)()
    key = await sync_to_async(lambda: ApiKey.objects.of(EVERYBODY).get(name="web-app").pk)()
    for wanted, address in (
        ("ove", "/dashboard/"),
        ("req-o", f"/dashboard/requests/{number}/"),
        (str(number), f"/dashboard/requests/{number}/"),
        ("k7w", f"/dashboard/keys/{key}/"),
        ("Web-A", f"/dashboard/keys/{key}/"),
        ("glob", "/dashboard/keys/tenants/"),
        ("gro", "/dashboard/providers/groq/"),
        ("mail", "/dashboard/routing/"),
        ("0" * 60, f"/dashboard/cache/?key={1:064x}"),
    ):
        assert f'href="{address}' in await found(site, wanted), wanted


async def test_a_rule_is_gone_to_where_it_stands(site):
    await sync_to_async(_things)()
    address = re.search(r'href="/dashboard/routing/#([^"]+)"', await found(site, "mail"))
    assert address
    assert f'id="{address[1]}"' in (await site.get("/dashboard/routing/")).content.decode()


async def test_what_is_called_just_so_is_gone_to(site):
    await sync_to_async(_things)()
    response = await site.get(GO, {"q": "Cache"})
    assert response.status_code == 302
    assert response["Location"] == "/dashboard/cache/"
    several = await site.get(GO, {"q": "req-"})
    assert several.status_code == 200
    assert several.content.count(b"/dashboard/requests/") > 2  # both, and the page in the rail


async def test_nobody_finds_what_they_may_not_see(site):
    await sync_to_async(_things)()
    viewer = await sync_to_async(somebody)("vera", Role.VIEWER, "acme")
    await site.aforce_login(viewer)
    assert "req-one" in await found(site, "req-")
    assert "req-two" not in await found(site, "req-")
    for hidden in ("web", "k7w", "glob", "gro", "mail", "peo", "aud", "sett"):
        assert "<li>" not in await found(site, hidden), hidden
    keeper = await sync_to_async(somebody)("olga", Role.OPERATOR, "acme")
    await site.aforce_login(keeper)
    said = await found(site, "web")
    assert "web-app" in said
    assert "web-shop" not in said
    assert "<li>" not in await found(site, "globe")


@pytest.mark.parametrize(
    "wanted", ["<script>alert(1)</script>", "%", "_", "'; --", "\x00", "é" * 300, "9" * 40, "\ud7ff"]
)
async def test_whatever_is_typed_is_only_looked_for(site, wanted):
    response = await site.get(GO, {"q": wanted})
    assert response.status_code == 200
    assert b"<script>alert" not in response.content


async def test_it_asks_a_bounded_number_of_questions(site):
    await sync_to_async(_things)()
    user = await sync_to_async(User.objects.get)(username="mira")
    from dashboard.finding import find
    from orchestrator.identity.people import roles_of

    def counted() -> int:
        held = roles_of(user)
        with CaptureQueriesContext(connection) as queries:
            find("abcdef12", held)
        return len(queries)

    assert await sync_to_async(counted)() <= 9


async def test_of_a_whole_key_only_its_beginning_is_looked_for_and_shown(site):
    key = await sync_to_async(issue_key)("laptop", "acme")
    secret = key.rpartition("_")[2] if "_" in key else key
    page = await found(site, key)
    assert "laptop" in page
    assert key not in page
    assert secret not in page
    assert "laptop" in await found(site, key[: len("orch_abcd")])
