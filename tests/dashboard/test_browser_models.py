"""The models' page in a real browser: with a real model in the whole product, and by itself."""

from __future__ import annotations

import asyncio
import re

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from playwright.async_api import expect

from tests.dashboard.site import go, opened, sign_in
from tests.dashboard.test_browser_providers import sign_in_link
from tests.dashboard.test_models_page import LIST, Host, call, catalogue  # noqa: F401  # a fixture

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]

MODEL = "smollm2:135m"


@pytest.fixture
def local() -> Host:
    """A model host that does what it is told."""
    return Host()


async def unloaded(address: str) -> None:
    """Let the model go, as a client of the API does it, and whatever else somebody left loaded."""
    async with httpx.AsyncClient(base_url=address, timeout=60) as client:
        loaded = [one["name"] for one in (await client.get("/api/ps")).raise_for_status().json()["models"]]
        for name in {MODEL, *loaded}:
            path, question = ("chat", {}) if name == MODEL else ("embed", {"input": []})
            asked = {"model": name, "keep_alive": 0} | question
            (await client.post(f"/api/{path}", json=asked)).raise_for_status()


async def test_a_model_is_loaded_kept_and_unloaded_and_the_page_follows(browser, product):
    await unloaded(product.base_url)
    page = await opened(browser, product.base_url, None)
    await sign_in(page, sign_in_link(product))
    await go(page, "m")
    await expect(page).to_have_url(f"{product.base_url}{LIST}")
    headline, said = page.get_by_role("heading", level=1), page.locator("#said")
    row = page.locator("tr", has=page.get_by_role("link", name=MODEL, exact=True))
    await expect(row).to_contain_text("not loaded")
    await expect(headline).to_have_text("No model is loaded.")

    await row.get_by_role("button", name=f"Load {MODEL}").click()
    # How fast it computes is measured when it is loaded first, which takes longer than a page waits.
    await expect(said).to_contain_text(re.compile(f"{MODEL} is (loaded; that took|being loaded)"), timeout=30_000)
    await expect(headline).to_contain_text("1 model loaded,", timeout=60_000)
    await expect(page.locator("#announcement")).to_contain_text("1 model loaded,")
    await expect(row).to_contain_text("ready")

    await unloaded(product.base_url)  # by somebody else
    await expect(headline).to_have_text("No model is loaded.", timeout=20_000)

    async with httpx.AsyncClient(base_url=product.base_url, timeout=60) as client:
        await client.post("/api/chat", json={"model": MODEL})
    await expect(row).to_contain_text("ready", timeout=20_000)
    await row.get_by_role("button", name=f"Keep loaded {MODEL}").click()
    await expect(said).to_contain_text(f"{MODEL} stays loaded from now on.")
    await expect(row.locator(".c-unloads")).to_have_text("stays")
    await row.get_by_role("button", name=f"Unload {MODEL}").click()
    await expect(said).to_contain_text(re.compile(rf"{MODEL} is unloaded; .* of memory are free again\."))
    await expect(headline).to_have_text("No model is loaded.")
    await said.get_by_role("button", name="Undo").click()
    await expect(said).to_contain_text("It stays loaded.", timeout=30_000)
    await expect(row.locator(".c-unloads")).to_have_text("stays")

    await row.get_by_role("link", name=MODEL).click()
    await expect(headline).to_have_text(f"{MODEL} is loaded and stays.")
    await page.locator("#template summary").click()
    await expect(page.locator("#template pre")).to_contain_text("<|im_start|>")
    await page.evaluate("document.getElementById('board').dataset.old = ''")
    await expect(page.locator("#board[data-old]")).to_have_count(0)  # the page has followed meanwhile
    await expect(page.locator("#template pre")).to_be_visible()
    await expect(page.locator("#template summary")).to_be_focused()
    await page.get_by_role("button", name=f"Unload {MODEL}").click()
    await expect(headline).to_have_text(f"{MODEL} is not loaded.")
    assert page.complaints == []  # type: ignore[attr-defined]  # see `opened`


async def test_a_busy_one_is_unloaded_from_the_dialog(visit, local, catalogue):  # noqa: F811  # the fixture
    local.busy, local.waiting = 2, 1
    page = await visit(LIST)
    await page.get_by_role("link", name="Unload…").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("It is making 2 answers, and 1 waits for a place.")
    await expect(dialog.get_by_role("link", name="Keep it loaded")).to_be_focused()
    await dialog.get_by_role("button", name="Unload it").click()
    await expect(page.locator("#said")).to_contain_text("is unloaded as soon as its 2 answers are done.")
    await expect(dialog).to_be_hidden()
    assert local.stays == {}
    await page.get_by_role("button", name="Undo").click()
    await expect(page.locator("#said")).to_contain_text("smollm2:135m is loaded")


async def test_a_second_act_or_a_dialog_takes_no_answer_away(visit, local, catalogue, monkeypatch):  # noqa: F811
    monkeypatch.setattr("dashboard.views.models.LIVE_EVERY_S", 1)
    may_go, posted, load = asyncio.Event(), [], local.load

    async def late(*asked):
        while not may_go.is_set():
            await asyncio.sleep(0.01)
        return await load(*asked)

    monkeypatch.setattr(local, "load", late)
    local.busy = 1
    page = await visit(LIST)
    page.on("request", lambda request: posted.append(request.url) if request.method == "POST" else None)
    keep = page.get_by_role("button", name="Keep loaded smollm2:135m")
    await page.get_by_role("button", name="Load qwen2.5:3b-instruct").click()
    await expect(keep).to_have_attribute("aria-disabled", "true")
    await keep.dispatch_event("click")
    await page.get_by_role("link", name="Unload…").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("It is making 1 answer.")
    await expect(dialog.get_by_role("button", name="Unload it")).to_have_attribute("aria-disabled", "true")
    await dialog.get_by_role("button", name="Unload it").dispatch_event("click")
    may_go.set()
    await expect(page.locator("#said")).to_contain_text("qwen2.5:3b-instruct is loaded; that took")
    assert len(posted) == 1
    await expect(dialog.get_by_role("button", name="Unload it")).not_to_have_attribute("aria-disabled", "true")
    await dialog.get_by_role("link", name="Keep it loaded").click()
    await keep.click()
    await expect(page.locator("#said")).to_contain_text("smollm2:135m stays loaded from now on.")


async def test_without_javascript_everything_can_be_read_and_done(visit, local, catalogue):  # noqa: F811
    local.busy = 1
    page = await visit(LIST, java_script_enabled=False)
    await page.get_by_role("link", name="Unload…").click()
    await page.get_by_role("button", name="Unload it").click()
    await expect(page.get_by_role("status").first).to_contain_text("as soon as its answer is done")
    await page.get_by_role("searchbox").fill("nobody")
    await page.get_by_role("button", name="Find").click()
    await expect(page.locator("main")).to_contain_text("No model elsewhere is called so")
    await page.get_by_role("button", name="Load qwen2.5:3b-instruct").click()
    await expect(page.get_by_role("status").first).to_contain_text("qwen2.5:3b-instruct is loaded; that took")


async def test_the_page_follows_and_the_focus_stays_whatever_names_there_are(visit, local, catalogue, monkeypatch):  # noqa: F811
    monkeypatch.setattr("dashboard.views.models.LIVE_EVERY_S", 1)
    names = [f"openai/{name}" for name in ("a'b\\\\", '"]><b', "x y:z#?", "\n")]
    for name in names:
        await sync_to_async(call)(name)
    page = await visit(LIST)
    await page.get_by_role("link", name=names[0], exact=True).focus()
    before = await page.evaluate("document.activeElement.id")
    local.busy, local.waiting = 4, 2
    await expect(page.get_by_role("heading", level=1)).to_contain_text("smollm2:135m has 2 waiting")
    assert before.startswith("to-")
    await expect(page.locator(":focus")).to_have_attribute("id", before)
    await page.get_by_role("link", name="openai/x y:z#?", exact=True).click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("openai/x y:z#?")


async def test_a_table_stays_where_it_was_scrolled_to(visit, local, catalogue, monkeypatch):  # noqa: F811
    monkeypatch.setattr("dashboard.views.models.LIVE_EVERY_S", 1)
    page = await visit(LIST, viewport={"width": 1440, "height": 800})
    await page.evaluate("document.styleSheets[0].insertRule('#here-region table { min-width: 3000px; }')")
    await page.evaluate("document.getElementById('here-region').scrollLeft = 200")
    await page.evaluate("document.getElementById('board').dataset.old = ''")
    await expect(page.locator("#board[data-old]")).to_have_count(0)
    assert await page.evaluate("document.getElementById('here-region').scrollLeft") == 200


@pytest.mark.parametrize("width", [320, 390, 800, 1100, 1440])
async def test_no_page_of_them_scrolls_sideways(visit, catalogue, width, monkeypatch):  # noqa: F811
    monkeypatch.setattr(settings, "MODEL_MEMORY", 8 * 1024**3)
    page = await visit(LIST, viewport={"width": width, "height": 800})
    for path in (LIST, f"{LIST}of/openai/big/", f"{LIST}of/smollm2:135m/", f"{LIST}of/team/smart:v1/"):
        await page.goto(re.sub(r"(://[^/]+).*", r"\1", page.url) + path)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, path
