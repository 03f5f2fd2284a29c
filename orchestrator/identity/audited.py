"""Events of the audit, as far as somebody may see them."""

from __future__ import annotations

from django.db.models import QuerySet

from orchestrator.core.permissions import Permission
from orchestrator.identity.acting import Actor
from orchestrator.models import AuditEvent


def events(
    by: Actor, *, tenant: str | None = None, action: str | None = None, before: int | None = None
) -> QuerySet[AuditEvent]:
    """Those that `by` may see, newest first; before the one of that number.

    action  `key.issued`, or all that begins with `key`
    """
    found = AuditEvent.objects.of(by.must(Permission.SEE_AUDIT)).select_related("tenant").order_by("-pk")
    if tenant is not None:
        found = found.filter(tenant=by.tenant(tenant, Permission.SEE_AUDIT))
    if action is not None:
        found = found.filter(action=action) if "." in action else found.filter(action__startswith=f"{action}.")
    return found if before is None else found.filter(pk__lt=before)
