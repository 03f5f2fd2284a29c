"""The parts, built once per process from the settings."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from socket import gethostname

from django.conf import settings
from django.db import connections

from cache.assembly import open_cache
from cache.generation import Generation
from cache.inflight import InFlight
from cache.sharing import open_sharing
from orchestrator import failover
from orchestrator.admission.gate import Gate
from orchestrator.catalogue import Catalogue
from orchestrator.core.background import Background
from orchestrator.core.clock import Clock
from orchestrator.core.files import most_callers
from orchestrator.core.inodes import file_of
from orchestrator.core.presets import KINDS
from orchestrator.core.redis_async import Line, open_redis, socket_s
from orchestrator.core.threads import WorkerThread
from orchestrator.engines.cloud import CloudEngine, Deadlines
from orchestrator.engines.llamacpp import LlamaCpp
from orchestrator.engines.wires import wire_at
from orchestrator.engines.wires.base import Wire
from orchestrator.identity.callers import Identity
from orchestrator.ledger.rows import Repeat
from orchestrator.ledger.sharing import ASK_S
from orchestrator.ledger.together import Together
from orchestrator.ledger.writer import Ledger
from orchestrator.lifelines import Lifelines
from orchestrator.limits.limiter import Limiter
from orchestrator.metrics import Metrics, open_metrics
from orchestrator.modelhost.minilm import open_store
from orchestrator.outbound.connection import USER_AGENT, Connection
from orchestrator.outbound.places import Rules
from orchestrator.outcomes.judges import Judges
from orchestrator.outcomes.posting import Outcomes
from orchestrator.parts import Parts
from orchestrator.pictures import Pictures
from orchestrator.pricing.book import PriceBook
from orchestrator.registry.entries import ProviderEntry
from orchestrator.ruling.watch import RuleWatch
from orchestrator.vitals import Sampler
from orchestrator.watching import RegistryWatch
from orchestrator.weighing.learned import LearnedWatch
from orchestrator.weighing.router import Router
from routing.health import Health as Places

LIMITS = ("first_token", "token", "answer")  # that a provider of the registry may have of its own

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


def parts_there() -> Parts | None:
    """The parts, where they are made already; from any loop or thread, for what does not need them."""
    return _parts


def build() -> Parts:
    """Make every part, and begin to look which models the providers have."""
    clock = Clock()
    generation = Generation(settings.GENERATION_FILE)
    cache = open_cache(clock, generation)
    cache.listen()
    local = LlamaCpp(settings.MODELS_SOCKET, open_store(settings.MODELS_DIR))
    catalogue = Catalogue([local], partial(engine_for, clock=clock), PriceBook(clock))
    reads = WorkerThread("reads", most_waiting=256)
    managing = WorkerThread("managing", most_waiting=64)
    places = Places(clock)
    watch = RegistryWatch(
        catalogue,
        places,
        WorkerThread("registry"),
        generation.policy,
        worker=f"{gethostname()}:{settings.WEB_NUMBER or os.getpid()}",
        first_token_s=settings.FIRST_TOKEN_TIMEOUT_S,
    )
    watch.start()
    rules = RuleWatch(WorkerThread("rules"), generation.policy)
    rules.start()
    router = Router(clock)
    learned = LearnedWatch(router, WorkerThread("learned"))
    learned.start()
    metrics = open_metrics(settings.METRICS_DIR, settings.WEB_NUMBER)
    ledger, together = _ledger(clock, metrics)
    identity = Identity(clock, generation.policy, require_keys=settings.REQUIRE_KEYS, used=ledger.used)
    return Parts(
        clock=clock,
        generation=generation,
        identity=identity,
        lifelines=Lifelines(clock, generation.policy, identity.now_of),
        catalogue=catalogue,
        local=local,
        cache=cache,
        inflight=InFlight(open_sharing(clock)),
        ledger=ledger,
        reads=reads,
        managing=managing,
        outcomes=Outcomes(clock, managing),
        router=router,
        learned=learned,
        afterwards=Background(),
        judges=Judges(clock),
        cache_ttl_s=settings.CACHE_TTL_S,
        most_answer_bytes=settings.MAX_ANSWER,
        unsupported=settings.UNSUPPORTED,  # type: ignore[arg-type]  # one of the words that are allowed
        adapts=settings.ADAPT,  # type: ignore[arg-type]  # as above
        metrics=metrics,
        places=places,
        watch=watch,
        rules=rules,
        pictures=Pictures(Rules(settings.FETCH_PORTS, settings.FETCH_HOSTS, settings.FETCH_NETWORKS)),
        limiter=_limiter(clock),
        gate=Gate(clock, settings.QUEUE, settings.QUEUE_TIMEOUT_S),
        together=together,
    )


def _ledger(clock: Clock, metrics: Metrics) -> tuple[Ledger, Together | None]:
    """Spends budgets together with other machines where there is a Redis that is not this machine's own."""
    file = file_of(Path(str(settings.DATABASES["default"]["NAME"]))) if settings.REDIS_URL else ""
    ledger = Ledger(clock, metrics.answered, partial(count_repeats, metrics), file=file)
    if not file:
        return ledger, None
    line = Line(open_redis(timeout_s=socket_s(ASK_S), most_connections=2), ASK_S)
    lock = settings.RUN_DIR / "shares"
    together = Together(line, clock, ledger, file=file, label=gethostname(), lock=lock)
    together.start()
    return ledger, together


def _limiter(clock: Clock) -> Limiter:
    """Counts in Redis where there is one; else each web worker of this machine counts its share."""
    line = None
    if settings.REDIS_LOCATION:  # a connection of its own, and one more for when the last is still being closed
        silence_s = settings.REDIS_TIMEOUT_S
        line = Line(open_redis(timeout_s=socket_s(silence_s), most_connections=2), silence_s)
    return Limiter(line, clock, settings.WEB_WORKERS)


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
        saved = [repeat.line.row["saved_microusd"] for repeat in some if repeat.line.row["saved_why"] is not None]
        metrics.replayed(
            *(dialect, tier, model, durations_s, outcome),
            prompt_tokens=prompt,
            completion_tokens=completion,
            saved=saved,
        )


def engine_for(entry: ProviderEntry, clock: Clock) -> CloudEngine:
    """What asks a provider of the registry. It begins to look which models there are, where a loop runs."""
    deadlines = Deadlines(
        connect_s=entry.connect_timeout_s or settings.CONNECT_TIMEOUT_S,
        first_token_s=entry.first_token_timeout_s or settings.FIRST_TOKEN_TIMEOUT_S,
        token_s=entry.token_timeout_s or settings.TOKEN_TIMEOUT_S,
        answer_s=entry.answer_timeout_s or settings.ANSWER_TIMEOUT_S,
        **{f"{name}_from": f"{name}_timeout_s of {entry.name}" for name in LIMITS if _has_own(entry, name)},
    )
    wire = wire_at(KINDS[entry.kind].wire, entry.address)
    connection = connect(entry.address, entry.key, deadlines, wire)
    return CloudEngine(entry.name, connection, deadlines, clock, settings.MAX_ANSWER, wire, entry, entry.extra_body)


def _has_own(entry: ProviderEntry, limit: str) -> bool:
    return bool(getattr(entry, f"{limit}_timeout_s"))


def connect(address: str, key: str, deadlines: Deadlines, wire: Wire) -> Connection:
    """The way to one provider."""
    # Here, because it is a tenth of a worker's start, wasted where there is no provider.
    from orchestrator.outbound.transport import way_to

    headers = {"User-Agent": USER_AGENT, "Content-Type": "application/json"} | wire.headers(key)
    # The engine times its waits itself; these only end what it no longer waits for.
    return way_to(
        address, headers, key, connect_s=deadlines.connect_s, silence_s=deadlines.answer_s, most=most_callers()
    )


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
        if closing.together is not None:
            last_first.push_async_callback(closing.together.aclose)
        last_first.callback(closing.reads.close, connections.close_all)
        last_first.callback(closing.managing.close, connections.close_all)
        last_first.callback(closing.identity.close)
        if closing.outcomes is not None:
            last_first.push_async_callback(closing.outcomes.aclose)
        last_first.push_async_callback(closing.cache.aclose)
        last_first.push_async_callback(closing.catalogue.aclose)
        last_first.push_async_callback(failover.closed)
        last_first.push_async_callback(closing.limiter.aclose)
        last_first.push_async_callback(closing.lifelines.aclose)
        last_first.push_async_callback(closing.router.aclose)
        if closing.learned is not None:
            last_first.push_async_callback(closing.learned.aclose)
        if closing.rules is not None:
            last_first.push_async_callback(closing.rules.aclose)
        if closing.watch is not None:
            last_first.push_async_callback(closing.watch.aclose)
        if closing.afterwards is not None:  # it asks engines and writes, so it ends while all of that is open
            last_first.push_async_callback(closing.afterwards.aclose)
        last_first.push_async_callback(closing.inflight.aclose)
