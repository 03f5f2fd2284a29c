"""Pages and live connections show what is of the viewer's tenants, and nothing that tells of another's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import websockets
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import AsyncClient

from cache.entries import Scope
from cache.models import CacheEntry
from dashboard import live as live_module
from dashboard.answers.purging import within
from dashboard.live import Live
from dashboard.periods import DEFAULT, PERIODS
from dashboard.reading import Reader, news
from dashboard.running import Look
from dashboard.strip import Part
from orchestrator.core.errors import Busy
from orchestrator.core.permissions import EVERYBODY, NOBODY, Reach, Role
from orchestrator.ledger.provider_stats import provider_figures
from orchestrator.models import Attempt, AuditEvent, RequestRecord, Tenant
from tests.dashboard.site import as_counted, fill, record, session_of, somebody

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]
PATIENCE_S = 10.0
Get = Callable[[str], Awaitable[str]]


def of_globex(number: int) -> None:
    record(
        tenant="globex",
        model="model-of-globex",
        asked_model="model-of-globex",
        request_id=f"id-of-globex-{number}",
        error="error-of-globex",
        outcome="engine_error",
        status=502,
        cache_key="c" * 64,
        tier="miss",
        provider="provider-of-globex",
    )


def of_acme(number: int) -> None:
    record(tenant="acme", model="model-of-acme", asked_model="model-of-acme", request_id=f"id-of-acme-{number}")


@pytest.fixture
async def ada(console: Any) -> User:
    """An operator of one tenant, while another is busier."""
    await sync_to_async(of_acme)(0)
    for number in range(3):
        await sync_to_async(of_globex)(number)
    return await sync_to_async(somebody)("ada", Role.OPERATOR, "acme")


@pytest.fixture
async def acme(ada: User) -> Reach:
    return Reach(frozenset({(await Tenant.objects.aget(name="acme")).pk}))


@pytest.fixture
async def globex(ada: User) -> int:
    return (await Tenant.objects.aget(name="globex")).pk


@pytest.fixture
async def site(ada: User) -> AsyncClient:
    client = AsyncClient()
    await client.aforce_login(ada)
    return client


async def test_no_page_tells_of_another_tenant(site: AsyncClient, console: Any, globex: int) -> None:
    await fill(console, 3, namespace="namespace-of-globex", model="model-of-globex", tenant_id=globex)
    kept = await CacheEntry.objects.of(EVERYBODY).afirst()
    assert kept is not None
    paths = [
        "",
        "cache/",
        "costs/",
        "costs/prices/",
        "costs/costs.csv",
        "series.csv",
        "cache/purge/?what=model",
        "requests/",
        "requests/?part=news&after=0",
        "requests/?q=of-",
        "requests/?tier=memory&outcome=done",
        f"cache/?key={kept.hash[:12]}",
    ]
    for path in paths:
        for period in PERIODS:
            mark = "&" if "?" in path else "?"
            response = await site.get(f"/dashboard/{path}{mark}period={period.slug}")
            said = response.content.decode()
            assert response.status_code == 200
            assert "globex" not in said, path
            assert kept.hash not in said, path
    assert "model-of-acme" in (await site.get("/dashboard/")).content.decode()
    lines = (await site.get("/dashboard/series.csv")).content.decode().splitlines()[1:]
    assert sum(int(line.split(",")[2]) for line in lines) == 1


async def test_nothing_leads_to_the_records_of_every_tenant(site: AsyncClient, operator: User) -> None:
    """They are refused to who sees some tenants, and a link that is refused is none."""
    for number in range(30):
        await sync_to_async(record)(tenant="acme", request_id=f"failed-{number}", outcome="engine_error", status=502)
    records = "/admin/orchestrator/requestrecord/"
    assert (await site.get(records)).status_code == 403
    said = (await site.get("/dashboard/")).content.decode()
    assert "of requests failed." in said
    assert records not in said
    assert "/dashboard/requests/?outcome=failed&amp;period=1h" in said  # where it is her tenant's that are listed
    request = await RequestRecord.objects.of(EVERYBODY).alatest("pk")
    path = f"/dashboard/requests/{request.pk}/"
    assert records not in (await site.get(path)).content.decode()
    await site.aforce_login(operator)
    assert records in (await site.get(path)).content.decode()


async def test_models_are_shown_without_how_busy_they_are(site: AsyncClient, operator: User) -> None:
    """Left out, not as if nobody used them."""
    said = (await site.get("/dashboard/")).content.decode()
    assert "192\u202fMB in memory" in said
    for word in ("Slots", "Tokens/s", "Unloads in", "idle", "stays"):
        assert word not in said
    await site.aforce_login(operator)
    assert "2 of 4" in (await site.get("/dashboard/")).content.decode()


async def test_a_purge_reaches_as_far_as_who_asks_for_it(
    site: AsyncClient, console: Any, acme: Reach, globex: int
) -> None:
    (own,) = acme.tenants or ()
    await fill(console, 2, model="shared", tenant_id=globex)
    kept = await CacheEntry.objects.of(EVERYBODY).afirst()
    assert kept is not None
    for form in (
        {"what": "model", "model": "shared"},
        {"what": "key", "key": kept.hash},
        {"what": "everything", "typed": "everything"},
    ):
        shown = (await site.get("/dashboard/cache/purge/", form | {"part": "preview"})).content.decode()
        assert "globex" not in shown
        await site.post("/dashboard/cache/purge/", as_counted(form) | {"shown": "0"})
    held = await console.cache.holding(Scope(tenant_id=globex))
    assert held["sqlite"].entries == 2
    noted = AuditEvent.objects.of(EVERYBODY).filter(action="cache.purged")
    assert {tenant async for tenant in noted.values_list("tenant_id", flat=True)} == {own}
    assert not [subject async for subject in noted.values_list("subject", flat=True) if "tenant" in subject]
    assert within(Scope(model="shared"), acme) == [Scope(model="shared", tenant_id=own)]
    assert within(Scope(), EVERYBODY) == (Scope(),)
    assert within(Scope(), NOBODY) == []


def test_news_of_one_tenant_do_not_count_those_of_others(transactional_db: None) -> None:
    for number in range(5):
        of_globex(number)
        of_acme(number)
    acme = Reach(frozenset({Tenant.objects.get(name="acme").pk}))
    found = news(acme, 0, 3)
    assert ([row.request_id for row in found.rows], found.total) == ([f"id-of-acme-{n}" for n in (4, 3, 2)], 5)
    assert news(acme, 0, 9).unlisted == 0
    assert news(NOBODY, 0, 9).rows == []


def test_failures_of_one_are_not_told_by_the_ids_of_another(transactional_db: None) -> None:
    """Request ids are the callers' own words: two tenants may use the same."""
    now = datetime.now(UTC)
    of_globex(0)
    record(tenant="acme", request_id="id-of-globex-0", outcome="engine_error", status=502, tier="miss", provider="groq")
    acme, globex = (Tenant.objects.get(name=name) for name in ("acme", "globex"))
    Attempt.objects.create(
        request_id="id-of-globex-0", tenant=globex, at=now, provider="groq", outcome="engine_error", took_us=1
    )
    since, until = now - timedelta(hours=1), now + timedelta(minutes=1)
    assert {name: one.failed for name, one in provider_figures(since, until, Reach(frozenset({acme.pk}))).items()} == {
        "groq": 1
    }
    assert set(provider_figures(since, until, Reach(frozenset({globex.pk})))) == {"groq", "provider-of-globex"}


async def test_a_live_connection_carries_no_row_and_no_figure_of_another_tenant(
    address: str, ada: User, operator: User
) -> None:
    async def heard(socket: Any, word: str) -> str:
        said = ""
        async with asyncio.timeout(PATIENCE_S):
            async for message in socket:
                said += message
                if word in said:
                    return said
        raise AssertionError("the connection ended")

    url = address.replace("http", "ws") + "/dashboard/live/?period=1h"
    cookies = [{"Cookie": f"orchestrator_session={await sync_to_async(session_of)(who)}"} for who in (ada, operator)]
    async with (
        websockets.connect(url, additional_headers=cookies[0], origin=address, proxy=None) as hers,
        websockets.connect(url, additional_headers=cookies[1], origin=address, proxy=None) as everybodys,
    ):
        said = await heard(hers, 'id="verdict"')
        await heard(everybodys, 'id="verdict"')
        for number in range(10, 13):
            await sync_to_async(of_globex)(number)
        assert "model-of-globex" in await heard(everybodys, 'id="rows"')
        await sync_to_async(of_acme)(11)
        said += await heard(hers, 'id="rows"')
        if "2 requests in the last hour" not in said:  # figures may come before rows
            said += await heard(hers, "2 requests in the last hour")
    assert "model-of-acme" in said
    assert "globex" not in said
    assert "of requests failed" not in said
    assert "requestrecord" not in said


async def test_people_of_one_reach_are_read_for_once(acme: Reach, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "FIGURES_EVERY_S", 0.05)
    asked: list[Reach] = []
    real = Reader.snapshot

    async def counted(self: Reader, period: Any, reach: Reach) -> Any:
        asked.append(reach)
        return await real(self, period, reach)

    async def look() -> Look:
        looks.append(len(asked))
        return Look([Part("Web", "ok", "busy with 7 of globex")], (), ())

    looks: list[int] = []
    monkeypatch.setattr(Reader, "snapshot", counted)
    own = Live(Reader(), look)
    async with (
        own.watch(DEFAULT, acme) as one,
        own.watch(DEFAULT, acme) as other,
        own.watch(DEFAULT, EVERYBODY) as everybodys,
        asyncio.timeout(PATIENCE_S),
    ):
        first, second, third = ["".join(await mailbox.take()) for mailbox in (one, other, everybodys)]
        while len(looks) < 3:
            await asyncio.sleep(0.01)
    assert first == second
    assert "busy with 7" not in first
    assert "busy with 7" in third
    assert asked[: looks[1]].count(acme) == 1, "once a look, however many watch"
    assert set(asked) == {acme, EVERYBODY}


async def test_so_many_reaches_are_watched_for_and_no_more(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "MOST_REACHES", 1)
    own = Live(Reader(), nothing_known)
    async with own.watch(DEFAULT, EVERYBODY), own.watch(PERIODS[0], EVERYBODY):
        with pytest.raises(Busy):
            async with own.watch(DEFAULT, Reach(frozenset({1}))):
                pass


async def nothing_known() -> Look:
    return Look(None, None, None)
