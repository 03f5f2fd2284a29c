"""The cache page: why requests missed, how often answers were served, whose texts are shown, a tenant's purge."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import AsyncClient

from cache.entries import Scope
from cache.missed import GONE, NEW
from cache.models import CacheEntry
from dashboard.answers import kept
from dashboard.answers.misses import read_hits, read_misses
from dashboard.reading import Reader
from orchestrator.core.permissions import EVERYBODY, Reach, Role
from orchestrator.models import AuditEvent, Tenant
from orchestrator.parts import Parts
from tests.dashboard.site import answer, as_counted, keep, record, somebody

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]

PAGE = "/dashboard/cache/"
PURGE = "/dashboard/cache/purge/"


@pytest.fixture
async def site(console: Parts, operator: User) -> AsyncClient:
    """An admin of every tenant."""
    client = AsyncClient()
    await client.aforce_login(operator)
    return client


async def said(site: AsyncClient, path: str) -> str:
    return (await site.get(path)).content.decode()


def test_misses_are_counted_by_reason_and_what_nobody_knows_is_said():
    for why in (NEW, NEW, GONE, None, "from a later release"):
        record(tier="miss", missed=why)
    record(tier="memory")
    record(datetime.now(UTC) - timedelta(hours=2), tier="miss", missed=NEW)
    now = datetime.now(UTC)
    found = read_misses(now - timedelta(hours=1), now + timedelta(seconds=1), EVERYBODY)
    assert [(one.name, one.misses) for one in found.reasons] == [("new", 2), ("gone", 1), ("unknown", 2)]
    assert found.counted == 5
    assert not found.is_cut
    assert sum(one.share for one in found.reasons) == pytest.approx(1)


def test_hits_are_those_of_the_reach():
    record(tenant="acme", tier="memory", saved_microusd=5, saved_why="price")
    record(tenant="acme", tier="sqlite")
    record(tenant="globex", tier="memory")
    record(tenant="acme", tier="miss")
    acme = Tenant.objects.get(name="acme").pk
    assert read_hits(EVERYBODY).by_key["ab" * 32].count == 3
    mine = read_hits(Reach(frozenset({acme}))).by_key["ab" * 32]
    assert (mine.count, mine.saved_microusd) == (2, 5)


async def test_answers_are_narrowed_to_those_that_are_served_often(site, console):
    await keep(console, answer(1), answer(2))
    for number, times in ((1, 5), (2, 1)):
        for _ in range(times):
            await sync_to_async(record)(tier="memory", cache_key=f"{number:064x}")
    page = await said(site, f"{PAGE}?hits=5")
    assert f"kept-{1:064x}" in page
    assert f"kept-{2:064x}" not in page
    assert "1 that match" in page
    for odd in ("0", "-1", "many", "9" * 30):
        assert (await site.get(PAGE, {"hits": odd})).status_code == 200


def test_every_answer_that_is_served_often_is_found_however_many_there_are() -> None:
    now = datetime.now(UTC)
    known = {"tenant_id": 1, "namespace": "", "model": "tiny", "size": 1, "body": b"", "created_at": now}
    CacheEntry.objects.bulk_create(
        CacheEntry(hash=f"{number:064x}", expires_at=now + timedelta(hours=1), **known) for number in range(1, 4)
    )
    often = [f"{number:064x}" for number in range(20_000, 0, -1)]  # as many as hits are counted of
    found = kept.kept_page(EVERYBODY, kept.Filter(keys=often), "")
    assert [entry.hash for entry in found.entries] == [f"{number:064x}" for number in (3, 2, 1)]
    assert kept.kept_page(EVERYBODY, kept.Filter(keys=often, key=f"{2:064x}"), "").matching == 1
    assert kept.kept_page(EVERYBODY, kept.Filter(keys=[]), "").matching == 0


async def test_names_beyond_those_that_are_listed_are_found_and_purged(site, console, monkeypatch):
    for module in ("kept", "choices"):
        monkeypatch.setattr(f"dashboard.answers.{module}.MOST_NAMED", 2)
    tenants = [(await Tenant.objects.aget_or_create(name=name))[0].pk for name in ("acme", "globex", "initech")]
    common = [answer(n, model=f"m{n % 2}", namespace=f"ns{n % 2}", tenant_id=tenants[n % 2]) for n in range(1, 5)]
    await keep(console, *common, answer(5, model="m2", namespace="ns2", tenant_id=tenants[2]))
    page = await said(site, f"{PURGE}?what=namespace&namespace=ns2")
    assert re.search(r'<input type="text" name="namespace" value="ns2" [^>]*list="purge-namespace"', page)
    assert '<datalist id="purge-namespace"><option>ns0</option><option>ns1</option></datalist>' in page
    assert 'name="tenant_name" value="initech"' in await said(site, f"{PURGE}?what=tenant&tenant={tenants[2]}")
    for query in ({"model": "m2"}, {"namespace": "ns2"}, {"tenant": tenants[2]}, {"tenant_name": "initech"}):
        page = (await site.get(PAGE, query)).content.decode()
        assert "1 that match" in page
        assert f'value="{"initech" if "tenant" in str(query) else next(iter(query.values()))}"' in page
    assert "No kept answer matches" in (await site.get(PAGE, {"tenant_name": "nobody"})).content.decode()
    form = {"what": "tenant", "tenant_name": "nobody", "shown": "1"}
    assert (await site.post(PURGE, form)).status_code == 422
    form = {"what": "tenant", "tenant_name": "initech", "shown": "1"}
    counted = as_counted({"what": "tenant", "tenant": str(tenants[2])})["counted"]
    assert (await site.post(PURGE, form | {"counted": counted})).status_code == 302
    assert "No kept answer matches" in (await site.get(PAGE, {"namespace": "ns2"})).content.decode()


async def test_a_tenants_name_is_told_to_no_other(site, console):
    await Tenant.objects.aget_or_create(name="acme")
    globex, _ = await Tenant.objects.aget_or_create(name="globex")
    await keep(console, answer(1, tenant_id=globex.pk))
    await site.aforce_login(await sync_to_async(somebody)("olga", Role.OPERATOR, "acme"))
    page = (await site.get(PAGE, {"tenant": globex.pk})).content.decode()
    assert "globex" not in page
    for name in ("globex", "nobody"):
        words = (await site.get(PAGE, {"tenant_name": name})).content.decode()
        assert "No kept answer matches" in words
        refused = await site.post(PURGE, {"what": "tenant", "tenant_name": name, "shown": "1"})
        assert refused.status_code == 422


async def test_what_is_chosen_stands_in_the_list_though_nothing_is_kept_of_it(site, console):
    await keep(console, answer(1))
    page = await said(site, f"{PURGE}?what=model&model=gone")
    assert '<option value="gone" selected>gone</option>' in page


async def test_texts_are_shown_to_who_may_see_answers(site, console):
    await keep(console, answer(1, text="Fourteen days, unworn."))
    assert "Fourteen days, unworn." in await said(site, PAGE)
    viewer = await sync_to_async(somebody)("vera", Role.VIEWER)
    await site.aforce_login(viewer)
    page = await said(site, PAGE)
    assert "Fourteen days" not in page
    assert f"kept-{1:064x}" in page


async def test_a_tenants_answers_are_purged_and_no_others(site, console):
    tenants = [await Tenant.objects.aget_or_create(name=name) for name in ("acme", "globex")]
    acme, globex = (tenant.pk for tenant, _ in tenants)
    await keep(console, answer(1, tenant_id=acme), answer(2, tenant_id=acme), answer(3, tenant_id=globex))
    await keep(console, answer(4, tenant_id=acme, model="tiny"))
    assert "2 answers would be gone" in " ".join(
        (await said(site, f"{PURGE}?what=tenant&tenant={acme}&only=smollm2:135m")).replace("</span>", "").split()
    )
    form = {"what": "tenant", "tenant": str(acme), "only": "", "shown": "3", "reason": "moved away"}
    assert (await site.post(PURGE, as_counted(form))).status_code == 302
    left = await console.cache.holding(Scope())
    assert max(one.entries for one in left.values() if one) == 1
    event = await AuditEvent.objects.of(EVERYBODY).alatest("pk")
    assert (event.action, event.tenant_id) == ("cache.purged", acme)
    assert event.subject == "3 answers of tenant acme"
    assert event.details["reason"] == "moved away"


async def test_another_tenants_answers_are_not_to_be_purged(site, console):
    await Tenant.objects.aget_or_create(name="acme")
    globex, _ = await Tenant.objects.aget_or_create(name="globex")
    await keep(console, answer(1, tenant_id=globex.pk))
    olga = await sync_to_async(somebody)("olga", Role.OPERATOR, "acme")
    await site.aforce_login(olga)
    form = {"what": "tenant", "tenant": str(globex.pk), "shown": "1"}
    refused = await site.post(PURGE, as_counted(form))
    assert refused.status_code == 422
    assert "globex" not in refused.content.decode()
    left = await console.cache.holding(Scope())
    assert max(one.entries for one in left.values() if one) == 1


async def test_what_was_not_counted_is_not_purged(site, console, monkeypatch):
    await keep(console, answer(1), answer(2), answer(3), answer(4, model="tiny"))
    other = as_counted({"what": "model", "model": "smollm2:135m", "shown": "3"}) | {"model": "tiny"}
    for form in (other, {"what": "model", "model": "tiny", "shown": "3"}):
        refused = await site.post(PURGE, form)
        assert refused.status_code == 422
        page = refused.content.decode()
        assert "Something else was counted than is meant now. Look at the count again." in page
        assert 'name="shown" value="1"' in page
        assert 'name="counted" value="what=model&amp;model=tiny"' in page
    form = as_counted({"what": "model", "model": "tiny", "shown": "1"})
    for nothing in (None, {"memory": None, "redis": None, "sqlite": None}):

        async def unknown(*scopes, said=nothing):
            return said

        with monkeypatch.context() as patched:
            patched.setattr("dashboard.views.cache.holding", unknown)
            refused = await site.post(PURGE, form)
        assert refused.status_code == 422
        page = refused.content.decode()
        assert "The answers could not be counted." in page
        assert 'name="shown" value=""' in page
        assert not await AuditEvent.objects.of(EVERYBODY).aexists()
    assert (await site.post(PURGE, form)).status_code == 302
    left = await console.cache.holding(Scope())
    assert max(one.entries for one in left.values() if one) == 3


async def test_counting_again_purges_nothing_and_keeps_what_was_written(site, console):
    await keep(console, answer(1))
    form = {"what": "model", "model": "smollm2:135m", "reason": "wrong", "act": "count"}
    response = await site.post(PURGE, as_counted(form | {"shown": "1"}))
    page = response.content.decode()
    assert response.status_code == 200
    assert "Purge 1 answer<" in page
    assert 'name="reason" value="wrong"' in page
    assert 'formmethod="get"' not in page
    left = await console.cache.holding(Scope())
    assert max(one.entries for one in left.values() if one) == 1


async def test_names_are_counted_once_for_all_who_look_and_anew_after_a_purge(site, console, monkeypatch):
    counted = []
    by_model = kept.by_model

    def watched(whose: Reach) -> list[kept.Named]:
        counted.append(whose)
        return by_model(whose)

    monkeypatch.setattr(kept, "by_model", watched)
    monkeypatch.setattr("dashboard.views.cache.CACHE_FRESH_S", 3600.0)
    await keep(console, answer(1))
    for path in (PAGE, PAGE, f"{PURGE}?part=dialog"):
        assert "smollm2:135m" in await said(site, path)
    assert counted == [EVERYBODY]
    await keep(console, answer(2))
    assert "2 answers" in await said(site, f"{PURGE}?what=everything&part=preview"), "what goes is counted each time"
    form = {"what": "everything", "typed": "everything", "reason": "r", "shown": "2"}
    assert (await site.post(PURGE, as_counted(form))).status_code == 302
    assert f"kept-{1:064x}" not in await said(site, PAGE)
    assert counted == [EVERYBODY, EVERYBODY]


async def test_names_are_counted_anew_in_other_processes_after_a_purge(site, console, monkeypatch):
    monkeypatch.setattr("dashboard.views.cache.CACHE_FRESH_S", 3600.0)
    await keep(console, answer(1), answer(2, model="tiny"))
    here, other = Reader(), Reader()
    monkeypatch.setattr("dashboard.views.cache.reader", other)
    assert "<option>tiny<" in await said(site, PAGE)
    monkeypatch.setattr("dashboard.views.cache.reader", here)
    form = {"what": "model", "model": "tiny", "shown": "1", "reason": "r"}
    assert (await site.post(PURGE, as_counted(form))).status_code == 302
    monkeypatch.setattr("dashboard.views.cache.reader", other)
    page = await said(site, PAGE)
    assert "<option>smollm2:135m<" in page
    assert "<option>tiny<" not in page
