"""The parts of the product as a process has them, but for the engines and the clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, time, timedelta

from django.conf import settings
from django.db import connections

from cache.assembly import open_cache
from cache.generation import Generation
from cache.inflight import InFlight
from cache.sharing import open_sharing
from orchestrator.catalogue import Catalogue
from orchestrator.core.changing import By
from orchestrator.core.clock import Clock
from orchestrator.core.prices import Stated
from orchestrator.core.threads import WorkerThread
from orchestrator.identity.callers import Identity
from orchestrator.ledger.writer import Ledger
from orchestrator.lifelines import Lifelines
from orchestrator.parts import Parts
from orchestrator.pricing.book import PriceBook
from orchestrator.registry.entries import ProviderEntry, Registry
from orchestrator.rehearsal.engines import ScriptedHost, Tokens, maker
from orchestrator.rehearsal.sold import ADDRESSES, LOCAL, Asked
from orchestrator.ruling.versions import publish_document
from orchestrator.ruling.watch import RuleWatch
from orchestrator.supervisor.prepare import prepare
from orchestrator.weighing.router import Router
from routing.day.ways import Slider
from routing.predictor.predict import Predictor
from routing.predictor.priors import Priors
from routing.predictor.types import State
from routing.rules.document import Document

READY_S = 30.0


class DayClock(Clock):
    """The time of the replayed day, which is yesterday; what is measured takes as long as it does."""

    def __init__(self) -> None:
        self.midnight = datetime.combine(datetime.now(UTC).date() - timedelta(days=1), time(), UTC)
        self.seconds = 0.0

    def now(self) -> float:
        """As the last request has it."""
        return self.midnight.timestamp() + self.seconds


def rules_for(slider: Slider) -> Document:
    """One slider for all, said by a rule. Nothing is measured of scripted models, so seconds are worth nothing; nor
    can they be unsure of their words, so none is tried first.
    """
    return Document.model_validate(
        {
            "rules": [{"name": "The slider", "then": {"aim": {"share": slider.share}}}],
            "auto": {
                "explore": slider.explore,
                "dollar_weight": slider.dollar_weight,
                "second_weight": 0.0,
                "cascade": False,
            },
        }
    )


def prepared(slider: Slider) -> None:
    """Make the files in the data directory of the settings, and publish where the slider stands."""
    prepare(("web",))
    publish_document(rules_for(slider), By("replayed day", "where the slider stands"))
    connections.close_all()


@asynccontextmanager
async def parts_for(
    asked: Asked, tokens: Tokens, vectors: Mapping[str, bytes], priors: Priors, clock: DayClock
) -> AsyncIterator[Parts]:
    """Everything a request meets on its way, with its data in the data directory of the settings."""
    models = [one.model for one in asked.offered]
    host = ScriptedHost(LOCAL, [model for model in models if model.engine == LOCAL], tokens, vectors)
    catalogue = Catalogue([host], maker(models, tokens), PriceBook(clock))
    catalogue.apply(_registry(asked, clock))
    generation = Generation(settings.GENERATION_FILE)
    rules = RuleWatch(WorkerThread("rules"), generation.policy)
    router = Router(clock)
    router.predictor = Predictor(State(), priors)
    ledger = Ledger(clock)
    identity = Identity(clock, generation.policy, require_keys=False)
    parts = Parts(
        clock=clock,
        generation=generation,
        identity=identity,
        lifelines=Lifelines(clock, generation.policy, identity.now_of),
        catalogue=catalogue,
        local=host,  # type: ignore[arg-type]  # as far as it is asked
        cache=open_cache(clock, generation),
        inflight=InFlight(open_sharing(clock)),
        ledger=ledger,
        reads=WorkerThread("reads"),
        managing=WorkerThread("managing"),
        cache_ttl_s=settings.CACHE_TTL_S,
        most_answer_bytes=settings.MAX_ANSWER,
        rules=rules,
        router=router,
    )
    try:
        await _ready(parts, asked)
        yield parts
    finally:
        await _closed(parts)


def _registry(asked: Asked, clock: Clock) -> Registry:
    providers = sorted({one.provider for one in asked.offered if one.provider})
    at = datetime.fromtimestamp(clock.now(), UTC)
    return Registry(
        version=1,
        providers=tuple(ProviderEntry(name=one, kind=one, address=ADDRESSES[one]) for one in providers),
        stated=tuple(
            Stated(provider=one.provider, model=one.name, since=0.0, price=one.price(at))
            for one in asked.offered
            if one.priced_as
        ),
    )


async def _ready(parts: Parts, asked: Asked) -> None:
    """Prices are looked up, rules read and the model of vectors loaded, as in a product that runs for a while."""
    for one in asked.offered:
        await parts.catalogue.route(one.model.name)
    if parts.rules is not None:
        await parts.rules.catch_up()
    async with asyncio.timeout(READY_S):
        while (await parts.router.meanings.of("ready", parts.local)).vector is None:  # noqa: ASYNC110  # it loads beside
            await asyncio.sleep(0)


async def _closed(parts: Parts) -> None:
    if parts.rules is not None:
        await parts.rules.aclose()
    for close in (parts.router, parts.lifelines, parts.limiter, parts.catalogue, parts.cache, parts.inflight):
        await close.aclose()
    for thread in (parts.reads, parts.managing):
        thread.close(connections.close_all)
    parts.identity.close()
    await asyncio.to_thread(parts.ledger.close)
    parts.generation.close()
