"""/api/admin/v1/cache: what is kept, and purging it."""

from __future__ import annotations

import logging
from dataclasses import asdict

from django.http import HttpRequest, HttpResponseBase
from ninja import Query, Router
from pydantic import BaseModel, ConfigDict, Field

from cache.entries import Holding, Scope
from cache.tiered import Purged
from orchestrator.api.calls import show_admin_key
from orchestrator.api.managing import acted
from orchestrator.api.replies import json_response
from orchestrator.audit import note
from orchestrator.core.errors import BadRequest, Busy
from orchestrator.wiring import parts

log = logging.getLogger(__name__)
router = Router(tags=["Management"], auth=show_admin_key)


class ScopeQuery(BaseModel):
    """Which answers: all of the caller's tenant that match every field given."""

    model_config = ConfigDict(extra="forbid")

    key: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="The answer's key, 64 hex digits.")
    model: str | None = Field(None, min_length=1, max_length=255)
    namespace: str | None = Field(None, max_length=100, description="Empty: the namespace of calls that name none.")
    all: bool = Field(False, description="Must be true when nothing else narrows it down.")

    def scope(self, tenant_id: int) -> Scope:
        """The scope, within one tenant. Raises BadRequest when it would mean everything without saying so."""
        if not self.all and self.key is None and self.model is None and self.namespace is None:
            raise BadRequest("Say which answers: key, model or namespace; or all=true.")
        return Scope(tenant_id=tenant_id, hash=self.key, model=self.model, namespace=self.namespace)


@router.get("", summary="What is kept")
async def holding(request: HttpRequest, query: Query[ScopeQuery]) -> HttpResponseBase:
    """Count answers and bytes by tier, for the caller's tenant."""
    tenant_id = request.auth.tenant_id  # type: ignore[attr-defined]  # ninja sets it to what the key means
    narrowed = ScopeQuery(**(query.model_dump() | {"all": True}))
    held = await parts().cache.holding(narrowed.scope(tenant_id))
    return json_response({"tiers": {tier: _held(one) for tier, one in held.items()}})


@router.delete("", summary="Purge")
async def purge(request: HttpRequest, query: Query[ScopeQuery]) -> HttpResponseBase:
    """Forget answers in every tier, in every process of every machine before this returns.

    `unreached` names what could not be; a machine in it goes on serving until it hears of the purge.
    """
    scope = query.scope(request.auth.tenant_id)  # type: ignore[attr-defined]  # ninja sets it to what the key means
    purged = await parts().cache.purge(scope)
    await _note(request, scope, purged)
    # A tier that could not be reached still holds them, out of sight: they are not served again.
    return json_response({"purged": purged.counts, "unreached": purged.failed})


async def _note(request: HttpRequest, scope: Scope, purged: Purged) -> None:
    """The purge is done: a failure here is only logged."""
    told = {**asdict(scope), "counts": purged.counts, "unreached": list(purged.failed)}
    try:
        await acted(request, lambda by: note(by.name, "cache.purged", "answers", scope.tenant_id, told, by.request_id))
    except Busy as error:
        log.error("A purge could not be noted in the audit (%s): %s", error, told)


def _held(held: Holding | None) -> dict[str, int] | None:
    """Null when the tier cannot say."""
    return None if held is None else {"entries": held.entries, "bytes": held.bytes}
