"""The costs in a real browser: days and groupings change in place, the address says which, and nothing complains."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from playwright.async_api import expect

from tests.dashboard.spending import company

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


@pytest.mark.parametrize("width", [320, 420, 900, 1440])
@pytest.mark.parametrize("path", [PAGE, f"{PAGE}prices/"])
async def test_no_page_is_wider_than_its_window(visit: Any, width: int, path: str) -> None:
    await sync_to_async(company)(datetime.now(UTC), 20)
    page = await visit(path, viewport={"width": width, "height": 800})
    assert await page.evaluate("document.documentElement.scrollWidth") == width


async def test_a_row_leads_to_the_charges_that_make_it(visit: Any) -> None:
    await sync_to_async(company)(datetime.now(UTC), 20)
    page = await visit(f"{PAGE}?by=provider")
    await page.click("#by tbody .row-link >> nth=0")
    await expect(page.locator("#content h1")).to_have_text("Charges")
    await expect(page.locator(".totals")).to_contain_text("60 calls match")
