"""Pages without a browser: what they say, what they cost, what they say when something is broken."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.db import DatabaseError
from django.template.loader import render_to_string
from django.test import AsyncClient

from cache import admin as cache_admin
from cache.entries import Scope
from cache.tiered import Purged
from dashboard import reading, running
from dashboard.periods import DEFAULT
from dashboard.reading import newest_id, newest_rows, news, read_snapshot, reader
from orchestrator.admin import seen
from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.identity.keys import find_key
from orchestrator.ledger import rolled
from orchestrator.models import ApiKey, AuditEvent, Charge, RouteDecision, Tenant
from tests.dashboard.site import answer, as_counted, fill, keep, record, traffic
from tests.keys import issue_key

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]


@pytest.fixture
async def staff(operator, console) -> AsyncClient:
    """A client that is signed in."""
    client = AsyncClient()
    await client.aforce_login(operator)
    return client


def text(response: Any) -> str:
    """The words of a page, tags taken out."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


async def test_the_overview_of_a_fresh_install_says_what_to_do(staff):
    words = text(await staff.get("/dashboard/"))
    assert "Ready. Nothing has been asked yet." in words
    assert "curl http://127.0.0.1:11434/api/chat" in words
    assert "not asked" in words


async def test_without_a_local_model_the_overview_says_what_adds_one(staff, local, monkeypatch):
    async def none():
        return []

    monkeypatch.setattr(local, "models", none)
    monkeypatch.setattr(local, "ps", none)
    page = await staff.get("/dashboard/")
    assert "manage.py models add" in text(page)
    assert "ollama pull" not in text(page)
    assert 'href="/dashboard/models/#adding"' in page.content.decode()


async def test_the_overview_shows_figures_tiers_models_and_rows(staff):
    await sync_to_async(traffic)(datetime.now(UTC), count=800)
    await sync_to_async(record)(outcome="engine_timeout", status=504, tier="miss")
    words = text(await staff.get("/dashboard/?period=24h"))
    assert "801 requests in the last 24 hours" in words
    for name in ("Memory", "SQLite", "Miss", "qwen2.5:3b-instruct", "globex", "engine timeout", "Model host"):
        assert name in words


async def test_times_of_more_than_a_day_have_their_dates(staff):
    now = datetime.now(UTC)
    for days in range(1, 4):
        await sync_to_async(record)(now - timedelta(days=days))
    week = (await staff.get("/dashboard/?period=7d")).content.decode()
    assert re.search(r'peak \S+ at <time [^>]*data-clock="both">\d+ [A-Z][a-z]{2} \d\d:\d\d</time>', week)
    froms = re.findall(r'<th scope="row"><time [^>]*>([^<]*)</time></th>', week)
    assert len(froms) > 100
    assert all(re.fullmatch(r"\d+ [A-Z][a-z]{2} \d\d:\d\d", one) for one in froms)
    await sync_to_async(record)(now - timedelta(minutes=5))
    assert re.search(
        r'<th scope="row"><time [^>]*>\d\d:\d\d</time></th>', (await staff.get("/dashboard/")).content.decode()
    )


async def test_a_record_cannot_write_into_the_page(staff):
    await sync_to_async(record)(asked_model="<script>alert(1)</script>", model="")
    page = (await staff.get("/dashboard/")).content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


async def test_no_page_has_inline_style_or_script(staff, console):
    await sync_to_async(traffic)(datetime.now(UTC), count=200)
    await fill(console)
    for path in ("/dashboard/", "/dashboard/cache/", "/dashboard/cache/purge/?what=everything"):
        page = (await staff.get(path)).content.decode()
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)|javascript:", page), path


async def test_a_silent_model_host_is_unknown_and_the_rest_of_the_page_stands(staff, local, monkeypatch):
    monkeypatch.setattr(running, "LOOK_S", 0.2)
    monkeypatch.setattr(local, "ps", lambda: asyncio.Event().wait())
    monkeypatch.setattr(local, "models", lambda: asyncio.Event().wait())
    words = text(await staff.get("/dashboard/"))
    assert "The model host does not answer." in words
    assert "Requests as they happen" in words


async def test_a_model_host_that_is_gone_is_said_to_be_down(staff, local):
    local.is_down = True
    assert "Model host is down." in text(await staff.get("/dashboard/"))


async def test_a_ledger_that_cannot_be_read_leaves_the_page_standing(staff, monkeypatch):
    def broken(*_: Any) -> None:
        raise DatabaseError("disk I/O error")

    monkeypatch.setattr("dashboard.reading.read_snapshot", broken)
    monkeypatch.setattr("dashboard.reading.newest_rows", broken)
    response = await staff.get("/dashboard/")
    words = text(response)
    assert response.status_code == 200
    assert "The figures could not be read." in words
    assert "The newest requests could not be read." in words
    assert "Local models" in words
    assert "smollm2:135m" in words
    assert "What the cache does is unknown." in text(await staff.get("/dashboard/cache/"))


async def test_a_page_whose_figures_lag_behind_says_so(staff, monkeypatch):
    for _ in range(3):
        await sync_to_async(record)(datetime.now(UTC) - timedelta(minutes=3))
    assert "being added up" not in text(await staff.get("/dashboard/?period=7d"))
    monkeypatch.setattr(rolled, "MOST_RAW", 2)
    reader.forget()
    assert "2 in the last 7 days, and others still being added up" in text(await staff.get("/dashboard/?period=7d"))


async def test_the_series_come_as_csv(staff):
    await sync_to_async(record)(datetime.now(UTC) - timedelta(minutes=3), tier="redis", total_us=1500)
    lines = (await staff.get("/dashboard/series.csv")).content.decode().splitlines()
    assert lines[0].startswith("from,seconds,requests,Memory,Redis")
    assert sum(int(line.split(",")[4]) for line in lines[1:]) == 1
    assert len(lines) == 62


async def test_an_unknown_period_is_the_default_one(staff):
    assert "Overview, last hour" in text(await staff.get("/dashboard/?period=forever"))


def test_a_page_of_figures_and_rows_takes_few_queries(transactional_db, django_assert_max_num_queries):
    traffic(datetime.now(UTC), count=300)
    with django_assert_max_num_queries(7):  # one of them where nothing came in the period
        read_snapshot(DEFAULT, EVERYBODY, datetime.now(UTC))
        for row in newest_rows(EVERYBODY, 30):
            assert row.tenant.name
            assert row.key is None or row.key.name


def test_news_are_bounded_and_counted(transactional_db, django_assert_num_queries):
    record()
    seen = newest_id()
    for _ in range(5):
        record()
    with django_assert_num_queries(1):
        found = news(EVERYBODY, seen, 3)
        assert [row.pk - seen for row in found.rows] == [5, 4, 3]
    assert (found.total, found.newest_id) == (5, seen + 5)
    assert news(EVERYBODY, seen + 5, 3).rows == []


async def test_many_viewers_cost_one_reading(staff, monkeypatch):
    monkeypatch.setattr(reading, "FRESH_S", 60.0)
    first = await reader.snapshot(DEFAULT, EVERYBODY)
    assert await reader.snapshot(DEFAULT, EVERYBODY) is first


async def test_the_cache_page_lists_what_is_kept_without_reading_it(staff, console):
    await sync_to_async(record)(tier="memory")
    await fill(console, 3, namespace="support")
    words = text(await staff.get("/dashboard/cache/"))
    assert "Every answer came from cache." in words
    assert "3 answers are kept." in words
    assert "support" in words
    assert "00000000…0002" in words
    assert "not set up" in words


async def test_kept_answers_come_a_page_at_a_time_and_none_twice(staff, console):
    await fill(console, 60)
    seen: list[str] = []
    path = "/dashboard/cache/"
    while path:
        page = (await staff.get(path)).content.decode()
        seen += re.findall(r'data-copy="([0-9a-f]{64})"', page)
        more = re.search(r'href="(\?[^"]*after=[^"]*)#kept">Next', page)
        if more:
            left = 60 - len(seen)
            assert f">Next {min(left, 25)}<" in page
        path = "/dashboard/cache/" + more[1].replace("&amp;", "&") if more else ""
    assert len(seen) == len(set(seen)) == 60


async def test_kept_answers_are_found_by_key_model_and_namespace(staff, console):
    await fill(console, 2, namespace="support")
    await keep(console, answer(7, model="tiny"))
    assert "1 that match" in text(await staff.get(f"/dashboard/cache/?key={'0' * 63}7"))
    assert "1 that match" in text(await staff.get("/dashboard/cache/?model=tiny"))
    assert "2 that match" in text(await staff.get("/dashboard/cache/?namespace=support"))
    assert "1 that match" in text(await staff.get("/dashboard/cache/?namespace=(none)"))
    assert "No kept answer matches" in text(await staff.get("/dashboard/cache/?key=ff"))
    assert "3; the text of questions" in text(await staff.get("/dashboard/cache/?after=nonsense"))


# Purging


async def kept(console) -> int:
    return max(one.entries for one in (await console.cache.holding(Scope())).values() if one)


async def test_a_purge_shows_its_count_before_anything_happens(staff, console):
    await fill(console, 4)
    words = text(await staff.get("/dashboard/cache/purge/?what=model&model=smollm2:135m"))
    assert "4 answers would be gone" in words
    assert "Purge 4 answers" in words
    assert await kept(console) == 4


@pytest.mark.parametrize(
    ("form", "left"),
    [
        ({"what": "key", "key": f"{2:064X}", "shown": "1"}, 5),
        ({"what": "model", "model": "tiny", "shown": "2"}, 4),
        ({"what": "namespace", "namespace": "support", "shown": "2"}, 4),
        ({"what": "namespace", "namespace": "(none)", "shown": "4"}, 2),
        ({"what": "everything", "typed": "Everything", "shown": "6"}, 0),
    ],
)
async def test_a_purge_takes_what_it_names_and_nothing_else(staff, console, form, left):
    for number in range(6):
        entry = answer(number, model="tiny" if number < 2 else "big", namespace="support" if number > 3 else "")
        await console.cache.put(entry, console.cache.generation())
    response = await staff.post("/dashboard/cache/purge/", as_counted(form) | {"reason": "wrong since this morning"})
    assert (response.status_code, response["Location"]) == (302, "/dashboard/cache/")
    assert await kept(console) == left
    words = text(await staff.get("/dashboard/cache/"))
    assert "They are gone from every process." in words
    entry = await LogEntry.objects.aget()
    assert "wrong since this morning" in entry.change_message
    event = await apps.get_model("orchestrator", "AuditEvent").objects.of(EVERYBODY).aget()
    assert (event.action, event.details["reason"]) == ("cache.purged", "wrong since this morning")


@pytest.mark.parametrize(
    ("form", "fault"),
    [
        ({"what": "everything", "shown": "4"}, "Type everything to purge every answer."),
        ({"what": "model", "shown": "0"}, "Choose what to purge."),
        ({"what": "key", "key": "abc", "shown": "0"}, "A key is 64 characters"),
        ({"what": "model", "model": "smollm2:135m", "shown": "2"}, "More answers are meant now than were shown."),
        ({"what": "model", "model": "smollm2:135m"}, "More answers are meant now than were shown."),
    ],
)
async def test_a_purge_that_was_not_confirmed_is_not_done(staff, console, form, fault):
    await fill(console, 4)
    response = await staff.post("/dashboard/cache/purge/", as_counted(form))
    assert response.status_code == 422
    assert fault in text(response)
    assert await kept(console) == 4


async def test_a_machine_that_has_not_followed_is_named(staff, console, monkeypatch):
    async def partly(scope):
        return Purged(counts={"memory": 2}, failed={"other machines": "b has been silent for 7 s"})

    await fill(console, 2)
    monkeypatch.setattr("dashboard.views.cache.purge_now", partly)
    await staff.post("/dashboard/cache/purge/", as_counted({"what": "model", "model": "smollm2:135m", "shown": "2"}))
    shown = text(await staff.get("/dashboard/cache/"))
    assert "not on every machine yet: b has been silent for 7 s" in shown
    assert "could not be reached" not in shown


async def test_who_closes_the_page_has_purged_all_the_same_and_it_is_written_down(staff, console, monkeypatch):
    begun, may_go = asyncio.Event(), asyncio.Event()

    async def slowly(*scopes):
        begun.set()
        await may_go.wait()
        return Purged(counts={"memory": 2})

    await fill(console, 2)
    monkeypatch.setattr("dashboard.views.cache.purge_now", slowly)
    form = {"what": "model", "model": "smollm2:135m", "shown": "2", "reason": "wrong"}
    asking = asyncio.create_task(staff.post("/dashboard/cache/purge/", as_counted(form)))
    await asyncio.wait_for(begun.wait(), 60)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    may_go.set()
    async with asyncio.timeout(60):
        while not (events := [event async for event in AuditEvent.objects.of(EVERYBODY)]):
            await asyncio.sleep(0.01)
    assert (events[0].action, events[0].subject) == ("cache.purged", "2 answers from smollm2:135m")


async def test_a_purge_that_is_not_over_in_time_is_written_down(staff, console, monkeypatch):
    async def too_long(*scopes):
        raise TimeoutError

    await fill(console, 2)
    monkeypatch.setattr("dashboard.views.cache.purge_now", too_long)
    await staff.post("/dashboard/cache/purge/", as_counted({"what": "model", "model": "smollm2:135m", "shown": "2"}))
    event = await AuditEvent.objects.of(EVERYBODY).aget()
    assert event.subject == "answers from smollm2:135m, not over in time"
    assert "The purge was not over in time" in text(await staff.get("/dashboard/cache/"))


async def test_a_tier_that_was_not_reached_is_named(staff, console, monkeypatch):
    async def partly(scope):
        return Purged(counts={"memory": 2}, failed={"sqlite": "locked"})

    await fill(console, 2)
    monkeypatch.setattr("dashboard.views.cache.purge_now", partly)
    await staff.post("/dashboard/cache/purge/", as_counted({"what": "model", "model": "smollm2:135m", "shown": "2"}))
    assert "SQLite could not be reached; what it holds is not served." in text(await staff.get("/dashboard/cache/"))


# Records


@pytest.mark.parametrize(
    ("path", "marked"),
    [
        ("/admin/orchestrator/requestrecord/", ["Requests"]),
        ("/admin/orchestrator/auditevent/", ["Audit"]),
        ("/admin/routing/ruleversion/", ["Routing"]),
        ("/admin/cache/purge/", ["Cache"]),
        ("/admin/registry/registeredmodel/", ["Models"]),
        ("/admin/registry/registeredmodel/add/", ["Models"]),
        ("/admin/registry/provider/", ["Providers"]),
        ("/admin/orchestrator/apikey/", ["Keys"]),
        ("/admin/orchestrator/limit/add/", ["Keys"]),
        ("/admin/orchestrator/charge/", ["Costs"]),
        ("/admin/orchestrator/pricerow/", ["Costs"]),
        ("/admin/", []),
    ],
)
async def test_the_admin_marks_the_page_it_shows(staff, path, marked):
    page = (await staff.get(path)).content.decode()
    header = page[page.index('class="console-pages"') :].partition("</nav>")[0]
    assert re.findall(r">(\w+)</a>", header) == [
        *("Overview", "Requests", "Audit", "Routing", "Cache", "Models", "Providers"),
        *("Costs", "Keys", "People", "Settings"),
    ]
    assert re.findall(r'aria-current="true">(\w+)</a>', header) == marked


@pytest.mark.parametrize("table", ["orchestrator/requestrecord", "orchestrator/auditevent", "cache/cacheentry"])
async def test_a_filter_has_the_first_tenants_and_the_chosen_one(staff, monkeypatch, table):
    await sync_to_async(record)(tenant="acme")
    for name in ("amber", "birch", "cedar", "zinc"):
        await Tenant.objects.acreate(name=name)
    zinc = await Tenant.objects.aget(name="zinc")
    for module in (seen, cache_admin):
        monkeypatch.setattr(module, "MOST_CHOICES", 2)
    field = "tenant" if table.startswith("cache") else "tenant__id__exact"
    listed = text(await staff.get(f"/admin/{table}/"))
    assert "amber" in listed
    assert "cedar" not in listed
    assert "zinc" not in listed
    assert "zinc" in text(await staff.get(f"/admin/{table}/?{field}={zinc.pk}"))
    assert (await staff.get(f"/admin/{table}/?{field}={'9' * 40}")).status_code in {200, 302}


async def test_the_index_of_records_has_no_log_beside_the_audit(staff):
    page = text(await staff.get("/admin/"))
    assert "Everything that is kept" in page
    assert "Recent actions" not in page


async def test_models_are_a_page_for_those_who_may_see_them(staff, operator):
    link = "/dashboard/models/"
    assert link in (await staff.get("/dashboard/")).content.decode()
    tenant = await Tenant.objects.acreate(name="acme")
    await operator.memberships.aupdate(tenant=tenant)
    assert link not in (await staff.get("/dashboard/")).content.decode()


async def test_keys_are_a_page_for_those_who_may_see_them(staff, operator):
    link = "/dashboard/keys/"
    assert link in (await staff.get("/dashboard/cache/")).content.decode()
    await operator.memberships.aupdate(role=Role.VIEWER)
    assert link not in (await staff.get("/dashboard/cache/")).content.decode()


async def test_requests_can_be_read_filtered_and_found_but_not_changed(staff):
    await sync_to_async(traffic)(datetime.now(UTC), count=300)
    await sync_to_async(record)(request_id="findme", outcome="engine_error", status=502)
    base = "/admin/orchestrator/requestrecord/"
    assert "301 requests:" in text(await staff.get(base))
    assert "1 request:" in text(await staff.get(base + "?q=findme"))
    assert "0 requests:" in text(await staff.get(base + "?q=nobody"))
    for query in (
        "ended=failed",
        "ended=refused",
        "when=1h",
        "tier__exact=miss",
        "model=smollm2:135m",
        "dialect=ollama",
    ):
        assert (await staff.get(f"{base}?{query}")).status_code == 200
    assert (await staff.get(base + "add/")).status_code == 403
    assert (await staff.post(base + "1/delete/", {"post": "yes"})).status_code == 403


async def test_of_a_request_without_an_answer_it_is_not_asked_whether_it_was_right(staff):
    await sync_to_async(record)(outcome="cancelled", first_us=None)
    base = f"/admin/orchestrator/requestrecord/{await sync_to_async(newest_id)()}/"
    assert "Answer was wrong" not in text(await staff.get(base + "change/"))
    assert (await staff.post(base + "said/", {"good": "0"})).status_code == 302
    assert "There is no answer to a request" in text(await staff.get(base + "change/"))


async def test_what_was_left_out_of_a_request_stands_with_it_and_finds_it(staff):
    await sync_to_async(record)()
    await sync_to_async(record)(unsupported="num_ctx,top_k")
    base = "/admin/orchestrator/requestrecord/"
    assert "without num_ctx, top_k" in text(await staff.get(base))
    assert "Left out: num_ctx, top_k" in text(await staff.get(f"{base}{await sync_to_async(newest_id)()}/change/"))
    for query, is_found in (("left_out=1", True), ("left_out=0", False)):
        words = text(await staff.get(f"{base}?{query}"))
        assert "1 request:" in words
        assert ("without num_ctx" in words) is is_found
    assert "2 requests:" in text(await staff.get(f"{base}?left_out=maybe"))


async def test_somebody_says_that_an_answer_was_wrong(staff, operator):
    await sync_to_async(record)(request_id="wrong one")
    base = f"/admin/orchestrator/requestrecord/{await sync_to_async(newest_id)()}/"
    assert "Answer was wrong" in text(await staff.get(base + "change/"))
    assert (await staff.post(base + "said/", {"good": "7"})).status_code == 400
    assert (await staff.post(base + "said/", {"good": "0"})).status_code == 302
    said = text(await staff.get(base + "change/"))
    assert "0.00, somebody said so: user mira" in said
    assert "The router learns from it" in said
    assert "wrong one" in text(await staff.get("/admin/orchestrator/answeroutcome/"))
    assert (await staff.post("/admin/orchestrator/requestrecord/999999/said/", {"good": "0"})).status_code == 404
    await operator.memberships.aupdate(role=Role.VIEWER)
    assert "Answer was wrong" not in text(await staff.get(base + "change/"))
    assert (await staff.post(base + "said/", {"good": "1"})).status_code == 403


async def test_a_request_leads_to_why_its_model_was_asked_and_says_what_each_charge_was_for(staff):
    now = datetime.now(UTC)
    for request_id in ("chosen", "named"):
        await sync_to_async(record)(now, request_id=request_id)
    tenant = await Tenant.objects.aget(name="acme")
    decision = await RouteDecision.rows.acreate(request_id="chosen", tenant=tenant, at=now, rules=1, document="{}")
    for purpose in ("answer", "judge"):
        await Charge.rows.acreate(
            hold=purpose, request_id="chosen", at=now, tenant_id=tenant.pk, provider="openai", model="m",
            purpose=purpose, outcome="done", prompt_tokens=3, completion_tokens=2, cached_tokens=0,
            cache_write_tokens=0, cache_write_1h_tokens=0, reasoning_tokens=0, is_estimated=False,
            cost_microusd=7, source="price",
        )  # fmt: skip
    named = await sync_to_async(newest_id)()
    chosen = (await staff.get(f"/admin/orchestrator/requestrecord/{named - 1}/change/")).content.decode()
    link = f"/admin/orchestrator/routedecision/{decision.pk}/change/"
    assert f'<a href="{link}">Why this model</a>' in chosen
    assert (await staff.get(link)).status_code == 200
    assert "by price, as answer" in chosen
    assert "by price, as judge" in chosen
    assert "Why this model" not in text(await staff.get(f"/admin/orchestrator/requestrecord/{named}/change/"))


async def test_nobody_is_asked_how_good_a_refusal_was(staff):
    await sync_to_async(record)(status=403, outcome="forbidden_by_rule")
    base = f"/admin/orchestrator/requestrecord/{await sync_to_async(newest_id)()}/"
    assert "Answer was wrong" not in text(await staff.get(base + "change/"))


async def test_requests_are_told_in_words_and_to_the_hundredth_of_a_millisecond(staff):
    await sync_to_async(record)(outcome="model_not_found", status=404, tier="", prompt_tokens=0, total_us=40)
    await sync_to_async(record)(outcome="cut", tier="miss", total_us=31_000_000)
    base = "/admin/orchestrator/requestrecord/"
    words = text(await staff.get(base))
    for said in ("model not found, 404", "0.04", "length limit", "By whether it cost money"):
        assert said in words
    assert "model_not_found" not in words
    assert "1 request:" in text(await staff.get(f"{base}?took=20s"))
    assert "2 requests:" in text(await staff.get(f"{base}?is_paid=0"))
    assert "0 requests:" in text(await staff.get(f"{base}?is_paid=1"))


async def test_a_prompt_nobody_counted_is_unknown_and_not_nothing(staff):
    await sync_to_async(record)(outcome="cancelled", prompt_tokens=0)
    assert 'title="unknown">–<' in (await staff.get("/dashboard/")).content.decode()
    assert "Tokens in: –" in text(
        await staff.get(f"/admin/orchestrator/requestrecord/{await sync_to_async(newest_id)()}/change/")
    )


async def test_an_idle_model_shows_the_pace_it_was_last_seen_at(staff, local, monkeypatch):
    running._paces.clear()
    busy = await local.ps()
    idle = [dataclasses.replace(one, busy=0, tokens_per_s=0.0) for one in busy]
    monkeypatch.setattr(local, "ps", lambda: asyncio.sleep(0, idle))
    assert "0 of 4 idle" in text(await staff.get("/dashboard/"))
    monkeypatch.setattr(local, "ps", lambda: asyncio.sleep(0, busy))
    assert "2 of 4 148 " in text(await staff.get("/dashboard/"))
    monkeypatch.setattr(local, "ps", lambda: asyncio.sleep(0, idle))
    assert "0 of 4 148 " in text(await staff.get("/dashboard/"))


@pytest.mark.parametrize("path", ["/dashboard/nope", "/admin/nope/", "/admin/orchestrator/nope/"])
async def test_an_address_without_a_page_says_so_in_the_consoles_look(staff, path):
    response = await staff.get(path)
    assert response.status_code == 404
    assert "There is no such page." in text(response)
    assert b"css/tokens.css" in response.content
    assert b'href="/dashboard/"' in response.content


def test_the_other_errors_have_pages_that_need_no_request():
    for name in ("400", "403", "403_csrf", "500"):
        assert "css/tokens.css" in render_to_string(f"{name}.html")


def test_dates_of_records_sort_as_they_read(client, operator):
    issue_key("laptop", "acme")
    client.force_login(operator)
    words = text(client.get("/admin/orchestrator/apikey/"))
    assert re.search(r"20\d\d-\d\d-\d\d \d\d:\d\d", words)
    assert "a.m." not in words
    assert "p.m." not in words
    assert "By role" in words


def test_the_list_of_requests_takes_a_bounded_number_of_queries(client, operator, django_assert_max_num_queries):
    traffic(datetime.now(UTC), count=200)
    client.force_login(operator)
    with django_assert_max_num_queries(15):
        assert client.get("/admin/orchestrator/requestrecord/").status_code == 200


def test_keys_are_revoked_after_a_second_question_and_never_shown(client, operator):
    credential = issue_key("laptop", "acme")
    client.force_login(operator)
    page = client.get("/admin/orchestrator/apikey/")
    assert credential.encode() not in page.content
    key = ApiKey.objects.of(EVERYBODY).get()
    form = {"action": "revoke", "_selected_action": str(key.pk)}
    assert b"Keep it" in client.post("/admin/orchestrator/apikey/", form).content
    assert find_key(credential) is not None
    client.post("/admin/orchestrator/apikey/", form | {"confirmed": "yes"})
    assert find_key(credential) is None
    assert client.get("/admin/orchestrator/apikey/add/").status_code == 403
    assert b"digest" not in client.get(f"/admin/orchestrator/apikey/{key.pk}/change/").content


def test_sign_in_links_are_not_among_the_records(client, operator):
    client.force_login(operator)
    assert b"signinlink" not in client.get("/admin/").content
