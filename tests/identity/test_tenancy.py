"""Tenants, teams and grants: who may make, change and end them."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.audit import verify
from orchestrator.core.errors import BadRequest, Conflict, Forbidden, NotThere
from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.identity import issuing, limiting, tenancy
from orchestrator.identity.acting import Actor, at_terminal, of_caller
from orchestrator.identity.asked import GrantAsked, KeyAsked, LimitAsked, TeamAsked, TenantAsked, TenantChange, read
from orchestrator.identity.keys import find_key
from orchestrator.models import AuditEvent, Budget, Grant, Limit, Team, Tenant
from tests.keys import issue_key

pytestmark = pytest.mark.django_db
ROOT = at_terminal()


@pytest.fixture(autouse=True)
def _tenants() -> None:
    for name in ("acme", "globex"):
        tenancy.make_tenant(ROOT, read(TenantAsked, {"name": name}))


def actor(role: Role = Role.ADMIN, **scopes: Any) -> Actor:
    found = find_key(issue_key("manager", "acme", role=role, **scopes))
    assert found is not None
    return of_caller(found)


def grant(by: Actor, owner: str, reader: str) -> Grant:
    return tenancy.make_grant(by, GrantAsked(owner=owner, reader=reader))


def suspend(by: Actor, name: str, suspended: bool = True) -> Tenant:
    return tenancy.change_tenant(by, name, TenantChange(suspended=suspended))


def actions() -> list[str]:
    return list(AuditEvent.objects.of(EVERYBODY).order_by("id").values_list("action", flat=True))


def test_tenants_are_made_changed_suspended_and_resumed() -> None:
    tenancy.change_tenant(ROOT, "acme", read(TenantChange, {"priority": 9}))
    tenancy.change_tenant(ROOT, "acme", read(TenantChange, {"priority": 9}))
    since = suspend(ROOT, "acme").suspended_at
    assert since
    assert suspend(ROOT, "acme").suspended_at == since
    tenant = suspend(ROOT, "acme", suspended=False)
    assert (tenant.priority, tenant.suspended_at) == (9, None)
    assert actions()[2:] == ["tenant.changed", "tenant.suspended", "tenant.resumed"]
    assert AuditEvent.objects.of(EVERYBODY).get(action="tenant.changed").details == {"priority": [5, 9]}
    assert verify() is None


@pytest.mark.parametrize("name", ["acme", "ACME"])
def test_two_tenants_or_teams_do_not_differ_by_capitals_alone(name: str) -> None:
    tenancy.make_team(ROOT, read(TeamAsked, {"tenant": "acme", "name": "acme"}))
    with pytest.raises(Conflict, match="a tenant acme already"):
        tenancy.make_tenant(ROOT, read(TenantAsked, {"name": name}))
    with pytest.raises(Conflict, match="a team acme/acme already"):
        tenancy.make_team(ROOT, read(TeamAsked, {"tenant": "acme", "name": name}))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"name": "a b"}, "ASCII letters"),
        ({"name": "é"}, "ASCII letters"),
        ({"name": "x", "priority": 0}, "greater than or equal to 1"),
        ({"name": "x", "priority": 11}, "less than or equal to 10"),
        ({"name": "x", "priority": True}, "valid integer"),
        ({"name": "x", "suspended": True}, "not permitted"),
    ],
)
def test_what_a_tenant_cannot_be_is_told(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        read(TenantAsked, asked)


def test_tenants_are_matters_of_who_manages_all_of_them() -> None:
    admin = actor()
    assert [tenant.name for tenant in tenancy.tenants(admin)] == ["acme"]
    for act in (lambda: suspend(admin, "acme"), lambda: tenancy.make_tenant(admin, TenantAsked(name="initech"))):
        with pytest.raises(Forbidden, match="for every tenant"):
            act()
    with pytest.raises(NotThere):
        suspend(admin, "globex")
    with pytest.raises(Forbidden, match="may see people"):
        tenancy.tenants(actor(Role.OPERATOR))
    over_all = actor(reaches_all=True)
    suspend(over_all, "globex")
    with pytest.raises(Conflict, match="the tenant of the key you ask with"):
        suspend(over_all, "acme")


def test_a_team_is_deleted_with_its_limits_unless_it_has_keys() -> None:
    admin = actor(Role.OPERATOR)
    team = tenancy.make_team(admin, TeamAsked(tenant="acme", name="search"))
    for tenant in ("globex", "nowhere"):
        with pytest.raises(NotThere, match="no tenant"):
            tenancy.make_team(admin, TeamAsked(tenant=tenant, name="search"))
    limit = {"name": "s", "kind": "queue", "each": "all", "amount": 3, "team": "search", "tenant": "acme"}
    limiting.make(ROOT, read(LimitAsked, limit))
    key, _ = issuing.issue(ROOT, read(KeyAsked, {"name": "k", "tenant": "acme", "team": "search"}))
    with pytest.raises(Conflict, match="has keys"):
        tenancy.delete_team(admin, "acme", team.name)
    issuing.change(ROOT, key.prefix, read(issuing.KeyChange, {"team": None}))
    tenancy.delete_team(admin, "acme", team.name)
    assert not Team.objects.of(EVERYBODY).exists()
    assert not Limit.objects.exists()
    assert actions()[-2:] == ["limit.deleted", "team.deleted"]
    with pytest.raises(NotThere, match="no team"):
        tenancy.delete_team(admin, "acme", team.name)


def test_a_team_with_a_budget_is_not_deleted() -> None:
    """Else who manages one tenant would delete a budget that was given to it, with no event of it."""
    admin = actor(Role.OPERATOR)
    team = tenancy.make_team(admin, TeamAsked(tenant="acme", name="search"))
    limit = {"name": "s", "kind": "queue", "each": "all", "amount": 3, "team": "search", "tenant": "acme"}
    limiting.make(ROOT, read(LimitAsked, limit))
    given = Budget.objects.create(
        name="given", period="month", each="team", amount_microusd=1, tenant=team.tenant, team=team, is_given=True
    )
    before = actions()
    with pytest.raises(Conflict, match="team acme/search has budgets; delete those first"):
        tenancy.delete_team(admin, "acme", "search")
    assert Budget.objects.get() == given
    assert Limit.objects.exists()
    assert actions() == before


def test_a_grant_takes_who_speaks_for_both_and_either_side_ends_it() -> None:
    admin = actor()
    for pair in (("acme", "globex"), ("globex", "acme")):
        with pytest.raises(NotThere, match="no tenant 'globex'"):
            grant(admin, *pair)
        grant(ROOT, *pair)
        with pytest.raises(Conflict, match="already"):
            grant(ROOT, *pair)
        assert len(tenancy.grants(admin)) == 1
        tenancy.delete_grant(admin, *pair)
        with pytest.raises(NotThere):
            tenancy.delete_grant(admin, *pair)
    with pytest.raises(BadRequest, match="its own answers"):
        grant(ROOT, "acme", "acme")
    tenancy.make_tenant(ROOT, TenantAsked(name="initech"))
    grant(ROOT, "globex", "initech")
    assert not tenancy.grants(admin)
    with pytest.raises(NotThere):
        tenancy.delete_grant(admin, "globex", "initech")


def test_a_caller_may_be_answered_from_what_was_granted_and_from_nothing_else() -> None:
    grant(ROOT, "globex", "acme")
    credentials = {name: issue_key("k", name) for name in ("acme", "globex")}
    reads = {}
    for name, credential in credentials.items():
        found = find_key(credential)
        assert found is not None
        reads[name] = found.reads_from
    assert reads == {"acme": ((Tenant.objects.get(name="globex").pk, "globex"),), "globex": ()}


def test_lists_go_on_after_where_they_were() -> None:
    for tenant, team in (("acme", "b"), ("acme", "a"), ("globex", "a")):
        tenancy.make_team(ROOT, TeamAsked(tenant=tenant, name=team))
    grant(ROOT, "acme", "globex")
    assert [str(team) for team in tenancy.teams(ROOT)] == ["acme/a", "acme/b", "globex/a"]
    assert [str(team) for team in tenancy.teams(ROOT, after="acme/a")] == ["acme/b", "globex/a"]
    assert [str(team) for team in tenancy.teams(ROOT, tenant="globex")] == ["globex/a"]
    assert [str(team) for team in tenancy.teams(actor())] == ["acme/a", "acme/b"]
    assert [tenant.name for tenant in tenancy.tenants(ROOT, after="acme")] == ["globex"]
    assert not tenancy.grants(ROOT, after="acme/globex")
