"""The parts of one process with a fake engine in place of a model; and the whole product, with a provider beside it."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import hypothesis
import pytest
from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher
from django.core.management.commands import flush
from django.core.management.sql import sql_flush
from playwright.async_api import Browser

from cache.generation import Generation
from cache.inflight import InFlight
from cache.purges import PurgeLog
from cache.tiered import TieredCache
from cache.tiers.memory import MemoryTier
from orchestrator import wiring
from orchestrator.catalogue import Catalogue
from orchestrator.core.background import Background
from orchestrator.core.clock import Clock
from orchestrator.core.permissions import EVERYBODY
from orchestrator.core.threads import WorkerThread
from orchestrator.core.types import Caller
from orchestrator.identity.callers import Identity
from orchestrator.ledger.writer import Ledger
from orchestrator.lifelines import Lifelines
from orchestrator.metrics import Metrics
from orchestrator.models import RequestRecord, Tenant
from orchestrator.outcomes.posting import Outcomes
from orchestrator.parts import Parts
from tests.dashboard.site import chromium, running_chromium
from tests.fakes import FakeEngine
from tests.product import Product
from tests.provider import Provider
from tests.servers import RedisServer
from tests.shapes import faults, is_described

# An example that takes long says that the machine is busy.
hypothesis.settings.register_profile("busy", deadline=None)
hypothesis.settings.load_profile("busy")

_STAY = ("django_content_type", "auth_permission")
_BESIDE_S = 60.0  # that something on another loop may take


@pytest.fixture(scope="session", autouse=True)
def _cheap_passwords() -> Iterator[None]:
    """The same way of keeping passwords, at the least it can cost; processes of the product keep its price."""
    with pytest.MonkeyPatch.context() as patch:
        for name, least in {"time_cost": 1, "memory_cost": 8, "parallelism": 1}.items():
            patch.setattr(Argon2PasswordHasher, name, least)
        yield


@pytest.fixture(scope="session", autouse=True)
def _patience() -> Iterator[None]:
    """Reading may take as long as it does on a busy machine; a deadline that passes is for tests that make it so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dashboard.reading.DEADLINE_S", 60.0)
        patch.setattr("orchestrator.identity.callers.LOOKUP_DEADLINE_S", 60.0)
        patch.setattr("orchestrator.metrics.PAGE_DEADLINE_S", 60.0)
        yield


@pytest.fixture(scope="session", autouse=True)
def _quick_flush() -> Iterator[None]:
    """What migrating puts into a database stays, where it was deleted and made anew after each test that wrote."""

    def without_what_stays(*args: Any, **options: Any) -> list[str]:
        return [line for line in sql_flush(*args, **options) if not any(f'"{table}"' in line for table in _STAY)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flush, "sql_flush", without_what_stays)
        patch.setattr(flush, "emit_post_migrate_signal", lambda *_: None)
        yield


@pytest.fixture(autouse=True)
def _no_ledger_left() -> Iterator[None]:
    """No ledger outlives its test: it would look after the calls of the next one, and write into its log.

    Parts that a page made for itself end here. Their event loop is gone by then, so what lives on it, the sampler too,
    is let go, not closed.
    """
    before = set(_ledgers())
    yield
    wiring = sys.modules.get("orchestrator.wiring")
    if wiring is not None and wiring._parts is not None:
        left, wiring._parts, wiring._sampler = wiring._parts, None, None
        left.ledger.close()
    assert not set(_ledgers()) - before, "close the ledger that this test began"


def _ledgers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "ledger"]


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
    identity = Identity(clock, generation.policy, require_keys=False, used=ledger.used)
    parts = Parts(
        clock=clock,
        generation=generation,
        identity=identity,
        lifelines=Lifelines(clock, generation.policy, identity.now_of),
        catalogue=Catalogue([cloud, engine]),
        local=engine,  # type: ignore[arg-type]  # a fake
        cache=TieredCache([memory], clock, generation, PurgeLog(None)),
        inflight=InFlight(),
        ledger=ledger,
        reads=WorkerThread("reads"),
        managing=(managing := WorkerThread("managing")),
        outcomes=Outcomes(clock, managing),
        afterwards=Background(),
        cache_ttl_s=60.0,
        most_answer_bytes=1024**2,
        metrics=metrics,
    )
    monkeypatch.setattr(wiring, "_parts", parts)
    yield parts
    await wiring.close()


@pytest.fixture
async def client(parts: Parts) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the whole ASGI table, without a socket between. What management answers it is as described."""
    from orchestrator.asgi import application

    transport = httpx.ASGITransport(application, raise_app_exceptions=True)  # type: ignore[arg-type]  # an ASGI application
    hooks = {"response": [_is_as_described]}
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:11434", event_hooks=hooks) as client:
        yield client


async def _is_as_described(response: httpx.Response) -> None:
    """Hold an answer of management against docs/openapi.json; nothing else, nor what is no path of it."""
    method, path = response.request.method, response.request.url.path
    if path.startswith("/api/admin/") and is_described(method, path):
        kind = response.headers.get("Content-Type", "")
        assert faults(method, path, response.status_code, kind, await response.aread()) == []


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
        async with asyncio.timeout(60):
            while parts.ledger.written < count:
                await asyncio.sleep(0.01)
        records: list[RequestRecord] = await parts.reads.run(
            60, lambda: list(RequestRecord.objects.of(EVERYBODY).select_related("tenant").order_by("id"))
        )
        return records

    return read


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis that tests leave running."""
    server = RedisServer().start()
    yield server
    server.stop()


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis for one test to hurt."""
    server = RedisServer(takes_debug=True).start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def provider() -> Iterator[Provider]:
    """A provider on a thread and event loop of its own: the clients here block."""
    with _loop_beside() as run:
        provider = run(Provider().start())
        yield provider
        run(provider.stop())


@contextmanager
def _loop_beside() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """An event loop on a thread of its own; a function that runs something there."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result(_BESIDE_S)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(_BESIDE_S)
    loop.close()


@pytest.fixture(scope="session")
def chromium_address() -> Iterator[str]:
    """Where the browser of this process is driven: one starts in a second, and each test has its own corner of it."""
    with TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as folder, _loop_beside() as run:
        running = running_chromium(Path(folder))
        yield run(running.__aenter__())
        run(running.__aexit__(None, None, None))


@pytest.fixture
async def browser(chromium_address: str) -> AsyncIterator[Browser]:
    """A browser."""
    async with chromium(chromium_address) as browser:
        yield browser


@pytest.fixture(scope="session")
def product(provider: Provider) -> Iterator[Product]:
    """The product as people run it, for tests that leave it as they found it."""
    environment = {
        "OPENAI_API_KEY": "sk-test",
        "OPENAI_BASE_URL": provider.address,
        "ORCHESTRATOR_BODY_TIMEOUT_S": "2",
        "ORCHESTRATOR_TOKEN_TIMEOUT_S": "60",  # a browser is to stop one that stalls, in its own time
    }
    with Product(**environment) as product:
        yield product


@pytest.fixture(scope="session")
def admin_key(product: Product) -> str:
    """A key of the product's first tenant that may manage."""
    return product.issue_key("tests", "--admin")
