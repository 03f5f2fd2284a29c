"""Who manages: a person, a key or a terminal, with what they may do and for whom."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.audit import note
from orchestrator.core.errors import Forbidden, NotThere, Unauthorized
from orchestrator.core.permissions import EVERYBODY, Permission, Reach, Role, reach_of
from orchestrator.core.scopes import check_address
from orchestrator.core.types import Caller
from orchestrator.identity.callers import WRONG
from orchestrator.identity.keys import now_of
from orchestrator.models import Membership, Tenant

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

MOST_SHOWN = 100  # characters of a name that is none
LONGEST_REASON = 200  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Somebody who manages."""

    name: str  # as the audit has it
    roles: Mapping[int | None, Role]  # by tenant; None: every one
    caller: Caller | None = None  # the key that acts, whose bounds hold for what it gives to others
    request_id: str = ""
    reason: str = ""  # in their own words
    address: str = ""  # where they are, where that is known

    def reach(self, permission: Permission) -> Reach:
        """For whom they have it."""
        return reach_of(self.roles, permission)

    def must(self, permission: Permission) -> Reach:
        """The same. Raises Forbidden where that is nobody."""
        reach = self.reach(permission)
        if reach.is_nobody:
            raise Forbidden(f"This needs a role that may {permission}.")
        return reach

    def must_for_all(self, permission: Permission) -> None:
        """Raises Forbidden unless they have it for every tenant."""
        if self.must(permission) != EVERYBODY:
            raise Forbidden(f"This needs a role that may {permission} for every tenant.")

    def must_be_unbound(self) -> None:
        """Raises Forbidden where a key acts that is kept to something: whom it lets in would not be."""
        key = self.caller
        if key and (key.model_patterns or key.dialects or key.families or key.networks or key.expires_at is not None):
            raise Forbidden(
                "Nobody gives more than they have: a key that expires, or is kept to something, lets nobody in."
            )

    def tenant(self, name: str, permission: Permission) -> Tenant:
        """A tenant for which they have it. Raises NotThere also where there is one, which they are not to know."""
        reach = self.must(permission)
        found = Tenant.objects.filter(name=name).first()
        if found is None or found.pk not in reach:  # type: ignore[comparison-overlap]  # it says itself what is in it
            raise NotThere(f"There is no tenant {name[:MOST_SHOWN]!r}.")
        return found

    def note(self, action: str, subject: str, tenant_id: int | None, details: Mapping[str, Any] | None = None) -> None:
        """Have it in the audit that they did it, and why and from where as far as that is known."""
        besides = {"reason": self.reason[:LONGEST_REASON], "from": self.address}
        told = dict(details or {}) | {name: words for name, words in besides.items() if words}
        note(self.name, action, subject, tenant_id, told, self.request_id)


def of_caller(caller: Caller, request_id: str = "") -> Actor:
    """A key that manages."""
    roles = {None if caller.reaches_all else caller.tenant_id: caller.role} if caller.role else {}
    return Actor(name=f"key:{caller.key_prefix}", roles=roles, caller=caller, request_id=request_id)


def of_caller_now(caller: Caller, address: str, request_id: str = "") -> Actor:
    """The same, with what the key may by now, read anew: for what had to wait since `caller` was let in.

    Raises Unauthorized where the key holds no longer, Forbidden where it may not be shown from `address` any more.
    """
    now = now_of([caller.key_id]).get(caller.key_id)
    if now is None:
        raise Unauthorized(WRONG)
    check_address(now, address)
    return of_caller(now, request_id)


def of_user(
    user: AbstractBaseUser | AnonymousUser, request_id: str = "", *, reason: str = "", address: str = ""
) -> Actor:
    """A person who is signed in, with the roles they have by now."""
    roles: dict[int | None, Role] = {}
    if user.is_active:
        roles = {one.tenant_id: Role(one.role) for one in Membership.objects.filter(user_id=user.pk or 0)}
        if getattr(user, "is_superuser", False):
            roles[None] = Role.ADMIN
    name = f"user:{user.get_username()}"
    return Actor(name=name, roles=roles, request_id=request_id, reason=reason, address=address)


def at_terminal() -> Actor:
    """Who runs a command here can read the master secret, and so may do everything."""
    try:
        name = f"command:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user may have no name
        name = "command"
    return Actor(name=name, roles={None: Role.ADMIN})
