"""The console in a real browser. No page may ever complain, least of all about the content security policy."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from asgiref.sync import sync_to_async
from django.contrib.sessions.models import Session
from playwright.async_api import expect

from cache.entries import Scope
from dashboard.live import live
from orchestrator.core.errors import OrchestratorError
from tests.dashboard.site import away, fill, record, traffic

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]
LIVE = "Live"


def kinds_of(error: type[OrchestratorError]) -> Iterator[type[OrchestratorError]]:
    """An error, and all that are of its kind."""
    yield error
    for one in error.__subclasses__():
        yield from kinds_of(one)


async def test_the_overview_opens_with_a_sentence_and_goes_live(visit):
    await sync_to_async(traffic)(datetime.now(UTC), count=600)
    page = await visit("/dashboard/")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Healthy.")
    await expect(page.locator("#connection")).to_have_text(LIVE)
    await expect(page.locator("#rows tr")).to_have_count(30)
    await expect(page.get_by_role("img", name=re.compile("^Requests by where they were answered"))).to_be_visible()
    assert await page.locator("#figures .unknown-value").count() == 0


async def test_a_new_request_appears_without_a_reload_and_fades(visit):
    page = await visit("/dashboard/")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Ready. Nothing has been asked yet.")
    await expect(page.locator("#connection")).to_have_text(LIVE)
    await sync_to_async(record)(model="brand-new", asked_model="brand-new")
    row = page.locator("#rows tr")
    await expect(row).to_contain_text("brand-new")
    await expect(page.locator("#no-rows")).to_have_count(0)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Healthy.")
    await expect(page.locator("#announcement")).to_have_text("Healthy.")
    await expect(row).not_to_have_class(re.compile("is-new"))


async def test_nothing_is_cut_off_on_a_common_screen(visit):
    for kind in sorted({one.kind for one in kinds_of(OrchestratorError)}):
        await sync_to_async(record)(outcome=kind, status=502)
    page = await visit("/dashboard/", viewport={"width": 1440, "height": 900})
    await expect(page.locator("#rows tr").first).to_be_visible()
    cut_off = "cells => cells.filter(one => one.scrollWidth > one.clientWidth).map(one => one.textContent)"
    assert await page.locator("#rows .c-result").evaluate_all(cut_off) == []
    assert await page.get_by_role("button", name="Keys").is_visible()
    for part in await page.locator(".foot > div").all():
        assert await part.evaluate("one => one.scrollWidth <= one.clientWidth"), await part.inner_text()


async def test_times_stand_in_the_viewers_zone(visit):
    await sync_to_async(record)(datetime(2026, 11, 23, 12, 0, 5, 250_000, tzinfo=UTC))
    page = await visit("/dashboard/", timezone_id="Asia/Kolkata")
    await expect(page.locator("#rows time")).to_have_text("23 Nov 17:30")
    await expect(page.locator("#connection")).to_have_text(LIVE)
    now = datetime.now(UTC)
    await sync_to_async(record)(now)
    there = now.astimezone(ZoneInfo("Asia/Kolkata"))
    await expect(page.locator("#rows time").first).to_have_text(f"{there:%H:%M:%S}.{there.microsecond // 1000:03d}")


async def test_new_rows_wait_while_a_row_has_the_focus(visit):
    await sync_to_async(record)()
    page = await visit("/dashboard/")
    await expect(page.locator("#connection")).to_have_text(LIVE)
    await page.locator("#rows a").first.focus()
    await sync_to_async(record)(model="later")
    await expect(page.locator("#held")).to_have_text("1 new")
    await expect(page.locator("#rows tr")).to_have_count(1)
    await page.locator("#held").click()
    await expect(page.locator("#rows tr")).to_have_count(2)
    await expect(page.locator("#rows tr").first).to_contain_text("later")
    await expect(page.locator("#held")).to_be_hidden()


async def test_pausing_stops_the_rows_and_resuming_brings_what_was_missed(visit):
    page = await visit("/dashboard/")
    await expect(page.locator("#connection")).to_have_text(LIVE)
    await page.get_by_role("button", name="Pause").click()
    await expect(page.locator("#connection")).to_have_text("Paused")
    await sync_to_async(record)(model="meanwhile")
    await expect(page.locator("#held")).to_have_text("1 new")
    await sync_to_async(record)(model="meanwhile")
    await expect(page.locator("#held")).to_have_text("2 new")
    await expect(page.locator("#rows tr")).to_have_count(0)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Ready. Nothing has been asked yet.")
    await page.get_by_role("button", name="Resume").click()
    await expect(page.locator("#rows tr")).to_have_count(2)
    await expect(page.locator("#rows tr").first).to_contain_text("meanwhile")
    await expect(page.locator("#held")).to_be_hidden()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Healthy.")
    await expect(page.locator("#connection")).to_have_text(LIVE)


async def test_a_lost_connection_is_said_and_mended(visit):
    page = await visit("/dashboard/")
    await expect(page.locator("#connection")).to_have_text(LIVE)
    await page.evaluate("void (htmx.createWebSocket = (url) => new WebSocket(url.replace('live/', 'nowhere/')))")
    async with asyncio.timeout(60):
        while live._task is None:  # the page is live before there is anything to send
            await asyncio.sleep(0.01)
    live._task.cancel()  # the server ends the connection, and the page cannot come back
    await expect(page.locator("#stale")).to_contain_text("Not live: last update")
    await expect(page.locator("#connection")).to_have_text("Not live")
    await sync_to_async(record)(model="in-the-gap")
    await page.evaluate("void (htmx.createWebSocket = (url) => new WebSocket(url))")
    await expect(page.locator("#connection")).to_have_text(LIVE, timeout=30_000)
    await expect(page.locator("#stale")).to_be_hidden()
    await expect(page.locator("#rows tr")).to_contain_text("in-the-gap")
    page.complaints[:] = [said for said in page.complaints if "nowhere" not in said and "wsError" not in said]


@pytest.mark.parametrize("code", [1000, 1001])
async def test_a_connection_that_is_ended_in_good_order_is_tried_again(visit, code):
    page = await visit("/dashboard/")
    sockets, ends = [], []

    def ended_once(socket):
        sockets.append(socket)
        server = socket.connect_to_server()
        if len(sockets) == 1:  # it is open as soon as the server says something
            server.on_message(lambda _: ends or ends.append(asyncio.ensure_future(socket.close(code=code))))

    await page.route_web_socket("**/live/**", ended_once)
    await page.reload()
    async with asyncio.timeout(60):
        while len(sockets) < 2:
            await asyncio.sleep(0.01)
    await expect(page.locator("#connection")).to_have_text(LIVE)
    await expect(page.locator("#stale")).to_be_hidden()


async def test_rows_that_come_while_the_list_is_read_anew_stay(visit):
    await sync_to_async(record)(model="before")
    page = await visit("/dashboard/")
    await expect(page.locator("#connection")).to_have_text(LIVE)
    reading, may_go = asyncio.Event(), asyncio.Event()

    async def late(route):
        answer = await route.fetch()
        reading.set()
        await may_go.wait()
        await route.fulfill(response=answer)

    await page.route(lambda url: url.endswith("/dashboard/"), late)
    await page.evaluate("document.getElementById('rows').dataset.old = ''")
    await away(page, True)
    await away(page, False)
    await asyncio.wait_for(reading.wait(), 60)
    await sync_to_async(record)(model="meanwhile")
    await expect(page.locator("#rows tr").first).to_contain_text("meanwhile")
    may_go.set()
    await expect(page.locator("#rows[data-old]")).to_have_count(0)
    await expect(page.locator("#rows tr")).to_have_count(2)
    await expect(page.locator("#rows tr").first).to_contain_text("meanwhile")


async def test_a_page_whose_session_ended_in_the_background_asks_to_sign_in(visit):
    page = await visit("/dashboard/")
    await expect(page.locator("#connection")).to_have_text(LIVE)
    await away(page, True)
    await Session.objects.all().adelete()
    await away(page, False)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.complaints.clear()  # of the browser: the socket, and the page, were refused


async def test_the_focus_survives_an_update(visit):
    await sync_to_async(record)()
    page = await visit("/dashboard/")
    await expect(page.locator("#connection")).to_have_text(LIVE)
    await page.locator("#tier-memory").focus()
    await sync_to_async(record)()
    await expect(page.locator("#steps tr:has(#tier-memory) td").first).to_have_text("2")
    assert await page.evaluate("document.activeElement.id") == "tier-memory"


async def test_the_keyboard_reaches_everything_and_skips_the_rail(visit):
    await sync_to_async(record)()
    page = await visit("/dashboard/")
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Skip to the page"
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "15\u202fmin"
    outline = await page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert outline == "2px"


async def test_purging_asks_counts_and_does_it(visit, console):
    await fill(console, 4)
    page = await visit("/dashboard/cache/")
    await page.locator("#purge-link").click()
    dialog = page.locator("dialog")
    await expect(dialog).to_be_visible()
    assert await page.evaluate("document.activeElement.textContent") == "Keep them"
    await expect(dialog.locator("#purge-button")).to_be_disabled()
    await dialog.locator("select[name=model]").select_option("smollm2:135m")
    await expect(dialog.locator("#purge-button")).to_have_text("Purge 4 answers")
    await dialog.get_by_label("Reason, for the log").fill("wrong since this morning")
    await dialog.locator("#purge-button").click()
    await expect(page.get_by_role("status").first).to_contain_text("Purged 4 answers from smollm2:135m.")
    assert all(one.entries == 0 for one in (await console.cache.holding(Scope())).values())


async def test_purging_everything_needs_the_word(visit, console):
    await fill(console, 4)
    page = await visit("/dashboard/cache/")
    await page.locator("#purge-link").click()
    dialog = page.locator("dialog")
    await dialog.get_by_label("Everything", exact=True).check()
    await expect(dialog.locator("#purge-button")).to_have_text("Purge 4 answers")
    await dialog.locator("#purge-button").click()
    await expect(dialog).to_contain_text("Type everything to purge every answer.")
    await expect(dialog.locator("[name=typed]")).to_be_focused()
    page.complaints.clear()  # browsers note the 422
    await dialog.locator("[name=typed]").fill("everything")
    await dialog.locator("#purge-button").click()
    await expect(page.get_by_role("status").first).to_contain_text("Purged 4 answers of every model")


async def test_keeping_them_closes_the_dialog_and_purges_nothing(visit, console):
    await fill(console, 4)
    page = await visit("/dashboard/cache/")
    await page.locator("#purge-link").click()
    await page.get_by_role("link", name="Keep them").click()
    await expect(page.locator("dialog")).to_be_hidden()
    await page.locator("#purge-link").click()
    await expect(page.locator("dialog")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.locator("dialog")).to_be_hidden()
    assert any(one.entries == 4 for one in (await console.cache.holding(Scope())).values())


async def test_without_javascript_everything_can_be_read_and_purged(visit, console):
    await sync_to_async(traffic)(datetime.now(UTC), count=200)
    await fill(console, 4)
    page = await visit("/dashboard/", java_script_enabled=False)
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Healthy")
    await expect(page.locator("#rows tr")).to_have_count(30)
    await page.get_by_role("link", name="24\u202fh", exact=True).click()
    await expect(page.locator(".where")).to_have_text("Overview, last 24 hours")
    await page.get_by_role("link", name="Cache", exact=True).first.click()
    await page.locator("#purge-link").click()
    await page.locator("select[name=model]").select_option("smollm2:135m")
    await page.get_by_role("button", name="Count them").click()
    assert page.url.endswith("/dashboard/cache/purge/"), "nothing of the form is in the address"
    await page.get_by_role("button", name="Purge 4 answers").click()
    await expect(page.get_by_role("status").first).to_contain_text("Purged 4 answers")


async def test_the_theme_is_chosen_once_for_pages_and_records(visit):
    page = await visit("/dashboard/", color_scheme="light")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    assert await page.evaluate(ground) == "rgb(255, 255, 255)"
    switch = page.get_by_role("button", name="theme")
    await switch.click()
    await switch.click()
    await expect(switch).to_have_text("Dark theme")
    assert await page.evaluate(ground) == "rgb(17, 19, 21)"
    await page.goto(page.url.replace("/dashboard/", "/admin/"))
    assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 19, 21)"


@pytest.mark.parametrize("width", [320, 390, 800, 1100, 1440])
async def test_no_page_scrolls_sideways(visit, console, width):
    await sync_to_async(traffic)(datetime.now(UTC), count=300)
    await fill(console, 4)
    page = await visit("/dashboard/", viewport={"width": width, "height": 800})
    for path in ("/dashboard/", "/dashboard/cache/", "/dashboard/cache/purge/?what=everything", "/dashboard/sign-in/"):
        await page.goto(re.sub(r"(://[^/]+).*", r"\1", page.url) + path)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, path


@pytest.mark.parametrize(
    "path",
    [
        "/admin/",
        "/admin/orchestrator/requestrecord/",
        "/admin/orchestrator/requestrecord/?when=1h&ended=failed",
        "/admin/orchestrator/apikey/",
        "/admin/orchestrator/tenant/",
        "/admin/orchestrator/tenant/add/",
        "/admin/orchestrator/team/",
        "/admin/orchestrator/grant/add/",
        "/admin/orchestrator/limit/add/",
        "/admin/orchestrator/auditevent/",
        "/admin/cache/cacheentry/",
        "/admin/registry/provider/",
        "/admin/registry/provider/add/",
        "/admin/registry/registeredmodel/add/",
        "/admin/registry/registryversion/",
    ],
)
async def test_the_records_keep_to_the_same_policy(visit, console, path):
    await sync_to_async(traffic)(datetime.now(UTC), count=50)
    await fill(console, 4)
    page = await visit(path)
    await expect(page.get_by_role("heading", level=1)).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_what_a_message_says_can_be_read(visit, theme):
    page = await visit("/admin/registry/provider/add/", color_scheme=theme)
    await page.get_by_label("Name").fill("vllm")
    await page.get_by_label("Kind").select_option("compatible")
    await page.get_by_role("button", name="Save", exact=True).click()
    for kind in ("success", "warning"):
        colours = await page.locator(f"ul.messagelist li.{kind}").evaluate(
            """line => [line.querySelector("a") ?? line, line].map((one, n) =>
                 getComputedStyle(one)[n ? "backgroundColor" : "color"].match(/\\d+/g).map(Number))"""
        )
        assert contrast(*colours) >= 4.5, (kind, colours)


def contrast(one, other):
    """Of two colours, as WCAG counts it."""

    def light(colour):
        parts = [part / 255 for part in colour[:3]]
        parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


async def test_a_chart_shows_as_a_table_with_the_newest_numbers(visit):
    page = await visit("/dashboard/")
    details = page.locator("details.as-table").first
    await expect(details).to_be_hidden()  # nothing is drawn yet
    await sync_to_async(record)(tier="memory")
    await expect(page.locator("#steps .canvas")).to_be_visible()
    await details.locator("summary").click()
    await expect(page.locator("#steps-table tbody tr").first).to_contain_text("1")
    await expect(details.get_by_role("link", name="Download as CSV")).to_be_visible()
