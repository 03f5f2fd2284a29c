"""The parts, built once per process from the settings."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial

import httpx
from django.conf import settings
from django.db import connections

from cache.assembly import open_cache
from cache.generation import Generation
from cache.inflight import InFlight
from cache.sharing import open_sharing
from orchestrator import __version__
from orchestrator.catalogue import Catalogue
from orchestrator.core.clock import Clock
from orchestrator.core.files import most_callers
from orchestrator.core.presets import PRESETS, is_at
from orchestrator.core.threads import WorkerThread
from orchestrator.engines.cloud import CloudEngine, Deadlines
from orchestrator.engines.connection import Connection
from orchestrator.engines.llamacpp import LlamaCpp
from orchestrator.engines.wires import wire_at
from orchestrator.engines.wires.base import Wire
from orchestrator.identity import Identity
from orchestrator.ledger.rows import Repeat
from orchestrator.ledger.writer import Ledger
from orchestrator.metrics import Metrics, open_metrics
from orchestrator.modelhost.minilm import open_store
from orchestrator.parts import Parts
from orchestrator.vitals import Sampler

_parts: Parts | None = None
_sampler: Sampler | None = None


def parts() -> Parts:
    """The parts of this process; the first call must come from the event loop they will live on."""
    global _parts, _sampler
    if _parts is None:
        _parts = build()
        _sampler = Sampler(_parts)
        _sampler.start()
    return _parts


def build() -> Parts:
    """Make every part, and begin to look which models the providers have."""
    clock = Clock()
    generation = Generation(settings.GENERATION_FILE)
    cache = open_cache(clock, generation)
    cache.listen()
    local = LlamaCpp(settings.MODELS_SOCKET, open_store(settings.MODELS_DIR))
    cloud = cloud_engines(clock)
    catalogue = Catalogue([*cloud, local])  # a provider's prefix says all; any other name is a local one
    for engine in cloud:
        engine.look()
    metrics = open_metrics(settings.METRICS_DIR, settings.WEB_NUMBER)
    return Parts(
        clock=clock,
        generation=generation,
        identity=Identity(clock, generation.policy, require_keys=settings.REQUIRE_KEYS),
        catalogue=catalogue,
        local=local,
        cache=cache,
        inflight=InFlight(open_sharing(clock)),
        ledger=Ledger(clock, metrics.answered, partial(count_repeats, metrics)),
        reads=WorkerThread("reads", most_waiting=256),
        cache_ttl_s=settings.CACHE_TTL_S,
        most_answer_bytes=settings.MAX_ANSWER,
        unsupported=settings.UNSUPPORTED,  # type: ignore[arg-type]  # one of the words that are allowed
        metrics=metrics,
    )


def count_repeats(metrics: Metrics, repeats: Sequence[Repeat]) -> None:
    """Tell the metrics of requests that went the short way."""
    alike: dict[tuple[str, str, str, str], list[Repeat]] = {}
    for repeat in repeats:
        row = repeat.line.row
        alike.setdefault((row["dialect"], row["tier"], row["model"], row["outcome"]), []).append(repeat)
    for (dialect, tier, model, outcome), some in alike.items():
        prompt, completion = (
            sum(repeat.line.row[kind] for repeat in some) for kind in ("prompt_tokens", "completion_tokens")
        )
        durations_s = [repeat.took / 1e6 for repeat in some]
        metrics.replayed(dialect, tier, model, durations_s, outcome, prompt_tokens=prompt, completion_tokens=completion)


def cloud_engines(clock: Clock) -> list[CloudEngine]:
    """An engine for each provider whose key or address is set."""
    deadlines = Deadlines(
        connect_s=settings.CONNECT_TIMEOUT_S,
        first_token_s=settings.FIRST_TOKEN_TIMEOUT_S,
        token_s=settings.TOKEN_TIMEOUT_S,
        answer_s=settings.ANSWER_TIMEOUT_S,
    )
    engines = []
    for provider in PRESETS:
        key, given = settings.PROVIDER_KEYS[provider.name], settings.PROVIDER_ADDRESSES[provider.name]
        address = given or (provider.address if key else "")
        if not address or is_at(address, settings.ADDRESS.host, settings.ADDRESS.port):  # see `checks`
            continue
        wire = wire_at(provider.wire, address)
        connection = connect(address, key, deadlines, wire)
        engines.append(CloudEngine(provider.name, connection, deadlines, clock, settings.MAX_ANSWER, wire, provider))
    return engines


def connect(address: str, key: str, deadlines: Deadlines, wire: Wire) -> Connection:
    """The way to one provider."""
    # Here, because it is a tenth of a worker's start, wasted where there is no provider.
    from orchestrator.engines.transport import BoundedTransport

    headers = {"User-Agent": f"ai-orchestrator/{__version__}", "Content-Type": "application/json"}
    headers |= wire.headers(key)
    # The engine times its waits itself; these only end what it no longer waits for.
    timeout = httpx.Timeout(deadlines.answer_s, connect=deadlines.connect_s)
    return Connection(address, headers, timeout, BoundedTransport(most_callers()), key)


async def close() -> None:
    """Write what waits, close what is open."""
    global _parts, _sampler
    if _parts is None:
        return
    closing, _parts = _parts, None
    async with AsyncExitStack() as last_first:  # each, whatever becomes of the others
        last_first.callback(closing.metrics.close)
        last_first.callback(closing.generation.close)
        if _sampler is not None:
            last_first.push_async_callback(_sampler.aclose)
            _sampler = None
        last_first.push_async_callback(asyncio.to_thread, closing.ledger.close)
        last_first.callback(closing.reads.close, connections.close_all)
        last_first.callback(closing.identity.close)
        last_first.push_async_callback(closing.cache.aclose)
        last_first.push_async_callback(closing.catalogue.aclose)
        last_first.push_async_callback(closing.inflight.aclose)
