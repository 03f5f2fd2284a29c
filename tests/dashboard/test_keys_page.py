"""The pages of keys, tenants and budgets: who sees what, what they do, and what is said when it cannot be."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dashboard.acting import acted
from dashboard.keys import board, budgets
from dashboard.keys.board import Asked, read_board
from dashboard.keys.one import read_key, read_tenant
from orchestrator import wiring
from orchestrator.core.permissions import EVERYBODY, Reach, Role
from orchestrator.core.redis_async import Line, open_redis
from orchestrator.identity.keys import find_key, make_key
from orchestrator.ledger import beginning
from orchestrator.limits.limiter import Limiter
from orchestrator.models import ApiKey, AuditEvent, Budget, BudgetPeriod, Limit, Team, Tenant
from orchestrator.parts import Parts
from tests.dashboard.site import record, somebody
from tests.dashboard.spending import budget, charge, day, tenant_of
from tests.servers import RedisServer

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]
KEYS = "/dashboard/keys/"


@pytest.fixture
def admin(console: Any, operator: User) -> Client:
    """An admin of every tenant, mira."""
    return signed_in(operator)


@pytest.fixture
def of_acme(console: Any) -> Client:
    """An operator of acme alone."""
    return signed_in(somebody("bob", Role.OPERATOR, "acme"))


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def text(response: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode())).replace("\u202f", " ")


def a_key(name: str = "web-app", tenant: str = "acme", **fields: Any) -> tuple[ApiKey, str]:
    return make_key(Tenant.objects.get_or_create(name=tenant)[0], name, **fields)


def events(action: str) -> list[AuditEvent]:
    return list(AuditEvent.objects.of(EVERYBODY).filter(action=action))


def test_the_first_line_says_what_ends_and_who_has_spent_most(admin: Client) -> None:
    now = timezone.now()
    a_key(expires_at=now + timedelta(days=3))
    a_key("helpdesk", "globex")
    budget("globex-month", 100_000_000, 92_000_000, now=now, tenant=Tenant.objects.get(name="globex"))
    words = text(admin.get(KEYS))
    assert "2 keys in use; web-app expires in 3 d; globex has spent 92.0 % of its month." in words


def test_keys_of_a_suspended_tenant_are_neither_counted_nor_listed_among_those_that_work(admin: Client) -> None:
    now = timezone.now()
    a_key()
    a_key("helpdesk", "globex", expires_at=now + timedelta(days=3))
    globex = Tenant.objects.get(name="globex")
    Tenant.objects.filter(name="globex").update(suspended_at=now)
    shown = admin.get(KEYS)
    assert "One key is in use." in text(shown)
    assert {row.tenant.name: row.keys for row in shown.context["found"].tenants} == {"acme": 1, "globex": 0}
    for state, listed in (
        ("working", ["web-app"]),
        ("unused", ["web-app"]),
        ("expiring", []),
        ("suspended", ["helpdesk"]),
        ("all", ["helpdesk", "web-app"]),
    ):
        found = admin.get(f"{KEYS}?state={state}").context["found"]
        assert [row.key.name for row in found.keys] == listed, state
    its_page = admin.get(f"{KEYS}tenants/{globex.pk}/").content.decode()
    assert f'href="{KEYS}?tenant={globex.pk}&amp;state=suspended#keys"' in its_page


def test_nothing_yet_says_what_will_be_here(admin: Client) -> None:
    words = text(admin.get(KEYS))
    assert "No key is in use." in words
    assert "Issue the first one" in words


def test_of_more_tenants_than_are_read_it_says_so(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("amber", "birch", "cedar", "zinc"):
        Tenant.objects.create(name=name)
    monkeypatch.setattr(board, "MOST_TENANTS", 2)
    monkeypatch.setattr(board, "FEW_TENANTS", 1)
    words = text(admin.get(KEYS))
    assert "More than 2 tenants." in words
    assert "of the first 2 by name" in words
    assert "Show the first 2" in words
    assert "zinc" not in words


def test_a_key_is_issued_and_shown_once_and_opens(admin: Client) -> None:
    Tenant.objects.create(name="acme")
    form = {"name": "nightly", "tenant": "acme", "ends": "30", "model_patterns": "openai/*\n", "families": "chat"}
    response = admin.post(f"{KEYS}new/", form)
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    found = re.search(r'id="secret">(orch_[^<]+)<', response.content.decode())
    assert found, text(response)
    caller = find_key(found[1])
    assert caller is not None
    assert (caller.key_name, caller.model_patterns) == ("nightly", ("openai/*",))
    key = ApiKey.objects.of(EVERYBODY).get(name="nightly")
    assert timedelta(days=29) < key.expires_at - timezone.now() <= timedelta(days=30)
    assert found[1] not in admin.get(f"{KEYS}{key.pk}/").content.decode()
    [event] = events("key.issued")
    assert event.actor == "user:mira"
    assert event.details["from"] == "127.0.0.1"
    assert found[1] not in str(event.details)


@pytest.mark.parametrize(
    ("form", "field", "said"),
    [
        ({"name": ""}, "name", "A name has 1 to 100 characters."),
        ({"name": "x", "model_patterns": "a b"}, "model_patterns", "no space or bracket"),
        ({"name": "x", "networks": "10.0.0.1/8"}, "networks", "is 10.0.0.0/8 meant?"),
        ({"name": "x", "team": "none-such"}, "team", "There is none called"),
        ({"name": "x", "dialects": "klingon"}, "dialects", "There are ollama"),
        ({"name": "x", "reaches_all": "1"}, "reaches_all", "There is no role"),
    ],
)
def test_what_is_wrong_with_a_key_stands_beside_its_field(
    admin: Client, form: dict[str, str], field: str, said: str
) -> None:
    Tenant.objects.create(name="acme")
    response = admin.post(f"{KEYS}new/", {"tenant": "acme", "ends": "90", "tags": "kept as typed"} | form)
    assert response.status_code == 422
    beside = re.search(rf'id="fault-{field}">([^<]*)<', response.content.decode())
    assert beside, text(response)
    assert said in beside[1]
    assert "kept as typed" in response.content.decode()
    assert not ApiKey.objects.of(EVERYBODY).exists()


def test_a_pasted_key_is_found_and_stands_nowhere(admin: Client, caplog: pytest.LogCaptureFixture) -> None:
    key, credential = a_key()
    response = admin.post(f"{KEYS}find/", {"q": f"  {credential}\n"})
    assert response["Location"] == f"{KEYS}{key.pk}/revoke/"
    page = admin.get(response["Location"])
    assert "What was pasted is this key." in text(page)
    almost = credential[:-3] + ("abc" if not credential.endswith("abc") else "xyz")
    response = admin.post(f"{KEYS}find/", {"q": almost})
    assert "begins as this key does, and is not it" in text(admin.get(response["Location"]))
    unknown = "orch_zzzzzzzzzz_" + "s" * 43
    response = admin.post(f"{KEYS}find/", {"q": unknown})
    assert response["Location"] == KEYS
    assert "There is no key here that begins with orch_zzzzzzzzzz." in text(admin.get(KEYS))
    secret = credential[16:]
    assert secret not in caplog.text
    assert secret not in page.content.decode()
    assert "s" * 43 not in admin.get(f"{KEYS}?q={unknown}").content.decode()
    response = admin.post(f"{KEYS}find/", {"q": "web"})
    assert response["Location"] == f"{KEYS}?state=all&q=web#keys"
    assert f"orch_{key.prefix}" in text(admin.get(response["Location"].partition("#")[0]))


def test_revoking_says_what_it_stops_and_is_for_good(admin: Client) -> None:
    key, credential = a_key()
    for _ in range(3):
        record(key_id=key.pk)
    record(timezone.now() - timedelta(hours=2), key_id=key.pk)
    words = text(admin.get(f"{KEYS}{key.pk}/revoke/"))
    assert "requests in the last hour" in words
    response = admin.post(f"{KEYS}{key.pk}/revoke/", {"reason": "it was in a public repository"})
    assert response["Location"] == f"{KEYS}{key.pk}/"
    assert "web-app is revoked. It opens nothing from now on; answers under way end within 2 s." in text(
        admin.get(response["Location"])
    )
    assert find_key(credential) is None
    [event] = events("key.revoked")
    assert event.details == {"reason": "it was in a public repository", "from": "127.0.0.1"}


def test_rotating_shows_the_new_key_once_and_lets_the_old_one_work_on(admin: Client) -> None:
    key, credential = a_key()
    response = admin.post(f"{KEYS}{key.pk}/rotate/", {"overlap_s": "3600"})
    assert "web-app is rotated." in text(response)
    assert "works for 1 h more" in text(response)
    assert find_key(credential) is not None
    assert "is rotated, and works for" in text(admin.get(f"{KEYS}{key.pk}/"))
    again = admin.post(f"{KEYS}{key.pk}/rotate/", {"overlap_s": "3600"})
    assert again.status_code == 422
    assert "It was rotated before" in text(again)
    for wrong in ("-1", "x", "99999999"):
        assert admin.post(f"{KEYS}{key.pk}/rotate/", {"overlap_s": wrong}).status_code == 422


def test_an_operator_of_one_tenant_sees_and_changes_only_theirs(of_acme: Client) -> None:
    mine, _ = a_key()
    theirs, credential = a_key("helpdesk", "globex-secret")
    Limit.objects.create(name="limit-secret", kind="requests", each="key", amount=1, per_s=1, tenant=theirs.tenant)
    hidden = Limit.objects.get()
    page = of_acme.get(f"{KEYS}?state=all")
    assert "web-app" in text(page)
    assert "secret" not in page.content.decode()
    for path in (
        f"{theirs.pk}/",
        f"{theirs.pk}/revoke/",
        f"{theirs.pk}/rotate/",
        f"tenants/{theirs.tenant_id}/",
        f"limits/{hidden.pk}/",
    ):
        assert of_acme.get(KEYS + path).status_code == 404, path
        assert of_acme.post(KEYS + path).status_code in {404, 405}, path
    assert of_acme.post(f"{KEYS}tenants/{theirs.tenant_id}/switch/", {"to": "suspend"}).status_code == 403
    assert of_acme.post(f"{KEYS}find/", {"q": credential})["Location"] == KEYS
    refused = of_acme.post(f"{KEYS}new/", {"name": "x", "tenant": "globex-secret", "ends": "90"})
    assert refused.status_code == 422
    assert of_acme.post(f"{KEYS}{mine.pk}/revoke/").status_code == 302
    assert find_key(credential) is not None


def test_an_auditor_looks_and_changes_nothing(console: Any) -> None:
    auditor = signed_in(somebody("ada", Role.AUDITOR))
    key, _ = a_key()
    words = text(auditor.get(f"{KEYS}{key.pk}/"))
    assert "Revoke" not in words
    assert auditor.post(f"{KEYS}{key.pk}/revoke/").status_code == 403
    assert auditor.get(f"{KEYS}new/").status_code == 403


async def test_of_a_limit_is_said_what_is_used_of_it_where_that_is_one_figure(
    console: Parts, operator: User, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, credential = await sync_to_async(a_key)()
    rates = {"each-key": "key", "each-tenant": "tenant", "for-all": "all", "each-address": "address"}
    for name, each in rates.items():
        await Limit.objects.acreate(
            name=name, kind="requests", each=each, amount=1_000, per_s=86_400, tenant=key.tenant
        )
    await Limit.objects.acreate(name="at-once", kind="concurrent", each="all", amount=4, tenant=key.tenant)
    await Limit.objects.acreate(
        name="off", kind="requests", each="all", amount=9, per_s=60, tenant=key.tenant, is_off=True
    )
    caller = await sync_to_async(find_key)(credential)
    assert caller is not None
    redis_server.command("FLUSHALL")
    limiter = Limiter(Line(open_redis(redis_server.url, 5, most_connections=2), 5))
    monkeypatch.setattr(wiring, "_parts", replace(console, limiter=limiter))
    for _ in range(250):
        await limiter.charge(caller, "tiny:latest", "127.0.0.1")
    hold = await limiter.hold(caller, "tiny:latest", "127.0.0.1", lambda: 1)
    client = AsyncClient()
    await client.aforce_login(operator)

    def said(response: Any) -> dict[str, str]:
        rows = response.content.decode().partition('<ul class="limits">')[2].partition("</ul>")[0].split("<li>")[1:]
        return {
            re.findall(r"<a[^>]*>([^<]+)", row)[0]: "".join(re.findall(r">([^<]+ (?:used|now))<", row)) for row in rows
        }

    of_key = said(await client.get(f"{KEYS}{key.pk}/"))
    of_tenant = said(await client.get(f"{KEYS}tenants/{key.tenant_id}/"))
    for name, used in of_key.items():
        if name in {"each-key", "each-tenant", "for-all"}:
            number = int(used.removesuffix(" of 1,000 used"))
            assert 250 <= number <= 375, "what was asked, with what is leased"
    assert (of_key["each-address"], of_key["off"], of_key["at-once"]) == ("", "", "1 of 4 now")
    assert [name for name, used in of_tenant.items() if used] == ["at-once", "each-tenant", "for-all"]
    hold.release()
    await limiter.aclose()
    monkeypatch.setattr(wiring, "_parts", console)  # which counts without a Redis
    assert set(said(await client.get(f"{KEYS}{key.pk}/")).values()) == {""}


def test_what_was_not_changed_in_the_form_of_a_limit_stays_what_others_made_it(admin: Client) -> None:
    row = Limit.objects.create(name="gently", kind="requests", each="key", amount=50, per_s=60, burst=9)
    page = f"{KEYS}limits/{row.pk}/"
    hidden = dict(re.findall(r'type="hidden" name="(was-[a-z_]+)" value="([^"]*)"', admin.get(page).content.decode()))
    assert len(hidden) == 7
    typed = {name.removeprefix("was-"): value for name, value in hidden.items()}
    assert typed.pop("is_off") == ""
    Limit.objects.update(amount=20, burst=None, is_off=True)
    wrong = admin.post(page, hidden | typed | {"network": "nowhere"})
    assert wrong.status_code == 422
    assert 'name="was-amount" value="50"' in wrong.content.decode()
    assert admin.post(page, hidden | typed | {"model": "openai/*"}).status_code == 302
    row.refresh_from_db()
    assert (row.amount, row.per_s, row.burst, row.model, row.is_off) == (20, 60, None, "openai/*", True)


def test_a_limit_is_set_changed_and_deleted(admin: Client) -> None:
    key, _ = a_key()
    form = {"key": key.prefix, "name": "gently", "kind": "requests", "amount": "60", "per_s": "60", "each": "key"}
    response = admin.post(f"{KEYS}limits/new/", form)
    assert response.status_code == 302, text(response)
    row = Limit.objects.get()
    assert "60 requests a minute for each key" in text(admin.get(f"{KEYS}{key.pk}/"))
    changed = admin.post(f"{KEYS}limits/{row.pk}/", {"amount": "30", "per_s": "60", "burst": "", "each": "key"})
    assert changed.status_code == 302, text(changed)
    row.refresh_from_db()
    assert row.amount == 30
    wrong = admin.post(f"{KEYS}limits/{row.pk}/", {"amount": "many", "per_s": "60", "each": "key"})
    assert wrong.status_code == 422
    assert 'id="fault-amount"' in wrong.content.decode()
    assert admin.post(f"{KEYS}limits/{row.pk}/delete/").status_code == 302
    assert not Limit.objects.exists()
    assert [one.action for one in AuditEvent.objects.of(EVERYBODY).filter(action__startswith="limit.")] == [
        "limit.deleted",
        "limit.changed",
        "limit.made",
    ]


def test_a_tenant_is_made_gets_a_team_is_suspended_and_resumed(admin: Client) -> None:
    response = admin.post(f"{KEYS}tenants/new/", {"name": "globex"})
    tenant = Tenant.objects.get(name="globex")
    assert response["Location"] == f"{KEYS}tenants/{tenant.pk}/"
    assert admin.post(f"{KEYS}tenants/{tenant.pk}/teams/", {"team": "web"}).status_code == 302
    assert Team.objects.of(EVERYBODY).get().name == "web"
    assert admin.post(f"{KEYS}tenants/{tenant.pk}/teams/", {"team": "a b"}).status_code == 422
    _, credential = a_key(tenant="globex")
    switch = f"{KEYS}tenants/{tenant.pk}/switch/"
    admin.post(switch, {"to": "suspend", "reason": "unpaid"})
    assert find_key(credential) is None
    assert "None of its keys works" in text(admin.get(f"{KEYS}tenants/{tenant.pk}/"))
    admin.post(switch, {"to": "resume"})
    assert find_key(credential) is not None
    assert events("tenant.suspended")[0].details["reason"] == "unpaid"
    again = admin.post(f"{KEYS}tenants/new/", {"name": "Globex"})
    assert again.status_code == 422
    assert "There is a tenant globex already." in text(again)
    assert 'value="Globex"' in again.content.decode()


def test_a_budget_is_raised_and_taken_back_and_lowering_it_takes_a_second_word(admin: Client) -> None:
    row = budget("house", 10_000_000, 8_000_000, now=timezone.now())
    path = f"{KEYS}budgets/{row.pk}/"
    assert "80.0 % spent" in text(admin.get(path))
    admin.post(f"{path}change/", {"amount_usd": "$1,000", "reason": "a launch"})
    assert Budget.objects.get().amount_microusd == 1_000_000_000
    page = admin.get(path)
    assert "house is raised from $10.00 to $1,000.00, from the next call on." in text(page)
    assert events("budget.changed")[0].details["reason"] == "a launch"
    undo = re.search(
        r'name="amount_usd" value="([0-9.]+)"><input type="hidden" name="reason" value="taken back"',
        page.content.decode(),
    )
    assert undo
    admin.post(f"{path}change/", {"amount_usd": undo[1], "sure": "lower"})
    assert Budget.objects.get().amount_microusd == 10_000_000
    asked = admin.post(f"{path}change/", {"amount_usd": "5"})
    assert asked.status_code == 422
    assert "$8.00 are spent already, and $5.00 is less than that." in text(asked)
    assert Budget.objects.get().amount_microusd == 10_000_000
    admin.post(f"{path}change/", {"amount_usd": "5", "sure": "lower"})
    assert Budget.objects.get().amount_microusd == 5_000_000
    for wrong in ("", "-1", "1e9", "0", "99999999999"):
        response = admin.post(f"{path}change/", {"amount_usd": wrong})
        assert response.status_code == 422, wrong
        assert 'id="fault-amount_usd"' in response.content.decode()


def shown_forms(page: Any) -> list[dict[str, str]]:
    """The fields of a page's forms that have values, form by form."""
    forms = re.findall(r"<form[^>]*budgets/.*?</form>", page.content.decode(), re.DOTALL)
    return [dict(re.findall(r'name="([a-z_-]+)"[^>]* value="([^"]*)"', form)) for form in forms]


def test_what_somebody_else_set_meanwhile_is_not_overwritten(admin: Client) -> None:
    row = budget("house", 10_000_000, 1_000_000, now=timezone.now())
    path = f"{KEYS}budgets/{row.pk}/"
    admin.post(f"{path}change/", {"amount_usd": "20"})
    undo, other, _ = shown_forms(admin.get(path))
    assert undo["reason"] == "taken back"
    Budget.objects.update(amount_microusd=50_000_000)  # by somebody else, since the page was read
    for form in (undo, other | {"amount_usd": "30"}):
        refused = admin.post(f"{path}change/", form)
        assert refused.status_code == 409
        assert "The amount was $20.00 and is $50.00 by now, as somebody else set it." in text(refused)
        assert Budget.objects.get().amount_microusd == 50_000_000
    again = next(form for form in shown_forms(refused) if form.get("amount_usd") == "30")
    assert admin.post(f"{path}change/", again).status_code == 302
    assert Budget.objects.get().amount_microusd == 30_000_000
    assert admin.post(f"{path}change/", again | {"was-amount_usd": "much"}).status_code == 422


def test_what_is_spent_meanwhile_makes_undo_ask(admin: Client) -> None:
    row = budget("house", 10_000_000, 8_000_000, now=timezone.now())
    path = f"{KEYS}budgets/{row.pk}/"
    admin.post(f"{path}change/", {"amount_usd": "20"})
    BudgetPeriod.objects.update(spent_microusd=15_000_000)
    undo = shown_forms(admin.get(path))[0]
    asked = admin.post(f"{path}change/", undo)
    assert asked.status_code == 422
    assert "$15.00 are spent already, and $10.00 is less than that." in text(asked)
    sure = next(form for form in shown_forms(asked) if form.get("sure"))
    assert admin.post(f"{path}change/", sure).status_code == 302
    assert Budget.objects.get().amount_microusd == 10_000_000


def test_a_budgets_switches_change_what_they_name_and_say_so(admin: Client) -> None:
    row = budget("team", 50_000_000, 8_000_000, now=timezone.now(), is_hard=False)
    path = f"{KEYS}budgets/{row.pk}/"
    switches = admin.get(path).content.decode().partition('<form class="filters make"')[2].partition("</form>")[0]
    assert "amount_usd" not in switches
    Budget.objects.update(amount_microusd=500_000_000)  # by somebody else, since the page was read
    for form, said in (
        ({"is_hard": "yes"}, "team refuses what goes beyond it, from the next call on."),
        ({"is_hard": "no"}, "team refuses nothing, and tells when it is used up, from the next call on."),
        ({"is_off": "yes"}, "team is off and counts nothing."),
        ({"is_off": "no"}, "team counts again."),
    ):
        assert said in text(admin.post(f"{path}change/", form, follow=True))
        (field,) = form
        assert getattr(Budget.objects.get(), field) is (form[field] == "yes")
        assert Budget.objects.get().amount_microusd == 500_000_000


@pytest.mark.parametrize(("field", "to", "before"), [("is_hard", "yes", False), ("is_off", "no", True)])
def test_a_switch_that_has_every_call_refused_takes_a_second_word(
    admin: Client, field: str, to: str, before: bool
) -> None:
    row = budget("house", 10_000_000, 12_000_000, now=timezone.now(), **{field: before})
    call_charge = charge(timezone.now(), cost_microusd=12_000_000)
    day(timezone.now().date(), cost_microusd=call_charge.cost_microusd)
    path = f"{KEYS}budgets/{row.pk}/"
    asked = admin.post(f"{path}change/", {field: to})
    assert asked.status_code == 422
    assert "$12.00 are spent already, and it is $10.00. Every call that costs money is refused from now on" in text(
        asked
    )
    assert getattr(Budget.objects.get(), field) is before
    assert not events("budget.changed")
    sure = next(form for form in shown_forms(asked) if form.get("sure"))
    assert admin.post(f"{path}change/", sure).status_code == 302
    assert getattr(Budget.objects.get(), field) is not before


def test_of_many_budgets_that_are_off_the_page_says_how_many_it_leaves_out(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budgets, "MOST_SHOWN", 2)
    for name in ("one", "two", "three", "four"):
        budget(name, 100, now=timezone.now())
    Budget.objects.update(is_off=True)
    said = text(admin.get(f"{KEYS}budgets/"))
    assert "nothing is counted; 2 more are not shown" in said
    Budget.objects.filter(name__in=["one", "two"]).delete()
    assert "more are not shown" not in text(admin.get(f"{KEYS}budgets/"))


def test_a_budget_is_made_and_deleted(admin: Client) -> None:
    form = {"name": "trial", "amount_usd": "5.00", "period": "total", "each": "key"}
    response = admin.post(f"{KEYS}budgets/new/", form)
    row = Budget.objects.get()
    assert response["Location"] == f"{KEYS}budgets/{row.pk}/"
    assert "trial" in text(admin.get(f"{KEYS}budgets/"))
    assert admin.post(f"{KEYS}budgets/new/", form).status_code == 422
    assert "Keep it" in text(admin.get(f"{KEYS}budgets/{row.pk}/delete/"))
    admin.post(f"{KEYS}budgets/{row.pk}/delete/")
    assert not Budget.objects.exists()


def test_who_manages_one_tenant_raises_no_budget_that_was_given_to_it(of_acme: Client) -> None:
    acme = Tenant.objects.get(name="acme")
    row = budget("acme-month", 10_000_000, 1_000_000, now=timezone.now(), tenant=acme)
    other = budget("others", 1_000_000, 1, now=timezone.now(), tenant=Tenant.objects.create(name="other"))
    page = of_acme.get(f"{KEYS}budgets/{row.pk}/")
    assert "only they change it" in text(page)
    assert of_acme.post(f"{KEYS}budgets/{row.pk}/change/", {"amount_usd": "99"}).status_code == 422
    assert of_acme.get(f"{KEYS}budgets/{other.pk}/").status_code == 404
    assert of_acme.post(f"{KEYS}budgets/{other.pk}/change/", {"amount_usd": "99"}).status_code == 404
    assert set(Budget.objects.values_list("amount_microusd", flat=True)) == {10_000_000, 1_000_000}


def test_lists_are_bounded_and_paged_by_key(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "MOST_KEYS", 5)
    tenant = Tenant.objects.create(name="acme")
    for number in range(12):
        ApiKey.objects.create(tenant=tenant, name=f"key-{number}", prefix=f"k{number:09}", digest="x")
    first = admin.get(KEYS)
    older = re.search(r'id="older" data-earlier href="([^"]+)"', first.content.decode())
    assert older
    assert "key-11" in text(first)
    second = admin.get(KEYS + older[1].partition("#")[0])
    assert "key-6 " in text(second)
    assert "key-11" not in text(second)
    assert "<a data-later" in second.content.decode()


@pytest.mark.parametrize(
    "query",
    ["state=x", "tenant=x", "before=-1", "tenant=99999999999999999999", "q=%00", "q=%27%22%3Cscript%3E", "show=all"],
)
def test_whatever_stands_in_the_address_is_a_page(admin: Client, query: str) -> None:
    a_key()
    response = admin.get(f"{KEYS}?{query}")
    assert response.status_code == 200
    assert "<script>alert" not in response.content.decode()
    assert '"<script>' not in response.content.decode()


def test_a_database_that_does_not_answer_is_said(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: Any) -> None:
        raise TimeoutError

    monkeypatch.setattr("dashboard.views.keys.read_board", late)
    words = text(admin.get(KEYS))
    assert "Keys and tenants could not be read." in words
    assert "Try again" in words


def test_one_key_that_cannot_be_read_is_said_and_no_more_is_promised_than_is_known(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, credential = a_key()

    def late(*_: Any) -> None:
        raise TimeoutError

    monkeypatch.setattr("dashboard.views.keys.read_key", late)
    looked, revoked = admin.get(f"{KEYS}{key.pk}/"), admin.post(f"{KEYS}{key.pk}/revoke/")
    assert (looked.status_code, revoked.status_code) == (503, 503)
    assert "It could not be read." in text(looked)
    assert "It may have been done, or not." in text(revoked)
    assert "Look whether it was done" in text(revoked)
    assert find_key(credential) is not None


def test_what_was_done_before_its_page_could_not_be_read_is_not_denied(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, credential = a_key()

    async def late(*given: Any) -> None:
        await acted(*given)
        raise TimeoutError

    monkeypatch.setattr("dashboard.views.keys.acted", late)
    words = text(admin.post(f"{KEYS}{key.pk}/revoke/"))
    assert find_key(credential) is None
    assert "It may have been done, or not." in words
    assert "Nothing was changed" not in words


def test_pages_take_few_queries_however_many_there_are(console: Any) -> None:
    now = timezone.now()
    for number in range(30):
        key, _ = a_key(f"key-{number}", f"tenant-{number}")
        budget(f"b-{number}", 10_000_000, number, now=now, tenant=key.tenant)
        record(key_id=key.pk, tenant=key.tenant.name)
    for read in (
        lambda: read_board(Asked(), EVERYBODY, EVERYBODY, now),
        lambda: read_key(key.pk, EVERYBODY, EVERYBODY, EVERYBODY, now),
        lambda: read_tenant(key.tenant_id, EVERYBODY, EVERYBODY, EVERYBODY, now),
    ):
        with CaptureQueriesContext(connection) as asked:
            read()
        assert len(asked) <= 9, [one["sql"] for one in asked]


@pytest.mark.parametrize("is_everybody", [True, False])
def test_no_page_reads_every_request_there_is(console: Any, is_everybody: bool) -> None:
    key, _ = a_key()
    record(key_id=key.pk)
    now, whose = timezone.now(), EVERYBODY if is_everybody else Reach(frozenset({key.tenant_id}))
    with CaptureQueriesContext(connection) as asked:
        read_board(Asked(), whose, whose, now)
        read_key(key.pk, whose, whose, whose, now)
    plans = [plan for one in asked if "requestrecord" in one["sql"] for plan in plan_of(one["sql"])]
    of_records = [plan for plan in plans if "orchestrator_requestrecord" in plan]
    assert len(of_records) == 2
    assert [plan for plan in of_records if not plan.startswith("SEARCH")] == []


def plan_of(query: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {query.replace('%', '%%')}")
        return [plan for *_, plan in cursor.fetchall()]


def test_a_teams_charges_are_summed_up_before_anybody_has_to_wait(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(*_: object) -> None:
        raise AssertionError("others wait to write by now")

    monkeypatch.setattr(beginning, "sum_before", too_late)
    team = Team.objects.create(tenant=tenant_of("acme"), name="search")
    charge(timezone.now(), team_id=team.pk)
    form = {"name": "trial", "amount_usd": "5.00", "period": "total", "each": "team"}
    assert admin.post(f"{KEYS}budgets/new/", form).status_code == 302
    row = Budget.objects.get()
    for switch in ("yes", "no"):
        admin.post(f"{KEYS}budgets/{row.pk}/change/", {"is_off": switch})
    call_command("budgets", "make", "typed", "5", "total", "--each", "team")
    call_command("budgets", "off", "typed")
    call_command("budgets", "on", "typed")
    spent = BudgetPeriod.objects.values_list("budget_id", "spent_microusd")
    assert list(spent) == [(one.pk, 560) for one in Budget.objects.order_by("pk")]
