"""Who is let in and who goes: inviting people, giving them roles, taking these away. Each act is written down.

Two rules hold whoever acts: nobody changes what they may do themselves, and the last admin of every tenant stays one.
And what somebody got while their account reached less, a link or a session, opens nothing of what it reaches now.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Prefetch, Q, QuerySet, Value

from orchestrator.audit import note
from orchestrator.core.errors import BadRequest, Conflict, Forbidden, NotThere
from orchestrator.core.permissions import EVERYBODY, Permission, Reach, Role, reach_of
from orchestrator.identity import second_factor
from orchestrator.identity.acting import MOST_SHOWN, Actor, of_user
from orchestrator.identity.links import INVITATION_LIFETIME, link_for
from orchestrator.identity.people import Roles
from orchestrator.identity.sessions import end_sessions
from orchestrator.models import ApiKey, Membership, SignInLink, Tenant

if TYPE_CHECKING:
    from django.contrib.auth.models import User

LONGEST_NAME = 150


def people(reach: Reach) -> QuerySet[User]:
    """Everybody with a role that `reach` holds, with those of their roles that it holds; those without any for all."""
    found = _with_roles(reach)
    return found if reach.tenants is None else found.filter(memberships__tenant__in=reach.tenants).distinct()


def listed(by: Actor, *, tenant: str | None = None, after: str | None = None) -> QuerySet[User]:
    """Those whom `by` may see, by name; with a role in one tenant; after the one called `after`."""
    found = people(by.must(Permission.SEE_PEOPLE))
    if tenant is not None:
        found = found.filter(memberships__tenant=by.tenant(tenant, Permission.SEE_PEOPLE)).distinct()
    return found if after is None else found.filter(username__gt=after)


def called(by: Actor, name: str, permission: Permission = Permission.SEE_PEOPLE) -> User:
    """One of them, by name. Raises NotThere, also for those who have no role where `by` has a say."""
    user = people(by.must(permission)).filter(username=name).first()
    if user is None:
        raise NotThere(f"There is nobody called {name[:MOST_SHOWN]!r}.")
    return user


def anew(by: Actor, user: User) -> User:
    """Somebody as they are now, with the roles that `by` may see, which may be none by now."""
    return _with_roles(by.must(Permission.SEE_PEOPLE)).get(pk=user.pk)


def person(reach: Reach, user_id: int) -> User:
    """One of them. Raises NotThere."""
    user = people(reach).filter(pk=user_id).first()
    if user is None:
        raise NotThere("There is nobody of that number.")
    return user


def signed_out(user: User) -> str:
    """What whoever gave a role that reaches further is told."""
    name = user.get_username()
    return (
        f"It reaches further than before, so {name} is signed out everywhere, and links that were open are void: make"
        f" another where there is no password. A password stays; if others may know it, remove {name} and invite anew."
    )


def is_within(user: User, reach: Reach) -> bool:
    """Whether `reach` holds everything `user` may do: only then may the account itself be touched."""
    tenants = set(user.memberships.values_list("tenant_id", flat=True))
    return all(_holds(reach, tenant) for tenant in (tenants | {None} if user.is_superuser else tenants))


def invite(actor: Actor, name: str, role: Role, tenant_id: int | None) -> tuple[User, str]:
    """Let somebody new in. Return them, and the token of a link that signs them in once; it cannot be shown again."""
    actor.must_be_unbound()
    name = get_user_model().normalize_username(name.strip())
    try:
        UnicodeUsernameValidator()(name)
    except ValidationError:
        raise BadRequest("A name is made of letters, digits and . _ @ + -") from None
    if len(name) > LONGEST_NAME:
        raise BadRequest(f"A name has {LONGEST_NAME} characters at most.")
    tenant = _tenant(actor, tenant_id)
    with transaction.atomic():
        # Names that differ in capitals alone are one to whoever reads them.
        user = get_user_model().objects.filter(username__iexact=name).first()
        if user is not None and (user.is_active or _reach(actor) != EVERYBODY):
            raise Conflict(f"{name} is there already. Choose another name, or give {name} a role.")
        if user is None:
            user = get_user_model().objects.create_user(name)
        else:  # who was removed comes back, with nothing of what they had
            user.is_active = True
            user.set_unusable_password()
            user.save(update_fields=["is_active", "password"])
        Membership.objects.create(user=user, tenant=tenant, role=role)
        token = link_for(user, INVITATION_LIFETIME, is_invitation=True)
        _note(actor, "person.invited", user, tenant_id, {"role": role})
    return user, token


def fresh_link(actor: Actor, user: User) -> str:
    """The token of another link for somebody who is let in."""
    actor.must_be_unbound()
    with transaction.atomic():
        _touches_account(actor, user)  # not before: a role elsewhere that is given meanwhile would not be seen
        token = link_for(user, INVITATION_LIFETIME, is_invitation=not user.has_usable_password())
        _note(actor, "person.link_made", user, _tenant_of(user))
    return token


def give_role(actor: Actor, user: User, role: Role, tenant_id: int | None) -> bool:
    """Give somebody a role in a tenant, or another one than they have there.

    Return whether they may do anything by it that they might not before. Then they have to sign in anew, and open links
    are void: whoever made their account, or had a link for it, could have kept one, and has no say in what is new.
    """
    _is_not_oneself(actor, user)
    actor.must_be_unbound()
    tenant = _tenant(actor, tenant_id)
    with _keeping_an_admin():
        held = of_user(user).roles
        reaches_further = _reach_further(held, {**held, tenant_id: role})
        if tenant is None and user.is_superuser:  # the flag would outdo the row
            user.is_superuser = False
            user.save(update_fields=["is_superuser"])
        before = Membership.objects.filter(user=user, tenant=tenant).first()
        was = before.role if before else None
        Membership.objects.update_or_create(user=user, tenant=tenant, defaults={"role": role})
        if reaches_further:
            SignInLink.objects.filter(user=user).delete()
            end_sessions(user)
        _note(actor, "person.role_given", user, tenant_id, {"role": role, "was": was})
    return reaches_further


def take_role(actor: Actor, user: User, tenant_id: int | None) -> None:
    """Take the role in a tenant away. Somebody without any sees nothing."""
    _is_not_oneself(actor, user)
    _tenant(actor, tenant_id)
    with _keeping_an_admin():
        if tenant_id is None and user.is_superuser:
            user.is_superuser = False
            user.save(update_fields=["is_superuser"])
        for row in Membership.objects.filter(user=user, tenant=tenant_id):
            row.delete()
            _note(actor, "person.role_taken", user, tenant_id, {"was": row.role})


def remove(actor: Actor, user: User) -> None:
    """Somebody goes: no role, no password, no second factor, no session. What they did stays written down."""
    _is_not_oneself(actor, user)
    with _keeping_an_admin():
        _touches_account(actor, user)
        tenant_id = _tenant_of(user)
        for row in Membership.objects.filter(user=user):
            row.delete()
        SignInLink.objects.filter(user=user).delete()
        second_factor.switch_off(user)
        user.is_active = user.is_superuser = user.is_staff = False
        user.set_unusable_password()
        user.save()
        end_sessions(user)
        _note(actor, "person.removed", user, tenant_id)


def forget_second_factor(actor: Actor, user: User) -> None:
    """For somebody who lost their authenticator and the paper with codes. What was signed in with them ends."""
    _is_not_oneself(actor, user)
    actor.must_be_unbound()
    with transaction.atomic():
        _touches_account(actor, user)
        second_factor.switch_off(user)
        end_sessions(user, only_with_code=True)
        _note(actor, "person.two_factor_off", user, _tenant_of(user))


@contextmanager
def _keeping_an_admin() -> Iterator[None]:
    """Take back what leaves nobody who may do everything. Two who demote each other at once take turns here."""
    with transaction.atomic():
        before = _admins()
        yield
        if before and not _admins():
            raise Conflict("The last admin of every tenant stays one. Make somebody else an admin first.")


def _admins() -> int:
    of_all = Q(memberships__tenant=None, memberships__role=Role.ADMIN)
    active = get_user_model().objects.filter(is_active=True)
    return active.filter(of_all | Q(is_superuser=True)).distinct().count()


def _tenant(actor: Actor, tenant_id: int | None) -> Tenant | None:
    """Raises Forbidden where the actor has no say, NotThere."""
    if not _holds(_reach(actor), tenant_id):
        raise Forbidden("That is for an admin of every tenant to do.")
    if tenant_id is None:
        return None
    tenant = Tenant.objects.filter(pk=tenant_id).first()
    if tenant is None:
        raise NotThere("There is no tenant of that number.")
    return tenant


def _reach(actor: Actor) -> Reach:
    """Whose people they may change. Raises Forbidden where that is nobody."""
    return actor.must(Permission.CHANGE_PEOPLE)


def _holds(reach: Reach, tenant_id: int | None) -> bool:
    return reach == EVERYBODY if tenant_id is None else reach.__contains__(tenant_id)


def _reach_further(held: Roles, then: Roles) -> bool:
    return any(not reach_of(held, what).covers(reach_of(then, what)) for what in Permission)


def _with_roles(reach: Reach) -> QuerySet[User]:
    roles = Membership.objects.select_related("tenant").order_by("tenant__name")
    if reach.tenants is not None:
        roles = roles.filter(tenant__in=reach.tenants)
    return (
        get_user_model()
        .objects.filter(is_active=True)
        .annotate(all_shown=Value(reach == EVERYBODY))
        .select_related("second_factor")
        .prefetch_related(Prefetch("memberships", queryset=roles, to_attr="roles_here"))
        .order_by("username")
    )


def _is_not_oneself(actor: Actor, user: User) -> None:
    key_id = actor.caller.key_id if actor.caller else None
    is_by_their_key = key_id is not None and ApiKey.objects.of(EVERYBODY).filter(pk=key_id, owner=user).exists()
    if is_by_their_key or actor.name == f"user:{user.get_username()}":
        raise Forbidden("Nobody changes their own role. Ask another admin.")


def _touches_account(actor: Actor, user: User) -> None:
    if not is_within(user, _reach(actor)):
        raise Forbidden(f"{user.get_username()} has a role elsewhere; that is for an admin of every tenant to do.")


def _tenant_of(user: User) -> int | None:
    """The one tenant where they have a role, whose matter they are; None where they have another one, or none."""
    tenants = set(user.memberships.values_list("tenant_id", flat=True))
    return tenants.pop() if len(tenants) == 1 and not user.is_superuser else None


def _note(
    actor: Actor, action: str, user: User, tenant_id: int | None = None, details: dict[str, Any] | None = None
) -> None:
    note(actor.name, action, user.get_username(), tenant_id, details, actor.request_id)
