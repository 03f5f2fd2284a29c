"""Keys: what can be asked of them, who may ask it, and how they are changed, rotated and revoked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import product
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from orchestrator.audit import verify
from orchestrator.core.errors import BadRequest, Conflict, Forbidden, NotThere, OrchestratorError
from orchestrator.core.permissions import DIALECTS, EVERYBODY, FAMILIES, Permission, Role
from orchestrator.core.types import Caller
from orchestrator.identity import issuing, limiting, tenancy
from orchestrator.identity.acting import Actor, at_terminal, of_caller, of_user
from orchestrator.identity.asked import KeyAsked, KeyChange, LimitAsked, Rotation, read
from orchestrator.identity.keys import find_key
from orchestrator.models import ApiKey, AuditEvent, Limit, Membership, Team, Tenant
from tests.keys import issue_key

pytestmark = pytest.mark.django_db
ROOT = at_terminal()
SOON = "2090-01-31T12:00:00+02:00"


@pytest.fixture
def acme() -> Tenant:
    return Tenant.objects.create(name="acme")


@pytest.fixture
def globex() -> Tenant:
    return Tenant.objects.create(name="globex")


def issue(by: Actor = ROOT, **asked: Any) -> tuple[ApiKey, str]:
    return issuing.issue(by, read(KeyAsked, {"name": "web", "tenant": "acme"} | asked))


def change(by: Actor, key: ApiKey, **asked: Any) -> ApiKey:
    return issuing.change(by, key.prefix, read(KeyChange, asked))


def rotate(by: Actor, key: ApiKey, **asked: Any) -> tuple[ApiKey, str]:
    return issuing.rotate(by, key.prefix, read(Rotation, asked))


def actor(**scopes: Any) -> Actor:
    """One that acts with a key of acme's."""
    return of_caller(caller(issue_key("manager", "acme", **scopes)), "id-1")


def caller(credential: str) -> Caller:
    found = find_key(credential)
    assert found is not None
    return found


def test_a_key_has_every_scope_that_it_was_given(acme: Tenant) -> None:
    team = Team.objects.create(tenant=acme, name="search")
    User.objects.create_user("anna")
    limiting.make(ROOT, read(LimitAsked, {"name": "s", "kind": "queue", "each": "all", "amount": 3, "team": "search",
                                          "tenant": "acme"}))  # fmt: skip
    key, credential = issue(
        name="  ﬁne\u2003key ",
        team="search",
        owner="anna",
        role="operator",
        model_patterns=["openai/*", "openai/*", "tiny"],
        dialects=["ollama"],
        families=["chat", "models"],
        networks=["10.0.0.0/8", "2001:DB8::/32", "192.0.2.7"],
        tags=["team-search", "prod"],
        expires_at=SOON,
    )
    found = caller(credential)
    assert (found.key_name, found.tenant, found.team_id, found.role) == ("fine key", "acme", team.pk, Role.OPERATOR)
    assert (found.model_patterns, found.dialects) == (("openai/*", "tiny"), {"ollama"})
    assert (found.families, found.tags) == ({"chat", "models"}, ("team-search", "prod"))
    assert [str(network) for network in found.networks] == ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7/32"]
    assert found.expires_at == datetime(2090, 1, 31, 10, tzinfo=UTC).timestamp()
    assert [limit.name for limit in found.limits] == ["s"]
    assert (key.owner.get_username() if key.owner else "") == "anna"
    event = AuditEvent.objects.of(EVERYBODY).get(action="key.issued")
    assert (event.actor, event.tenant, event.details["networks"]) == (ROOT.name, acme, key.networks)
    assert credential[16:] not in str(vars(event))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"name": ""}, "1 to 100 characters"),
        ({"name": "a\u200bb"}, "cannot be seen"),
        ({"name": "a\nb"}, "cannot be seen"),
        ({"name": "x" * 101}, "1 to 100 characters"),
        ({"name": 5}, "name: should be a valid string"),
        ({"tenant": "two words"}, "ASCII letters, digits, hyphens"),
        ({"colour": "red"}, "colour: "),
        ({"role": "owner"}, "'viewer', 'operator', 'auditor' or 'admin'"),
        ({"reaches_all": True}, "no role"),
        ({"reaches_all": "yes", "role": "viewer"}, "valid boolean"),
        ({"model_patterns": ["a b"]}, "1 to 255 characters"),
        ({"model_patterns": ["gpt-[45]"]}, "no space or bracket"),
        ({"model_patterns": ["x" * 256]}, "1 to 255"),
        ({"model_patterns": ["a\x00"]}, "cannot be seen"),
        ({"model_patterns": [str(number) for number in range(65)]}, "at most 64"),
        ({"dialects": ["gemini"]}, "there are ollama, openai, anthropic"),
        ({"families": ["admin"]}, "there are chat, embed, models, stats"),
        ({"networks": ["10.0.0.1/8"]}, "is 10.0.0.0/8 meant"),
        ({"networks": ["office"]}, "10.0.0.0/8, 192.0.2.7, 2001:db8::/32"),
        ({"networks": ["fe80::1%eth0"]}, "a network is an address"),
        ({"networks": "10.0.0.0/8"}, "valid list"),
        ({"tags": ["a,b"]}, "no comma"),
        ({"tags": ["x" * 65]}, "1 to 64"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "in the future"),
        ({"expires_at": "2090-01-01T00:00:00"}, "has an offset"),
        ({"expires_at": 4_000_000_000}, "a time is text"),
        ({"expires_at": "3000-01-01T00:00:00Z"}, "within a hundred years"),
        ({"team": "search"}, "team: there is none called 'search' in acme"),
        ({"owner": "anna"}, "owner: there is nobody"),
    ],
)
def test_what_a_key_cannot_be_is_told_with_what_it_can(acme: Tenant, asked: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest) as error:
        issue(**asked)
    assert words in str(error.value)
    assert not ApiKey.objects.of(EVERYBODY).exists()
    assert not AuditEvent.objects.of(EVERYBODY).exists()


def test_nobody_gives_a_role_that_has_what_they_have_not(acme: Tenant) -> None:
    operator = actor(role=Role.OPERATOR)
    for role in (None, "viewer", "operator"):
        issue(operator, role=role)
    for role in ("auditor", "admin"):
        with pytest.raises(Forbidden, match=f"role {role} may see people"):
            issue(operator, role=role)
    for role in ("viewer", "operator"):
        with pytest.raises(Forbidden):
            issue(operator, role=role, reaches_all=True)
    for role in Role.VIEWER, Role.AUDITOR:
        with pytest.raises(Forbidden, match="may change keys"):
            issue(actor(role=role))


def test_who_manages_one_tenant_does_not_know_the_others(acme: Tenant, globex: Tenant) -> None:
    admin = actor(role=Role.ADMIN)
    theirs, _ = issue(tenant="globex")
    for act in (
        lambda: issue(admin, tenant="globex"),
        lambda: issue(admin, tenant="nowhere"),
        lambda: change(admin, theirs, name="mine"),
        lambda: rotate(admin, theirs),
        lambda: issuing.revoke(admin, theirs.prefix),
        lambda: issuing.find(admin, theirs.prefix),
        lambda: list(issuing.keys(admin, tenant="globex")),
        lambda: list(issuing.keys(admin, after=theirs.prefix)),
    ):
        with pytest.raises(NotThere, match="There is no"):
            act()
    assert {key.tenant.name for key in issuing.keys(admin)} == {"acme"}
    theirs.refresh_from_db()
    assert (theirs.name, theirs.revoked_at) == ("web", None)


def test_an_owner_is_one_of_the_tenants_people_for_who_manages_no_other(acme: Tenant, globex: Tenant) -> None:
    for name, tenant in (("anna", acme), ("zoe", globex)):
        Membership.objects.create(user=User.objects.create_user(name), tenant=tenant, role=Role.VIEWER)
    admin = actor(role=Role.ADMIN)
    issue(admin, owner="anna")
    with pytest.raises(BadRequest, match="nobody called 'zoe'"):
        issue(admin, owner="zoe")
    issue(ROOT, owner="zoe")


def test_a_person_manages_what_their_memberships_say(acme: Tenant, globex: Tenant) -> None:
    anna = User.objects.create_user("anna")
    assert of_user(anna).reach(Permission.SEE_KEYS).is_nobody
    Membership.objects.create(user=anna, tenant=acme, role=Role.OPERATOR)
    Membership.objects.create(user=anna, tenant=globex, role=Role.VIEWER)
    issue(of_user(anna))
    with pytest.raises(NotThere):
        issue(of_user(anna), tenant="globex")
    assert AuditEvent.objects.of(EVERYBODY).get().actor == "user:anna"
    anna.is_active = False
    assert of_user(anna).reach(Permission.SEE_KEYS).is_nobody
    root = User.objects.create_superuser("root")
    issue(of_user(root), tenant="globex", role="admin", reaches_all=True)


PATTERNS = st.lists(st.text(alphabet="ab*?/", min_size=1, max_size=4), max_size=2)
NETWORKS = st.lists(
    st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "0.0.0.0/0", "::/0", "2001:db8::/32"]), max_size=2
)
SCOPES = st.fixed_dictionaries(
    {
        "role": st.sampled_from([None, *Role]),
        "reaches_all": st.booleans(),
        "model_patterns": PATTERNS,
        "dialects": st.lists(st.sampled_from(DIALECTS), unique=True),
        "families": st.lists(st.sampled_from(FAMILIES), unique=True),
        "networks": NETWORKS,
        "expires_at": st.sampled_from([None, "2080-01-01T00:00:00Z", "2090-01-01T00:00:00Z"]),
    }
)
FIELDS = ["role", "reaches_all", "model_patterns", "dialects", "families", "networks", "expires_at"]
MODELS = ["".join(letters) for length in range(1, 5) for letters in product("ab/", repeat=length)]
ADDRESSES = [ip_address(one) for one in ("10.1.2.3", "10.1.9.9", "10.200.0.1", "192.0.2.1", "2001:db8::1", "::1")]


def may(who: Caller) -> set[object]:
    """Everything that a key opens, as far as the samples go."""
    tenants = [who.tenant_id, -1]
    return {
        *(("model", model) for model in MODELS if who.may_ask(model)),
        *(("dialect", one) for one in DIALECTS if not who.dialects or one in who.dialects),
        *(("family", one) for one in FAMILIES if not who.families or one in who.families),
        *(("from", one) for one in ADDRESSES if not who.networks or any(one in network for network in who.networks)),
        *((one, tenant) for one in Permission for tenant in tenants if who.reach(one).tenants is None
          or tenant in (who.reach(one).tenants or ())),
        *(year for year in (2079, 2089, 2099) if who.expires_at is None
          or who.expires_at > datetime(year, 6, 1, tzinfo=UTC).timestamp()),
    }  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    mine=SCOPES,
    theirs=SCOPES,
    alike=st.sets(st.sampled_from(FIELDS), min_size=len(FIELDS) - 2),
    way=st.sampled_from(["issue", "change", "rotate"]),
)
def test_no_key_gives_another_more_than_it_has(
    db: None, mine: dict[str, Any], theirs: dict[str, Any], alike: set[str], way: str
) -> None:
    with transaction.atomic():
        Tenant.objects.get_or_create(name="acme")
        mine["role"] = Role.ADMIN if mine["role"] == Role.AUDITOR else Role.OPERATOR
        theirs |= {field: mine[field] for field in alike}
        parent = caller(issue(**mine)[1])
        by = of_caller(parent)
        try:
            if way == "issue":
                child = caller(issue(by, **theirs)[1])
            elif way == "change":
                key, credential = issue(**mine)
                change(by, key, **theirs)
                child = caller(credential)
            else:
                assume(theirs["role"] or not theirs["reaches_all"])
                child = caller(rotate(by, issue(**theirs)[0])[1])
        except OrchestratorError:
            pass
        else:
            event(way)
            assert may(child) <= may(parent)
        transaction.set_rollback(True)


@pytest.mark.parametrize(
    ("field", "mine", "within", "beyond"),
    [
        ("model_patterns", ["openai/*"], ["openai/gpt-*", "openai/o?"], ["*", "openai*", "tiny"]),
        ("model_patterns", ["o?"], ["o?", "oo"], ["o*", "o"]),
        ("dialects", ["ollama", "openai"], ["ollama"], ["anthropic"]),
        ("families", ["chat"], ["chat"], ["chat", "embed"]),
        ("networks", ["10.0.0.0/8"], ["10.1.0.0/16"], ["11.0.0.0/8", "::/0"]),
    ],
)
def test_what_bounds_a_key_bounds_those_that_it_issues(
    acme: Tenant, field: str, mine: list[str], within: list[str], beyond: list[str]
) -> None:
    by = actor(role=Role.ADMIN, **{field: mine})
    issue(by, **{field: within})
    for one in beyond if field != "families" else ["embed"]:
        with pytest.raises(Forbidden, match=field):
            issue(by, **{field: [one]})
    with pytest.raises(Forbidden, match=field):
        issue(by)


def test_a_change_tells_what_was_and_leaves_the_rest(acme: Tenant) -> None:
    key, credential = issue(dialects=["ollama"], tags=["a"], expires_at=SOON)
    change(ROOT, key, tags=["a", "b"], expires_at=None)
    found = caller(credential)
    assert (found.tags, found.expires_at, found.dialects) == (("a", "b"), None, {"ollama"})
    event = AuditEvent.objects.of(EVERYBODY).get(action="key.changed")
    assert event.details["tags"] == [["a"], ["a", "b"]]
    assert set(event.details) == {"tags", "expires_at"}
    change(ROOT, key, tags=["a", "b"])
    assert AuditEvent.objects.of(EVERYBODY).filter(action="key.changed").count() == 1
    with pytest.raises(BadRequest, match="reaches_all"):
        change(ROOT, key, reaches_all=True)
    for wrong in ({"name": None}, {"tenant": "globex"}, {"tags": None}):
        with pytest.raises(BadRequest):
            change(ROOT, key, **wrong)
    issuing.revoke(ROOT, key.prefix)
    with pytest.raises(Conflict, match="is revoked"):
        change(ROOT, key, tags=[])


def test_nobody_changes_or_rotates_a_key_that_may_more_and_anybody_revokes_it(acme: Tenant) -> None:
    operator = actor(role=Role.OPERATOR)
    key, _ = issue(role="admin")
    for act in (lambda: change(operator, key, role=None), lambda: rotate(operator, key)):
        with pytest.raises(Forbidden):
            act()
    assert issuing.revoke(operator, key.prefix).revoked_at


def test_a_rotated_key_works_on_for_the_overlap(acme: Tenant) -> None:
    key, old = issue(dialects=["openai"], tags=["prod"], role="viewer")
    limiting.make(ROOT, read(LimitAsked, {"name": "l", "kind": "concurrent", "each": "key", "amount": 2, "key": old}))
    after, new = rotate(ROOT, key, overlap_s=3600)
    assert after.replaces == key
    one, other = caller(old), caller(new)
    for field in ("key_name", "dialects", "tags", "role", "tenant_id", "limits"):
        assert getattr(one, field) == getattr(other, field)
    assert [limit.name for limit in other.limits] == ["l"]
    assert other.expires_at is None
    assert one.expires_at == pytest.approx((timezone.now() + timedelta(hours=1)).timestamp(), abs=60)
    with pytest.raises(Conflict, match=f"{after.prefix} is in its place"):
        rotate(ROOT, key)
    with pytest.raises(Conflict, match=f"{key.prefix}, still works"):
        rotate(ROOT, after)
    issuing.revoke(ROOT, key.prefix)
    third, _ = rotate(ROOT, after, overlap_s=0)
    assert find_key(new) is None
    assert Limit.objects.get().key == third
    assert verify() is None


def test_limits_outlive_a_key_that_was_to_take_the_place_and_was_revoked(acme: Tenant) -> None:
    key, old = issue()
    limiting.make(ROOT, read(LimitAsked, {"name": "l", "kind": "concurrent", "each": "key", "amount": 2, "key": old}))
    lost, _ = rotate(ROOT, key, overlap_s=3600)
    limiting.make(
        ROOT, read(LimitAsked, {"name": "m", "kind": "queue", "each": "key", "amount": 2, "key": lost.prefix})
    )
    issuing.revoke(ROOT, lost.prefix)
    assert {limit.name for limit in caller(old).limits} == {"l", "m"}
    _, new = rotate(ROOT, key, overlap_s=3600)
    assert {limit.name for limit in caller(new).limits} == {"l", "m"}
    assert {limit.name for limit in caller(old).limits} == {"l", "m"}


def test_an_overlap_does_not_lengthen_a_life_and_a_new_key_lives_as_long_as_the_old_was_to(acme: Tenant) -> None:
    ends = timezone.now() + timedelta(hours=2)
    key, _ = issue(expires_at=ends.isoformat())
    ApiKey.objects.of(EVERYBODY).update(created_at=timezone.now() - timedelta(hours=8))
    after, _ = rotate(ROOT, key, overlap_s=86_400)
    key.refresh_from_db()
    assert key.expires_at == ends
    assert after.expires_at is not None
    assert abs(after.expires_at - (timezone.now() + timedelta(hours=10))) < timedelta(minutes=1)
    asked, _ = rotate(ROOT, issue()[0], expires_at=SOON)
    assert asked.expires_at == datetime(2090, 1, 31, 10, tzinfo=UTC)


def test_revoking_is_at_once_and_again_changes_nothing(acme: Tenant) -> None:
    key, credential = issue()
    first = issuing.revoke(ROOT, key.prefix).revoked_at
    assert find_key(credential) is None
    assert issuing.revoke(ROOT, key.prefix).revoked_at == first
    assert AuditEvent.objects.of(EVERYBODY).filter(action="key.revoked").count() == 1
    with pytest.raises(Conflict):
        rotate(ROOT, key)


def test_keys_are_listed_by_tenant_team_and_state_page_by_page(acme: Tenant, globex: Tenant) -> None:
    Team.objects.create(tenant=acme, name="search")
    working, expired, revoked = (issue(name=name)[0] for name in ("working", "expired", "revoked"))
    ApiKey.objects.of(EVERYBODY).filter(pk=expired.pk).update(expires_at=timezone.now())
    issuing.revoke(ROOT, revoked.prefix)
    issue(name="elsewhere", tenant="globex")
    issue(name="team", team="search")

    def names(**asked: Any) -> list[str]:
        return [key.name for key in issuing.keys(ROOT, **asked)]

    assert names() == ["team", "elsewhere", "revoked", "expired", "working"]
    assert names(tenant="acme", state="working") == ["team", "working"]
    assert [names(state=state) for state in issuing.STATES[1:]] == [["expired"], ["revoked"]]
    assert names(team="search") == ["team"]
    assert names(after=revoked.prefix) == ["expired", "working"]
    assert issuing.state_of(working, timezone.now()) == "working"


def test_while_a_tenant_is_suspended_none_of_its_keys_works(acme: Tenant) -> None:
    from orchestrator.identity.asked import TenantChange
    from orchestrator.identity.keys import default_caller, ensure_default_tenant

    _, credential = issue()
    ensure_default_tenant()
    for name in ("acme", "default"):
        tenancy.change_tenant(ROOT, name, TenantChange(suspended=True))
    assert find_key(credential) is default_caller() is None
    tenancy.change_tenant(ROOT, "acme", TenantChange(suspended=False))
    assert find_key(credential) is not None
