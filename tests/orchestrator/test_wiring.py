"""The parts of a process, from the first to the last."""

from __future__ import annotations

import pytest

from orchestrator import wiring
from orchestrator.core.types import Caller
from orchestrator.models import RequestRecord, Tenant
from orchestrator.parts import Parts
from tests.orchestrator.test_ledger import entry


async def test_what_fails_to_close_keeps_nothing_else_from_closing(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme = await Tenant.objects.acreate(name="acme")

    async def broken() -> None:
        raise ValueError("cannot be closed")

    monkeypatch.setattr(parts.inflight, "aclose", broken)
    monkeypatch.setattr(parts.cache, "aclose", broken)
    parts.ledger.post(entry(parts.ledger, Caller(tenant_id=acme.pk, tenant="acme"), "the last"))
    with pytest.raises(ValueError, match="cannot be closed"):
        await wiring.close()
    assert (await RequestRecord.objects.aget()).request_id == "the last"
    assert not parts.ledger._thread.is_alive()
    await wiring.close()
