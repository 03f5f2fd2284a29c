"""The way of somebody who is let in, in a real browser: from the invitation until a role is lost."""

from __future__ import annotations

import base64
import re
import time
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.utils import timezone
from django_otp.oath import hotp
from playwright.async_api import Page, expect

from orchestrator.core.permissions import Role
from orchestrator.identity import staffing
from orchestrator.identity.acting import at_terminal
from orchestrator.identity.attempts import FREE
from orchestrator.identity.second_factor import STEP_S
from orchestrator.models import SignInAttempts
from tests.dashboard.site import opened, sign_in, somebody
from tests.dashboard.test_sign_in import set_up

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]
PASSWORD = "correct horse battery"


def code(secret: str, steps: int) -> str:
    """What an authenticator shows that was given `secret`."""
    padded = secret.replace(" ", "")
    raw = base64.b32decode(padded + "=" * (-len(padded) % 8))
    return f"{hotp(raw, int(time.time()) // STEP_S + steps):06}"


async def no_complaints(*pages: Page) -> None:
    """But for what a browser says of each answer that is no success."""
    for page in pages:
        said = [one for one in page.complaints if not re.search("status of (403|422|429)", one)]  # type: ignore[attr-defined]
        assert said == []


@pytest.mark.parametrize("has_script", [True, False])
async def test_somebody_is_invited_signs_in_with_a_code_and_loses_a_page(
    address: str, browser: Any, operator: User, has_script: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.identity.attempts.FIRST_PAUSE", timedelta(minutes=10))
    admin = await opened(browser, address, operator, java_script_enabled=has_script)
    await admin.goto(f"{address}/dashboard/people/")
    await admin.get_by_label("Name").fill("anna")
    await admin.locator("select[name=role]").select_option("auditor")
    await admin.get_by_role("button", name="Invite").click()
    link = await admin.locator(".link-once").inner_text()

    page = await opened(browser, address, None, java_script_enabled=has_script)
    await sign_in(page, link)
    await expect(page.get_by_role("heading", level=1)).to_have_text("anna: choose a password.")
    await page.get_by_label("New password").fill(PASSWORD)
    await page.get_by_label("The same again").fill(PASSWORD)
    await page.get_by_role("button", name="Set the password").click()
    await expect(page.get_by_role("status")).to_contain_text("Your new password is in use.")

    await page.get_by_role("link", name="Set it up").click()
    await page.get_by_role("button", name="Begin").click()
    await expect(page.get_by_role("img", name="QR code")).to_be_visible()
    assert await page.get_by_role("img", name="QR code").evaluate("one => one.naturalWidth") > 100
    secret = await page.locator(".scan code").inner_text()
    await page.get_by_label("Code").fill(code(secret, 0))
    await page.get_by_role("button", name="Use it from now on").click()
    await expect(page.locator(".codes li")).to_have_count(10)
    paper = await page.locator(".codes li").first.inner_text()
    await page.get_by_role("button", name="Sign out").click()

    for _ in range(FREE["account"]):
        await guess(page, "guess")
        await expect(page.get_by_role("alert")).to_contain_text("Not signed in.")
    await guess(page, PASSWORD)
    await expect(page.get_by_role("alert")).to_contain_text("There were too many attempts. Wait")
    await SignInAttempts.objects.aupdate(paused_until=timezone.now())  # it is over

    await guess(page, PASSWORD)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Now your code, anna.")
    await page.get_by_label("Code").fill("000000")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_contain_text("This code is wrong")
    await page.get_by_label("Code").fill(code(secret, 1))  # the one before is used up
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Ready.")
    await page.get_by_role("link", name="People").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("2 people are let in.")
    assert await page.get_by_role("button", name="Invite").count() == 0

    await admin.goto(f"{address}/dashboard/people/")
    await admin.get_by_role("link", name="anna").click()
    await admin.locator("select[name=role]").select_option("viewer")
    await admin.get_by_role("button", name="Give this role").click()
    await expect(admin.get_by_role("heading", level=1)).to_have_text("anna is viewer of every tenant.")
    await page.reload()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Your role does not open this page.")
    await expect(page.locator(".explanation")).to_contain_text("It needs the role auditor or admin.")

    await page.get_by_role("button", name="Sign out").click()
    await guess(page, PASSWORD)
    await page.get_by_label("Code").fill(paper)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Ready.")
    await admin.get_by_role("button", name="Remove anna").click()
    await expect(admin.get_by_role("status")).to_have_text("anna is removed and signed out everywhere.")
    if not has_script:  # else the page, which is live, does that by itself
        await page.reload()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    await no_complaints(admin, page)


async def guess(page: Page, password: str) -> None:
    await page.get_by_label("Name").fill("anna")
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Sign in").click()


async def test_an_open_page_of_somebody_who_goes_is_not_live_any_more(
    address: str, browser: Any, operator: User
) -> None:
    anna = await sync_to_async(somebody)("anna", Role.VIEWER)
    page = await opened(browser, address, anna)
    await page.goto(f"{address}/dashboard/")
    await expect(page.locator("#connection")).to_have_text("Live")
    await sync_to_async(staffing.remove)(at_terminal(), anna)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


@pytest.mark.parametrize("width", [320, 420, 1440])
async def test_no_page_of_people_scrolls_sideways(address: str, browser: Any, operator: User, width: int) -> None:
    bob = await sync_to_async(somebody)("bob.with-a-long-name@example.org", Role.OPERATOR, "acme")
    await sync_to_async(set_up)(bob)
    page = await opened(browser, address, operator, viewport={"width": width, "height": 800})
    paths = ["people/", f"people/{bob.pk}/", "account/", "account/two-factor/"]
    for path in paths:
        await page.goto(f"{address}/dashboard/{path}")
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        unnamed = "all => all.filter(one => !one.labels?.length && one.type !== 'hidden' && !one.hidden).length"
        assert await page.locator("input, select").evaluate_all(unnamed) == 0, path
    await page.get_by_role("button", name="Begin").click()
    await expect(page.locator("img.qr")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await page.goto(f"{address}/dashboard/people/")
    await page.get_by_label("Name").fill("carl")
    await page.get_by_role("button", name="Invite").click()
    await expect(page.locator(".link-once")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await no_complaints(page)
