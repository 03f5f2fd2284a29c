"""The way of a rule in a real browser: written, put in its place, tried, published, and gone back on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.utils import timezone
from playwright.async_api import Page, expect

from orchestrator.core.changing import By
from orchestrator.models import Tenant
from orchestrator.models.decisions import RouteDecision
from orchestrator.parts import Parts
from orchestrator.registry.entries import DeploymentEntry, ModelEntry, Registry
from orchestrator.ruling import draft, versions
from routing.models import RuleDraft, RuleVersion
from routing.rules.checking import read_document
from routing.rules.facts import Facts
from routing.rules.verdict import Verdict
from tests.dashboard.site import go

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]

PAGE = "/dashboard/routing/"
HERE, SHORT = "Private stays here", "Short ones"


@pytest.fixture(autouse=True)
def own_generation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is published counts up there."""
    monkeypatch.setattr(settings, "GENERATION_FILE", tmp_path / "generation")


@sync_to_async
def order() -> list[str]:
    """The rules of the draft, as they are kept."""
    return list(RuleDraft.objects.order_by("place").values_list("name", flat=True))


@sync_to_async
def live(number: int) -> dict[str, Any]:
    """The document of the newest version, which has that number."""
    row = RuleVersion.objects.latest("number")
    assert row.number == number
    return dict(row.document)


@sync_to_async
def ask(*requests: dict[str, Any]) -> None:
    """Requests that came, as they are written down."""
    tenant = Tenant.objects.get_or_create(name="acme")[0]
    for number, request in enumerate(requests):
        facts = Facts(model="large", tenant="acme", **request)
        document = json.dumps({"facts": facts.to_json(), "verdict": Verdict().to_json()})
        RouteDecision.objects.create(
            request_id=f"r{number}", tenant=tenant, at=timezone.now(), rules=0, document=document
        )


async def test_a_rule_is_written_placed_tried_published_and_gone_back_on(visit: Any, console: Parts) -> None:
    small = ModelEntry(name="small", deployments=(DeploymentEntry(provider="openai", remote_name="small"),))
    console.catalogue.apply(Registry(models=(small,)))
    await ask({"tokens": 10}, {"tokens": 20}, {"tokens": 900}, {"tokens": 30, "tags": frozenset({"private"})})
    page = await visit("/dashboard/")
    headline, preview = page.get_by_role("heading", level=1), page.locator("#preview")
    await go(page, "u")
    await expect(headline).to_have_text("There is no rule yet.")

    await page.get_by_role("button", name=f"Add to the draft {HERE}").click()
    await expect(page.locator("#said")).to_contain_text(f"{HERE} is in the draft.")
    await expect(headline).to_have_text("The draft has one rule, and nothing is live yet.")
    assert await order() == [HERE]

    await page.get_by_role("link", name="New rule").click()
    await page.get_by_label("Name").fill(SHORT)
    await page.get_by_role("button", name="Add condition").click()
    await expect(page.get_by_label("Fact", exact=True)).to_be_focused()
    await page.get_by_label("Fact", exact=True).select_option("tokens")
    await page.get_by_label("Comparison").select_option("below")
    await page.get_by_label("Number", exact=True).fill("400")
    await page.get_by_label("These, one after the other").check()
    await page.locator("#use").fill("small, large")
    await expect(preview).to_contain_text("When the number of tokens is below 400: ask small, then large.")
    await page.locator("#expression").fill("turns > 0 && turn < 9")
    await expect(page.locator("#expression-fault .fault")).to_contain_text("Column 14:")
    await expect(page.locator(".pointed")).to_have_text(f"turns > 0 && turn < 9\n{' ' * 13}↑")
    await page.locator("#expression").fill("turns > 0")
    await expect(preview).to_contain_text("below 400 and turns > 0: ask small")
    await page.get_by_role("button", name="Save to the draft").click()
    await expect(page.locator(".result")).to_contain_text(f"{SHORT} is in the draft.")
    assert await order() == [HERE, SHORT]

    row = page.locator("[data-rule]", has_text=SHORT)
    await row.get_by_role("link", name=SHORT, exact=True).focus()
    await page.keyboard.press("Alt+ArrowUp")
    await expect(page.locator("#said")).to_contain_text(f"{SHORT} is number 1 of 2 in the draft.")
    assert await order() == [SHORT, HERE]
    await expect(page.locator(":focus")).to_have_text(SHORT)
    await page.get_by_role("button", name="Undo").click()
    await expect(page.locator("#said")).to_contain_text(f"{SHORT} is number 2 of 2 in the draft.")
    assert await order() == [HERE, SHORT]
    await row.get_by_text("Move", exact=False).first.click()
    await row.get_by_role("button", name="Up").click()
    await expect(page.locator("#said")).to_contain_text(f"{SHORT} is number 1 of 2 in the draft.")
    assert await order() == [SHORT, HERE]

    edition = (await sync_to_async(draft.read)()).edition
    await page.get_by_role("link", name="Try it on the last requests").click()
    await expect(row.locator(".caught")).to_contain_text("3")
    await expect(page.locator("#trial")).to_contain_text("small instead of large")
    await expect(page).to_have_url(f"{page.url.partition('/dashboard')[0]}{PAGE}?try=1")
    assert (await sync_to_async(draft.read)()).edition == edition
    assert await sync_to_async(versions.newest)() == 0

    await page.get_by_role("link", name="Publish version 1").click()
    await page.get_by_label("Reason").fill("short ones are easy")
    await page.get_by_role("button", name="Publish version 1").click()
    await expect(headline).to_have_text("Version 1 is live, with two rules.")
    first = await live(1)
    assert [rule["name"] for rule in first["rules"]] == [SHORT, HERE]
    assert first["rules"][0]["when"] == [{"fact": "tokens", "op": "below", "value": 400.0}]

    await row.get_by_role("link", name=f"Edit {SHORT}").click()
    await page.get_by_label("Number", exact=True).fill("800")
    await expect(preview).to_contain_text("below 800")
    await page.get_by_role("button", name="Save to the draft").click()
    await expect(row.locator("del")).to_have_text("was 400")
    await expect(row.locator("ins")).to_have_text("now 800")
    await row.get_by_role("button", name="Switch off").click()
    await expect(row).to_contain_text("off")
    await expect(row.get_by_role("button", name="Switch on")).to_be_focused()
    await page.get_by_role("link", name="Publish version 2").click()
    await page.get_by_role("button", name="Publish version 2").click()
    await expect(headline).to_have_text("Version 2 is live, with two rules.")
    second = await live(2)
    assert (second["rules"][0]["is_on"], second["rules"][0]["when"][0]["value"]) == (False, 800.0)

    await page.get_by_role("link", name="Undo").click()
    await expect(headline).to_have_text("Going back to version 1 changes one rule.")
    await expect(page.locator("main del", has_text="800")).to_be_visible()
    await page.get_by_role("button", name="Roll back to version 1").click()
    await expect(page.locator(".result")).to_contain_text("The rules are those of version 1 again, as version 3.")
    assert await live(3) == first
    assert await sync_to_async(lambda: draft.read().document.rules)() == read_document(first).rules


async def test_keys_that_come_fast_move_a_rule_as_often_and_it_stays_in_sight(visit: Any) -> None:
    rules = [{"name": f"Rule {number}", "then": {"local_only": True}} for number in range(1, 31)]
    await sync_to_async(draft.save)(read_document({"rules": rules}), By("anna"))
    page = await visit(PAGE, viewport={"width": 1440, "height": 500})
    logged: list[str] = []
    page.on("console", lambda message: logged.append(message.text))
    await page.get_by_role("link", name="Edit Rule 2", exact=True).focus()
    for _ in range(12):
        await page.keyboard.press("Alt+ArrowDown")
    await expect(page.locator("#said")).to_contain_text("Rule 2 is number 14 of 30 in the draft.")
    assert (await order())[12:15] == ["Rule 14", "Rule 2", "Rule 15"]
    await expect(page.locator(":focus")).to_have_text("Rule 2")
    await expect(page.locator("[data-rule]", has=page.locator(":focus"))).to_be_in_viewport()
    await page.keyboard.press("Alt+ArrowUp")
    await expect(page.locator("#said")).to_contain_text("Rule 2 is number 13 of 30 in the draft.")
    assert logged == []


async def test_keys_that_come_while_a_place_is_saved_count_on_from_it(visit: Any) -> None:
    rules = [{"name": f"Rule {number}", "then": {"local_only": True}} for number in range(1, 11)]
    await sync_to_async(draft.save)(read_document({"rules": rules}), By("anna"))
    page = await visit(PAGE)
    is_asked, may_go = asyncio.Event(), asyncio.Event()

    async def hold(route: Any) -> None:
        is_asked.set()
        await may_go.wait()
        await route.continue_()

    await page.route("**/routing/act/", hold)
    await page.get_by_role("link", name="Edit Rule 2", exact=True).focus()
    await page.keyboard.press("Alt+ArrowDown")
    await asyncio.wait_for(is_asked.wait(), 60)
    for _ in range(4):
        await page.keyboard.press("Alt+ArrowDown")
    await page.keyboard.press("Alt+ArrowUp")
    may_go.set()
    await expect(page.locator("#said")).to_contain_text("Rule 2 is number 6 of 10 in the draft.")
    assert (await order())[4:7] == ["Rule 6", "Rule 2", "Rule 7"]
    await expect(page.locator(":focus")).to_have_text("Rule 2")


async def test_an_act_waits_for_the_one_before_and_neither_is_lost(visit: Any) -> None:
    names = [f"Rule {number}" for number in range(1, 5)]
    await sync_to_async(draft.save)(read_document({"rules": [{"name": name} for name in names]}), By("anna"))
    page = await visit(PAGE)
    may_go = await held_back(page)
    await page.get_by_role("button", name="Switch off Rule 1").click()
    await page.get_by_role("button", name="Switch off Rule 1").click()  # pressed twice
    await page.get_by_role("button", name="Switch off Rule 2").click()
    may_go.set()
    await expect(page.get_by_role("button", name="Switch on Rule 2")).to_be_visible()
    await expect(page.get_by_role("button", name="Switch on Rule 1")).to_be_visible()
    await page.get_by_role("link", name="Edit Rule 4", exact=True).focus()
    await page.keyboard.press("Alt+ArrowUp")
    await page.get_by_role("button", name="Switch off Rule 3").click()  # before the new place was sent
    await expect(page.get_by_role("button", name="Switch on Rule 3")).to_be_visible()
    rules = (await sync_to_async(draft.read)()).document.rules
    assert [(rule.name, rule.is_on) for rule in rules] == [
        ("Rule 1", False),
        ("Rule 2", False),
        ("Rule 4", True),
        ("Rule 3", False),
    ]


@pytest.mark.parametrize(("status", "said"), [(403, "It was not done."), (None, "Whether it was done is not known.")])
async def test_what_failed_is_said_and_a_moved_rule_stands_where_it_is(
    visit: Any, status: int | None, said: str
) -> None:
    names = [f"Rule {number}" for number in range(1, 5)]
    await sync_to_async(draft.save)(read_document({"rules": [{"name": name} for name in names]}), By("anna"))
    page = await visit(PAGE)
    await page.route("**/routing/act/", lambda route: route.fulfill(status=status) if status else route.abort())
    await page.get_by_role("link", name="Edit Rule 1", exact=True).focus()
    await page.keyboard.press("Alt+ArrowDown")
    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text(said)
    await expect(alert.get_by_role("link", name="Load the page again")).to_be_visible()
    await expect(page.locator("#rules .place")).to_have_text(["1", "2", "3", "4"])
    await expect(page.locator("#rules .name").first).to_have_text("Rule 1")
    await page.unroute("**/routing/act/")
    await page.get_by_role("button", name="Switch off Rule 1").click()
    await expect(page.get_by_role("button", name="Switch on Rule 1")).to_be_visible()
    await expect(alert).to_have_count(0)
    page.complaints.clear()  # the browser's own, of what was made to fail


async def held_back(page: Page) -> asyncio.Event:
    """Acts go on once the event is set."""
    may_go = asyncio.Event()

    async def hold(route: Any) -> None:
        await may_go.wait()
        await route.continue_()

    await page.route("**/routing/act/", hold)
    return may_go


async def test_what_is_typed_of_the_slider_stays_when_another_act_draws_the_page_anew(visit: Any) -> None:
    names = [f"Rule {number}" for number in range(3)]
    await sync_to_async(draft.save)(read_document({"rules": [{"name": name} for name in names]}), By("beate"))
    page = await visit(PAGE)
    await page.locator("#level").fill("37")
    await page.locator("input[name=aim][value=quality]").check()
    await page.locator("input[name=explore]").fill("4")
    await page.get_by_role("button", name="Switch off Rule 1").click()
    await expect(page.get_by_role("button", name="Switch on Rule 1")).to_be_visible()
    await expect(page.locator("#level")).to_have_value("37")
    await expect(page.locator("#level-shown")).to_have_text("37\u202f%")
    await expect(page.locator("input[name=aim][value=quality]")).to_be_checked()
    await expect(page.locator("input[name=explore]")).to_have_value("4")
    await page.locator("#save-auto").click()
    await expect(page.locator("#auto .change")).to_be_visible()
    await expect(page.locator("#level")).to_have_value("37")
    aim = (await sync_to_async(draft.read)()).document.auto.aim
    assert (aim.share, aim.quality) == (None, 0.37)


async def test_no_page_of_rules_scrolls_sideways_and_every_field_has_a_name(visit: Any) -> None:
    long = {
        "name": "A rule whose name says everything there is to say of it, and-does-so-without-end",
        "note": "n" * 200,
        "when": [
            {"fact": "text", "op": "contains", "value": ["w" * 100]},
            {"fact": "time", "op": "within", "value": {"days": ["mon"], "zone": "America/Argentina/ComodRivadavia"}},
        ],
        "expression": f"tenant == '{'t' * 90}'",
        "then": {"split": {"arms": [{"name": "a" * 40, "use": ["m" * 90]}, {"name": "b", "use": ["x", "y"]}]}},
    }
    await sync_to_async(draft.save)(read_document({"rules": [long]}), By("anna", "r" * 90))
    await sync_to_async(versions.publish)(By("anna", "r" * 90))
    await sync_to_async(draft.save)(read_document({"rules": []}), By("anna"))
    await sync_to_async(draft.save)(read_document({"rules": [long, {"name": "More"}]}), By("anna"))
    page = await visit(PAGE, viewport={"width": 320, "height": 800})
    for path in (f"{PAGE}?try=1", f"{PAGE}publish/", f"{PAGE}versions/1/", f"{PAGE}rules/{long['name']}/"):
        await page.goto(page.url.partition("/dashboard")[0] + path)
        for one in await page.locator("main details > summary").all():
            if await one.is_visible():
                await one.click()
        for width in (820, 320):
            await page.set_viewport_size({"width": width, "height": 800})
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (path, width)
        unnamed = "all => all.filter(one => !one.labels?.length && !one.ariaLabel && one.type !== 'hidden').length"
        assert await page.locator("main :is(input, select, textarea)").evaluate_all(unnamed) == 0, path
