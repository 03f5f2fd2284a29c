"""Keeps a tier's troubles from a request: deadline, breaker, counts, one log line per change of state."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from cache.entries import CacheKey, Entry
from cache.tiers.base import Tier
from cache.tiers.off import OffTier
from orchestrator.core.breaker import Breaker, Turn
from orchestrator.core.clock import Clock
from orchestrator.core.errors import Busy, OrchestratorError
from orchestrator.core.tasks import end
from orchestrator.core.threads import worked_s

T = TypeVar("T")
_LOOKS = 8  # that must work in a row: what fails now and then is not back
_LATENESS_S = 1.0  # after its deadline, which a tier keeps itself as far as this process gives it turns
_LONGEST_PAUSE_S = 2.0  # between looks, for which nobody waits
_NOBODYS = CacheKey(hash="0" * 64, tenant_id=0, namespace="", model="")  # asked only to see whether there is an answer
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class TierStats:
    """What became of the lookups in one tier since this process started."""

    hits: int = 0
    misses: int = 0
    errors: int = 0  # lookups and writes that failed or took too long
    skipped: int = 0  # lookups and writes while it was held to be out
    invalid: int = 0  # values found that were no answers
    is_out: bool = False


class Guard:
    """A tier that may be slow, broken or gone, asked in a way that cannot hurt.

    Reading and writing fail apart: a full Redis still serves. What cannot be read is not written to.
    While a tier is held to be out nobody waits for it: a task of its own looks whether it is back.
    """

    def __init__(self, tier: Tier, clock: Clock) -> None:
        self.tier = tier
        self.name = tier.name
        self.waits = tier.deadline_s is not None
        self._deadline_s = tier.deadline_s or 0.0
        self._clock = clock
        self._reads = Breaker(clock, _LONGEST_PAUSE_S)
        self._writes = Breaker(clock, _LONGEST_PAUSE_S)
        self._stats = TierStats()
        self._looking: set[asyncio.Task[None]] = set()

    async def get(self, key: CacheKey) -> Entry | None:
        """The tier's answer; None also when it has trouble."""
        if not self.waits:
            return await self.tier.get(key)
        return await self._call(lambda: self.tier.get(key), self._reads, "read")

    async def put(self, entry: Entry) -> bool:
        """Keep `entry`. Return whether the tier has it now."""
        if not self.waits:
            return await self.tier.put(entry)
        if self._reads.is_open:
            self._stats.skipped += 1
            return False
        return bool(await self._call(lambda: self.tier.put(entry), self._writes, "written"))

    async def answers(self) -> bool | None:
        """Whether a lookup works at this moment, whatever the breaker holds; None when there is no tier by choice."""
        if isinstance(self.tier, OffTier):
            return None
        try:
            async with asyncio.timeout(self._deadline_s + _LATENESS_S if self.waits else None):
                await self.tier.get(_NOBODYS)
        except Busy:
            return not self._reads.is_open  # it was not asked
        except (OrchestratorError, TimeoutError):
            return False
        return True

    def found(self, is_hit: bool) -> None:
        """Count a lookup that came to its end."""
        if is_hit:
            self._stats.hits += 1
        elif not self._reads.is_open:
            self._stats.misses += 1

    def stats(self) -> TierStats:
        """The counts so far."""
        self._stats.invalid = self.tier.invalid
        self._stats.is_out = self._reads.is_open or self._writes.is_open
        return self._stats

    async def aclose(self) -> None:
        """End the tier, and look for it no more."""
        await end(self._looking)
        await self.tier.aclose()

    async def _call(self, call: Callable[[], Coroutine[Any, Any, T]], breaker: Breaker, done: str) -> T | None:
        turn = breaker.turn()
        if turn is Turn.CALL:
            try:
                result, trouble = await self._try(call)
            except Busy:
                breaker.abandoned(turn)
                return None
            except asyncio.CancelledError:
                breaker.abandoned(turn)
                raise
            if trouble is None:
                breaker.succeeded(turn)
            elif breaker.failed(turn):
                logger.warning("Cache tier %s cannot be %s; going on without: %s", self.name, done, trouble)
            return result
        self._stats.skipped += 1
        if turn is Turn.PROBE:
            looking = asyncio.create_task(self._look(call, breaker, done))
            self._looking.add(looking)
            looking.add_done_callback(self._looking.discard)
        return None

    async def _look(self, call: Callable[[], Coroutine[Any, Any, object]], breaker: Breaker, done: str) -> None:
        """Find out whether `call` works again. Whoever asked has gone on without."""
        try:
            for _ in range(_LOOKS):
                result, trouble = await self._try(call)
                if trouble is not None:
                    breaker.failed(Turn.PROBE)
                    return
                if result is False:  # not for this tier, so it says nothing
                    breaker.abandoned(Turn.PROBE)
                    return
        except Busy:
            breaker.abandoned(Turn.PROBE)
            return
        except asyncio.CancelledError:
            breaker.abandoned(Turn.PROBE)
            raise
        was_out_s = breaker.succeeded(Turn.PROBE)
        logger.warning("Cache tier %s can be %s again, after %.1f s.", self.name, done, was_out_s)

    async def _try(self, call: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T | None, str | None]:
        """The result, and what was wrong, if anything was.

        It is the tier that is judged, not how busy this process is: what it took is what its thread or its
        connection took, where it says so. To be given no turn says nothing of it, good or bad: raises Busy.
        """
        began = self._clock.monotonic()
        worked_s.set(None)
        try:
            async with asyncio.timeout(self._deadline_s + _LATENESS_S):
                result = await call()
        except Busy:
            self._stats.skipped += 1
            raise
        except (OrchestratorError, TimeoutError) as error:
            self._stats.errors += 1
            return None, str(error) or f"silent for {self._deadline_s:g} s"
        except Exception as error:  # a bug in a tier must not cost a request
            self._stats.errors += 1
            logger.exception("Cache tier %s failed in a way it should not.", self.name)
            return None, repr(error)
        took_s = worked_s.get()
        if took_s is None:
            took_s = self._clock.monotonic() - began
        return result, f"slow: {took_s:.3f} s" if took_s > self._deadline_s / 2 else None
