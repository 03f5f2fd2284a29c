"""What people and keys may do, and the roles that hold it. One table for pages, sockets, the admin and the API."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple


class Permission(StrEnum):
    """One thing that somebody may do."""

    SEE_USAGE = "see usage"  # figures, requests, costs
    SEE_ANSWERS = "see answers"  # what the cache keeps, word for word
    PURGE_ANSWERS = "purge answers"
    SEE_REGISTRY = "see the registry"  # providers and models
    CHANGE_REGISTRY = "change the registry"
    SEE_RULES = "see rules"  # what becomes of which request
    CHANGE_RULES = "change rules"
    SEE_KEYS = "see keys"  # keys, teams and limits
    CHANGE_KEYS = "change keys"
    SEE_BUDGETS = "see budgets"  # with what was spent of them
    CHANGE_BUDGETS = "change budgets"
    SEE_PEOPLE = "see people"  # tenants, people, grants
    CHANGE_PEOPLE = "change people"
    SEE_AUDIT = "see the audit"  # who changed what
    SEE_INVOICES = "see invoices"  # what providers say was used, beside what is recorded here
    CHANGE_INVOICES = "change invoices"
    ASK = "ask models"  # from a page; a key needs no permission for it
    SEE_SETTINGS = "see settings"  # and what the doctor finds


# What a key may be kept to: families of endpoints, and dialects.
FAMILIES: tuple[str, ...] = (
    "chat",  # all that gives text, in every dialect
    "embed",
    "models",  # lists, show, ps, version
    "stats",
)
DIALECTS: tuple[str, ...] = ("ollama", "openai", "anthropic")

# What is the same for every tenant: only somebody whose role holds for all of them may.
FOR_ALL_TENANTS = frozenset(
    {
        Permission.SEE_REGISTRY,
        Permission.CHANGE_REGISTRY,
        Permission.SEE_RULES,
        Permission.CHANGE_RULES,
        Permission.SEE_INVOICES,
        Permission.CHANGE_INVOICES,
        Permission.SEE_SETTINGS,
    }
)


class Role(StrEnum):
    """A set of permissions with a name."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    ADMIN = "admin"


_LOOKS = frozenset(
    {
        Permission.SEE_USAGE,
        Permission.SEE_BUDGETS,
        Permission.SEE_REGISTRY,
        Permission.SEE_RULES,
        Permission.SEE_INVOICES,
    }
)
ALLOWED: Mapping[Role, frozenset[Permission]] = {
    Role.VIEWER: _LOOKS,
    Role.OPERATOR: _LOOKS
    | {
        Permission.SEE_ANSWERS,
        Permission.PURGE_ANSWERS,
        Permission.CHANGE_REGISTRY,
        Permission.CHANGE_RULES,
        Permission.SEE_KEYS,
        Permission.CHANGE_KEYS,
        Permission.CHANGE_BUDGETS,
        Permission.CHANGE_INVOICES,
        Permission.ASK,
        Permission.SEE_SETTINGS,
    },
    Role.AUDITOR: _LOOKS
    | {
        Permission.SEE_ANSWERS,
        Permission.SEE_KEYS,
        Permission.SEE_PEOPLE,
        Permission.SEE_AUDIT,
        Permission.SEE_SETTINGS,
    },
    Role.ADMIN: frozenset(Permission),
}


class Reach(NamedTuple):
    """Whose things somebody may see or change: those of some tenants, by number, or of every one."""

    tenants: frozenset[int] | None = frozenset()  # None: every one, also those to come

    def __contains__(self, tenant_id: object) -> bool:
        return self.tenants is None or tenant_id in self.tenants

    def covers(self, other: Reach) -> bool:
        """Whether everybody in `other` is in it too."""
        return self.tenants is None or (other.tenants is not None and other.tenants <= self.tenants)

    @property
    def is_nobody(self) -> bool:
        """Whether there is nothing in it."""
        return self.tenants is not None and not self.tenants


EVERYBODY = Reach(None)
NOBODY = Reach()


def reach_of(roles: Mapping[int | None, Role], permission: Permission) -> Reach:
    """For whom somebody with `roles`, by tenant (None: every one), has `permission`."""
    holds = {tenant for tenant, role in roles.items() if permission in ALLOWED[role]}
    if None in holds:
        return EVERYBODY
    if permission in FOR_ALL_TENANTS:
        return NOBODY
    return Reach(frozenset(tenant for tenant in holds if tenant is not None))
