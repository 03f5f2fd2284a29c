"""What stands around every page, in a browser: the rail and the bar, the finder, the keys."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime

import pytest
from asgiref.sync import sync_to_async
from playwright.async_api import expect

from orchestrator.core.permissions import EVERYBODY
from orchestrator.models import RequestRecord
from tests.dashboard.site import fill, go, record, traffic

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]

PHONE = {"viewport": {"width": 390, "height": 800}}


async def focused(page) -> str:
    return await page.evaluate("document.activeElement.textContent.trim()")


async def test_a_slash_finds_a_request_by_how_its_id_begins(visit):
    await sync_to_async(record)(request_id="req-7f3a91", model="tiny")
    number = await sync_to_async(lambda: RequestRecord.objects.of(EVERYBODY).get(request_id="req-7f3a91").pk)()
    page = await visit("/dashboard/cache/")
    await page.keyboard.press("/")
    field = page.get_by_role("dialog").get_by_role("searchbox")
    await expect(field).to_be_focused()
    await page.keyboard.type("req-7f")
    await expect(page.locator("#found a", has_text="req-7f3a91")).to_be_visible()
    await page.keyboard.press("ArrowDown")
    assert "req-7f3a91" in await focused(page)
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile(rf"/dashboard/requests/{number}/$"))


async def test_enter_in_the_finder_goes_to_the_first_and_escape_closes_it(visit):
    page = await visit("/dashboard/")
    await page.keyboard.press("/")
    field = page.get_by_role("dialog").get_by_role("searchbox")
    await expect(field).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_be_hidden()
    await page.keyboard.press("/")
    await expect(field).to_be_focused()
    await page.keyboard.type("cach")
    await expect(page.locator("#found")).to_have_attribute("data-of", "cach")
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile("/dashboard/cache/$"))


async def test_what_is_typed_before_the_finder_is_there_is_no_key_of_the_page(visit):
    page = await visit("/dashboard/")
    arrives = asyncio.Event()

    async def late(route):
        await arrives.wait()
        await route.continue_()

    await page.route("**/dashboard/go/?part=dialog", late)
    await page.keyboard.press("/")
    await page.keyboard.type("gcachx")  # `g` and `c` would go to a page
    await page.keyboard.press("Backspace")
    arrives.set()
    field = page.get_by_role("dialog").get_by_role("searchbox")
    await expect(field).to_have_value("gcach")
    await expect(page.locator("#found")).to_have_attribute("data-of", "gcach")
    await page.get_by_role("button", name="Close").click()
    await expect(page.get_by_role("dialog")).to_be_hidden()
    await go(page, "c")
    await expect(page).to_have_url(re.compile("/dashboard/cache/$"))


@pytest.mark.parametrize(("after_ms", "where"), [(1400, "/dashboard/cache/"), (1600, None)])
async def test_two_letters_go_together_by_when_they_were_typed(visit, after_ms, where):
    page = await visit("/dashboard/")
    await page.wait_for_load_state("load")
    went = await page.evaluate(
        """(after) => {
            let went = null;
            const stay = (event) => (event.preventDefault(), (went = event.target.pathname));
            document.addEventListener("click", stay, true);
            for (const [key, at] of [["g", 100], ["c", 100 + after]]) {
                const typed = new KeyboardEvent("keydown", { key, bubbles: true });
                Object.defineProperty(typed, "timeStamp", { value: at });
                document.body.dispatchEvent(typed);
            }
            return went;
        }""",
        after_ms,
    )
    assert went == where


async def test_a_dialog_that_opens_again_at_once_keeps_what_it_shows(visit):
    page = await visit("/dashboard/cache/")
    shown = await page.evaluate(
        """async () => {
          const dialog = document.getElementById("dialog");
          dialog.showModal();
          const closed = new Promise((told) => dialog.addEventListener("close", told, { once: true }));
          dialog.close();
          dialog.replaceChildren("something else");
          dialog.showModal();
          await closed;
          await new Promise((done) => setTimeout(done));
          return dialog.textContent;
        }"""
    )
    assert shown == "something else"


async def test_a_key_counts_as_soon_as_a_dialog_is_closed(visit):
    page = await visit("/dashboard/")
    paused = await page.evaluate(
        """() => {
          const told = (key) => new KeyboardEvent("keydown", { key, bubbles: true });
          const press = (key) => document.activeElement.dispatchEvent(told(key));
          press("?");
          const dialog = document.getElementById("dialog");
          dialog.querySelector("button, a").focus();
          press("."); // of a dialog that is open: not for the page
          const before = document.getElementById("pause").textContent.trim();
          dialog.close();
          press(".");
          return [before, document.getElementById("pause").textContent.trim()];
        }"""
    )
    assert paused == ["Pause", "Resume"]


async def test_of_a_key_that_is_pasted_only_its_beginning_stands_in_an_address(visit):
    page = await visit("/dashboard/requests/")
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    key = f"orch_abcdefghij_{'S3cret-' * 7}"[: len("orch_abcdefghij_") + 43]
    await page.locator("#f-q").fill(key)
    await page.get_by_role("button", name="Find").click()
    await expect(page).to_have_url(re.compile(r"[?&]q=abcdefghij(&|$)"))
    await page.locator("#f-q").blur()
    await page.keyboard.press("/")
    await page.get_by_role("dialog").get_by_role("searchbox").fill(key)
    await expect(page.locator("#found")).to_have_attribute("data-of", "abcdefghij")
    assert addresses
    assert not [address for address in addresses if "S3cret" in address]


async def test_without_a_script_the_finder_is_a_page(visit):
    page = await visit("/dashboard/go/", java_script_enabled=False)
    await page.get_by_role("searchbox").fill("cac")
    await page.get_by_role("button", name="Go").click()
    await expect(page).to_have_url(re.compile("/dashboard/cache/$"))  # the only one there is


async def test_keys_walk_over_rows_and_pages(visit, console):
    await fill(console, 30)
    page = await visit("/dashboard/cache/")
    await page.keyboard.press("j")
    first = await page.evaluate("document.activeElement.closest('tr').id")
    await page.keyboard.press("j")
    assert await page.evaluate("document.activeElement.closest('tr').id") != first
    await page.keyboard.press("k")
    assert await page.evaluate("document.activeElement.closest('tr').id") == first
    await page.keyboard.press("f")
    await expect(page.get_by_role("searchbox")).to_be_focused()
    await page.keyboard.type("jk")  # in a field they are letters
    await expect(page.get_by_role("searchbox")).to_have_value("jk")
    await page.locator("#main").focus()
    await page.keyboard.press("[")
    await expect(page).to_have_url(re.compile("after="))
    await page.wait_for_load_state("load")  # until then no key is heard
    await page.keyboard.press("]")
    await expect(page).not_to_have_url(re.compile("after="))


async def test_the_list_of_keys_opens_and_a_dot_pauses(visit):
    page = await visit("/dashboard/")
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_be_hidden()
    await page.keyboard.press(".")
    await expect(page.locator("#pause")).to_have_text("Resume")


async def test_a_phone_has_a_bar_and_the_rest_behind_more(visit):
    page = await visit("/dashboard/", **PHONE)
    bar = page.get_by_role("navigation", name="Pages")
    await expect(bar.get_by_role("link", name="Overview")).to_have_attribute("aria-current", "page")
    await expect(bar.get_by_role("link", name="Costs")).to_be_hidden()
    height, bottom = await bar.evaluate("one => [one.offsetHeight, one.getBoundingClientRect().bottom]")
    assert height >= 44
    assert bottom == 800
    await bar.get_by_text("More").click()
    await bar.get_by_role("link", name="Costs").click()
    await expect(page).to_have_url(re.compile("/dashboard/costs/"))
    await page.wait_for_load_state("load")  # until then no key is heard
    await bar.get_by_text("More").click()
    await page.keyboard.press("Escape")
    await expect(bar.get_by_role("link", name="Providers")).to_be_hidden()
    assert await focused(page) == "More"


async def test_more_opens_without_a_script(visit):
    page = await visit("/dashboard/cache/", java_script_enabled=False, **PHONE)
    await page.get_by_text("More", exact=True).locator("visible=true").click()
    await expect(page.get_by_role("link", name="Providers")).to_be_visible()


@pytest.mark.parametrize("width", [320, 390, 800, 1100, 1440, 1920])
async def test_nothing_around_the_pages_is_cut_off(visit, width):
    await sync_to_async(traffic)(datetime.now(UTC), count=100)
    page = await visit("/dashboard/", viewport={"width": width, "height": 900})
    for path in ("/dashboard/", "/dashboard/cache/", "/dashboard/go/"):
        await page.goto(re.sub(r"(://[^/]+).*", r"\1", page.url) + path)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, path
        cut = "all => all.filter(one => one.checkVisibility() && one.scrollWidth > one.clientWidth + 1).length"
        assert await page.locator(".rail a, .rail summary").evaluate_all(cut) == 0
