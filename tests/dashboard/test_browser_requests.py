"""Why was it slow: from the first page's verdict to the bars of one request; and the list while requests come."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from playwright.async_api import expect

from dashboard.requests import searching
from dashboard.views import requests
from orchestrator.core.permissions import EVERYBODY
from orchestrator.models import Attempt, RequestRecord
from tests.dashboard.site import away, burst, record, traffic
from tests.dashboard.test_request_page import third_try

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]

PAGE = "/dashboard/requests/"


def slow_model() -> int:
    """A model whose answers take a minute, since another is asked in vain before it; the slowest one's number."""
    now = datetime.now(UTC)
    for index in range(20):
        at = now - timedelta(minutes=20 - index)
        took = {"first_us": 58_000_000, "engine_first_us": 8_000_000, "total_us": 60_000_000 + index * 1_000_000}
        record(at, request_id=f"slow-{index}", tier="miss", asked_model="auto", **took)
        row = RequestRecord.objects.of(EVERYBODY).latest("pk")
        Attempt.rows.create(
            request_id=row.request_id,
            tenant_id=row.tenant_id,
            at=at + timedelta(seconds=50),
            provider="groq",
            model="groq/llama-3.3-70b",
            outcome="engine_timeout",
            error="silent",
            took_us=49_900_000,
        )
    return int(row.pk)


async def test_from_the_verdict_to_why_a_request_was_slow_in_three_clicks(visit: Any) -> None:
    number = await sync_to_async(slow_model)()
    page = await visit("/dashboard/")
    await expect(page.locator("#verdict h1")).to_contain_text("is slow")
    await page.click("#verdict-link")  # 1: the requests that prove it
    await expect(page.locator("h1")).to_have_text("20 requests match.")
    await expect(page.locator(".chips")).to_contain_text("took 20.0 s or longer".replace(" s", "\u202fs"))
    await page.click(f"#request-{number}")  # 2: one of them
    await expect(page.locator("h1")).to_contain_text("on the second try")
    await expect(page.locator(".explanation").first).to_contain_text("groq/llama-3.3-70b sent nothing for 49.9")
    given_up = page.locator(".waterfall tr", has_text="groq/llama-3.3-70b")
    await expect(given_up).to_contain_text("49,900")
    bar = await given_up.locator("rect").first.bounding_box()
    whole = await given_up.locator("svg").bounding_box()
    assert bar is not None
    assert whole is not None
    assert bar["width"] > 0.6 * whole["width"]


async def test_new_rows_come_at_the_top_while_nobody_is_reading_there(visit: Any) -> None:
    await sync_to_async(record)(request_id="first")
    page = await visit(f"{PAGE}?tier=memory")
    await expect(page.locator("#rows tr")).to_have_count(1)
    await sync_to_async(record)(request_id="miss", tier="miss")
    await sync_to_async(record)(request_id="second", model="second-model")
    await expect(page.locator("#rows tr")).to_have_count(2)
    await expect(page.locator("#rows tr").first).to_contain_text("second-model")
    await page.locator("#rows a").first.focus()
    await sync_to_async(record)(request_id="third", model="third-model")
    await expect(page.locator("#held")).to_have_text("1 new")
    await expect(page.locator("#rows tr")).to_have_count(2)
    await page.click("#held")
    await expect(page.locator("#rows tr")).to_have_count(3)
    await page.click("#pause")
    await sync_to_async(record)(request_id="fourth", model="fourth-model")
    await expect(page.locator("#held")).to_have_text("1 new")
    await page.click("#pause")
    await expect(page.locator("#rows tr").first).to_contain_text("fourth-model")


async def test_after_an_absence_the_list_is_whole(visit: Any) -> None:
    await sync_to_async(record)(request_id="first")
    page = await visit(PAGE)
    await expect(page.locator("#rows tr")).to_have_count(1)
    await away(page, True)
    for number in range(30):
        await sync_to_async(record)(request_id=f"meanwhile-{number}")
    await away(page, False)
    await expect(page.locator("#rows tr")).to_have_count(31)
    await expect(page.locator("#tail-note")).to_be_empty()


async def test_older_goes_on_from_the_last_row_that_is_listed(visit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "MOST_NEWS", 70)
    await sync_to_async(burst)(40)
    page = await visit(PAGE)
    await expect(page.locator("#rows tr")).to_have_count(40)
    await expect(page.locator("#older")).to_have_count(0)
    await sync_to_async(burst)(65)
    await expect(page.locator("#rows tr")).to_have_count(100)
    assert await listed_below(page) == await page.locator("#older").get_attribute("href")
    await page.locator("#older").evaluate("link => link.focus({ preventScroll: true })")
    await away(page, True)
    await sync_to_async(burst)(150)
    await away(page, False)
    await expect(page.locator("#rows tr")).to_have_count(50)
    assert await listed_below(page) == await page.locator("#older").get_attribute("href")
    await expect(page.locator("#older")).to_be_focused()
    seen = await numbers(page)
    await page.keyboard.press("Enter")
    await expect(page.locator("#rows-title")).to_have_text("Older ones")
    assert min(seen) - max(await numbers(page)) == 1


async def test_two_keys_go_to_earlier_requests_and_to_later_ones(visit: Any) -> None:
    await sync_to_async(burst)(60)
    page = await visit(PAGE)
    await page.keyboard.press("[")
    await expect(page).to_have_url(re.compile("before="))
    await page.wait_for_load_state("load")  # until then no key is heard
    await page.keyboard.press("]")
    await expect(page).to_have_url(re.compile("after="))


async def numbers(page: Any) -> list[int]:
    """Of the rows that are listed."""
    return [
        int(row.removeprefix("request-"))
        for row in await page.locator("#rows tr").evaluate_all("all => all.map(one => one.id)")
    ]


async def listed_below(page: Any) -> str:
    """The address of what goes before the last row."""
    return f"?before={min(await numbers(page))}"


async def test_what_is_rare_is_listed_after_an_absence_however_much_else_came(visit: Any, monkeypatch: Any) -> None:
    await sync_to_async(record)(outcome="cut")
    page = await visit(f"{PAGE}?outcome=cut")
    await expect(page.locator("#rows tr")).to_have_count(1)
    await away(page, True)
    await sync_to_async(record)(outcome="cut")
    await sync_to_async(burst)(30)
    monkeypatch.setattr(searching, "NEWS_S", 1e-9)
    monkeypatch.setattr(searching, "FIRST_SLICE", 10)
    await page.click("#pause")
    await away(page, False)
    await expect(page.locator("#tail-note")).to_have_text("more came than are listed")
    await expect(page.locator("#rows tr")).to_have_count(1)
    await away(page, True)
    await sync_to_async(burst)(30)
    await page.click("#pause")
    await away(page, False)
    await expect(page.locator("#rows tr")).to_have_count(2)
    await expect(page.locator("#tail-note")).to_be_empty()


async def test_that_there_are_more_than_are_listed_is_said_as_long_as_they_are(visit: Any) -> None:
    await sync_to_async(record)(request_id="first")
    page = await visit(PAGE)
    await expect(page.locator("#rows tr")).to_have_count(1)
    await sync_to_async(burst)(60)
    await expect(page.locator("#tail-note")).to_have_text("more came than are listed")
    await sync_to_async(record)(request_id="last", model="the-last")
    await expect(page.locator("#rows tr").first).to_contain_text("the-last")
    await expect(page.locator("#tail-note")).to_have_text("more came than are listed")


async def test_figures_are_those_of_the_list_and_disturb_nobody(visit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "AGAIN_EVERY_S", 1)
    page = await visit(PAGE)
    await expect(page.locator("h1")).to_have_text("No request in the last 24 hours.")
    await sync_to_async(burst)(4)
    await expect(page.locator("h1")).to_have_text("4 requests in the last 24 hours.")
    await expect(page.locator("#rows tr")).to_have_count(4)
    await expect(page.locator("#no-rows")).to_have_count(0)
    await page.click(".as-table summary")
    await page.locator(".where").click()  # takes the focus away
    await sync_to_async(burst)(60)
    await expect(page.locator("h1")).to_have_text("64 requests in the last 24 hours.")
    await expect(page.locator("#rows tr")).to_have_count(50)
    await expect(page.locator("#tail-note")).to_be_empty()
    await expect(page.locator(".as-table")).to_have_attribute("open", "")
    await page.locator("#verdict-link").focus()
    await sync_to_async(burst)(1)
    await expect(page.locator("#rows tr")).to_have_count(51)
    await expect(page.locator("#updated")).to_contain_text("figures as of")
    await expect(page.locator("#verdict-link")).to_be_focused()
    await expect(page.locator("h1")).to_have_text("64 requests in the last 24 hours.")
    await page.locator("#verdict-link").evaluate("link => link.blur()")
    await expect(page.locator("h1")).to_have_text("65 requests in the last 24 hours.")
    await expect(page.locator("#announcement")).to_be_empty()


async def test_a_filter_is_an_address_and_each_condition_can_be_taken_away(visit: Any) -> None:
    await sync_to_async(traffic)(datetime.now(UTC), count=400)
    page = await visit(PAGE)
    await page.click("details.more summary")
    await page.select_option("select[name=tier]", "miss")
    await page.select_option("select[name=tenant]", label="acme")
    await page.click("details.more button")
    await expect(page).to_have_url(re.compile("tier=miss"))
    await expect(page.locator(".chips li")).to_have_count(2)
    assert {(await one.inner_text()).strip() for one in await page.locator("#rows .c-tier").all()} == {"miss"}
    await page.click(".chips li:has-text('no tier had it') a")
    await expect(page.locator(".chips li")).to_have_count(1)
    await page.go_back()
    await expect(page.locator(".chips li")).to_have_count(2)
    await page.click("text=Take all away")
    await page.locator(".counts a").last.dispatch_event("click")
    await expect(page.locator(".chips li")).to_have_count(2)
    await expect(page).to_have_url(re.compile("from="))


async def test_without_javascript_a_request_is_found_read_and_judged(visit: Any) -> None:
    await sync_to_async(third_try)()
    page = await visit(PAGE, java_script_enabled=False)
    await page.fill("#f-q", "thi")
    await page.click("text=Find")
    await page.click("#rows a")
    await expect(page.locator("h1")).to_contain_text("on the third try")
    await page.click("#not-right")
    await expect(page.locator(".result")).to_contain_text("Noted: the answer was wrong.")


@pytest.mark.parametrize("width", [320, 390, 800, 1100, 1440])
async def test_no_page_is_wider_than_its_window(visit: Any, width: int) -> None:
    await sync_to_async(traffic)(datetime.now(UTC), count=200)
    number = await sync_to_async(third_try)()
    page = await visit(f"{PAGE}?q=silent&outcome=failed", viewport={"width": width, "height": 800})
    await page.click("details.more summary")
    assert await page.evaluate("document.documentElement.scrollWidth") == width
    for path in (f"{PAGE}{number}/", f"{PAGE}?period=any"):
        await page.goto(page.url.split("/dashboard/")[0] + path)
        assert await page.evaluate("document.documentElement.scrollWidth") == width
