"""The rows of budgets: what they can be, who may set them, whom they are about, and where they begin."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.utils import timezone

from orchestrator.budgeting import rows
from orchestrator.checks.budgets import budgets_count
from orchestrator.core.budgets import begins, under
from orchestrator.core.errors import BadRequest, Conflict, Forbidden, NotThere
from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.identity import issuing
from orchestrator.identity.acting import Actor, at_terminal, of_caller
from orchestrator.identity.asked import BudgetAsked, BudgetChange, Rotation, read
from orchestrator.identity.keys import default_caller, find_key
from orchestrator.ledger import charging
from orchestrator.ledger.beginning import begin_budget
from orchestrator.ledger.holds import Charged
from orchestrator.ledger.sql import moment
from orchestrator.models import (
    ApiKey,
    AuditEvent,
    Budget,
    BudgetAlert,
    BudgetPeriod,
    Charge,
    Hold,
    HoldLine,
    ShareElsewhere,
    Team,
    Tenant,
)
from orchestrator.registry.models import Deployment, Provider, RegisteredModel
from tests.keys import issue_key
from tests.ledger.calls import CALL
from tests.product import PROJECT

pytestmark = pytest.mark.django_db
ROOT = at_terminal()
A_MONTH = {"name": "team", "period": "month", "each": "key", "amount_usd": "50"}


@pytest.fixture(autouse=True)
def _tenants() -> None:
    for name in ("acme", "globex"):
        Team.objects.create(tenant=Tenant.objects.create(name=name), name="search")


def make(by: Actor = ROOT, **asked: Any) -> Budget:
    return rows.make(by, read(BudgetAsked, A_MONTH | asked))


def change(by: Actor, name: str, **asked: Any) -> Budget:
    return rows.change(by, name, read(BudgetChange, asked))


def actor(role: Role = Role.OPERATOR) -> Actor:
    found = find_key(issue_key("manager", "acme", role=role))
    assert found is not None
    return of_caller(found)


def charge(cost: int | None, **fields: Any) -> Charge:
    number = Charge.objects.of(EVERYBODY).count()
    whose = {"tenant_id": Tenant.objects.get(name="acme").pk, "provider": "openai", "model": "openai/gpt"}
    tokens = ("prompt", "completion", "cached", "cache_write", "cache_write_1h", "reasoning")
    told = {"purpose": "answer", "outcome": "done", "source": "price", "is_estimated": False, "at": timezone.now()}
    counts = {f"{kind}_tokens": 1 for kind in tokens}
    ids = {"hold": f"{number:032x}", "request_id": f"{number:032x}", "key_id": None, "team_id": None}
    row = CALL | ids | counts | told | whose | {"cost_microusd": cost} | fields
    with connection.cursor() as cursor:
        charging.charge(cursor, [Charged(row["hold"], row)], moment(row["at"]))
    return Charge.objects.of(EVERYBODY).get(hold=row["hold"])


def counted(row: Budget) -> dict[str, tuple[int, int]]:
    found = BudgetPeriod.objects.filter(budget_id=row.pk).values_list("under", "spent_microusd", "reserved_microusd")
    return {word: (spent, reserved) for word, spent, reserved in found}


def test_a_budget_is_made_changed_switched_off_and_deleted() -> None:
    row = make(model="openai/*", provider="openai", tenant="acme", amount_usd="12.5", shares=[80, 50, 80])
    assert row.amount_microusd == 12_500_000
    change(ROOT, "team", amount_usd=30, is_hard=False, shares=[])
    row = change(ROOT, "team", is_off=True)
    assert rows.told(row) == A_MONTH | {
        "amount_usd": "30.00", "is_hard": False, "shares": [], "model": "openai/*", "provider": "openai",
        "is_off": True, "tenant": "acme", "team": None, "key": None,
    }  # fmt: skip
    BudgetPeriod.objects.create(budget_id=row.pk, under="1", begins="2026-11-01")
    BudgetAlert.objects.create(
        budget_id=row.pk, under="1", begins="2026-11-01", share=50, at=timezone.now(), spent_microusd=1
    )
    rows.delete(ROOT, "team")
    assert not any(model.objects.exists() for model in (Budget, BudgetPeriod, BudgetAlert))
    events = AuditEvent.objects.of(EVERYBODY).order_by("id")
    assert [one.action for one in events] == ["budget.made", "budget.changed", "budget.changed", "budget.deleted"]
    assert events[1].details == {
        "amount_usd": ["12.50", "30.00"], "is_hard": [True, False], "shares": [[50, 80], []],
    }  # fmt: skip


def test_shares_of_a_raised_budget_are_told_anew_once_they_are_reached() -> None:
    acme, globex = Tenant.objects.order_by("name")
    charge(50_000_000)
    charge(95_000_000, tenant_id=globex.pk)
    row = make(each="tenant", amount_usd="50")

    def reached() -> set[tuple[str, int]]:
        return set(BudgetAlert.objects.filter(budget_id=row.pk).values_list("under", "share"))

    both = {(str(tenant.pk), share) for tenant in (acme, globex) for share in (50, 80, 100)}
    assert reached() == both
    change(ROOT, "team", is_hard=False)
    assert reached() == both
    change(ROOT, "team", amount_usd="100")
    assert reached() == {(str(acme.pk), 50), (str(globex.pk), 50), (str(globex.pk), 80)}


def test_shares_that_a_lowered_budget_comes_to_are_told() -> None:
    charge(60_000_000)
    row = make(each="all", amount_usd="100")

    def reached() -> set[int]:
        return set(BudgetAlert.objects.filter(budget_id=row.pk).values_list("share", flat=True))

    change(ROOT, "team", is_off=True)
    change(ROOT, "team", amount_usd="70")
    assert reached() == {50}, "while it is off nothing is told"
    change(ROOT, "team", is_off=False)
    assert reached() == {50, 80}
    change(ROOT, "team", amount_usd="60")
    assert reached() == {50, 80, 100}
    change(ROOT, "team", shares=[10, 50])
    assert reached() == {10, 50, 80, 100}


def test_what_all_machines_spend_decides_which_shares_a_raised_budget_has_not_come_to() -> None:
    charge(30_000_000)
    row = make(each="all", amount_usd="50")
    of = {"budget_id": row.pk, "under": "", "begins": BudgetPeriod.objects.get(budget_id=row.pk).begins}
    for machine, spent in (("a", 40_000_000), ("b", 20_000_000)):
        ShareElsewhere.objects.create(
            **of, machine=machine, spent_microusd=spent, reserved_microusd=0, granted_microusd=spent
        )
    for share in (80, 100):
        BudgetAlert.objects.create(**of, share=share, at=timezone.now(), spent_microusd=90_000_000)
    change(ROOT, "team", amount_usd="100")
    assert list(BudgetAlert.objects.order_by("share").values_list("share", flat=True)) == [50, 80]
    change(ROOT, "team", amount_usd="180")
    assert list(BudgetAlert.objects.values_list("share", flat=True)) == [50]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"amount_usd": "0"}, "an amount is text, in US dollars"),
        ({"amount_usd": 0.1}, "an amount is text, in US dollars"),
        ({"amount_usd": True}, "an amount is text, in US dollars"),
        ({"amount_usd": "1000000000.000001"}, "up to 1000000000"),
        ({"amount_usd": "0.0000001"}, "six digits after the point"),
        ({"amount_usd": None}, "an amount is text, in US dollars"),
        ({"period": "year"}, "'day', 'week', 'month' or 'total'"),
        ({"each": "address"}, "'key', 'team', 'tenant'"),
        ({"shares": [0]}, "greater than or equal to 1"),
        ({"shares": [201]}, "less than or equal to 200"),
        ({"shares": list(range(1, 10))}, "at most 8 items"),
        ({"name": "alerts"}, "another name; this one is taken"),
        ({"name": "two words"}, "ASCII letters"),
        ({"model": "a b"}, "no space"),
        ({"provider": "opnai"}, "none called 'opnai'; `openai` is one"),
        ({"model": "gpt-4o"}, "called as openai/gpt-4o, so 'gpt-4o' would count nothing"),
        ({"model": "gpt-*"}, "so 'gpt-*' would count nothing"),
        ({"model": "opnai/*"}, "so 'opnai/*' would count nothing"),
        ({"model": "openai/*", "provider": "anthropic"}, "called as anthropic/gpt-4o, so 'openai/*' would"),
        ({"team": "search"}, "say of which tenant"),
        ({"team": "other", "tenant": "acme"}, "none called 'other' in acme"),
        ({"team": "search", "tenant": "acme", "each": "tenant"}, "can be key, team, model, provider, all"),
        ({"key": "0123456789"}, "none with the prefix"),
        ({"colour": 1}, "not permitted"),
    ],
)
def test_what_a_budget_cannot_be_is_told_with_what_it_can(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest) as error:
        make(**asked)
    assert words in str(error.value)
    assert not Budget.objects.exists()


def test_a_provider_of_the_registry_is_one() -> None:
    Provider.objects.create(name="mine", kind="compatible", address="http://127.0.0.1:1/v1")
    assert make(provider="mine").provider == "mine"


@pytest.mark.parametrize("model", ["*", "open*", "*mini*", "OpenAI/gpt-4o", "mine/?", "*/gpt-4o"])
def test_a_pattern_that_may_be_about_what_a_provider_charges_for_is_one(model: str) -> None:
    Provider.objects.create(name="mine", kind="compatible", address="http://127.0.0.1:1/v1", is_enabled=False)
    assert make(model=model).model == model
    assert list(budgets_count()) == []


@pytest.mark.parametrize("model", ["ours", "FAST", "our?"])
def test_the_name_of_a_registered_model_is_answered_with_its_places(model: str) -> None:
    provider = Provider.objects.create(name="openai", kind="openai")
    entry = RegisteredModel.objects.create(name="ours", aliases=["fast"])
    Deployment.objects.create(model=entry, provider=None, remote_name="tiny")
    Deployment.objects.create(model=entry, provider=provider, remote_name="gpt-4o")
    with pytest.raises(BadRequest, match="is registered with openai/gpt-4o, so name these"):
        make(model=model)


def test_the_doctor_finds_a_budget_that_came_to_count_nothing() -> None:
    Provider.objects.create(name="mine", kind="compatible", address="http://127.0.0.1:1/v1")
    make(model="mine/*")
    make(name="other", model="mine/*", is_off=True)
    assert list(budgets_count()) == []
    Provider.objects.all().delete()
    (found,) = budgets_count()
    assert "The budget team counts nothing: what is charged for is called as openai/gpt-4o" in found.msg


def test_what_a_budget_counts_stays_and_names_are_given_once() -> None:
    make()
    for asked in ({"period": "day"}, {"each": "all"}, {"model": "x"}, {"tenant": "acme"}, {"amount_usd": None}):
        with pytest.raises(BadRequest):
            change(ROOT, "team", **asked)
    with pytest.raises(Conflict, match="a budget called team already"):
        make()
    with pytest.raises(NotThere):
        change(ROOT, "other", amount_usd="1")


def test_nobody_gives_their_own_tenant_more_than_it_was_given() -> None:
    operator = actor()
    make(tenant="acme", name="whole")
    make(tenant="acme", team="search", name="given")
    make(tenant="globex", team="search", name="theirs")
    make(name="all")
    make(operator, tenant="acme", team="search", name="own")
    change(operator, "own", amount_usd="90")
    for act in (
        lambda: make(operator, tenant="acme", name="new"),
        lambda: make(operator, name="new"),
        lambda: change(operator, "whole", amount_usd="90"),
        lambda: change(operator, "given", amount_usd="90"),
        lambda: change(operator, "given", is_off=True),
        lambda: rows.delete(operator, "whole"),
        lambda: rows.delete(operator, "given"),
    ):
        with pytest.raises(Forbidden, match="every tenant"):
            act()
    for name in ("theirs", "all"):
        with pytest.raises(NotThere):
            change(operator, name, amount_usd="90")
    with pytest.raises(NotThere, match="no tenant"):
        make(operator, tenant="globex", team="search", name="new")
    change(ROOT, "own", amount_usd="10")
    with pytest.raises(Forbidden, match="only they change it"):
        change(operator, "own", amount_usd="90")
    assert [row.name for row in rows.budgets(operator)] == ["given", "own", "whole"]
    assert [row.name for row in rows.budgets(actor(Role.VIEWER))] == ["given", "own", "whole"]
    assert [row.name for row in rows.budgets(ROOT, tenant="globex")] == ["theirs"]
    assert [row.name for row in rows.budgets(ROOT, after="own")] == ["theirs", "whole"]
    with pytest.raises(Forbidden, match="may change budgets"):
        make(actor(Role.VIEWER), tenant="acme", team="search", name="new")


def test_a_caller_has_every_budget_that_is_about_it_and_no_other() -> None:
    credentials = {name: issue_key(name, "acme") for name in ("plain", "other")}
    credentials["team"] = issue_key("team", "acme", team=Team.objects.of(EVERYBODY).get(tenant__name="acme"))
    credentials["globex"] = issue_key("globex", "globex")
    make(name="all")
    make(name="tenant", tenant="acme", each="tenant")
    make(name="of-team", tenant="acme", team="search")
    make(name="each-team", each="team")
    make(name="of-key", key=ApiKey.objects.of(EVERYBODY).get(name="plain").prefix)
    make(name="off", is_off=True)
    make(name="keyless", each="provider", is_hard=False, model="openai/*", shares=[])
    callers = {name: find_key(credential) for name, credential in credentials.items()} | {"nobody": default_caller()}
    assert {name: {one.name for one in caller.budgets} for name, caller in callers.items() if caller} == {
        "plain": {"all", "tenant", "of-key", "keyless"},
        "other": {"all", "tenant", "keyless"},
        "team": {"all", "tenant", "of-team", "each-team", "keyless"},
        "globex": {"all", "keyless"},
        "nobody": {"keyless"},
    }
    nobody = callers["nobody"]
    assert nobody is not None
    (one,) = nobody.budgets
    assert (one.period, one.amount, one.is_hard, one.shares) == ("month", 50_000_000, False, ())
    assert (one.is_about("openai/gpt", "openai"), one.is_about("groq/llama", "groq")) == (True, False)


def test_a_rotated_key_is_no_new_money() -> None:
    issue_key("web", "acme")
    first = ApiKey.objects.of(EVERYBODY).get()
    make(key=first.prefix, name="of-key")
    make(name="each")
    second, _ = issuing.rotate(ROOT, first.prefix, read(Rotation, {"overlap_s": 0}))
    third, credential = issuing.rotate(ROOT, second.prefix, read(Rotation, {"overlap_s": 0}))
    caller = find_key(credential)
    assert caller is not None
    assert {one.name: under(one, caller, "m", "p") for one in caller.budgets} == dict.fromkeys(
        ("of-key", "each"), str(first.pk)
    )
    assert Budget.objects.get(name="of-key").key == third


@pytest.mark.parametrize("of", ["old", "new"])
def test_a_budget_of_a_key_holds_for_the_one_before_and_the_one_after_it(of: str) -> None:
    credentials = {"old": issue_key("web", "acme")}
    old = ApiKey.objects.of(EVERYBODY).get()
    new, credentials["new"] = issuing.rotate(ROOT, old.prefix, read(Rotation, {}))
    make(key={"old": old, "new": new}[of].prefix)
    callers = {name: find_key(credential) for name, credential in credentials.items()}
    found = {name: [one.name for one in caller.budgets] for name, caller in callers.items() if caller}
    assert found == {"old": ["team"], "new": ["team"]}


def test_a_call_that_ends_when_its_budget_is_deleted_opens_no_account() -> None:
    call = CALL | {"tenant_id": Tenant.objects.get(name="acme").pk}
    Hold.objects.create(id="h", holder="me", at=timezone.now(), amount_microusd=60, call=call)
    gone, stays = (make(name=name, each="all") for name in ("gone", "stays"))
    rows.delete(ROOT, "gone")
    charge(50, hold="h")
    assert (counted(gone), counted(stays)) == ({}, {"": (50, 0)})


def test_a_budget_begins_with_what_its_period_has_seen() -> None:
    acme, globex = Tenant.objects.order_by("name")
    issue_key("web", "acme")
    key = ApiKey.objects.of(EVERYBODY).get()
    rotated, _ = issuing.rotate(ROOT, key.prefix, read(Rotation, {}))
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    charge(1_000, key_id=key.pk)
    charge(200, key_id=rotated.pk)
    charge(30)
    charge(None, key_id=key.pk)
    charge(7, at=long_ago, key_id=key.pk)
    charge(5, tenant_id=globex.pk)
    charge(4, model="groq/llama", provider="groq", key_id=key.pk)
    call = {"tenant_id": acme.pk, "key_id": rotated.pk, "team_id": None, "model": "openai/gpt", "provider": "openai"}
    for name, amount in (("a", 60), ("b", None)):
        Hold.objects.create(id=name * 32, holder="h", at=timezone.now(), amount_microusd=amount, call=call)

    each_key = make(name="each-key", model="openai/*")
    assert counted(each_key) == {str(key.pk): (1_200, 60)}
    assert counted(make(name="each-tenant", each="tenant")) == {str(acme.pk): (1_234, 60), str(globex.pk): (5, 0)}
    assert counted(make(name="ever", each="all", period="total")) == {"": (1_246, 60)}
    assert counted(make(name="of-key", key=rotated.prefix, each="provider")) == {"openai": (1_200, 60), "groq": (4, 0)}
    assert counted(make(name="each-team", each="team")) == {}
    assert counted(make(name="of-team", each="all", tenant="acme", team="search")) == {}
    lines = HoldLine.objects.filter(budget_id=each_key.pk).order_by("hold_id")
    assert [(one.hold_id[0], one.under, one.amount_microusd) for one in lines] == [
        ("a", str(key.pk), 60),
        ("b", str(key.pk), 0),
    ]
    begin_budget(each_key, timezone.now())
    assert counted(each_key) == {str(key.pk): (1_200, 60)}
    assert lines.count() == 2


def test_what_is_spent_while_it_is_off_counts_when_it_is_on_again() -> None:
    row = make(each="all", is_off=True)
    charge(70)
    assert counted(row) == {}
    change(ROOT, "team", is_off=False)
    assert counted(row) == {"": (70, 0)}
    first = begins("month", timezone.now())
    assert BudgetPeriod.objects.get().begins == first
    assert timezone.now().date() - first < timedelta(days=31)


def test_keys_that_were_rotated_before_are_of_one_line_too() -> None:
    acme = Tenant.objects.get(name="acme")
    keys: list[ApiKey] = []
    for name in ("a", "b", "c"):
        before = keys[-1] if keys else None
        keys.append(ApiKey.objects.create(tenant=acme, name=name, prefix=name, digest=name, replaces=before))
    (file,) = (PROJECT / "orchestrator" / "migrations").glob("*_budgets.py")
    import_module(f"orchestrator.migrations.{file.stem}").name_the_first(apps, None)
    first = keys[0].pk
    assert dict(ApiKey.objects.of(EVERYBODY).values_list("name", "first_id")) == {"a": None, "b": first, "c": first}
