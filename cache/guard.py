"""Keeps a tier's troubles from a request: deadline, breaker, counts, one log line per change of state."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from cache.breaker import Breaker, Turn
from cache.entries import CacheKey, Entry
from cache.tiers.base import Tier
from cache.tiers.off import OffTier
from orchestrator.core.clock import Clock
from orchestrator.core.errors import OrchestratorError

T = TypeVar("T")
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

    Reading and writing fail apart: a full Redis still serves.
    """

    def __init__(self, tier: Tier, clock: Clock) -> None:
        self.tier = tier
        self.name = tier.name
        self.waits = tier.deadline_s is not None
        self._deadline_s = tier.deadline_s or 0.0
        self._clock = clock
        self._reads = Breaker(clock)
        self._writes = Breaker(clock)
        self._stats = TierStats()

    async def get(self, key: CacheKey) -> Entry | None:
        """The tier's answer; None also when it has trouble."""
        if not self.waits:
            return await self.tier.get(key)
        return await self._call(self.tier.get(key), self._reads, "read")

    async def put(self, entry: Entry) -> bool:
        """Keep `entry`. Return whether the tier has it now."""
        if not self.waits:
            return await self.tier.put(entry)
        return bool(await self._call(self.tier.put(entry), self._writes, "written"))

    async def answers(self) -> bool | None:
        """Whether a lookup works at this moment, whatever the breaker holds; None when there is no tier by choice."""
        if isinstance(self.tier, OffTier):
            return None
        try:
            async with asyncio.timeout(self._deadline_s if self.waits else None):
                await self.tier.get(_NOBODYS)
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

    async def _call(self, call: Coroutine[Any, Any, T], breaker: Breaker, done: str) -> T | None:
        turn = breaker.turn()
        if turn is Turn.NONE:
            self._stats.skipped += 1
            call.close()  # a coroutine that is dropped unused complains
            return None
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._deadline_s):
                result = await call
        except asyncio.CancelledError:
            breaker.abandoned(turn)
            raise
        except (OrchestratorError, TimeoutError) as error:
            self._failed(breaker, turn, done, str(error) or f"silent for {self._deadline_s:g} s")
            return None
        except Exception as error:  # a bug in a tier must not cost a request either
            logger.exception("Cache tier %s failed in a way it should not.", self.name)
            self._failed(breaker, turn, done, repr(error))
            return None
        took_s = self._clock.monotonic() - began
        if took_s > self._deadline_s / 2:
            self._failed(breaker, turn, done, f"slow: {took_s:.3f} s", is_error=False)
        elif (was_out_s := breaker.succeeded(turn)) is not None:
            logger.warning("Cache tier %s can be %s again, after %.1f s.", self.name, done, was_out_s)
        return result

    def _failed(self, breaker: Breaker, turn: Turn, done: str, why: str, *, is_error: bool = True) -> None:
        self._stats.errors += is_error
        if breaker.failed(turn):
            logger.warning("Cache tier %s cannot be %s; going on without: %s", self.name, done, why)
