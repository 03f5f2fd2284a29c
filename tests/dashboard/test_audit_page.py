"""Who changed what, as its page has it: found, taken apart, verified, taken along."""

from __future__ import annotations

import ast
import csv
import html
import re
from datetime import timedelta
from itertools import chain
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from dashboard import auditing
from dashboard.auditing import Asked, read_events
from orchestrator.audit import KINDS, look, note
from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.identity import tenancy
from orchestrator.identity.acting import Actor
from orchestrator.identity.asked import TenantAsked, TenantChange
from orchestrator.models import AuditEvent, Tenant
from tests.dashboard.site import somebody
from tests.dashboard.test_keys_page import signed_in, text
from tests.product import PROJECT

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]
AUDIT = "/dashboard/audit/"
MIRA = Actor(name="user:mira", roles={None: Role.ADMIN}, reason="they pay for it", address="192.0.2.7")


@pytest.fixture
def admin(console: Any, operator: User) -> Client:
    """An admin of every tenant, mira."""
    return signed_in(operator)


def many(count: int, tenant: Tenant | None = None) -> None:
    for number in range(count):
        note("key:abcdefghij", "limit.made", f"limit number-{number}", tenant.pk if tenant else None, {"n": number})


def subjects(response: Any) -> list[str]:
    return re.findall(r'c-about">([^<]+)<', response.content.decode())


def test_a_change_is_found_by_who_what_and_when_and_read_as_a_difference(admin: Client) -> None:
    many(3)
    tenancy.make_tenant(MIRA, TenantAsked(name="globex"))
    tenancy.change_tenant(MIRA, "globex", TenantChange(priority=9))
    page = admin.get(AUDIT)
    assert "All 5 events are as they were written." in text(page)
    for query in ("who=mira", "did=tenant", "about=globex", "did=tenant.changed&who=user%3Amira"):
        assert set(subjects(admin.get(f"{AUDIT}?{query}"))) == {"tenant globex"}, query
    words = text(admin.get(f"{AUDIT}?did=tenant.changed"))
    assert "priority: 5 → 9" in words
    assert "they pay for it" in words
    assert "192.0.2.7" in words
    event = admin.get(f"{AUDIT}5/")
    assert "<del>5</del>" in event.content.decode()
    assert "<ins>9</ins>" in event.content.decode()
    today = AuditEvent.objects.of(EVERYBODY).latest("pk").at.date()
    assert len(subjects(admin.get(f"{AUDIT}?from={today}&to={today}"))) == 5
    assert subjects(admin.get(f"{AUDIT}?to={today - timedelta(days=1)}")) == []
    assert subjects(admin.get(f"{AUDIT}?from={today + timedelta(days=1)}")) == []


def test_older_and_newer_go_by_number_and_lose_none(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "PAGE", 4)
    many(10)
    seen, page = [], admin.get(AUDIT)
    pages = [subjects(page)]
    while older := re.search(r'id="older" data-earlier href="([^"]+)"', page.content.decode()):
        page = admin.get(AUDIT + older[1].replace("&amp;", "&"))
        pages.append(subjects(page))
    seen = [one for page in pages for one in page]
    assert seen == [f"limit number-{number}" for number in range(9, -1, -1)]
    newer = re.search(r'id="newer" data-later href="([^"]+)"', page.content.decode())
    assert newer
    assert subjects(admin.get(AUDIT + newer[1].replace("&amp;", "&"))) == pages[-2]


def test_what_is_rare_is_looked_for_in_stretches(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    tenancy.make_tenant(MIRA, TenantAsked(name="globex"))
    many(20)
    monkeypatch.setattr(auditing, "STRETCH", 6)
    address, pages = f"{AUDIT}?about=globex", 0
    while not subjects(page := admin.get(address)):
        older = re.search(r'id="older" data-earlier href="([^"]+)">Look further back<', page.content.decode())
        assert older, text(page)
        address, pages = AUDIT + older[1].replace("&amp;", "&"), pages + 1
    assert subjects(page) == ["tenant globex"]
    assert pages == 3
    tenancy.make_tenant(MIRA, TenantAsked(name="globex-2"))
    address = f"{AUDIT}?about=globex&after=1"
    for _ in range(3):  # on the way up, too
        page = admin.get(address)
        assert subjects(page) == []
        assert "Nothing like that among the events up to number" in text(page)
        newer = re.search(r'id="newer" data-later href="([^"]+)"', page.content.decode())
        assert newer
        address = AUDIT + newer[1].replace("&amp;", "&")
    assert subjects(admin.get(address)) == ["tenant globex-2"]


def test_how_much_others_change_and_when_is_not_told(console: Any) -> None:
    auditor = signed_in(somebody("ada", Role.AUDITOR, "acme"))
    many(7, Tenant.objects.get_or_create(name="globex")[0])
    for address in (AUDIT, f"{AUDIT}verify/"):
        words = text(auditor.get(address))
        assert "The events are as they were written." in words
        assert "The chain is whole up to" not in words
        assert not re.search(r"\b[7-9]\b", words.partition("Each event")[0].partition("events are")[2])


def test_who_sees_the_audit_of_one_tenant_sees_no_other(console: Any) -> None:
    auditor = signed_in(somebody("ada", Role.AUDITOR, "acme"))
    acme, other = Tenant.objects.get(name="acme"), Tenant.objects.create(name="globex-secret")
    many(2, acme)
    note("user:mira", "key.issued", "key secret (secret)", other.pk)
    note("user:mira", "rules.published", "rules secret", None)
    assert set(subjects(auditor.get(AUDIT))) == {"limit number-0", "limit number-1"}
    for query in ("", f"?tenant={other.pk}", "?about=secret", "?before=99"):
        assert "secret</td>" not in auditor.get(AUDIT + query).content.decode()
    assert auditor.get(f"{AUDIT}3/").status_code == 404
    assert "secret" not in body(auditor.get(f"{AUDIT}audit.csv"))
    operator_of_acme = signed_in(somebody("bob", Role.OPERATOR, "acme"))
    assert operator_of_acme.get(AUDIT).status_code == 403


def test_the_first_broken_event_is_named_at_once_and_by_a_look_at_all(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(12)
    AuditEvent.objects.of(EVERYBODY).filter(pk=11).update(actor="user:mallory")
    assert "Event 11 is not as it was written." in text(admin.get(AUDIT))
    monkeypatch.setattr(auditing, "NEWEST", 1)
    assert "The newest 1 events are as they were written." in text(admin.get(AUDIT))
    words = text(admin.get(f"{AUDIT}verify/"))
    assert "Event 11 is not as it was written." in words
    assert "Events 1 to 10 are as they were written." in words
    assert "user:mallory" not in words


def test_a_long_chain_is_looked_at_for_a_while_and_then_on_from_there(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.audit.BATCH", 5)
    monkeypatch.setattr("dashboard.views.audit.LOOK_S", -1.0)
    many(12)
    page = admin.get(f"{AUDIT}verify/")
    assert "Events 1 to 5 are as they were written." in text(page)
    go_on = re.search(r'id="go-on" href="(\?after=5&amp;seen=[^"]+)"', page.content.decode())
    assert go_on
    page = admin.get(f"{AUDIT}verify/{html.unescape(go_on[1])}")
    assert "Events 1 to 10 are as they were written." in text(page)
    go_on = re.search(r'id="go-on" href="(\?after=10&amp;seen=[^"]+)"', page.content.decode())
    assert go_on
    last = html.unescape(go_on[1])
    assert "All 12 events are as they were written." in text(admin.get(f"{AUDIT}verify/{last}"))
    # What was looked at is sealed: no address says it of other events.
    for other in (last.replace("after=10", "after=11"), "?after=11&seen=11"):
        assert "Events 12 to 12 are as they were written." in text(admin.get(f"{AUDIT}verify/{other}"))
    assert "Events 6 to 10 are as they were written." in text(admin.get(f"{AUDIT}verify/?after=5"))
    assert "Events 11 to 12 are as they were written." in text(admin.get(f"{AUDIT}verify/?after=10"))
    assert "There is no event after 13." in text(admin.get(f"{AUDIT}verify/?after=13"))
    assert look().last == 12


def body(response: Any) -> str:
    async def collected() -> bytes:
        return b"".join([part async for part in response.streaming_content])

    return async_to_sync(collected)().decode()


def test_a_file_has_what_matches_and_no_formula(admin: Client) -> None:
    many(3)
    note("user:mira", "key.issued", "=HYPERLINK(1)", None, {"reason": "+1"})
    for wrong in ("from=yesterday", "to=2026-02-30", "tenant=acme"):
        assert (refused := admin.get(f"{AUDIT}audit.csv?{wrong}")).status_code == 422
        assert f"{wrong.partition('=')[0]}: write " in refused.content.decode()
        assert (shown := admin.get(f"{AUDIT}?{wrong}")).status_code == 422
        assert "Not all of the filter could be read" in shown.content.decode()
    head, line = list(csv.reader(body(admin.get(f"{AUDIT}audit.csv?who=mira")).splitlines()))
    assert head[:5] == ["number", "at", "who", "did", "about"]
    assert line[4] == "'=HYPERLINK(1)"
    assert line[6] == "'+1"


def test_a_file_that_was_cut_says_where_the_rest_begins(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    many(5)
    monkeypatch.setattr(auditing, "LINES", 2)
    monkeypatch.setattr("dashboard.views.audit.MOST_LINES", 2)
    *_, last = list(csv.reader(body(admin.get(f"{AUDIT}audit.csv")).splitlines()))
    assert last == ["cut after 2 lines; ask with before=4 for older ones, or narrow the filter"]
    lines = list(csv.reader(body(admin.get(f"{AUDIT}audit.csv?before=2")).splitlines()))
    assert [line[0] for line in lines] == ["number", "1"]


def noted() -> set[str]:
    """Every action that the code notes: written where it is noted, or in a table that is looked up there."""
    found: set[str] = set()
    for file in chain.from_iterable((PROJECT / part).rglob("*.py") for part in ("orchestrator", "dashboard", "cache")):
        tree = ast.parse(file.read_text())
        tables = {
            target.id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and ast.unparse(call.func).rpartition(".")[2] in {"note", "_note"}:
                looked_up = [tables.get(ast.unparse(one.value)) for one in call.args if isinstance(one, ast.Subscript)]
                within = [ast.walk(one) for one in (*call.args, *looked_up) if one is not None]
                found |= {str(one.value) for one in chain.from_iterable(within) if isinstance(one, ast.Constant)}
    return {one for one in found if re.fullmatch(r"[a-z]+\.[a-z_]+", one)}


def test_whatever_is_noted_can_be_chosen() -> None:
    actions = noted()
    assert {"key.issued", "rules.discarded", "tenant.resumed", "model.kept", "model.added"} <= actions
    assert {action.partition(".")[0] for action in actions} == set(KINDS)


def test_the_admins_list_is_narrowed_to_any_kind_and_to_nothing_by_what_is_none(admin: Client) -> None:
    for kind in KINDS:
        note("user:mira", f"{kind}.changed", f"this {kind}")
    listed = admin.get("/admin/orchestrator/auditevent/")
    assert {f"this {kind}" for kind in KINDS} == set(re.findall(r"this \w+", text(listed)))
    for kind in KINDS:
        assert f"?about={kind}" in listed.content.decode()
        said = text(admin.get(f"/admin/orchestrator/auditevent/?about={kind}"))
        assert set(re.findall(r"this \w+", said)) == {f"this {kind}"}
    assert not re.findall(r"this \w+", text(admin.get("/admin/orchestrator/auditevent/?about=budgets")))
    exported = admin.get("/admin/orchestrator/auditevent/export.csv?about=budgets").content.decode()
    assert len(exported.splitlines()) == 1


@pytest.mark.parametrize(
    "query",
    [
        "before=0",
        "after=99999999999999999999",
        "from=x&to=9999-12-31",
        "from=0001-01-01",
        "who=%00%25_",
        "tenant=-1",
        "did=.%27",
    ],
)
def test_whatever_stands_in_the_address_is_a_page(admin: Client, query: str) -> None:
    many(2)
    assert admin.get(f"{AUDIT}?{query}").status_code in {200, 422}
    assert admin.get(f"{AUDIT}verify/?{query}").status_code == 200


def test_a_pasted_key_does_not_come_back(admin: Client) -> None:
    credential = "orch_abcdefghij_" + "s" * 43
    assert "s" * 43 not in admin.get(f"{AUDIT}?about={credential}").content.decode()


def test_nothing_yet_and_nothing_found_and_no_answer_are_said(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    AuditEvent.objects.of(EVERYBODY).delete()
    assert "Whatever is changed appears here" in text(admin.get(AUDIT))
    many(1)
    assert "No event is so" in text(admin.get(f"{AUDIT}?who=nobody"))

    def late(*_: Any) -> None:
        raise TimeoutError

    monkeypatch.setattr(auditing, "read_events", late)
    assert "The audit could not be read." in text(admin.get(AUDIT))


def test_a_page_takes_few_queries_however_long_the_chain(console: Any) -> None:
    many(120)
    with CaptureQueriesContext(connection) as asked:
        read_events(Asked(who="abc", before=100), EVERYBODY)
    assert len(asked) <= 8, [one["sql"] for one in asked]
