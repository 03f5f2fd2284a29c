"""Two models compared in a real browser: a local one and one of a provider, as part of the whole product."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Route, expect

from tests.dashboard.site import go, opened, sign_in
from tests.dashboard.test_browser_providers import sign_in_link

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]
PAGE = "/dashboard/playground/"


async def test_two_models_are_compared_side_by_side(browser, product):
    page = await opened(browser, product.base_url, None)
    await sign_in(page, sign_in_link(product))
    await go(page, "y")
    await expect(page).to_have_url(f"{product.base_url}{PAGE}")
    await page.get_by_label("Question").fill("Name the capital of France.")
    await page.locator("#model-a").fill("smollm2:135m")
    await page.locator("#model-b").fill("openai/good")
    await page.get_by_text("System message, tenant, length, cache").click()
    await page.get_by_label("At most, tokens").fill("24")
    await page.get_by_role("button", name="Ask", exact=True).click()
    for column in "ab":
        await expect(page.locator(f"#answer-{column}")).to_have_text(re.compile(r"\w"), timeout=60_000)
        await expect(page.locator(f"#facts-{column}")).to_contain_text("Answered by", timeout=60_000)
    await expect(page.locator("#facts-a")).to_contain_text("smollm2:135m")
    await expect(page.locator("#facts-b")).to_contain_text("openai/good")
    headline = page.get_by_role("heading", level=1)
    await expect(headline).to_have_text(re.compile("times as fast|about as long"))
    await expect(page.get_by_role("button", name="Ask", exact=True)).to_be_focused()

    await page.get_by_role("button", name="Ask", exact=True).click()
    await expect(headline).to_have_text("Both came from cache. Neither cost anything.", timeout=20_000)
    await expect(page.locator("#facts-a")).to_contain_text("memory")
    await page.get_by_role("button", name="Swap models").click()
    await expect(page.locator("#model-a")).to_have_value("openai/good")
    assert page.complaints == []  # type: ignore[attr-defined]  # see `opened`


async def test_an_answer_is_stopped_and_a_fault_is_said_by_the_page(browser, product):
    page = await opened(browser, product.base_url, None)
    await sign_in(page, sign_in_link(product))
    await page.goto(f"{product.base_url}{PAGE}?a=openai/stall&question=Hello")
    await page.get_by_role("button", name="Ask", exact=True).click()
    await expect(page.locator("#answer-a")).to_have_text(re.compile(r"\w"), timeout=20_000)
    await page.get_by_label("Question").fill("And the next?")
    await page.evaluate("document.getElementById('stop').click()")  # as when the answers end by themselves
    await expect(page.get_by_role("heading", level=1)).to_have_text("Stopped.")
    await expect(page.get_by_label("Question")).to_be_focused()
    await page.get_by_role("button", name="Ask", exact=True).click()
    await expect(page.locator("#answer-a")).to_have_text(re.compile(r"\w"), timeout=20_000)
    await page.get_by_role("button", name="Stop").click()
    await expect(page.get_by_role("button", name="Ask", exact=True)).to_be_focused()
    await page.get_by_label("Question").fill("   ")
    await page.get_by_role("button", name="Ask", exact=True).click()
    await expect(page.get_by_text("Type a question.")).to_be_visible()
    await expect(page.locator("#model-a")).to_have_value("openai/stall")


@pytest.mark.parametrize("status", [200, 500, 503])
async def test_what_may_have_been_asked_is_not_asked_again(browser, address, operator, status):
    page = await opened(browser, address, operator)
    await page.goto(f"{address}{PAGE}?question=Hello")
    asked: list[str] = []

    async def answer(route: Route) -> None:
        asked.append(route.request.method)
        await route.fulfill(status=status, content_type="text/plain", body="Whether it was done is not known.")

    await page.route("**/playground/ask/", answer)
    await page.get_by_role("button", name="Ask", exact=True).click()
    headline = page.get_by_role("heading", level=1)
    await expect(headline).to_have_text("Whether it was asked is not known. Look under Requests.")
    await expect(page.get_by_role("button", name="Ask", exact=True)).to_be_enabled()
    await expect(page.get_by_label("Question")).to_have_value("Hello")
    assert asked == ["POST"]


@pytest.mark.parametrize("status", [401, 403, 422])
async def test_what_was_not_asked_is_said_by_a_page(browser, address, operator, status):
    page = await opened(browser, address, operator)
    await page.goto(f"{address}{PAGE}?question=Hello")
    await page.route(
        "**/playground/ask/", lambda route: route.fulfill(status=status, content_type="text/html", body="<h1>No.</h1>")
    )
    await page.get_by_role("button", name="Ask", exact=True).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("No.")
