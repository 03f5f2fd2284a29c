"""Forms whose answer is shown once: sent again they do nothing, and say what was done."""

from __future__ import annotations

import asyncio
import re
import threading
from contextlib import suppress
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client
from playwright.async_api import Error, Route, expect

from dashboard import once
from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.identity import second_factor
from orchestrator.models import ApiKey, SignInLink, Tenant
from tests.dashboard.site import opened, somebody
from tests.dashboard.test_sign_in import SECRET, code, set_up

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]
KEYS, PEOPLE, TWO_FACTOR = "/dashboard/keys/", "/dashboard/people/", "/dashboard/account/two-factor/"


@pytest.fixture
def admin(console: Any, operator: User) -> Client:
    """An admin of every tenant, mira."""
    client = Client()
    client.force_login(operator)
    return client


@pytest.fixture
def acme(transactional_db: None) -> Tenant:
    """One tenant."""
    return Tenant.objects.create(name="acme")


def text(response: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def mark_in(response: Any) -> dict[str, str]:
    """The mark of the last such form of a page."""
    marks = re.findall(r'name="once" value="([\w-]+)"', response.content.decode())
    assert marks, text(response)
    return {once.FIELD: marks[-1]}


def keys() -> int:
    return ApiKey.objects.of(EVERYBODY).count()


def test_a_key_is_issued_once_by_a_form_and_again_by_the_next(admin: Client, acme: Tenant) -> None:
    form = {"name": "web-app", "tenant": "acme", "ends": "90"}
    mark = mark_in(admin.get(f"{KEYS}new/"))
    assert admin.post(f"{KEYS}new/", form | mark | {"name": ""}).status_code == 422  # nothing was done by it
    assert "web-app is issued." in text(admin.post(f"{KEYS}new/", form | mark))
    again = admin.post(f"{KEYS}new/", form | mark)
    assert again.status_code == 409
    assert "It was done already. This form issued a key" in text(again)
    assert "Nothing was changed." not in text(again)
    assert keys() == 1
    assert "web-app is issued." in text(admin.post(f"{KEYS}new/", form | mark_in(again)))
    assert keys() == 2


def test_of_two_that_come_at_once_one_issues_a_key(admin: Client, operator: User, acme: Tenant) -> None:
    form = {"name": "web-app", "tenant": "acme", "ends": "90"} | mark_in(admin.get(f"{KEYS}new/"))
    session = admin.cookies["orchestrator_session"].value
    answers: list[int] = []

    def send() -> None:
        client = Client()
        client.cookies["orchestrator_session"] = session
        answers.append(client.post(f"{KEYS}new/", form).status_code)
        connections.close_all()

    threads = [threading.Thread(target=send) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(answers) == [200, 409]
    assert keys() == 1


def test_a_key_is_rotated_once_by_a_form(admin: Client, acme: Tenant) -> None:
    admin.post(f"{KEYS}new/", {"name": "web-app", "tenant": "acme", "ends": "90"})
    page = f"{KEYS}{ApiKey.objects.of(EVERYBODY).get().pk}/rotate/"
    form = {"overlap_s": "3600"} | mark_in(admin.get(page))
    assert "web-app is rotated." in text(admin.post(page, form))
    again = admin.post(page, form)
    assert again.status_code == 409
    assert "It was done already. This form made the new key" in text(again)
    assert keys() == 2


def test_somebody_is_invited_once_by_a_form(admin: Client, acme: Tenant) -> None:
    form = {"name": "anna", "role": "viewer", "of": str(acme.pk)} | mark_in(admin.get(PEOPLE))
    assert "link-once" in admin.post(f"{PEOPLE}invite/", form).content.decode()
    again = admin.post(f"{PEOPLE}invite/", form)
    assert again.status_code == 409
    assert "It was done already. This form let them in" in text(again)
    assert "is there already" not in text(again)


def test_a_link_is_made_once_by_a_form(admin: Client, acme: Tenant) -> None:
    page = f"{PEOPLE}{somebody('bob', Role.VIEWER, 'acme').pk}/"
    form = mark_in(admin.get(page))
    assert "link-once" in admin.post(f"{page}link/", form).content.decode()
    first = SignInLink.objects.get().digest
    again = admin.post(f"{page}link/", form)
    assert again.status_code == 409
    assert "It was done already. This form made a link" in text(again)
    assert SignInLink.objects.get().digest == first


def test_recovery_codes_are_made_once_by_a_form(admin: Client, operator: User) -> None:
    secret = set_up(operator)
    form = {"act": "renew"} | mark_in(admin.get(TWO_FACTOR))
    assert admin.post(TWO_FACTOR, form | {"proof": "000000"}).status_code == 422  # nothing was done by it
    form |= {"proof": code(secret)}
    assert 'class="codes"' in admin.post(TWO_FACTOR, form).content.decode()
    made = set(operator.recovery_codes.values_list("digest", flat=True))
    again = admin.post(TWO_FACTOR, form)
    assert again.status_code == 409
    assert "It was done already. New recovery codes were made" in text(again)
    assert "Nothing was changed." not in text(again)
    assert set(operator.recovery_codes.values_list("digest", flat=True)) == made


@pytest.mark.parametrize("proof", [SECRET, "a wrong one"])
def test_a_password_is_checked_while_others_may_write(
    admin: Client, operator: User, monkeypatch: pytest.MonkeyPatch, proof: str
) -> None:
    set_up(operator)
    operator.set_password(SECRET)
    operator.save()
    admin.force_login(operator)
    check, held = User.check_password, []

    def checked(user: User, password: str) -> bool:
        held.append(connections["default"].in_atomic_block)
        return check(user, password)

    monkeypatch.setattr(User, "check_password", checked)
    answer = admin.post(TWO_FACTOR, {"act": "renew", "proof": proof} | mark_in(admin.get(TWO_FACTOR)))
    assert (answer.status_code, held) == (200 if proof == SECRET else 422, [False])


def test_a_second_factor_is_confirmed_once_by_a_form(admin: Client, operator: User) -> None:
    admin.post(TWO_FACTOR, {"act": "begin"})
    secret = second_factor.offered(operator)
    assert secret
    form = {"act": "confirm", "code": code(secret)} | mark_in(admin.get(TWO_FACTOR))
    assert 'class="codes"' in admin.post(TWO_FACTOR, form).content.decode()
    again = admin.post(TWO_FACTOR, form)
    assert again.status_code == 409
    assert "It was done already. The authenticator is in use" in text(again)
    assert "Nothing was changed." not in text(again)


def test_a_session_keeps_a_few_marks(admin: Client, acme: Tenant) -> None:
    for number in range(20):
        form = {"name": f"key {number}", "tenant": "acme", "ends": "90"} | mark_in(admin.get(f"{KEYS}new/"))
        assert admin.post(f"{KEYS}new/", form).status_code == 200
    assert len(admin.session["spent_marks"]) == 16
    assert admin.post(f"{KEYS}new/", form).status_code == 409


@pytest.mark.parametrize("has_script", [True, False])
async def test_neither_a_double_click_nor_a_reload_issues_a_second_key(
    browser: Any, address: str, operator: User, acme: Tenant, has_script: bool
) -> None:
    page = await opened(browser, address, operator, java_script_enabled=has_script)
    await page.goto(f"{address}{KEYS}new/")
    await page.get_by_label("Name", exact=True).fill("web-app")
    await page.get_by_role("button", name="Issue the key").click(click_count=2 if has_script else 1)
    await expect(page.get_by_role("heading", level=1)).to_have_text("web-app is issued.")
    await page.reload()
    await expect(page.get_by_role("alert")).to_contain_text("It was done already.")
    assert await sync_to_async(keys)() == 1


# Send a form twice, have its page anew, and send it again; say how it looks and sounds meanwhile. In the page itself:
# whoever asks from outside is answered once the form is.
TWICE_AND_ANEW = """async (anew) => {
  const form = document.querySelector(".key-form"), button = form.querySelector(".primary"), seen = [];
  const look = () => [
    button.textContent.trim(),
    button.getAttribute("aria-disabled"),
    form.getAttribute("aria-busy"),
    document.querySelector("p[aria-live=polite]")?.textContent ?? null,
  ];
  const until = async (holds) => { while (!holds()) await new Promise((next) => setTimeout(next, 20)); };
  button.click();
  await until(() => look()[3]);
  seen.push(look());
  button.click();
  if (anew === "stopped") stop();
  else dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true }));
  await until(() => look()[2] === null);
  seen.push(look());
  button.click();
  return seen;
}"""


@pytest.mark.parametrize("anew", ["gone back to", "stopped"])
async def test_a_form_that_was_sent_says_so_and_may_be_sent_again_once_its_page_is_there_anew(
    visit: Any, acme: Tenant, anew: str
) -> None:
    page = await visit(f"{KEYS}new/")
    sent: list[str] = []
    goes_on, came_again = asyncio.Event(), asyncio.Event()

    async def answer(route: Route) -> None:
        sent.append(route.request.method)
        if len(sent) == 2:
            came_again.set()
        await goes_on.wait()
        with suppress(Error):  # nobody waits for it any more
            await route.abort()

    await page.route(f"**{KEYS}new/", answer)
    await page.get_by_label("Name", exact=True).fill("web-app")
    seen = await page.evaluate(TWICE_AND_ANEW, anew)
    assert seen == [["Under way…", "true", "true", "Under way…"], ["Issue the key", None, None, None]]
    await asyncio.wait_for(came_again.wait(), 60)
    assert sent == ["POST", "POST"]
    goes_on.set()
