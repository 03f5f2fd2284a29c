"""The rows of limits: what they can be, who may set them, and whom they are about."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.core.errors import BadRequest, Conflict, Forbidden, NotThere
from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.identity import limiting
from orchestrator.identity.acting import Actor, at_terminal, of_caller
from orchestrator.identity.asked import LimitAsked, LimitChange, read
from orchestrator.identity.keys import default_caller, find_key
from orchestrator.models import ApiKey, AuditEvent, Limit, Team, Tenant
from tests.keys import issue_key

pytestmark = pytest.mark.django_db
ROOT = at_terminal()
A_RATE = {"name": "rate", "kind": "requests", "each": "key", "amount": 60, "per_s": 60}
AT_ONCE = {"name": "rate", "kind": "concurrent", "each": "key", "amount": 2, "per_s": None}


@pytest.fixture(autouse=True)
def _tenants() -> None:
    for name in ("acme", "globex"):
        Team.objects.create(tenant=Tenant.objects.create(name=name), name="search")


def make(by: Actor = ROOT, **asked: Any) -> Limit:
    return limiting.make(by, read(LimitAsked, A_RATE | asked))


def change(by: Actor, name: str, **asked: Any) -> Limit:
    return limiting.change(by, name, read(LimitChange, asked))


def actor(role: Role = Role.OPERATOR) -> Actor:
    found = find_key(issue_key("manager", "acme", role=role))
    assert found is not None
    return of_caller(found)


def test_a_limit_is_made_changed_switched_off_and_deleted() -> None:
    make(burst=600, model="openai/*", network="10.0.0.0/8", tenant="acme")
    change(ROOT, "rate", amount=30, network="", burst=None)
    row = change(ROOT, "rate", is_off=True)
    assert limiting.told(row) == A_RATE | {
        "amount": 30, "burst": None, "model": "openai/*", "network": "", "is_off": True,
        "tenant": "acme", "team": None, "key": None,
    }  # fmt: skip
    limiting.delete(ROOT, "rate")
    assert not Limit.objects.exists()
    events = AuditEvent.objects.of(EVERYBODY).order_by("id").values_list("action", flat=True)
    assert list(events) == ["limit.made", "limit.changed", "limit.changed", "limit.deleted"]
    assert AuditEvent.objects.of(EVERYBODY).get(pk=3).details == {"is_off": [False, True]}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"per_s": None}, "say in how many seconds"),
        (AT_ONCE | {"per_s": 60}, "no matter of time"),
        (AT_ONCE | {"burst": 5}, "only requests and tokens have one"),
        ({"amount": 0}, "greater than or equal to 1"),
        ({"amount": 10**12 + 1}, "less than or equal to 1000000000000"),
        ({"amount": 1.5}, "valid integer"),
        ({"per_s": 0}, "greater than or equal to 1"),
        ({"per_s": 31 * 86_400 + 1}, "less than or equal to 2678400"),
        ({"burst": 0}, "greater than or equal to 1"),
        ({"burst": 6001}, "100 times the amount at most, here 6000"),
        ({"kind": "money"}, "'requests', 'tokens', 'concurrent'"),
        ({"each": "user"}, "'key', 'team', 'tenant'"),
        ({"name": "two words"}, "ASCII letters"),
        ({"network": "10.0.0.1/8"}, "is 10.0.0.0/8 meant"),
        ({"model": "a b"}, "no space"),
        ({"team": "search"}, "say of which tenant"),
        ({"team": "other", "tenant": "acme"}, "none called 'other' in acme"),
        ({"team": "search", "tenant": "acme", "each": "tenant"}, "can be key, team, model, address, all"),
        ({"kind": "cache_bytes", "per_s": None}, "can be tenant"),
        ({"kind": "cache_bytes", "per_s": None, "each": "tenant", "model": "x"}, "the cache is kept by tenant"),
        ({"key": "0123456789"}, "none with the prefix"),
        ({"key": "no key"}, "named by its prefix"),
        ({"colour": 1}, "not permitted"),
    ],
)
def test_what_a_limit_cannot_be_is_told_with_what_it_can(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest) as error:
        make(**asked)
    assert words in str(error.value)
    assert not Limit.objects.exists()


def test_a_change_must_leave_it_whole() -> None:
    make()
    for asked in ({"per_s": None}, {"burst": 10**6}, {"amount": None}, {"kind": "tokens"}):
        with pytest.raises(BadRequest):
            change(ROOT, "rate", **asked)
    with pytest.raises(Conflict, match="a limit called rate already"):
        make()
    with pytest.raises(NotThere):
        change(ROOT, "other", amount=1)


def test_who_manages_one_tenant_sets_limits_within_it_and_none_that_bind_it() -> None:
    operator = actor()
    make(tenant="acme", name="whole")
    make(tenant="globex", team="search", name="theirs")
    make(name="all")
    make(operator, tenant="acme", team="search", name="own")
    change(operator, "own", amount=1)
    for act in (
        lambda: make(operator, tenant="acme"),
        lambda: make(operator),
        lambda: change(operator, "whole", amount=10**6),
        lambda: limiting.delete(operator, "whole"),
    ):
        with pytest.raises(Forbidden, match="every tenant"):
            act()
    for name in ("theirs", "all"):
        with pytest.raises(NotThere):
            change(operator, name, amount=1)
    with pytest.raises(NotThere, match="no tenant"):
        make(operator, tenant="globex", team="search")
    issue_key("k", "globex")
    with pytest.raises(BadRequest, match="none with the prefix"):
        make(operator, key=ApiKey.objects.of(EVERYBODY).get(name="k").prefix)
    assert [row.name for row in limiting.limits(operator)] == ["own", "whole"]
    with pytest.raises(Forbidden, match="may see keys"):
        limiting.limits(actor(Role.VIEWER))
    assert [row.name for row in limiting.limits(ROOT, after="own")] == ["theirs", "whole"]


def test_a_caller_has_every_limit_that_is_about_it_and_no_other() -> None:
    credentials = {name: issue_key(name, "acme") for name in ("plain", "other")}
    credentials["team"] = issue_key("team", "acme", team=Team.objects.of(EVERYBODY).get(tenant__name="acme"))
    credentials["globex"] = issue_key("globex", "globex")
    prefix = ApiKey.objects.of(EVERYBODY).get(name="plain").prefix
    make(name="all")
    make(name="tenant", tenant="acme", each="tenant")
    make(name="of-team", tenant="acme", team="search")
    make(name="each-team", each="team")
    make(name="of-key", key=prefix)
    make(name="off", is_off=True)
    make(name="keyless", each="address")
    found = {}
    for name, credential in credentials.items():
        caller = find_key(credential)
        assert caller is not None
        found[name] = {limit.name for limit in caller.limits}
    nobody = default_caller()
    assert nobody is not None
    assert found == {
        "plain": {"all", "tenant", "of-key", "keyless"},
        "other": {"all", "tenant", "keyless"},
        "team": {"all", "tenant", "of-team", "each-team", "keyless"},
        "globex": {"all", "keyless"},
    }
    assert {limit.name for limit in nobody.limits} == {"keyless"}
    assert Limit.objects.get(name="of-key").tenant == Tenant.objects.get(name="acme")
    with pytest.raises(BadRequest, match="of another tenant"):
        make(name="odd", key=prefix, tenant="globex")
