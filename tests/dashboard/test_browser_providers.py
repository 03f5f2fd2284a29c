"""The providers' pages in a real browser: as part of the whole product, and by themselves."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.utils.timezone import now
from playwright.async_api import Route, expect

from dashboard import reading
from orchestrator.engines.cloud import Check
from orchestrator.provider_checks import remember
from orchestrator.registry.models import OpenBreaker, Provider
from tests.dashboard.site import go, opened, sign_in
from tests.product import PROJECT, Product, until
from tests.provider import Provider as Server

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]

LIST = "/dashboard/providers/"
FINE = Check(is_ok=True, took_s=0.2, words="lists 2 models", listed=2)
GONE = Check(is_ok=False, took_s=0.003, words="could not be reached: is GROQ_BASE_URL right, and is it running?")


@pytest.fixture
def groq(monkeypatch: pytest.MonkeyPatch) -> None:
    """One provider is set up, and pages read what is so at the moment."""
    monkeypatch.setitem(settings.PROVIDER_KEYS, "groq", "sk-test")
    monkeypatch.setattr(reading, "PROVIDERS_FRESH_S", 0.0)
    monkeypatch.setattr(reading, "MOST_SHARE", float("inf"))  # else what a busy machine read late is kept for long


def sign_in_link(product: Product) -> str:
    """A link that signs in once, as an operator prints it."""
    command = [sys.executable, "manage.py", "admin_link"]
    done = subprocess.run(
        command, cwd=PROJECT, env=product.environment(), capture_output=True, text=True, timeout=60, check=True
    )
    return f"{product.base_url}/dashboard/sign-in/{done.stdout.strip().rstrip('/').rsplit('/', 1)[-1]}/"


@pytest.fixture
def watched(provider: Server) -> Iterator[Product]:
    """A product of its own, whose only provider is looked at every second."""
    openai = {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": provider.address}
    with Product(**openai, ORCHESTRATOR_PROVIDER_CHECK_S=1) as product:
        yield product
    provider.listing = "good"


async def test_a_provider_goes_down_and_comes_back_before_the_operators_eyes(browser, watched, provider):
    page = await opened(browser, watched.base_url, None)
    await sign_in(page, sign_in_link(watched))
    await go(page, "p")
    await expect(page).to_have_url(f"{watched.base_url}{LIST}")
    headline = page.get_by_role("heading", level=1)
    await expect(headline).to_have_text("Healthy. OpenAI answers.", timeout=20_000)  # the worker has looked

    provider.listing = "500"
    test = page.get_by_role("button", name="Test OpenAI")
    await test.click()
    await expect(page.locator("#said")).to_contain_text("OpenAI does not answer as it should. It answered HTTP 500")
    await expect(headline).to_contain_text("OpenAI is down since")
    await expect(page.locator("#announcement")).to_contain_text("OpenAI is down since")
    await expect(page.locator("#provider-openai")).to_contain_text("answered HTTP 500")
    await expect(test).to_be_focused()

    provider.listing = "good"
    await test.click()
    await expect(page.locator("#said")).to_contain_text("OpenAI answers: it lists 2 models.")
    await expect(headline).to_have_text("Healthy. OpenAI answers.")

    provider.listing = "401"  # and nobody tests
    await expect(headline).to_contain_text("it refused our key (HTTP 401)", timeout=20_000)
    await page.get_by_role("link", name="OpenAI", exact=True).click()
    await expect(page.locator("#looks-region")).to_contain_text("refused our key (HTTP 401); check OPENAI_API_KEY")
    assert "openai is down: it refused our key" in watched.logs()
    assert page.complaints == []  # type: ignore[attr-defined]  # see `opened`


async def test_a_request_that_went_on_to_another_place_is_seen_to_have(browser, watched, provider):
    key = watched.issue_key("operator", "--admin")
    team = {"deployments": [{"provider": "openai", "remote_name": "500"}, {"remote_name": "smollm2:135m", "rank": 1}]}
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=watched.base_url, headers=headers, timeout=60) as client:
        (await client.put("/api/admin/v1/models/team", json=team)).raise_for_status()
        question = {"model": "team", "messages": [{"role": "user", "content": "Hello"}], "stream": False}
        answered = await client.post("/api/chat", json=question | {"options": {"num_predict": 4}})
        assert answered.status_code == 200
    page = await opened(browser, watched.base_url, None)
    await sign_in(page, sign_in_link(watched))
    row = page.locator("#rows tr", has_text="team")
    await expect(row).to_contain_text("smollm2:135m")
    await row.locator(".row-link").click()
    headline = page.get_by_role("heading", level=1)
    await expect(headline).to_have_text(re.compile(r"Answered by smollm2:135m in .* on the second try"))
    await expect(page.locator("main")).to_contain_text("openai/500")
    await page.goto(f"{watched.base_url}{LIST}")
    await expect(page.locator("#provider-openai .c-errors")).to_contain_text("100", timeout=20_000)
    assert page.complaints == []  # type: ignore[attr-defined]  # see `opened`


async def test_a_breaker_that_a_worker_opened_is_shown_and_closed(browser, watched):
    page = await opened(browser, watched.base_url, None)
    await sign_in(page, sign_in_link(watched))
    question = {"model": "openai/500", "messages": [{"role": "user", "content": "Hello"}], "stream": False}
    async with httpx.AsyncClient(base_url=watched.base_url, timeout=60) as client:
        for turn in range(8):
            fresh = question | {"options": {"seed": turn}}
            assert (await client.post("/api/chat", json=fresh)).status_code >= 500
    await page.goto(f"{watched.base_url}{LIST}")
    row = page.locator("#provider-openai")
    await expect(row).to_contain_text("open in 1 worker", timeout=20_000)
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Healthy. OpenAI is resting since")
    await page.get_by_role("button", name="Try again now").click()
    await expect(page.locator("#said")).to_contain_text("OpenAI is asked again at once, by every worker.")
    await expect(row.locator(".c-breaker")).to_have_text("closed")
    with closing(sqlite3.connect(watched.data / "ledger.sqlite3")) as ledger:
        said = "SELECT COUNT(*) FROM registry_openbreaker"
        until(lambda: ledger.execute(said).fetchone() == (0,), "the worker to say so itself")


async def test_a_pause_that_a_provider_asked_for_is_shown_and_ended(browser, watched):
    page = await opened(browser, watched.base_url, None)
    await sign_in(page, sign_in_link(watched))
    question = {"model": "openai/busy_for_ever", "messages": [{"role": "user", "content": "Hello"}], "stream": False}
    async with httpx.AsyncClient(base_url=watched.base_url, timeout=60) as client:
        assert (await client.post("/api/chat", json=question)).status_code == 429
    await page.goto(f"{watched.base_url}{LIST}")
    headline = page.get_by_role("heading", level=1)
    await expect(headline).to_have_text(re.compile(r"OpenAI is resting until \d\d:\d\d\."), timeout=20_000)
    row = page.locator("#provider-openai")
    await expect(row).to_contain_text("it asked for a pause; openai answered HTTP 429")
    await expect(row.locator(".c-breaker")).to_have_text("closed")
    await page.get_by_role("button", name="Try again now").click()
    await expect(headline).to_have_text("Healthy. OpenAI answers.", timeout=20_000)
    assert page.complaints == []  # type: ignore[attr-defined]  # see `opened`


async def test_the_page_follows_what_happens_and_the_focus_stays(visit, groq, monkeypatch):
    monkeypatch.setattr("dashboard.views.providers.LIVE_EVERY_S", 1)
    await sync_to_async(remember)({"groq": FINE})
    page = await visit(LIST)
    await page.locator("#to-groq").focus()
    await sync_to_async(remember)({"groq": GONE})
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Groq is down since")
    await expect(page.locator("#announcement")).to_contain_text("Groq is down since")
    await expect(page.locator("#to-groq")).to_be_focused()


async def test_nothing_is_swapped_under_text_that_is_selected(visit, groq, monkeypatch):
    monkeypatch.setattr("dashboard.views.providers.LIVE_EVERY_S", 1)
    await sync_to_async(remember)({"groq": FINE})
    page = await visit(LIST)
    await page.evaluate("getSelection().selectAllChildren(document.querySelector('#verdict h1'))")
    await sync_to_async(remember)({"groq": GONE})
    # Asked for three times at least, a second apart, and not once swapped.
    count = "document.body.dataset.polls = Number(document.body.dataset.polls ?? 0) + 1"
    await page.evaluate(f"document.addEventListener('htmx:beforeRequest', () => ({count}))")
    await expect(page.locator("body")).to_have_attribute("data-polls", re.compile("[3-9]"))
    await expect(page.get_by_role("heading", level=1)).to_have_text("Healthy. Groq answers.")
    await page.evaluate("getSelection().removeAllRanges()")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Groq is down since")


async def test_an_answer_that_does_not_come_is_said(visit, groq, monkeypatch):
    monkeypatch.setattr("dashboard.views.providers.LIVE_EVERY_S", 1)
    page = await visit(LIST)
    await expect(page.locator("#connection")).to_have_text("Live")
    await page.route("**/providers/**", lambda route: route.abort())
    await expect(page.locator("#connection")).to_have_text("Not live")
    await expect(page.locator("#stale")).to_contain_text("Not live: last update")
    await page.unroute("**/providers/**")
    await expect(page.locator("#connection")).to_have_text("Live")
    await expect(page.locator("#stale")).to_be_hidden()
    page.complaints.clear()  # the browser notes what was aborted


async def test_a_button_says_what_it_is_doing(visit, groq, monkeypatch):
    monkeypatch.setitem(settings.PROVIDER_ADDRESSES, "groq", "http://127.0.0.1:9/v1")
    page, may_go = await visit(LIST), asyncio.Event()

    async def hold(route: Route) -> None:
        await may_go.wait()
        await route.continue_()

    await page.route("**/test/", hold)
    button = page.locator("#test-groq")
    await expect(button).to_have_text("Test Groq", use_inner_text=True)
    await button.click()
    await expect(button).to_have_text("Testing…", use_inner_text=True)
    may_go.set()
    await expect(page.locator("#said")).to_contain_text("Groq does not answer as it should")
    await expect(button).to_have_text("Test Groq", use_inner_text=True)


async def test_switching_off_can_be_undone(visit, groq):
    await Provider.objects.acreate(name="groq", kind="groq", is_from_environment=True)
    page = await visit(f"{LIST}groq/")
    await page.get_by_role("button", name="Switch off").click()
    await expect(page.locator("#said")).to_contain_text("Groq is off.")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Groq is off.")
    await page.get_by_role("button", name="Undo").click()
    await expect(page.locator("#said")).to_contain_text("Groq is on.")
    assert (await Provider.objects.aget()).is_enabled


async def test_without_javascript_everything_can_be_read_and_done(visit, groq):
    await Provider.objects.acreate(name="groq", kind="groq", address="http://127.0.0.1:9/v1", is_from_environment=True)
    for worker in ("a:1", "a:2"):
        await sync_to_async(OpenBreaker.objects.create)(
            provider="groq", model="groq/x", worker=worker, opened_at=now(), seen_at=now(), why="it was late"
        )
    page = await visit(LIST, java_script_enabled=False)
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Groq is resting")
    await page.get_by_role("button", name="Try again now").click()
    await expect(page.get_by_role("status").first).to_contain_text("Groq is asked again at once")
    await page.get_by_role("button", name="Test Groq").click()
    await expect(page.get_by_role("status").first).to_contain_text("could not be reached")
    await page.locator("#to-groq").click()
    await page.get_by_role("button", name="Switch off").click()
    await expect(page.get_by_role("status").first).to_contain_text("Groq is off.")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Groq is off.")


async def test_keys_go_to_pages_not_in_fields_and_can_be_switched_off(visit):
    page = await visit("/dashboard/cache/purge/?what=key")
    await page.locator("[name=reason]").focus()
    await page.keyboard.type("gp")
    await expect(page.locator("[name=reason]")).to_have_value("gp")
    await page.locator("[name=reason]").blur()
    await go(page, "p")
    await expect(page.get_by_role("heading", level=1)).to_have_text("No providers yet.")
    await page.keyboard.press("?")
    await page.get_by_role("button", name="Switch the keys off").click()
    await page.get_by_role("button", name="Close").click()
    await page.locator("#main").focus()
    await page.keyboard.press("g")
    await page.keyboard.press("o")
    await page.get_by_role("button", name="Keys").click()
    await expect(page.get_by_role("button", name="Switch the keys on")).to_be_visible()
    await expect(page.get_by_role("heading", level=1)).to_have_text("No providers yet.")


@pytest.mark.parametrize("width", [320, 390, 800, 1100, 1440])
async def test_no_page_of_them_scrolls_sideways(visit, groq, width):
    await sync_to_async(remember)({"groq": GONE})
    await sync_to_async(OpenBreaker.objects.create)(
        provider="groq", model="groq/x", worker="a:1", opened_at=now(), seen_at=now(), why="it was late"
    )
    page = await visit(LIST, viewport={"width": width, "height": 800})
    for path in (LIST, f"{LIST}groq/"):
        await page.goto(re.sub(r"(://[^/]+).*", r"\1", page.url) + path)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, path
