"""The costs in a real browser: days and groupings change in place, the address says which, and nothing complains."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from playwright.async_api import expect

from tests.dashboard.site import go
from tests.dashboard.spending import company, day

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]

PAGE = "/dashboard/costs/"


async def test_days_and_groupings_change_in_place_and_are_in_the_address(visit: Any) -> None:
    await sync_to_async(company)(datetime.now(UTC), 20)
    page = await visit(PAGE)
    await page.evaluate("window.isStillHere = true")
    await page.click("#by-key")
    await expect(page.locator("#by-title")).to_have_text("By key")
    await expect(page.locator("#by-key")).to_be_focused()
    assert page.url.endswith("by=key")
    await page.click("#days-7d")
    await expect(page.locator("#verdict .where")).to_have_text("Costs, in the last 7 days")
    await expect(page.locator("#by-title")).to_have_text("By key")
    assert "period=7d" in page.url
    await page.fill("#from", "2026-01-01")
    await page.fill("#to", "2026-01-02")
    await page.click(".between button")
    await expect(page.locator("h1")).to_contain_text("from 1 Jan 2026 to 2 Jan 2026")
    assert "from=2026-01-01&to=2026-01-02" in page.url
    assert await page.evaluate("window.isStillHere") is True
    await page.go_back()
    await expect(page.locator("#verdict .where")).to_have_text("Costs, in the last 7 days")
    assert await page.evaluate("Object.keys(localStorage).concat(Object.keys(sessionStorage)).join()") in {
        "",
        "htmx-current-path-for-history",
    }
    await page.reload()
    await expect(page.locator("#by-title")).to_have_text("By key")


async def test_without_javascript_everything_is_there_by_links(visit: Any) -> None:
    await sync_to_async(company)(datetime.now(UTC), 20)
    page = await visit(PAGE, java_script_enabled=False)
    await page.click("#by-tenant")
    await expect(page.locator("#by tbody th").first).to_have_text("acme")
    await page.click("#days-7d")
    await expect(page.locator("#by-title")).to_have_text("By tenant")
    await page.fill("#from", "2026-01-01")
    await page.fill("#to", "2026-01-02")
    await page.click(".between button")
    await expect(page.locator("#by-title")).to_have_text("By tenant")
    await page.goto(page.url.split("?")[0])
    await page.click("#budget-2")
    await expect(page.locator("#burn-title")).to_have_text("all-models")
    await page.click("#to-prices")
    await expect(page.locator("#on-title")).to_be_visible()
    await page.click("#up")
    await expect(page.locator("#by-title")).to_have_text("By model")


async def test_a_row_leads_to_the_charges_that_make_it(visit: Any) -> None:
    await sync_to_async(company)(datetime.now(UTC), 20)
    page = await visit(f"{PAGE}?by=provider")
    await page.click("#by tbody .row-link >> nth=0")
    await expect(page.locator("#content h1")).to_have_text("Charges")
    await expect(page.locator(".totals")).to_contain_text("60 calls match")


async def test_last_months_cost_is_exported_to_the_millionth(visit: Any) -> None:
    today = datetime.now(UTC).date()
    last = today.replace(day=1) - timedelta(days=1)
    for on, cost in (
        (last, 1_234_567),
        (last.replace(day=1), 5),
        (today, 99),
        (last.replace(day=1) - timedelta(1), 77),
    ):
        await sync_to_async(day)(on, cost_microusd=cost, calls=3)
    page = await visit("/dashboard/")
    await go(page, "b")
    await page.get_by_role("link", name=f"{last:%b}", exact=True).click()
    await expect(page.locator("#verdict .where")).to_have_text(f"Costs, in {last:%B}")
    async with page.expect_download() as download:
        await page.get_by_role("link", name="CSV", exact=True).click()
    file = await (await download.value).path()
    rows = list(csv.DictReader(io.StringIO(file.read_text())))
    assert [(row["model"], row["calls"], row["cost_usd"]) for row in rows] == [("openai/gpt-4.1-mini", "6", "1.234572")]


async def test_on_a_phone_names_are_whole_and_stay_while_the_rest_goes_by(visit: Any) -> None:
    await sync_to_async(company)(datetime.now(UTC), 20)
    page = await visit(f"{PAGE}prices/", viewport={"width": 390, "height": 844})
    cut = "rows => rows.filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.textContent)"
    assert await page.locator(".costs tbody th").count()
    assert await page.locator(".costs tbody th").evaluate_all(cut) == []
    await page.goto(page.url.replace("/prices/", "/"))
    await page.set_viewport_size({"width": 320, "height": 844})
    row = page.locator("#by .rows tbody tr").first
    region = page.locator("#by-region")
    await region.evaluate("one => { one.scrollLeft = 40; one.scrollIntoView({block: 'center'}) }")
    assert await region.evaluate("one => one.scrollLeft") > 0
    where, seen = await row.locator("th").bounding_box(), await region.bounding_box()
    assert where is not None
    assert seen is not None
    assert abs(where["x"] - seen["x"]) < 1
    width = await region.evaluate("one => [one.scrollWidth, one.firstElementChild.offsetWidth]")
    assert abs(width[0] - width[1]) <= 1, "the link of a row makes no room to scroll to"
    to = await row.locator(".row-link").get_attribute("href")
    await page.mouse.click(seen["x"] + seen["width"] - 6, where["y"] + where["height"] / 2)
    await page.wait_for_url(f"**{to}")
