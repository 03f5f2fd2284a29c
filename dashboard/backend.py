"""Django's own permissions, answered from the roles of people: what the admin and its templates ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.contrib.auth.backends import ModelBackend

from dashboard.access import reach_through
from dashboard.policy import MODELS, needed_for
from orchestrator.identity.people import roles_of, somebody

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User


class RolesBackend(ModelBackend):
    """Knows people by name and password, as Django does, and what they may from their roles alone.

    Where a list of the admin shows every tenant's rows, only what somebody may for every tenant counts.
    """

    def get_user(self, user_id: int) -> User | None:
        """Who is signed in, with their roles: every page asks for both."""
        found = somebody(user_id)
        return found if found is not None and self.user_can_authenticate(found) else None

    async def aget_user(self, user_id: int) -> User | None:
        """The same."""
        return await sync_to_async(self.get_user)(user_id)

    def has_perm(self, user_obj: User | AnonymousUser, perm: str, obj: Any = None) -> bool:
        """Whether a role that is held opens what is behind `perm`."""
        needed, for_all = needed_for(perm)
        return not reach_through(needed, roles_of(user_obj), for_all=for_all).is_nobody

    async def ahas_perm(self, user_obj: User | AnonymousUser, perm: str, obj: Any = None) -> bool:
        """The same."""
        return await sync_to_async(self.has_perm)(user_obj, perm, obj)

    def has_module_perms(self, user_obj: User | AnonymousUser, app_label: str) -> bool:
        """Whether there is a row of that app to be seen."""
        names = (model.partition(".")[2] for model in MODELS if model.startswith(f"{app_label}."))
        return any(self.has_perm(user_obj, f"{app_label}.view_{name}") for name in names)

    def get_all_permissions(self, user_obj: User | AnonymousUser, obj: Any = None) -> set[str]:
        """None are written down for a person; groups and single permissions say nothing here."""
        return set()
