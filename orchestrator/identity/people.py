"""What a person may do, and for whom: the roles of a signed-in user."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models.expressions import RawSQL

from orchestrator.core.permissions import NOBODY, Permission, Reach, Role, reach_of
from orchestrator.models import Membership

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

Roles = Mapping[int | None, Role]  # by tenant; None: every one
NO_ROLES: Roles = {}
_HELD = (  # as JSON: it is read with the account itself
    "(SELECT json_group_array(json_array(tenant_id, role)) FROM orchestrator_membership WHERE user_id = auth_user.id)"
)
_KEPT = "_roles"  # on the user, which lives as long as its request


def roles_of(user: User | AnonymousUser) -> Roles:
    """The roles of `user`, by tenant. Read once for each object, so once in a request.

    A superuser, as `manage.py createsuperuser` makes one, is an admin of every tenant.
    """
    if not (user.is_authenticated and user.is_active):
        return NO_ROLES
    kept: Roles | None = getattr(user, _KEPT, None)
    if kept is None:
        kept = {tenant: Role(role) for tenant, role in _rows(user)}
        setattr(user, _KEPT, kept)
    return kept


def somebody(number: Any) -> User | None:
    """An account by its number, with the roles it has now. One query."""
    found = User.objects.annotate(_held=RawSQL(_HELD, ())).filter(pk=number).first()  # noqa: S611  # our own words
    if found is not None:
        rows = [(tenant, Role(role)) for tenant, role in json.loads(found._held)]
        setattr(found, _KEPT, dict(rows) | ({None: Role.ADMIN} if found.is_superuser else {}))
    return found


def must_have_second_factor(roles: Roles) -> bool:
    """Whether somebody with those roles must sign in with a code besides."""
    if settings.REQUIRE_TWO_FACTOR == "everybody":
        return bool(roles)
    return settings.REQUIRE_TWO_FACTOR == "admins" and Role.ADMIN in roles.values()


def _rows(user: User) -> list[tuple[int | None, str]]:
    rows: list[tuple[int | None, str]] = [*Membership.objects.filter(user=user).values_list("tenant_id", "role")]
    return [*rows, (None, Role.ADMIN)] if user.is_superuser else rows


def reach(user: User | AnonymousUser, permission: Permission) -> Reach:
    """For which tenants `user` has `permission`."""
    roles = roles_of(user)
    return reach_of(roles, permission) if roles else NOBODY
