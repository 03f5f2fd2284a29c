"""Providers' accounts on pages, which need no script."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from playwright.async_api import expect

from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.models import AuditEvent, SpendDay, UsageImport
from tests.dashboard.site import somebody
from tests.invoices.exports import charge, openrouter_csv, some_calls

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]
HERE = "/dashboard/costs/invoices/"
CALLS = some_calls(Random(2), ("v/m-1", "v/m-2"))


@pytest.fixture
def admin(operator: User) -> Client:
    """An admin of every tenant, mira."""
    return signed_in(operator)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def text(response: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def upload(client: Client, content: bytes, name: str = "march.csv", **typed: str) -> Any:
    return client.post(f"{HERE}import/", {"file": SimpleUploadedFile(name, content)} | typed)


def test_an_account_is_imported_shown_and_deleted(admin: Client) -> None:
    charge(CALLS, "openrouter")
    assert "No account was imported yet." in text(admin.get(HERE))
    made = upload(admin, openrouter_csv(CALLS))
    number = UsageImport.objects.get().pk
    assert made["Location"] == f"{HERE}{number}/"
    page = text(admin.get(made["Location"]))
    assert f"The account is imported, with {len(CALLS)} lines." in page
    assert "openrouter says the same." in page
    assert f"Nothing differs: {len(CALLS)} lines there, {len(CALLS)} calls here" in page
    listed = text(admin.get(HERE))
    assert "One account is kept." in listed
    assert "march.csv" in listed
    assert admin.post(f"{HERE}{number}/delete/")["Location"] == HERE
    assert not UsageImport.objects.exists()
    assert [(event.actor, event.action) for event in AuditEvent.objects.of(EVERYBODY).order_by("pk")] == [
        ("user:mira", "invoice.imported"),
        ("user:mira", "invoice.deleted"),
    ]


def test_days_whose_charges_are_gone_are_said_and_what_can_be_compared(admin: Client) -> None:
    first = min(call.day for call in CALLS)
    charge([call for call in CALLS if call.day != first], "openrouter")
    SpendDay.rows.create(day=first, tenant_id=1, provider="openrouter", model="openrouter/v/m-1", calls=1)
    where = upload(admin, openrouter_csv(CALLS))["Location"]
    page = admin.get(where)
    assert "openrouter: not all days can be compared." in text(page)
    since = first + timedelta(days=1)
    assert f"Charges here of before {since} are kept no longer." in text(page)
    (following,) = re.findall(r'<a href="([^"]+)">Compare the days since', page.content.decode())
    assert "openrouter says the same." in text(admin.get(where + html.unescape(following)))


def test_what_differs_is_shown_with_its_amounts_and_as_a_table(admin: Client) -> None:
    charge(CALLS, "openrouter")
    where = upload(admin, openrouter_csv(CALLS[1:]))["Location"]
    page = text(admin.get(where))
    assert "openrouter says otherwise." in page
    assert CALLS[0].ref in page
    assert "only here" in page
    table = admin.get(f"{where}differences.csv")
    assert table["Content-Type"] == "text/csv; charset=utf-8"
    assert CALLS[0].ref in table.content.decode()
    day = CALLS[0].day.isoformat()
    assert CALLS[0].ref in text(admin.get(where, {"first": day, "last": day}))
    for query in ({"first": "2031-01-01"}, {"first": "tomorrow"}):
        assert admin.get(where, query).status_code == 400
        assert admin.get(f"{where}differences.csv", query).status_code == 400
    assert admin.get(f"{HERE}{2**70}/").status_code == 404


@pytest.mark.parametrize(
    ("content", "typed", "status", "words"),
    [
        (b"day,model,cost_usd\n2026-03-01,m,x\n", {}, 400, "line 2: cost_usd &#x27;x&#x27; is no number."),
        (b"<b>,c\n", {}, 400, "Its form is none of those that are read"),
        (b"day,model,cost_usd\n2026-03-01,m,1\n", {}, 400, "say whose account it is"),
        (b"day,model,cost_usd\n2026-03-01,m,1\n", {"provider": "a", "first": "x"}, 400, "A day is written as"),
        (b"x" * (16 * 1024**2 + 1), {}, 413, "16 MB at most"),
    ],
)
def test_what_is_wrong_is_said_and_what_was_typed_stays(
    admin: Client, content: bytes, typed: dict[str, str], status: int, words: str
) -> None:
    response = upload(admin, content, **{"provider": "", "form": "", **typed})
    assert response.status_code == status
    assert words in response.content.decode()
    for value in typed.values():
        assert f'value="{value}"' in response.content.decode()
    assert not UsageImport.objects.exists()


def test_a_file_is_needed(admin: Client) -> None:
    assert "Choose a file." in text(admin.post(f"{HERE}import/", {"provider": "a"}))


def test_names_in_an_account_are_shown_as_they_stand(admin: Client) -> None:
    content = b"day,model,cost_usd\n2026-03-01,<script>alert(1)</script>,1\n"
    page = admin.get(upload(admin, content, provider="a")["Location"]).content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_who_may_only_see_is_shown_no_form(operator: User, admin: Client) -> None:
    where = upload(admin, openrouter_csv(CALLS))["Location"]
    viewer = signed_in(somebody("vera", Role.VIEWER))
    assert viewer.get(HERE).status_code == viewer.get(where).status_code == 200
    assert b'<form class="form"' not in viewer.get(HERE).content
    assert b"Delete this account" not in viewer.get(where).content
    assert upload(viewer, openrouter_csv(CALLS[1:])).status_code == 403
    assert viewer.post(f"{where}delete/").status_code == 403
    assert UsageImport.objects.count() == 1
    assert signed_in(somebody("otto", Role.ADMIN, "acme")).get(HERE).status_code == 403


def test_no_amount_is_shown_with_an_exponent(admin: Client) -> None:
    charge(CALLS, "openrouter")
    page = text(admin.get(upload(admin, openrouter_csv(CALLS[1:]))["Location"]))
    assert not re.search(r"\dE[-+]\d", page)
    assert re.search(r"-0\.00000\d+ to \+0\.00000000\d", page)


async def test_it_is_done_in_a_browser_without_scripts(visit: Any, tmp_path: Path) -> None:
    file = tmp_path / "march.csv"
    file.write_bytes(openrouter_csv(CALLS))
    for has_scripts in (True, False):
        page = await visit(HERE, java_script_enabled=has_scripts)
        await page.set_input_files("input[type=file]", str(file))
        await page.get_by_role("button", name="Import").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("openrouter says otherwise.")
        for width in (1280, 390):
            await page.set_viewport_size({"width": width, "height": 800})
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
        await page.get_by_role("button", name="Delete this account").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("No account was imported yet.")
