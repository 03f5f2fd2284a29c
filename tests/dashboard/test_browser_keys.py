"""Keys, budgets and the audit in a real browser: a leaked key ends, a budget is raised, and who did it is found."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.async_api import Error, expect

from tests.dashboard.site import go, opened, sign_in
from tests.dashboard.test_browser_providers import sign_in_link
from tests.product import PROJECT, Product, until
from tests.provider import Provider

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]


@pytest.fixture(scope="module")
def ours(provider: Provider) -> Iterator[Product]:
    """A product with a model that costs money."""
    with Product(OPENAI_API_KEY="sk-test", OPENAI_BASE_URL=provider.address) as product:
        managed(product, "prices", "set", "openai/good", "--input", "3", "--output", "15")
        yield product


def asked(product: Product, key: str) -> int:
    """What a client is answered that asks for what costs money."""
    body = {"model": "openai/good", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 16}
    shown = {"Authorization": f"Bearer {key}", "Cache-Control": "no-cache, no-store"}
    return httpx.post(f"{product.base_url}/v1/chat/completions", json=body, headers=shown, timeout=60).status_code


def opens(product: Product, key: str) -> bool:
    """Whether a key opens anything."""
    shown = {"Authorization": f"Bearer {key}"}
    return httpx.get(f"{product.base_url}/api/tags", headers=shown, timeout=60).status_code == httpx.codes.OK


def managed(product: Product, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=PROJECT,
        env=product.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("has_script", [True, False])
async def test_a_leaked_key_is_pasted_and_revoked_and_opens_nothing_any_more(
    browser: Any, ours: Product, has_script: bool
) -> None:
    name = f"leaked-{'with' if has_script else 'without'}-script"
    key = ours.issue_key(name)
    assert opens(ours, key)
    page = await opened(browser, ours.base_url, None, java_script_enabled=has_script)
    await sign_in(page, sign_in_link(ours))
    await page.goto(f"{ours.base_url}/dashboard/keys/")
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    await page.locator("#find").fill(key)
    await page.get_by_role("button", name="Find a key").click()
    await expect(page.get_by_role("status")).to_have_text("What was pasted is this key.")
    await page.get_by_label("Reason, for the audit").fill("it was in a public repository")
    await page.get_by_role("button", name=f"Revoke {name}").click()
    await expect(page.get_by_role("status")).to_contain_text(f"{name} is revoked.")
    until(lambda: not opens(ours, key), "the key to open nothing")
    secret = key[16:]
    assert not any(secret in address for address in addresses)
    assert secret not in await page.content()
    assert secret not in managed(ours, "audit", "list", "--json")
    assert page.complaints == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("has_script", [True, False])
async def test_a_client_that_was_refused_is_answered_once_the_budget_is_raised_and_who_did_it_is_found(
    browser: Any, ours: Product, has_script: bool
) -> None:
    name = f"tight-{'with' if has_script else 'without'}-script"
    managed(ours, "tenants", "make", name)
    key = ours.issue_key(name, "--tenant", name)
    managed(ours, "budgets", "make", name, "0.000001", "month", "--each", "all", "--tenant", name)
    until(lambda: asked(ours, key) == httpx.codes.TOO_MANY_REQUESTS, "the budget to refuse")
    page = await opened(browser, ours.base_url, None, java_script_enabled=has_script)
    await sign_in(page, sign_in_link(ours))
    await page.goto(f"{ours.base_url}/dashboard/costs/")
    await page.locator("#to-budgets").click()
    await page.get_by_role("link", name=name).click()
    await page.locator("#amount").fill("10")
    await page.get_by_label("Reason, for the audit").first.fill("they pay for it")
    await page.get_by_role("button", name="Set the amount").click()
    await expect(page.get_by_role("status").first).to_contain_text(f"{name} is raised from <$0.01 to $10.00")
    until(lambda: asked(ours, key) == httpx.codes.OK, "the client to be answered")

    await page.goto(f"{ours.base_url}/dashboard/audit/")
    await page.get_by_label("About what").fill(f"budget {name}")
    await page.get_by_role("button", name="Filter").click()
    row = page.locator(".events tbody tr").filter(has_text="changed")
    await expect(row).to_contain_text("0.000001 → 10.00")
    await expect(row).to_contain_text("they pay for it")
    await row.get_by_role("link").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text(f"changed budget {name}.")
    await expect(page.locator(".diff del")).to_have_text("0.000001")

    await page.goto(f"{ours.base_url}/dashboard/keys/budgets/")
    await page.get_by_role("link", name=name).click()
    await page.locator("#undo").click()
    await page.locator("#lower-it").click()
    until(lambda: asked(ours, key) == httpx.codes.TOO_MANY_REQUESTS, "the budget to refuse again")
    page.complaints[:] = [said for said in page.complaints if "422" not in said]  # a second word was asked for
    assert page.complaints == []  # type: ignore[attr-defined]


async def test_a_key_is_issued_by_keyboard_and_the_example_that_is_shown_works(browser: Any, ours: Product) -> None:
    page = await opened(browser, ours.base_url, None)
    await sign_in(page, sign_in_link(ours))
    await go(page, "k")
    await page.locator("#issue").press("Enter")
    await page.get_by_label("Name", exact=True).fill("from-a-page")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("from-a-page is issued.")
    key = await page.locator("#secret").inner_text()
    assert f'"Authorization: Bearer {key}"' in await page.locator(".example pre").first.inner_text()
    assert opens(ours, key)
    await page.locator("#to-key").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("from-a-page")
    assert key not in await page.content()
    with pytest.raises(Error, match="CACHE_MISS"):  # the browser has not kept it either
        await page.go_back()
    assert page.complaints == []  # type: ignore[attr-defined]
