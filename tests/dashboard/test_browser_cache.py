"""A wrong answer is found by its request, purged by its key, and asked for anew: the product as people run it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.async_api import expect

from tests.dashboard.site import opened, sign_in
from tests.dashboard.test_browser_providers import sign_in_link
from tests.product import Product
from tests.provider import Provider as Server

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]

QUESTION = {
    "model": "openai/good",
    "messages": [{"role": "user", "content": "How long may goods be returned?"}],
    "stream": False,
}


@pytest.fixture
def asked(provider: Server) -> Iterator[Product]:
    """A product of its own: it has been asked nothing else."""
    with Product(OPENAI_API_KEY="sk-test", OPENAI_BASE_URL=provider.address) as product:
        yield product


async def is_kept(client: httpx.AsyncClient) -> bool:
    """Ask, and see whether a model had to be."""
    answer = await client.post("/api/chat", json=QUESTION, timeout=30)
    assert answer.status_code == 200, answer.text
    return "; hit" in answer.headers["Cache-Status"]


async def test_a_wrong_answer_is_purged_from_its_request(browser, asked):
    async with httpx.AsyncClient(base_url=asked.base_url, timeout=60) as client:
        assert not await is_kept(client)
        assert await is_kept(client)

        page = await opened(browser, asked.base_url, None)
        await sign_in(page, sign_in_link(asked))
        await expect(page.locator("#rows tr")).to_have_count(2)
        await page.keyboard.press("j")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_contain_text("Answered from")
        await page.locator("#purge").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog.locator(".count")).to_have_text("1 answer")
        await expect(dialog.get_by_role("link", name="Keep them")).to_be_focused()
        await dialog.get_by_label("Reason, for the log").fill("wrong since this morning")
        await dialog.get_by_role("button", name="Purge 1 answer").click()
        await expect(page.get_by_role("status").first).to_contain_text("Purged 1 answer under the key")
        await expect(page.locator("#kept")).to_contain_text("Nothing is kept yet")

        assert not await is_kept(client)
    await page.goto(f"{asked.base_url}/dashboard/cache/")
    missed = page.locator(".missed tbody tr")
    await expect(missed.filter(has_text=re.compile("Not asked before|Purged")).first).to_be_visible()
    assert page.complaints == []  # type: ignore[attr-defined]  # see `opened`
