"""Who may ask, and how much, from a terminal."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils.timezone import now

from orchestrator.core.budgets import begins
from orchestrator.core.permissions import EVERYBODY
from orchestrator.identity.keys import find_key
from orchestrator.models import ApiKey, AuditEvent, Budget, BudgetAlert, BudgetPeriod, Limit, Tenant

pytestmark = pytest.mark.django_db
Run = Callable[..., tuple[int, str, str]]
KEY = re.compile(r"orch_([a-z0-9]{10})_[A-Za-z0-9_-]{43}\n")


def run(command: str, *arguments: object) -> tuple[int, str, str]:
    """Run it; exit code, standard output, standard error."""
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command(command, *map(str, arguments), stdout=out, stderr=err)
    except CommandError as error:
        return error.returncode, out.getvalue(), str(error)
    except SystemExit as end:
        return int(end.code or 0), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def asked(command: str, *arguments: object) -> Any:
    code, out, err = run(command, *arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def refused(command: str, *arguments: object) -> str:
    code, out, err = run(command, *arguments)
    assert (code, out) in {(2, ""), (1, "")}, "Django's parser has 1 for what it does not understand"
    return err


def issue(*arguments: object) -> tuple[str, str]:
    """The key and its prefix."""
    code, out, err = run("issue_key", *arguments)
    match = KEY.fullmatch(out)
    assert match, "the key, and nothing else"
    assert code == 0
    assert err.endswith("Keep it: it cannot be shown again.\n")
    return out.strip(), match[1]


def test_a_key_is_issued_with_its_scopes_and_a_tenant_that_is_new() -> None:
    run("tenants", "make", "acme", "--priority", 7)
    run("tenants", "make-team", "acme", "search")
    key, prefix = issue(
        "web", "--tenant", "acme", "--team", "search", "--model", "openai/*", "--model", "tiny", "--dialect", "openai",
        "--family", "chat", "--network", "10.0.0.0/8", "--tag", "prod", "--role", "viewer", "--days", "30",
    )  # fmt: skip
    found = find_key(key)
    assert found is not None
    assert (found.priority, found.model_patterns, found.tags) == (7, ("openai/*", "tiny"), ("prod",))
    shown = asked("keys", "show", prefix)
    assert (shown["team"], shown["role"], shown["families"]) == ("search", "viewer", ["chat"])
    assert "The tenant globex was made" in run("issue_key", "other", "--tenant", "globex", "--admin")[2]
    assert "was made" not in run("issue_key", "more", "--tenant", "globex")[2]
    assert ApiKey.objects.of(EVERYBODY).get(name="other").reaches_all
    actions = AuditEvent.objects.of(EVERYBODY).order_by("id").values_list("action", flat=True)
    assert list(actions) == ["tenant.made", "team.made", "key.issued", "tenant.made", "key.issued", "key.issued"]


def test_a_key_that_cannot_be_so_leaves_nothing() -> None:
    for arguments, words in (
        (("x", "--tenant", "new", "--network", "10.0.0.1/8"), "is 10.0.0.0/8 meant"),
        (("x", "--tenant", "new", "--team", "t"), "none called 't' in new"),
        (("x", "--role", "root"), "'viewer', 'operator', 'auditor' or 'admin'"),
        (("x", "--all-tenants"), "no role"),
        (("x", "--days", "0"), "a number of days from 1 to 36500"),
        ((" ",), "1 to 100 characters"),
    ):
        assert words in refused("issue_key", *arguments)
    assert not ApiKey.objects.of(EVERYBODY).exists()
    assert not AuditEvent.objects.of(EVERYBODY).exists()
    assert not Tenant.objects.filter(name="new").exists()


def test_keys_are_listed_changed_rotated_and_revoked() -> None:
    key, prefix = issue("web", "--tag", "prod", "--days", "3")
    _, out, _ = run("keys", "list")
    head, line = out.splitlines()
    assert head.split() == ["PREFIX", "NAME", "TENANT", "TEAM", "ROLE", "STATE", "EXPIRES", "AT", "LAST", "USED", "AT"]
    assert line.split()[:6] == [prefix, "web", "default", "-", "-", "working"]
    changed = asked("keys", "change", prefix, "--tag", "none", "--days", "none", "--role", "admin", "--all-tenants")
    assert (changed["tags"], changed["expires_at"], changed["reaches_all"]) == ([], None, True)
    assert asked("keys", "change", prefix, "--name", "site")["role"] == "admin"
    assert not asked("keys", "change", prefix, "--own-tenant")["reaches_all"]
    code, out, err = run("keys", "rotate", prefix, "--overlap", "90m")
    match = KEY.fullmatch(out)
    assert match
    assert (code, f"The old one, {prefix}, works until" in err) == (0, True)
    assert find_key(key)
    assert find_key(out.strip())
    _, out, _ = run("keys", "revoke", prefix, match[1])
    assert out.count("revoked") == 2
    assert find_key(key) is None
    assert asked("keys", "list", "--state", "working") == []
    assert run("keys", "list", "--state", "working") == (0, "", "There is no such key.\n")
    assert "There is no key 'nobody'" in refused("keys", "show", "nobody")
    assert "is revoked" in refused("keys", "rotate", prefix)
    assert "a length of time" in refused("keys", "rotate", prefix, "--overlap", "soon")
    code, out, err = run("keys", "show", prefix)
    assert re.search(r"^replaces: +-$", out, re.MULTILINE)


def test_tenants_teams_and_grants() -> None:
    for name in ("acme", "globex"):
        run("tenants", "make", name)
    assert asked("tenants", "change", "acme", "--priority", "9")["priority"] == 9
    assert asked("tenants", "suspend", "acme")["suspended_at"]
    assert asked("tenants", "resume", "acme")["suspended_at"] is None
    assert [one["name"] for one in asked("tenants", "list")] == ["acme", "globex"]
    run("tenants", "make-team", "acme", "search")
    assert [one["name"] for one in asked("tenants", "teams", "--tenant", "acme")] == ["search"]
    assert asked("tenants", "grant", "globex", "acme")["reader"] == "acme"
    assert len(asked("tenants", "grants")) == 1
    assert run("tenants", "end-grant", "globex", "acme")[0] == run("tenants", "delete-team", "acme", "search")[0] == 0
    assert run("tenants", "grants")[2] == "There is no grant.\n"
    assert run("tenants", "teams")[2] == "There is no team.\n"
    assert "no team 'search'" in refused("tenants", "delete-team", "acme", "search")
    assert "a tenant acme already" in refused("tenants", "make", "ACME")
    assert "less than or equal to 10" in refused("tenants", "make", "x", "--priority", "11")


def test_limits() -> None:
    run("tenants", "make", "acme")
    made = asked(
        "limits", "make", "a-minute", "requests", "60", "--per", "1m", "--tenant", "acme", "--model", "openai/*"
    )
    assert (made["per_s"], made["each"], made["model"]) == (60, "key", "openai/*")
    changed = asked(
        "limits", "change", "a-minute", "--amount", "30", "--burst", "90", "--model", "none", "--each", "tenant"
    )
    assert (changed["amount"], changed["burst"], changed["model"], changed["each"]) == (30, 90, "", "tenant")
    assert asked("limits", "change", "a-minute", "--burst", "none")["burst"] is None
    assert asked("limits", "off", "a-minute")["is_off"]
    assert not asked("limits", "on", "a-minute")["is_off"]
    assert "A-MINUTE" in run("limits", "list")[1].upper()
    assert "say in how many seconds" in refused("limits", "make", "x", "tokens", "60")
    assert run("limits", "delete", "a-minute")[2] == "The limit a-minute is gone.\n"
    assert not Limit.objects.exists()


def test_budgets() -> None:
    run("tenants", "make", "acme")
    made = asked("budgets", "make", "a-month", "12.5", "month", "--tenant", "acme", "--model", "openai/*", "--at", 80)
    assert (made["amount_usd"], made["each"], made["shares"], made["is_hard"]) == ("12.50", "key", [80], True)
    changed = asked("budgets", "change", "a-month", "--amount", "30", "--soft", "--at", 50, "--at", 90)
    assert (changed["amount_usd"], changed["is_hard"], changed["shares"]) == ("30.00", False, [50, 90])
    assert asked("budgets", "off", "a-month")["is_off"]
    assert not asked("budgets", "on", "a-month")["is_off"]
    budget = Budget.objects.get()
    first = begins("month", now())
    BudgetPeriod.objects.create(
        budget_id=budget.pk, under="gone", begins=first, spent_microusd=15_000_000, reserved_microusd=20_000_000
    )
    BudgetAlert.objects.create(budget_id=budget.pk, under="gone", begins=first, share=50, at=now(), spent_microusd=1)
    _, out, _ = run("budgets", "list")
    assert re.search(r"^a-month +30.00 +month +key +acme openai/\* +no +116 % +0.00 ", out.splitlines()[1])
    _, out, _ = run("budgets", "show", "a-month")
    assert "is hard:    no" in out
    assert re.search(r"^gone +15.00 +20.00 +0.00 +116 ", out.splitlines()[-1])
    assert asked("budgets", "list", "--tenant", "acme")[0]["standings"][0]["spent_usd"] == "15.00"
    assert re.search(r" a-month +gone +50 +0.000001 +30.00 +-$", run("budgets", "alerts")[1].splitlines()[-1])
    assert re.search(r"^begins: +-$", run("budgets", "make", "ever", "5", "total")[1], re.MULTILINE)
    run("budgets", "delete", "ever")
    assert "no budget 'x'" in refused("budgets", "alerts", "--budget", "x")
    assert "There is no budget 'x'" in refused("budgets", "show", "x")
    assert "amount_usd: an amount is text" in refused("budgets", "make", "x", "0.0000001", "day")
    assert run("budgets", "delete", "a-month")[2] == "The budget a-month is gone.\n"
    assert run("budgets", "list")[2] == "There is no budget.\n"
    assert run("budgets", "alerts")[2] == "There is no alert.\n"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("limits make x tokens 60", "--per: tokens are counted by time; say in how many seconds."),
        ("limits make x requests 60 --per 0", "--per: should be greater than or equal to 1"),
        ("limits make x requests 1 --per 1m --burst 1000", "--burst: it is 100 times the amount at most, here 100."),
        ("limits make x requests 0", "amount: should be greater than or equal to 1"),
        ("limits make x queue 1 --each all --model [ --network ::1/8", "--model: a pattern of models has"),
        ("limits make x queue 1 --each all --model [ --network ::1/8", "; --network: the address has bits"),
        ("issue_key x --network 10.0.0.0/8 --network 10.0.0.1/8", "--network: the address has bits"),
        ("issue_key x --all-tenants", "--all-tenants: there is no role that could hold for every tenant; give one."),
        ("keys rotate abc --overlap 800h", "--overlap: should be less than or equal to"),
        ("budgets change x --amount five", "--amount: an amount is text, in US dollars"),
        ("budgets make x 5 day --provider opnai", "--provider: there is none called 'opnai'"),
        ("budgets make x 5 day --at 0", "--at: should be greater than or equal to 1"),
        ("tenants make x --priority 11", "--priority: should be less than or equal to 10"),
    ],
)
def test_what_is_wrong_is_said_of_what_was_typed(line: str, told: str) -> None:
    assert told in refused(*line.split())


def test_the_audit_is_listed_and_verified() -> None:
    issue("web")
    run("tenants", "make", "acme")
    assert run("audit", "verify")[:2] == (0, "All 2 events are as they were written.\n")
    assert [one["action"] for one in asked("audit", "list", "--action", "key")] == ["key.issued"]
    assert "priority: 5" in run("audit", "list")[1]
    run("tenants", "change", "acme", "--priority", 9)
    assert "priority: 5 → 9" in run("audit", "list")[1]
    AuditEvent.objects.of(EVERYBODY).filter(pk=2).update(subject="nothing")
    assert run("audit", "verify") == (1, "", "Event 2: it was changed, or put where another was.\n")


@pytest.mark.parametrize("command", ["keys", "tenants", "limits", "budgets", "audit"])
def test_a_command_alone_tells_its_commands(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command)[0] == 2
    assert "list" in capsys.readouterr().err
