"""Whom requests may be narrowed to: the tenants and keys that whoever looks may see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db import close_old_connections

from orchestrator.core.permissions import Reach
from orchestrator.models import ApiKey, Tenant

MOST = 200


@dataclass(frozen=True, slots=True)
class Names:
    """Tenants and keys by number."""

    tenants: Sequence[tuple[int, str]] = ()
    keys: Sequence[tuple[int, str]] = ()

    @property
    def by_number(self) -> Mapping[tuple[str, str], str]:
        """As the address has them, for words."""
        found = {("tenant", str(number)): name for number, name in self.tenants}
        return found | {("key", str(number)): name for number, name in self.keys}


def names(reach: Reach) -> Names:
    """The first of each, by name."""
    close_old_connections()
    tenants = Tenant.objects.order_by("name")
    if reach.tenants is not None:
        tenants = tenants.filter(pk__in=sorted(reach.tenants))
    keys = ApiKey.objects.of(reach).select_related("tenant").order_by("tenant__name", "name")[:MOST]
    return Names(
        [(one.pk, one.name) for one in tenants[:MOST]],
        [(one.pk, f"{one.tenant.name}, {one.name}") for one in keys],
    )
