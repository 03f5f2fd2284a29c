"""/api/admin/v1/cache: what is kept, and purging it."""

from __future__ import annotations

import logging
from dataclasses import asdict

from django.http import HttpRequest, HttpResponseBase
from ninja import Query, Router
from pydantic import BaseModel, ConfigDict, Field

from cache.entries import Holding, Scope
from cache.tiered import Purged
from orchestrator.api.calls import caller_of, request_id
from orchestrator.api.managing import acted, threaded
from orchestrator.api.replies import json_response
from orchestrator.audit import note
from orchestrator.core.errors import BadRequest, Busy, Forbidden, NotThere
from orchestrator.core.permissions import EVERYBODY, Permission
from orchestrator.core.tasks import see_through
from orchestrator.identity.acting import Actor, of_caller
from orchestrator.models import Tenant
from orchestrator.wiring import parts

log = logging.getLogger(__name__)
router = Router(tags=["Management"])


class ScopeQuery(BaseModel):
    """Which answers: all of one tenant that match every field given."""

    model_config = ConfigDict(extra="forbid")

    key: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="The answer's key, 64 hex digits.")
    model: str | None = Field(None, min_length=1, max_length=255)
    namespace: str | None = Field(None, max_length=100, description="Empty: the namespace of calls that name none.")
    tenant: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="Whose. Unset: the caller's own. Another's: for every tenant's key.",
    )
    all: bool = Field(False, description="Must be true when nothing else narrows it down.")

    def scope(self, tenant_id: int) -> Scope:
        """The scope, within one tenant. Raises BadRequest when it would mean everything without saying so."""
        if not self.all and self.key is None and self.model is None and self.namespace is None:
            raise BadRequest("Say which answers: key, model or namespace; or all=true.")
        return Scope(tenant_id=tenant_id, hash=self.key, model=self.model, namespace=self.namespace)


@router.get("", summary="What is kept")
async def holding(request: HttpRequest, query: Query[ScopeQuery]) -> HttpResponseBase:
    """Count answers and bytes by tier, for one tenant."""
    tenant_id = await _tenant(request, query.tenant, Permission.SEE_USAGE)
    narrowed = ScopeQuery(**(query.model_dump() | {"all": True}))
    held = await parts().cache.holding(narrowed.scope(tenant_id))
    return json_response({"tiers": {tier: _held(one) for tier, one in held.items()}})


@router.delete("", summary="Purge")
async def purge(request: HttpRequest, query: Query[ScopeQuery]) -> HttpResponseBase:
    """Forget answers in every tier, in every process of every machine before this returns.

    `unreached` names what could not be; a machine in it goes on serving until it hears of the purge.
    """
    scope = query.scope(await _tenant(request, query.tenant, Permission.PURGE_ANSWERS))
    purged = await see_through(_purge(request, scope))  # who hangs up meanwhile has purged all the same
    # A tier that could not be reached still holds them, out of sight: they are not served again.
    return json_response({"purged": purged.counts, "unreached": purged.failed})


async def _purge(request: HttpRequest, scope: Scope) -> Purged:
    purged = await parts().cache.purge(scope)
    await _note(request, scope, purged)
    return purged


async def _note(request: HttpRequest, scope: Scope, purged: Purged) -> None:
    """The purge is done, whatever its key may by now: a failure here is only logged."""
    told = {**asdict(scope), "counts": purged.counts, "unreached": list(purged.failed)}
    by = of_caller(caller_of(request), request_id(request))
    try:
        await threaded(lambda: note(by.name, "cache.purged", "answers", scope.tenant_id, told, by.request_id))
    except Busy as error:
        log.error("A purge could not be noted in the audit (%s): %s", error, told)


async def _tenant(request: HttpRequest, name: str | None, permission: Permission) -> int:
    """Whose answers are meant, by number. Raises Forbidden, whether there is such a tenant or not; NotThere."""
    caller = caller_of(request)
    if name is None or name == caller.tenant:
        return caller.tenant_id

    def find(by: Actor) -> int:
        if by.reach(permission) != EVERYBODY:
            raise Forbidden(f"This needs a key that may {permission} of every tenant.")
        found = Tenant.objects.filter(name=name).first()
        if found is None:
            raise NotThere(f"There is no tenant '{name}'.")
        return found.pk

    return await acted(request, find)


def _held(held: Holding | None) -> dict[str, int] | None:
    """Null when the tier cannot say."""
    return None if held is None else {"entries": held.entries, "bytes": held.bytes}
