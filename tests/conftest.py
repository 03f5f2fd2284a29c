"""The parts of one process with a fake engine in place of a model; and the whole product, with a provider beside it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
from django.conf import settings

from cache.generation import Generation
from cache.inflight import InFlight
from cache.purges import PurgeLog
from cache.tiered import TieredCache
from cache.tiers.memory import MemoryTier
from orchestrator import wiring
from orchestrator.catalogue import Catalogue
from orchestrator.core.clock import Clock
from orchestrator.core.permissions import EVERYBODY
from orchestrator.core.threads import WorkerThread
from orchestrator.core.types import Caller
from orchestrator.identity.callers import Identity
from orchestrator.ledger.writer import Ledger
from orchestrator.metrics import Metrics
from orchestrator.models import RequestRecord, Tenant
from orchestrator.parts import Parts
from tests.fakes import FakeEngine
from tests.product import Product
from tests.provider import Provider


@pytest.fixture
def engine() -> FakeEngine:
    """What answers as the local model `tiny`."""
    return FakeEngine()


@pytest.fixture
def cloud() -> FakeEngine:
    """What answers as `openai/big`, for money."""
    return FakeEngine("openai", "openai/big", is_paid=True)


@pytest.fixture
async def parts(
    transactional_db: None, tmp_path: Path, engine: FakeEngine, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Parts]:
    """Everything an answer is made with: the real thing but for the engines."""
    clock = Clock()
    monkeypatch.setattr(settings, "GENERATION_FILE", tmp_path / "generation")  # signals count up there, too
    generation = Generation(settings.GENERATION_FILE)
    memory = MemoryTier(clock, 10 * 1024**2)
    metrics = Metrics()
    ledger = Ledger(clock, metrics.answered, partial(wiring.count_repeats, metrics))
    parts = Parts(
        clock=clock,
        generation=generation,
        identity=Identity(clock, generation.policy, require_keys=False, used=ledger.used),
        catalogue=Catalogue([cloud, engine]),
        local=engine,  # type: ignore[arg-type]  # a fake
        cache=TieredCache([memory], clock, generation, PurgeLog(None)),
        inflight=InFlight(),
        ledger=ledger,
        reads=WorkerThread("reads"),
        managing=WorkerThread("managing"),
        cache_ttl_s=60.0,
        most_answer_bytes=1024**2,
        metrics=metrics,
    )
    monkeypatch.setattr(wiring, "_parts", parts)
    yield parts
    await wiring.close()


@pytest.fixture
async def client(parts: Parts) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the whole ASGI table, without a socket between."""
    from orchestrator.asgi import application

    transport = httpx.ASGITransport(application, raise_app_exceptions=True)  # type: ignore[arg-type]  # an ASGI application
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:11434") as client:
        yield client


@pytest.fixture
def cast(transactional_db: None) -> dict[str, Caller]:
    """Alice and bob share a tenant; charlie is of another."""
    acme, globex = (Tenant.objects.create(name=name) for name in ("acme", "globex"))
    return {
        "alice": Caller(tenant_id=acme.pk, tenant="acme", key_name="alice"),
        "bob": Caller(tenant_id=acme.pk, tenant="acme", key_name="bob"),
        "charlie": Caller(tenant_id=globex.pk, tenant="globex", key_name="charlie"),
    }


@pytest.fixture
def recorded(parts: Parts) -> Callable[..., object]:
    """A function that waits until `count` records are written, and returns them oldest first."""

    async def read(count: int) -> list[RequestRecord]:
        async with asyncio.timeout(10):
            while parts.ledger.written < count:
                await asyncio.sleep(0.01)
        records: list[RequestRecord] = await parts.reads.run(
            5, lambda: list(RequestRecord.objects.of(EVERYBODY).select_related("tenant").order_by("id"))
        )
        return records

    return read


@pytest.fixture(scope="session")
def provider() -> Iterator[Provider]:
    """A provider on a thread and event loop of its own: the clients here block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    provider = asyncio.run_coroutine_threadsafe(Provider().start(), loop).result(10)
    yield provider
    asyncio.run_coroutine_threadsafe(provider.stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture(scope="session")
def product(provider: Provider) -> Iterator[Product]:
    """The product as people run it, for tests that leave it as they found it."""
    environment = {
        "OPENAI_API_KEY": "sk-test",
        "OPENAI_BASE_URL": provider.address,
        "ORCHESTRATOR_BODY_TIMEOUT_S": "2",
        "ORCHESTRATOR_TOKEN_TIMEOUT_S": "2",
    }
    with Product(**environment) as product:
        yield product


@pytest.fixture(scope="session")
def admin_key(product: Product) -> str:
    """A key of the product's first tenant that may manage."""
    return product.issue_key("tests", "--admin")
