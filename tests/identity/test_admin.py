"""Who may ask, on the pages of the admin: what is saved there is checked and noted as everywhere."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import include, path
from django.utils.timezone import now

from orchestrator.admin.acts import Acts
from orchestrator.audit import verify
from orchestrator.budgeting import rows
from orchestrator.core.budgets import EVER, begins
from orchestrator.core.errors import Conflict
from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.identity.issuing import STATES
from orchestrator.identity.keys import find_key
from orchestrator.ledger import beginning
from orchestrator.models import (
    ApiKey,
    AuditEvent,
    Budget,
    BudgetAlert,
    BudgetPeriod,
    Grant,
    Limit,
    Membership,
    Team,
    Tenant,
)
from tests.dashboard.spending import charge
from tests.keys import issue_key

admin.autodiscover()
urlpatterns = [path("admin/", admin.site.urls), path("", include("dashboard.urls"))]

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]
ROOT = "/admin/orchestrator"
PAGES = ("tenant", "team", "grant", "limit", "budget", "budgetalert", "apikey", "auditevent")


@pytest.fixture(autouse=True)
def _own_generation(tmp_path: Path, settings: Any) -> None:
    settings.GENERATION_FILE = tmp_path / "generation"


@pytest.fixture(autouse=True)
def _tenants() -> None:
    for name in ("acme", "globex"):
        Team.objects.create(tenant=Tenant.objects.create(name=name), name="search")


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def root() -> Client:
    return signed_in(User.objects.create_superuser("root"))


def person(role: Role) -> Client:
    """Somebody of acme."""
    user = User.objects.create_user("anna", is_staff=True)
    Membership.objects.create(user=user, tenant=Tenant.objects.get(name="acme"), role=role)
    return signed_in(user)


def post(client: Client, page: str, **fields: Any) -> str:
    """What is wrong; empty when it was saved."""
    response = client.post(f"{ROOT}/{page}/", fields)
    if response.status_code == 302:
        return ""
    return " ".join(str(error) for errors in response.context["adminform"].form.errors.values() for error in errors)


def act(client: Client, page: str, action: str, *rows: Any) -> None:
    form = {"action": action, "_selected_action": [str(row.pk) for row in rows], "confirmed": "yes", "post": "yes"}
    assert client.post(f"{ROOT}/{page}/", form).status_code in {200, 302}


def actions() -> list[tuple[str, str]]:
    return list(AuditEvent.objects.of(EVERYBODY).order_by("id").values_list("actor", "action"))


def test_tenants_are_made_changed_suspended_and_resumed(root: Client) -> None:
    assert post(root, "tenant/add", name="initech", priority=7) == ""
    tenant = Tenant.objects.get(name="initech")
    assert post(root, f"tenant/{tenant.pk}/change", priority=9) == ""
    assert "already" in post(root, "tenant/add", name="INITECH", priority=7)
    act(root, "tenant", "suspend", tenant)
    tenant.refresh_from_db()
    assert tenant.suspended_at
    act(root, "tenant", "resume", tenant)
    tenant.refresh_from_db()
    assert (tenant.priority, tenant.suspended_at) == (9, None)
    names = ["made", "changed", "suspended", "resumed"]
    assert actions() == [("user:root", f"tenant.{name}") for name in names]
    assert verify() is None


def test_teams_and_grants_are_made_and_ended(root: Client) -> None:
    acme, globex = Tenant.objects.order_by("name")
    assert post(root, "team/add", tenant=acme.pk, name="web") == ""
    assert post(root, "grant/add", owner=acme.pk, reader=globex.pk) == ""
    assert "already" in post(root, "grant/add", owner=acme.pk, reader=globex.pk)
    act(root, "team", "delete_selected", Team.objects.of(EVERYBODY).get(name="web"))
    act(root, "grant", "delete_selected", Grant.objects.get())
    assert not Grant.objects.exists()
    assert [action for _, action in actions()] == ["team.made", "grant.made", "team.deleted", "grant.ended"]


def test_limits_are_checked_as_everywhere(root: Client) -> None:
    acme = Tenant.objects.get(name="acme")
    form = {"name": "rate", "kind": "requests", "each": "key", "amount": 60, "tenant": acme.pk}
    assert "say in how many seconds" in post(root, "limit/add", **form)
    assert not Limit.objects.exists()
    assert post(root, "limit/add", **form, per_s=60, model="openai/*") == ""
    limit = Limit.objects.get()
    assert "is 10.0.0.0/8 meant" in post(
        root, f"limit/{limit.pk}/change", each="key", amount=30, per_s=60, network="10.0.0.1/8"
    )
    assert post(root, f"limit/{limit.pk}/change", each="key", amount=30, per_s=60, is_off="on") == ""
    limit.refresh_from_db()
    assert (limit.amount, limit.is_off, limit.model, limit.tenant) == (30, True, "", acme)
    assert b"60 in 60 s" not in root.get(f"{ROOT}/limit/").content
    assert post(root, f"limit/{limit.pk}/delete", post="yes") == ""
    assert [action for _, action in actions()] == ["limit.made", "limit.changed", "limit.deleted"]


def test_budgets_are_typed_and_shown_in_dollars(root: Client) -> None:
    acme = Tenant.objects.get(name="acme")
    form = {"name": "a-month", "period": "month", "each": "key", "amount_usd": "12.50", "tenant": acme.pk}
    form |= {"is_hard": "on", "shares": "80, 50"}
    assert "greater than or equal to 0.000001" in post(root, "budget/add", **(form | {"amount_usd": "0"}))
    assert "6 decimal places" in post(root, "budget/add", **(form | {"amount_usd": "0.0000001"}))
    assert "valid integer" in post(root, "budget/add", **(form | {"shares": "many"}))
    assert "none called 'opnai'" in post(root, "budget/add", **form, provider="opnai")
    assert not Budget.objects.exists()
    assert post(root, "budget/add", **form, model="openai/*") == ""
    budget = Budget.objects.get()
    assert (budget.amount_microusd, budget.shares, budget.is_hard) == (12_500_000, "50,80", True)
    first = begins("month", now())
    BudgetPeriod.objects.create(
        budget_id=budget.pk, under="7", begins=first, spent_microusd=10_000_000, reserved_microusd=1_500_000
    )
    BudgetAlert.objects.create(budget_id=budget.pk, under="7", begins=first, share=80, at=now(), spent_microusd=10**7)
    page = root.get(f"{ROOT}/budget/").content.decode()
    assert "92 %, 10.00 spent and 1.50 reserved" in page
    assert 'class="field-left">1.00<' in page
    page = root.get(f"{ROOT}/budget/{budget.pk}/change/").content.decode()
    assert 'value="12.50"' in page
    alerts = root.get(f"{ROOT}/budgetalert/").content.decode()
    assert "Budget &quot;a-month&quot; for key 7: 80 % of 12.50 USD are reached, 10.00 are spent in the month" in alerts
    change = {"amount_usd": "0.000001", "shares": "", "is_off": "on"}
    assert post(root, f"budget/{budget.pk}/change", **change) == ""
    budget.refresh_from_db()
    assert (budget.amount_microusd, budget.shares, budget.is_hard, budget.is_off) == (1, "", False, True)
    assert (budget.model, budget.tenant) == ("openai/*", acme)
    assert post(root, f"budget/{budget.pk}/delete", post="yes") == ""
    assert [action for _, action in actions()] == ["budget.made", "budget.changed", "budget.deleted"]


def test_what_was_not_changed_in_a_form_stays_what_others_made_it(root: Client) -> None:
    budget = Budget.objects.create(name="a", period="month", each="key", amount_microusd=50_000_000, shares="50")
    limit = Limit.objects.create(name="b", kind="requests", each="key", amount=50, per_s=60, burst=9)
    pages = {row: f"{row._meta.model_name}/{row.pk}/change" for row in (budget, limit)}
    forms = {row: shown_in(root.get(f"{ROOT}/{page}/")) for row, page in pages.items()}
    assert forms[budget]["initial-amount_usd"] == forms[budget]["amount_usd"] == "50.00"
    Budget.objects.update(amount_microusd=20_000_000, is_hard=False, is_off=True)
    Limit.objects.update(amount=20, burst=None, is_off=True)
    assert post(root, pages[budget], **forms[budget] | {"shares": "50,90"}) == ""
    assert post(root, pages[limit], **forms[limit] | {"model": "openai/*"}) == ""
    for row in (budget, limit):
        row.refresh_from_db()
    assert (budget.amount_microusd, budget.shares, budget.is_hard, budget.is_off) == (20_000_000, "50,90", False, True)
    assert (limit.amount, limit.burst, limit.model, limit.is_off) == (20, None, "openai/*", True)
    assert post(root, pages[budget], **forms[budget] | {"amount_usd": "60"}) == ""
    budget.refresh_from_db()
    assert (budget.amount_microusd, budget.shares) == (60_000_000, "50,90")


def test_what_was_not_changed_in_the_form_of_a_key_or_tenant_stays_what_others_made_it(root: Client) -> None:
    issue_key("web", "acme", tags=["a", "b"], families=["chat"], expires_at=datetime(2030, 1, 2, 3, 4, tzinfo=UTC))
    key, acme = ApiKey.objects.of(EVERYBODY).get(), Tenant.objects.get(name="acme")
    pages = {row: f"{row._meta.model_name}/{row.pk}/change" for row in (key, acme)}
    forms = {row: shown_in(root.get(f"{ROOT}/{page}/")) for row, page in pages.items()}
    assert forms[key]["initial-tags"] == "a\nb"
    assert forms[key]["initial-expires_at_1"] == "03:04:00"
    later = datetime(2031, 1, 2, 3, 4, tzinfo=UTC)
    ApiKey.objects.of(EVERYBODY).update(tags=["c"], families=[], expires_at=later)
    Tenant.objects.update(priority=9)
    forms[key] |= {"expires_at_0": "2030-01-02", "expires_at_1": "03:04:00"}
    assert post(root, pages[key], **forms[key] | {"name": "site"}) == ""
    assert post(root, pages[acme], **forms[acme]) == ""
    for row in (key, acme):
        row.refresh_from_db()
    assert (key.name, key.tags, key.families, key.expires_at) == ("site", ["c"], [], later)
    assert acme.priority == 9
    assert post(root, pages[key], **forms[key] | {"tags": "a", "expires_at_1": "05:00:00"}) == ""
    key.refresh_from_db()
    assert (key.tags, key.families, key.expires_at) == (["a"], [], datetime(2030, 1, 2, 5, tzinfo=UTC))


def shown_in(page: Any) -> dict[str, Any]:
    """What a form sends where nobody types anything."""
    html = page.content.decode()
    hidden = dict(re.findall(r'<input type="hidden" name="(initial-[a-z_0-9]+)"(?: value="([^"]*)")?', html))
    values = {field.html_name: field.value() for field in page.context["adminform"].form}
    return hidden | {name: value for name, value in values.items() if value not in (None, False)}


@pytest.mark.django_db(transaction=True)
def test_a_teams_charges_are_summed_up_before_anybody_has_to_wait(
    root: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(*_: object) -> None:
        raise AssertionError("others wait to write by now")

    def in_time(*asked: Any) -> Any:
        assert not connection.in_atomic_block
        return sum_before(*asked)

    sum_before = beginning.sum_before
    monkeypatch.setattr(beginning, "sum_before", too_late)
    monkeypatch.setattr(rows, "sum_before", in_time)
    charge(now(), team_id=Team.objects.of(EVERYBODY).get(tenant__name="acme").pk)
    form = {"name": "trial", "amount_usd": "5.00", "period": "total", "each": "team", "shares": ""}
    assert post(root, "budget/add", **form, is_hard="on") == ""
    budget = Budget.objects.get()
    for switch in ({"is_off": "on"}, {}):
        assert post(root, f"budget/{budget.pk}/change", amount_usd="5.00", shares="", is_hard="on", **switch) == ""
    assert [row.spent_microusd for row in BudgetPeriod.objects.all()] == [560]
    assert [action for _, action in actions()] == ["budget.made", "budget.changed", "budget.changed"]


def test_what_changed_between_a_forms_check_and_its_act_sends_back_to_it(
    root: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(*_: object, **__: object) -> None:
        raise Conflict("Somebody was first.")

    monkeypatch.setattr(Acts, "save_form", changed)
    form = {"tenant": Tenant.objects.get(name="acme").pk, "name": "web"}
    response = root.post(f"{ROOT}/team/add/", form, follow=True)
    assert response.redirect_chain == [(f"{ROOT}/team/add/", 302)]
    assert "Somebody was first." in response.content.decode()


def test_a_key_is_changed_and_never_shown(root: Client) -> None:
    credential = issue_key("web", "acme", dialects=["ollama"], tags=["a"])
    key = ApiKey.objects.of(EVERYBODY).get()
    page = root.get(f"{ROOT}/apikey/{key.pk}/change/")
    assert credential[16:].encode() not in page.content
    assert [str(team) for team in page.context["adminform"].form.fields["team"].queryset] == ["acme/search"]
    form = {"name": "site", "dialects": "ollama", "tags": "a\nb\n", "networks": "10.0.0.0/8"}
    assert "is 10.0.0.0/8 meant" in post(root, f"apikey/{key.pk}/change", **form | {"networks": "10.0.0.1/8"})
    assert post(root, f"apikey/{key.pk}/change", **form) == ""
    found = find_key(credential)
    assert found is not None
    assert (found.key_name, found.tags, len(found.networks)) == ("site", ("a", "b"), 1)
    (event,) = AuditEvent.objects.of(EVERYBODY).all()
    assert set(event.details) == {"name", "tags", "networks"}
    act(root, "apikey", "revoke", key)
    assert find_key(credential) is None
    assert root.get(f"{ROOT}/apikey/{key.pk}/change/").context["has_change_permission"] is False
    assert [action for _, action in actions()] == ["key.changed", "key.revoked"]


def test_events_are_read_and_never_changed(root: Client) -> None:
    post(root, "tenant/add", name="initech", priority=7)
    event = AuditEvent.objects.of(EVERYBODY).get()
    page = root.get(f"{ROOT}/auditevent/{event.pk}/change/")
    assert b"tenant.made" in page.content
    assert root.post(f"{ROOT}/auditevent/{event.pk}/change/", {"actor": "user:nobody"}).status_code == 403
    assert root.post(f"{ROOT}/auditevent/{event.pk}/delete/", {"post": "yes"}).status_code == 403
    assert root.get(f"{ROOT}/auditevent/add/").status_code == 403
    assert b"initech" in root.get(f"{ROOT}/auditevent/?about=tenant&q=root").content


def test_somebody_of_one_tenant_sees_and_changes_what_is_theirs() -> None:
    theirs = issue_key("theirs", "globex")
    issue_key("ours", "acme", role="operator")
    issue_key("high", "acme", role="admin")
    operator = person(Role.OPERATOR)
    page = operator.get(f"{ROOT}/apikey/").content.decode()
    assert ("ours" in page, "theirs" in page) == (True, False)
    ours, other, high = (ApiKey.objects.of(EVERYBODY).get(name=name) for name in ("ours", "theirs", "high"))
    assert post(operator, f"apikey/{ours.pk}/change", name="mine", role="operator") == ""
    assert "role admin may" in post(operator, f"apikey/{ours.pk}/change", name="mine", role="admin")
    assert "role admin may" in post(operator, f"apikey/{high.pk}/change", name="mine", role="admin")
    assert operator.get(f"{ROOT}/apikey/{other.pk}/change/").status_code == 302, "there is none"
    act(operator, "apikey", "revoke", other)
    assert find_key(theirs)
    acme, globex = Tenant.objects.order_by("name")
    assert "not one of the available choices" in post(operator, "team/add", tenant=globex.pk, name="x")
    assert post(operator, "team/add", tenant=acme.pk, name="x") == ""
    limit = {"name": "l", "kind": "queue", "each": "all", "amount": 3, "tenant": acme.pk}
    assert "every tenant" in post(operator, "limit/add", **limit)
    assert (
        post(operator, "limit/add", **limit, team=Team.objects.of(EVERYBODY).get(tenant=acme, name="search").pk) == ""
    )
    for page in ("tenant", "grant", "auditevent"):
        assert operator.get(f"{ROOT}/{page}/").status_code == 403


@pytest.mark.parametrize(
    ("role", "names"),
    [
        (Role.OPERATOR, ["API keys", "Limits", "Teams", "Budgets", "Alerts"]),
        (Role.AUDITOR, ["API keys", "Limits", "Teams", "Budgets", "Alerts", "Tenants", "Grants", "Audit"]),
    ],
)
def test_the_pages_beside_the_keys_are_those_that_open(role: Role, names: list[str]) -> None:
    client = person(role)
    page = client.get(f"{ROOT}/limit/").content.decode()
    assert "A request has to be within every limit that is about it." in page
    links = re.findall(
        r'<a href="([^"]+)"[^>]*>([^<]+)</a>', page[page.index("console-beside") :].partition("</nav>")[0]
    )
    assert [name for _, name in links] == names
    assert [client.get(address).status_code for address, _ in links] == [200] * len(names)
    assert "console-beside" not in client.get("/admin/").content.decode()


def test_a_number_in_a_form_tells_nobody_of_anothers_key() -> None:
    issue_key("theirs-secret", "globex")
    issue_key("ours", "acme")
    ours, other = (ApiKey.objects.of(EVERYBODY).get(name=name) for name in ("ours", "theirs-secret"))
    operator = person(Role.OPERATOR)
    add = f"{ROOT}/limit/add/"
    assert "ours" in operator.get(add, {"key": ours.pk}).content.decode()
    form = {"name": "l", "kind": "queue", "each": "all", "amount": 3}
    for page in (
        operator.get(add, {"key": other.pk}),
        operator.get(add, {"key": "no number"}),
        operator.post(add, form | {"key": other.pk}),
    ):
        assert page.status_code == 200
        assert other.name not in page.content.decode()
        assert other.prefix not in page.content.decode()
    assert post(operator, "limit/add", **form, key=ours.pk) == ""


def test_what_cannot_be_deleted_is_said_and_stays(root: Client) -> None:
    acme = Tenant.objects.get(name="acme")
    limit = Limit.objects.create(name="whole", kind="queue", each="all", amount=3, tenant=acme)
    used = Team.objects.of(EVERYBODY).get(tenant=acme)
    free = Team.objects.create(tenant=acme, name="free")
    issue_key("k", "acme", team=used)
    operator = person(Role.OPERATOR)
    for page, row, words in (("limit", limit, "every tenant"), ("team", used, "Cannot delete")):
        shown = operator.post(f"{ROOT}/{page}/{row.pk}/delete/", {"post": "yes"}, follow=True)
        assert (shown.status_code, words in shown.content.decode()) == (200, True), page
        assert "was deleted successfully" not in shown.content.decode()
        form = {"action": "delete_selected", "_selected_action": [str(row.pk)], "post": "yes"}
        shown = operator.post(f"{ROOT}/{page}/", form, follow=True)
        assert (shown.status_code, words in shown.content.decode()) == (200, True), page
    assert Limit.objects.filter(pk=limit.pk).exists()
    assert Team.objects.of(EVERYBODY).filter(pk__in=(used.pk, free.pk)).count() == 2


@pytest.mark.parametrize("role", [Role.VIEWER, Role.AUDITOR])
def test_who_may_not_change_keys_cannot(role: Role) -> None:
    issue_key("ours", "acme")
    key = ApiKey.objects.of(EVERYBODY).get()
    client = person(role)
    status = 403 if role == Role.VIEWER else 200
    assert client.get(f"{ROOT}/apikey/").status_code == status
    assert client.post(f"{ROOT}/apikey/{key.pk}/change/", {"name": "mine"}).status_code == 403
    assert client.get(f"{ROOT}/limit/add/").status_code == 403
    act_form = {"action": "revoke", "_selected_action": str(key.pk), "confirmed": "yes"}
    client.post(f"{ROOT}/apikey/", act_form)
    key.refresh_from_db()
    assert key.revoked_at is None


@pytest.mark.parametrize("page", PAGES)
def test_a_list_takes_as_many_queries_for_many_rows(
    root: Client, page: str, django_assert_max_num_queries: Any
) -> None:
    for number in range(30):
        tenant = Tenant.objects.create(name=f"t{number}")
        team = Team.objects.create(tenant=tenant, name="t")
        Grant.objects.create(owner=tenant, reader=Tenant.objects.get(name="acme"))
        issue_key("k", tenant.name, team=team)
        Limit.objects.create(name=f"l{number}", kind="queue", each="all", amount=1, tenant=tenant, team=team)
        money = {"amount_microusd": 5, "tenant": tenant, "team": team}
        budget = Budget.objects.create(name=f"b{number}", period="total", each="key", **money)
        told = {"budget_id": budget.pk, "begins": EVER, "spent_microusd": 3}
        BudgetPeriod.objects.create(under="1", **told)
        BudgetAlert.objects.create(under="1", share=50, at=now(), **told)
        post(root, "tenant/add", name=f"u{number}", priority=5)
    with django_assert_max_num_queries(14):
        response = root.get(f"{ROOT}/{page}/")
    assert response.status_code == 200
    assert response.context["cl"].result_count >= 30


def test_lists_are_searched_and_narrowed(root: Client) -> None:
    issue_key("one", "acme", role="viewer")
    issue_key("two", "globex")
    act(root, "apikey", "revoke", ApiKey.objects.of(EVERYBODY).get(name="two"))
    for query, names in (
        ("", ["one", "two"]),
        ("?q=one", ["one"]),
        ("?state=revoked", ["two"]),
        ("?state=working", ["one"]),
        ("?role__exact=viewer", ["one"]),
    ):
        rows = root.get(f"{ROOT}/apikey/{query}").context["cl"].result_list
        assert sorted(key.name for key in rows) == names


def test_a_keys_state_is_called_as_in_the_api(root: Client) -> None:
    for name in ("one", "two"):
        issue_key(name, "acme")
    act(root, "apikey", "revoke", ApiKey.objects.of(EVERYBODY).get(name="two"))
    keys = root.get(f"{ROOT}/apikey/").content.decode()
    assert sorted(re.findall('class="field-state">([^<]*)<', keys)) == ["revoked", "working"]
    assert re.findall(r"\?state=(\w+)\"[^>]*>\s*(\w+)\s*<", keys) == [(state, state) for state in STATES]
    tenants = root.get(f"{ROOT}/tenant/?q=acme").content.decode()
    assert re.findall('class="field-working_keys">([^<]*)<', tenants) == ["1"]
