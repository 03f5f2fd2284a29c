"""Letting people in, changing what they may, letting them go."""

from __future__ import annotations

import importlib
from concurrent.futures import ThreadPoolExecutor
from io import StringIO

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection

from orchestrator import audit
from orchestrator.core.errors import BadRequest, Conflict, Forbidden, OrchestratorError
from orchestrator.core.permissions import EVERYBODY, Permission, Reach, Role
from orchestrator.identity import acting, second_factor, staffing
from orchestrator.identity.acting import Actor
from orchestrator.identity.links import make_link, redeem_link
from orchestrator.identity.people import reach, roles_of
from orchestrator.models import AuditEvent, Membership, SignInLink, Tenant

COMMAND = acting.at_terminal()
pytestmark = [pytest.mark.django_db(transaction=True)]


@pytest.fixture
def acme() -> Tenant:
    """One tenant."""
    return Tenant.objects.create(name="acme")


@pytest.fixture
def globex() -> Tenant:
    """Another one."""
    return Tenant.objects.create(name="globex")


def somebody(name: str, role: Role | None = None, tenant: Tenant | None = None) -> User:
    user = User.objects.create_user(name)
    if role:
        Membership.objects.create(user=user, tenant=tenant, role=role)
    return user


def anew(user: User) -> User:
    return User.objects.get(pk=user.pk)


@pytest.fixture
def root() -> Actor:
    """An admin of every tenant."""
    return acting.of_user(somebody("root", Role.ADMIN))


def of_acme(acme: Tenant) -> Actor:
    """An admin of one tenant."""
    return acting.of_user(somebody("anna", Role.ADMIN, acme))


def test_roles_are_rows_and_a_superuser_is_an_admin(acme: Tenant) -> None:
    anna = somebody("anna", Role.OPERATOR, acme)
    assert roles_of(anna) == {acme.pk: Role.OPERATOR}
    assert reach(anna, Permission.PURGE_ANSWERS) == Reach(frozenset({acme.pk}))
    assert reach(anna, Permission.SEE_REGISTRY).is_nobody
    assert reach(anna, Permission.SEE_AUDIT).is_nobody
    assert roles_of(User.objects.create_superuser("boss")) == {None: Role.ADMIN}
    anna.is_active = False
    anna.save()
    assert roles_of(anew(anna)) == {}


def test_an_invitation_signs_in_once_with_the_role(root: Actor, acme: Tenant) -> None:
    user, token = staffing.invite(root, "mira", Role.VIEWER, acme.pk)
    assert not user.has_usable_password()
    link = redeem_link(token)
    assert link is not None
    assert (link.user, link.is_invitation) == (user, True)
    assert redeem_link(token) is None
    assert roles_of(anew(user)) == {acme.pk: Role.VIEWER}


@pytest.mark.parametrize("name", ["", "  ", "a b", "<b>", "x" * 151])
def test_a_name_is_one_that_can_be_read(root: Actor, name: str) -> None:
    with pytest.raises(BadRequest):
        staffing.invite(root, name, Role.VIEWER, None)


@pytest.mark.parametrize("name", ["mira", "Mira"])
def test_inviting_somebody_who_is_there_gives_nobody_their_account(acme: Tenant, name: str) -> None:
    somebody("mira", Role.ADMIN)
    for actor in (of_acme(acme), COMMAND):
        with pytest.raises(Conflict):
            staffing.invite(actor, name, Role.VIEWER, acme.pk)
    assert SignInLink.objects.count() == 0


def test_an_admin_of_one_tenant_has_a_say_there_and_nowhere_else(acme: Tenant, globex: Tenant) -> None:
    actor = of_acme(acme)
    bob = somebody("bob", Role.VIEWER, acme)
    Membership.objects.create(user=bob, tenant=globex, role=Role.OPERATOR)
    staffing.give_role(actor, bob, Role.AUDITOR, acme.pk)
    assert roles_of(anew(bob)) == {acme.pk: Role.AUDITOR, globex.pk: Role.OPERATOR}
    for tenant_id in (globex.pk, None):
        with pytest.raises(Forbidden):
            staffing.give_role(actor, bob, Role.ADMIN, tenant_id)
        with pytest.raises(Forbidden):
            staffing.take_role(actor, bob, tenant_id)
        with pytest.raises(Forbidden):
            staffing.invite(actor, "carl", Role.VIEWER, tenant_id)
    for touch in (staffing.fresh_link, staffing.forget_second_factor, staffing.remove):
        with pytest.raises(Forbidden):  # a link would be a way into globex
            touch(actor, bob)
    staffing.take_role(COMMAND, bob, globex.pk)
    assert staffing.fresh_link(actor, bob)
    assert [user.username for user in staffing.people(actor.reach(Permission.SEE_PEOPLE))] == ["anna", "bob"]


def test_who_let_somebody_in_holds_no_link_to_what_others_give_them(root: Actor, acme: Tenant, globex: Tenant) -> None:
    bob, invitation = staffing.invite(of_acme(acme), "bob", Role.OPERATOR, acme.pk)
    assert not staffing.give_role(root, bob, Role.VIEWER, acme.pk)  # less than before: nothing to protect
    assert SignInLink.objects.filter(user=bob).exists()
    assert staffing.give_role(root, bob, Role.VIEWER, globex.pk)
    assert redeem_link(invitation) is None


@pytest.mark.parametrize(
    ("held", "given", "reaches_further"),
    [
        (("acme", Role.VIEWER), ("acme", Role.OPERATOR), True),
        (("acme", Role.OPERATOR), ("acme", Role.AUDITOR), True),  # neither holds the other
        (("acme", Role.ADMIN), ("acme", Role.AUDITOR), False),
        (("acme", Role.ADMIN), ("globex", Role.VIEWER), True),
        (("acme", Role.ADMIN), (None, Role.VIEWER), True),
        ((None, Role.VIEWER), ("acme", Role.VIEWER), False),  # they saw it already
        ((None, Role.VIEWER), ("acme", Role.OPERATOR), True),
    ],
)
def test_links_are_void_when_a_role_opens_what_none_did(
    root: Actor,
    acme: Tenant,
    globex: Tenant,
    held: tuple[str | None, Role],
    given: tuple[str | None, Role],
    reaches_further: bool,
) -> None:
    tenants = {"acme": acme, "globex": globex, None: None}
    bob = somebody("bob", held[1], tenants[held[0]])
    token = staffing.fresh_link(root, bob)
    tenant = tenants[given[0]]
    assert staffing.give_role(root, bob, given[1], tenant.pk if tenant else None) == reaches_further
    assert (redeem_link(token) is None) == reaches_further


def test_a_link_is_void_when_another_is_made_to_the_same_end(root: Actor, acme: Tenant) -> None:
    bob, invitation = staffing.invite(root, "bob", Role.VIEWER, acme.pk)
    other, of_another = staffing.invite(root, "carl", Role.VIEWER, acme.pk)
    to_sign_in = make_link("bob")
    again = staffing.fresh_link(root, bob)  # it leads to where a password is chosen, as the first does
    assert redeem_link(invitation) is None
    for token, user in ((again, bob), (to_sign_in, bob), (of_another, other)):
        link = redeem_link(token)
        assert link is not None
        assert link.user == user


def test_an_admin_of_one_tenant_does_not_bring_back_who_was_removed(acme: Tenant) -> None:
    bob = somebody("bob", Role.VIEWER, acme)
    staffing.remove(COMMAND, bob)
    with pytest.raises(Conflict):
        staffing.invite(of_acme(acme), "bob", Role.VIEWER, acme.pk)


def test_nobody_changes_what_they_may_themselves(root: Actor) -> None:
    somebody("other", Role.ADMIN)
    me = User.objects.get(username="root")
    for act in (
        lambda: staffing.give_role(root, me, Role.VIEWER, None),
        lambda: staffing.take_role(root, me, None),
        lambda: staffing.remove(root, me),
        lambda: staffing.forget_second_factor(root, me),
    ):
        with pytest.raises(Forbidden, match="their own role"):
            act()


def test_the_last_admin_of_every_tenant_stays_one(acme: Tenant) -> None:
    last = somebody("last", Role.ADMIN)
    somebody("anna", Role.ADMIN, acme)
    for act in (
        lambda: staffing.give_role(COMMAND, last, Role.OPERATOR, None),
        lambda: staffing.take_role(COMMAND, last, None),
        lambda: staffing.remove(COMMAND, anew(last)),
    ):
        with pytest.raises(Conflict, match="last admin"):
            act()
    assert roles_of(anew(last)) == {None: Role.ADMIN}
    assert anew(last).is_active


def test_two_admins_who_demote_each_other_at_once_leave_one() -> None:
    both = [somebody("a", Role.ADMIN), somebody("b", Role.ADMIN)]

    def demote(pair: tuple[User, User]) -> str:
        me, other = pair
        try:
            staffing.give_role(acting.of_user(me), other, Role.VIEWER, None)
        except OrchestratorError:
            return "refused"
        finally:
            connection.close()
        return "done"

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(demote, [(both[0], both[1]), (both[1], both[0])])) == ["done", "refused"]
    assert Membership.objects.filter(role=Role.ADMIN).count() == 1


def test_a_superuser_who_is_demoted_is_none_any_more() -> None:
    somebody("other", Role.ADMIN)
    boss = User.objects.create_superuser("boss")
    staffing.give_role(COMMAND, boss, Role.VIEWER, None)
    assert roles_of(anew(boss)) == {None: Role.VIEWER}


def test_who_is_removed_has_nothing_left_and_comes_back_with_nothing(root: Actor) -> None:
    mira = somebody("mira", Role.OPERATOR)
    mira.set_password("correct horse battery")
    mira.save()
    second_factor.begin(mira)
    token = staffing.fresh_link(root, mira)
    staffing.remove(root, mira)
    gone = anew(mira)
    assert not gone.is_active
    assert not gone.has_usable_password()
    assert roles_of(gone) == {}
    assert redeem_link(token) is None
    assert not hasattr(gone, "second_factor")
    back, _ = staffing.invite(root, "mira", Role.VIEWER, None)
    assert back.pk == mira.pk
    assert roles_of(anew(mira)) == {None: Role.VIEWER}


def test_staff_and_superusers_of_before_get_their_roles() -> None:
    migration = importlib.import_module("orchestrator.migrations.0010_people")
    boss, clerk = User.objects.create_superuser("boss"), User.objects.create_user("clerk", is_staff=True)
    stranger = User.objects.create_user("stranger")
    for _ in range(2):
        with connection.schema_editor() as editor:
            migration.staff_get_roles(apps, editor)
    assert [roles_of(anew(user)) for user in (boss, clerk, stranger)] == [{None: Role.ADMIN}, {None: Role.VIEWER}, {}]
    assert not anew(boss).is_superuser
    with connection.schema_editor() as editor:
        migration.admins_are_superusers(apps, editor)
    assert [(anew(user).is_staff, anew(user).is_superuser) for user in (boss, clerk, stranger)] == [
        (True, True),
        (True, False),
        (False, False),
    ]


def test_each_act_is_in_the_audit(root: Actor, acme: Tenant) -> None:
    user, _ = staffing.invite(root, "mira", Role.VIEWER, acme.pk)
    staffing.give_role(root, user, Role.OPERATOR, acme.pk)
    staffing.take_role(root, user, acme.pk)
    staffing.fresh_link(root, user)
    staffing.forget_second_factor(root, user)
    staffing.remove(root, user)
    events = [
        (one.actor, one.action, one.subject, one.tenant_id) for one in AuditEvent.objects.of(EVERYBODY).order_by("pk")
    ]
    assert events == [
        ("user:root", "person.invited", "mira", acme.pk),
        ("user:root", "person.role_given", "mira", acme.pk),
        ("user:root", "person.role_taken", "mira", acme.pk),
        ("user:root", "person.link_made", "mira", None),
        ("user:root", "person.two_factor_off", "mira", None),
        ("user:root", "person.removed", "mira", None),
    ]
    assert AuditEvent.objects.of(EVERYBODY).order_by("pk")[1].details == {"role": "operator", "was": "viewer"}
    assert audit.verify() is None


def test_what_is_done_to_somebody_of_one_tenant_alone_is_in_its_audit(root: Actor, acme: Tenant) -> None:
    globex = Tenant.objects.create(name="globex")
    user, _ = staffing.invite(root, "mira", Role.VIEWER, acme.pk)
    other, _ = staffing.invite(root, "both", Role.VIEWER, acme.pk)
    staffing.give_role(root, other, Role.VIEWER, globex.pk)
    boss, _ = staffing.invite(root, "boss", Role.VIEWER, acme.pk)
    User.objects.filter(pk=boss.pk).update(is_superuser=True)
    for one in (user, other, anew(boss)):
        staffing.fresh_link(root, one)
        staffing.forget_second_factor(root, one)
        staffing.remove(root, one)
    acts = ("person.link_made", "person.two_factor_off", "person.removed")
    events = AuditEvent.objects.of(EVERYBODY).filter(action__in=acts)
    assert {(one.subject, one.tenant_id) for one in events} == {("mira", acme.pk), ("both", None), ("boss", None)}
    assert events.filter(tenant=acme).count() == 3


def run(*words: str) -> str:
    return heard(*words)[0]


def heard(*words: str) -> tuple[str, str]:
    """What goes to standard output, and what is said beside."""
    out, err = StringIO(), StringIO()
    call_command("people", *words, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_the_command_does_what_the_pages_do(acme: Tenant) -> None:
    assert "/dashboard/sign-in/" in run("invite", "root", "--role", "admin")
    run("invite", "mira", "--tenant", "acme")
    assert run("list") == "mira: viewer of acme\nroot: admin of every tenant\n"
    out, told = heard("role", "mira", "--role", "operator", "--tenant", "acme")
    assert (out, told.splitlines()[0]) == ("", "mira: operator of acme")
    assert "mira is signed out everywhere, and links that were open are void" in told
    assert heard("role", "mira", "--role", "viewer", "--tenant", "acme") == ("", "mira: viewer of acme\n")
    assert "mira: viewer of acme" in run("list")
    assert "/dashboard/sign-in/" in run("link", "mira")
    assert heard("two-factor-off", "mira") == (
        "",
        "mira signs in without a code. Sessions opened with one have ended.\n",
    )
    assert heard("take-role", "mira", "--tenant", "acme") == ("", "mira: no role\n")
    assert "mira: no role" in run("list")
    assert heard("remove", "mira") == ("", "mira is removed, and signed out everywhere.\n")
    assert run("list") == "root: admin of every tenant\n"
    for wrong in (
        ("remove", "root"),
        ("remove", "nobody"),
        ("role", "root", "--role", "viewer"),
        ("role", "root", "--role", "admin", "--tenant", "nowhere"),
    ):
        with pytest.raises(CommandError):
            run(*wrong)
    with pytest.raises(CommandError, match="choose from 'viewer', 'operator', 'auditor', 'admin'"):
        run("role", "root", "--role", "king")
