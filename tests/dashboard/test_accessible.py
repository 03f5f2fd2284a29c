"""Every page that links lead to: a checker of accessibility finds nothing, in light and wide, in dark and narrow.

What it can see of WCAG 2.2 A and AA, and its best practices; nobody is excused. And each fits its window: what is wide
scrolls in a region of its own, never the page.
"""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import Client
from playwright.async_api import expect

from orchestrator.identity.links import make_link
from tests.dashboard.furnished import furnish, reached
from tests.dashboard.site import fill, opened
from tests.product import PROJECT

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]
AXE = (PROJECT / "tests" / "clients" / "node_modules" / "axe-core" / "axe.min.js").read_text()
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
LOOKS = {"light": {"width": 1440, "height": 900}, "dark": {"width": 390, "height": 844}}
WIDTHS = (320, 420, 800, 1440)  # 320 is a window of 1280 at 400 %
OVER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
RUN = """async tags => {
  const found = await axe.run(document, { runOnly: { type: "tag", values: tags }, resultTypes: ["violations"] });
  const words = (one, node) => `${one.id}: ${node.target.join(" ")}: ${node.failureSummary}`;
  return found.violations.flatMap(one => one.nodes.map(node => words(one, node)));
}"""


async def violations(page: Any) -> list[str]:
    """What the checker finds in the page as it stands."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE)
    found: list[str] = await page.evaluate(RUN, TAGS)
    return found


def pages(operator: User) -> dict[str, str]:
    """Each page of the console and of the admin, by name."""
    client = Client()
    client.force_login(operator)
    return dict(reached(client, "/dashboard/", "/admin/"))


async def faults(page: Any, path: str) -> list[str]:
    """What is wrong with the page that stands open, in every look and width."""
    wrong: list[str] = []
    for theme, window in LOOKS.items():
        await page.set_viewport_size(window)
        await page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # colours change at once
        wrong += [f"{path} in {theme}: {one}" for one in await violations(page)]
    for width in WIDTHS:
        await page.set_viewport_size({"width": width, "height": 900})
        if over := await page.evaluate(OVER):
            wrong.append(f"{path} is {over} px wider than a window of {width}")
    return wrong


async def test_every_page_can_be_used_by_everybody_and_fits_its_window(
    visit: Any, console: Any, operator: User
) -> None:
    await sync_to_async(furnish)()
    await fill(console, tenant_id=1)
    every = await sync_to_async(pages)(operator)
    page = await visit("/dashboard/", viewport=LOOKS["light"], bypass_csp=True)
    origin = page.url.removesuffix("/dashboard/")
    wrong: list[str] = []
    for path in every.values():
        await page.goto(origin + path)
        wrong += await faults(page, path)
    assert len(every) > 60, "the console's pages, and the admin's"
    assert not wrong, "\n".join(wrong)


async def test_every_way_in_can_be_used_by_everybody_and_fits_its_window(browser: Any, address: str) -> None:
    """No link leads to these from within."""
    page = await opened(browser, address, None, bypass_csp=True)
    link = f"/dashboard/sign-in/{await sync_to_async(make_link)('somebody.with-a-long-name@example.org')}/"
    titles = {"/dashboard/sign-in/": "Sign in", link: "Sign in as", "/dashboard/sign-in/spent/": "no longer works"}
    wrong: list[str] = []
    for path, title in titles.items():
        await page.goto(address + path)
        await expect(page.get_by_role("heading", level=1)).to_contain_text(title)
        wrong += await faults(page, path)
    assert not wrong, "\n".join(wrong)
