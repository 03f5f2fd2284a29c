"""What every place charges at the moment, as a process knows it: found out in a thread, once, and read from memory."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from math import inf

from django.db import connections

from orchestrator.core.clock import Clock
from orchestrator.core.prices import Price, Stated
from orchestrator.core.tasks import end
from orchestrator.core.threads import WorkerThread
from orchestrator.pricing import library
from orchestrator.pricing.order import InForce, Place, in_force, said
from orchestrator.pricing.rows import numbered

log = logging.getLogger(__name__)

MOST_KNOWN = 20_000  # places; callers may name any
MOST_AT_ONCE = 500
DEADLINE_S = 10.0
PATIENCE_S = 2.0  # of a question that is the first for its model
AGAIN_S = 5.0  # after trouble


class PriceBook:
    """Prices of places. A price is known here with the number of its row, so that a charge can name it."""

    def __init__(self, clock: Clock) -> None:
        """Nothing is known yet."""
        self._clock = clock
        self._thread = WorkerThread("prices")
        self._stated: tuple[Stated, ...] = ()
        self._known: dict[Place, InForce] = {}
        self._unknown: defaultdict[str, set[str]] | None = None  # by provider; None: to be looked for among the known
        self._wanted: dict[Place, None] = {}
        self._learning: asyncio.Task[None] | None = None
        self._is_in_trouble = False
        self._renew_at = inf  # seconds since the epoch when the first of them holds no longer

    @property
    def is_behind(self) -> bool:
        """Whether places were asked for that are not known yet."""
        return bool(self._wanted) or self._learning is not None

    def go_by(self, stated: tuple[Stated, ...]) -> None:
        """Take this for what operators say from now on."""
        if stated != self._stated:
            self._stated = stated
            self._known.clear()
            self._unknown = None

    def of(self, place: Place) -> InForce:
        """What a place charges, from memory. What is not known, or not any more, is found out by `catch_up`.

        Until then it is what can be told without looking anything up, under no number.
        """
        now = self._clock.now()
        known = self._known.get(place)
        if known is not None and (known.until is None or now < known.until):
            return known
        found = said(place, self._stated, now)
        if place.is_paid or found.price is not None:
            self._wanted[place] = None
        return found

    def known(self, place: Place) -> Price | None:
        """What a place charges, where that was asked before; nothing is looked up for it."""
        known = self._known.get(place)
        return known.price if known is not None else None

    def has_said(self, provider: str) -> bool:
        """Whether an operator said anything of what models of a provider charge."""
        return any(one.provider == provider for one in self._stated)

    async def renew(self) -> None:
        """The same for what is known and holds no longer, before anybody asks for it."""
        now = self._clock.now()
        if now >= self._renew_at:
            ends = {place: known.until for place, known in self._known.items() if known.until is not None}
            self._wanted |= dict.fromkeys(place for place, until in ends.items() if until <= now)
            self._renew_at = min((until for until in ends.values() if until > now), default=inf)
        await self.catch_up()

    async def catch_up(self) -> None:
        """Return when all that was asked for is known, or that takes too long for a question to wait."""
        if self._wanted and self._learning is None:
            self._learning = asyncio.create_task(self._learn(), name="prices")
        if self._learning is not None:
            await asyncio.wait({self._learning}, timeout=PATIENCE_S)

    def unknown(self, provider: str) -> set[str]:
        """Models of a provider that were asked for, and that charge nobody knows what."""
        if self._unknown is None:
            self._unknown = defaultdict(set)
            for place, known in self._known.items():
                if place.is_paid and known.price is None:
                    self._unknown[place.provider].add(place.model)
        return self._unknown.get(provider, set())

    async def load(self) -> None:
        """Have the table loaded before the first question needs it."""
        try:
            await self._thread.run(DEADLINE_S, library.load)
        except Exception as error:  # noqa: BLE001  # whoever looks a price up tries again
            self._say(error)

    async def aclose(self) -> None:
        """Look nothing up any more."""
        await end([self._learning] if self._learning else [])
        self._thread.close(connections.close_all)

    async def _learn(self) -> None:
        try:
            while places := list(islice(self._wanted, MOST_AT_ONCE)):
                stated, now = self._stated, self._clock.now()
                found = [said(place, stated, now) for place in places]
                try:
                    found = await self._thread.run(DEADLINE_S, look_up, places, stated, now)
                    if stated is self._stated:  # a question that cannot wait for the rows goes by this
                        self._known |= {place: _for_a_while(one, now) for place, one in zip(places, found, strict=True)}
                    found = await self._thread.run(DEADLINE_S, with_numbers, places, found)
                    self._say()
                except Exception as error:  # noqa: BLE001  # whatever it is, what was found so far holds
                    found = [_for_a_while(one, now) for one in found]
                    self._say(error)
                if stated is self._stated:  # else they are asked for again, of what operators say by now
                    self._keep(zip(places, found, strict=True))
        finally:
            self._learning = None

    def _keep(self, found: Iterable[tuple[Place, InForce]]) -> None:
        self._unknown = None
        for place, known in found:
            self._wanted.pop(place, None)
            self._known.pop(place, None)
            self._known[place] = known
            self._renew_at = min(self._renew_at, known.until or inf)
        for place in list(islice(self._known, max(len(self._known) - MOST_KNOWN, 0))):
            del self._known[place]

    def _say(self, error: Exception | None = None) -> None:
        if error is not None and not self._is_in_trouble:
            log.warning("prices cannot be looked up, or not kept: %s", str(error) or type(error).__name__)
        elif error is None and self._is_in_trouble:
            log.warning("prices can be looked up and kept again")
        self._is_in_trouble = error is not None


def look_up(places: list[Place], stated: tuple[Stated, ...], at: float) -> list[InForce]:
    """What places charge. It may load the table: not on an event loop."""
    return [in_force(place, stated, at) for place in places]


def with_numbers(places: list[Place], found: list[InForce]) -> list[InForce]:
    """The same prices, each with the number of its row. It writes the database: not on an event loop."""
    priced = [
        (place.provider, place.model, one.price)
        for place, one in zip(places, found, strict=True)
        if one.price is not None
    ]
    prices = iter(numbered(priced))
    return [one if one.price is None else replace(one, price=next(prices)) for one in found]


def _for_a_while(found: InForce, now: float) -> InForce:
    return replace(found, until=min(found.until or now + AGAIN_S, now + AGAIN_S))
