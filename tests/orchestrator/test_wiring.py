"""The parts of a process, from the first to the last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from orchestrator import wiring
from orchestrator.core.permissions import EVERYBODY
from orchestrator.core.types import Caller, ChatRequest, Chunk
from orchestrator.identity.keys import default_caller
from orchestrator.models import RequestRecord, Tenant
from orchestrator.parts import Parts
from orchestrator.pipeline import answer
from tests.fakes import FakeEngine
from tests.orchestrator.test_ledger import entry


@pytest.mark.parametrize("closing_s", [0.0, 0.01, 0.1])
async def test_a_paid_call_that_is_under_way_at_the_end_is_recorded(
    parts: Parts, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch, closing_s: float
) -> None:
    """The server cancels what answers it, and does not wait, before it has the parts closed."""
    began = asyncio.Event()

    async def chat(*_: object) -> AsyncIterator[Chunk]:
        try:
            yield Chunk(text="expensive")
            began.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(closing_s)  # as the connection to the provider is closed

    monkeypatch.setattr(cloud, "chat", chat)
    caller = await asyncio.to_thread(default_caller)

    async def ask() -> None:
        begun = await answer(ChatRequest(model="openai/big", request_id="paid"), caller, parts)
        async for _ in begun.chunks:
            pass

    asking = asyncio.create_task(ask())
    await began.wait()
    asking.cancel()
    await wiring.close()
    await asyncio.gather(asking, return_exceptions=True)
    record = await RequestRecord.objects.of(EVERYBODY).aget()
    assert (record.request_id, record.outcome, record.is_paid) == ("paid", "cancelled", True)


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
    assert (await RequestRecord.objects.of(EVERYBODY).aget()).request_id == "the last"
    assert not parts.ledger._thread.is_alive()
    await wiring.close()
