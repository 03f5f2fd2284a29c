"""Django's own permissions, answered from the roles of people: what the admin and its templates ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.contrib.auth.backends import ModelBackend

from dashboard.policy import MODELS, needed_for
from orchestrator.core.permissions import EVERYBODY
from orchestrator.identity.people import reach

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User


class RolesBackend(ModelBackend):
    """Knows people by name and password, as Django does, and what they may from their roles alone.

    The admin shows every tenant's rows, so only what somebody may for every tenant counts there.
    """

    def has_perm(self, user_obj: User | AnonymousUser, perm: str, obj: Any = None) -> bool:
        """Whether the role behind `perm` is held for every tenant."""
        needed = needed_for(perm)
        return needed is not None and reach(user_obj, needed) == EVERYBODY

    async def ahas_perm(self, user_obj: User | AnonymousUser, perm: str, obj: Any = None) -> bool:
        """The same."""
        return await sync_to_async(self.has_perm)(user_obj, perm, obj)

    def has_module_perms(self, user_obj: User | AnonymousUser, app_label: str) -> bool:
        """Whether there is a row of that app to be seen."""
        models = (model for model in MODELS if model.startswith(f"{app_label}."))
        return any(reach(user_obj, MODELS[model].see) == EVERYBODY for model in models)

    def get_all_permissions(self, user_obj: User | AnonymousUser, obj: Any = None) -> set[str]:
        """None are written down for a person; groups and single permissions say nothing here."""
        return set()
