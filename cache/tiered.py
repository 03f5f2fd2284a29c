"""The cache as everybody else sees it: tiers asked in turn, filled together, purged together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from cache.entries import CacheKey, Entry, Hit, Holding, Scope
from cache.feed import Feed, FeedUnavailable
from cache.generation import Generation
from cache.guard import Guard, TierStats
from cache.missed import Remembered
from cache.purges import Purge, PurgeLog
from cache.tiers.base import SWEEP_S, Tier
from cache.tiers.memory import MemoryTier
from orchestrator.core.clock import Clock
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.types import CacheControl

_MOST_COPYING = 64  # copies to nearer tiers under way at once; one more is not made
_LOAD_AGAIN_S = 1.0
_AGAIN_S = 1.0  # after a purge, for what slower machines were making meanwhile
_LEASE_S = 2 * SWEEP_S  # how long a process may take to sweep again, before another does it in its place

OTHER_MACHINES = "other machines"

T = TypeVar("T")
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge reached."""

    counts: dict[str, int] = field(default_factory=dict)  # tier → answers dropped
    failed: dict[str, str] = field(default_factory=dict)  # tier, other machines → why some may still be there

    @property
    def is_complete(self) -> bool:
        """Whether every tier was swept, and every other machine has done the same."""
        return not self.failed

    def add(self, other: Purged) -> None:
        """`other` was purged, too."""
        self.failed.update(other.failed)
        for tier, count in other.counts.items():
            self.counts[tier] = self.counts.get(tier, 0) + count


class TieredCache:
    """Answers kept near and far. It may save a request, never lose one.

    How a purge stays a purge. Every answer is put with the generation its question was asked under,
    and dropped when there was a purge since. A purge first counts the generation up, so that what is
    being made now will be dropped; then writes itself down with the time, so that anything older is
    out of sight even where it cannot be deleted or arrives late; then deletes; then counts up again,
    so that every process empties its memory and reads the new record.

    With machines that share a Redis there is a feed: each purge is told there, and done again on every
    machine that hears of it. A moment later each sweeps once more, since a machine may have written an
    answer to what they share just before it heard.
    """

    def __init__(
        self,
        tiers: Sequence[Tier],
        clock: Clock,
        generation: Generation,
        purges: PurgeLog,
        feed: Feed | None = None,
    ) -> None:
        """`tiers` are nearest first. `feed`: to other machines, if there may be any."""
        self._guards = [Guard(tier, clock) for tier in tiers]
        self._memory = next((tier for tier in tiers if isinstance(tier, MemoryTier)), None)
        self._clock = clock
        self._generation = generation
        self._purges = purges
        self._feed = feed
        self._remembered = Remembered()
        self._seen = generation.current()
        self._loaded: int | None = None  # the generation the purge log was read under
        self._load_again_at = 0.0
        self._loading = asyncio.Lock()
        self._is_log_unread = False
        self._copying: set[asyncio.Task[None]] = set()
        self._sweeping: set[asyncio.Task[Any]] = set()
        self._sweeping_again: asyncio.Task[None] | None = None

    def generation(self) -> int:
        """What to hand to `put` for a question asked now."""
        return self._generation.current()

    async def find(
        self, keys: Sequence[CacheKey], control: CacheControl, cap: int | None, took: dict[str, float] | None = None
    ) -> Hit | None:
        """Return the answer under one of `keys`, from the nearest tier that has it.

        keys  from `cache.keys.keys_for`.    cap  the most tokens the answer may have.
        took  is given the seconds that each tier was asked for, by its name, on top of what is there.
        Never raises for a tier's sake: one that fails or overruns its deadline has nothing.
        """
        if not control.read:
            return None
        since = self._notice()
        for depth, guard in enumerate(self._guards):
            if guard.waits and not await self._know_purges(since):
                return None
            began = self._clock.monotonic()
            hit = await self._found(guard, keys, control, cap)
            if took is not None:
                took[guard.name] = took.get(guard.name, 0.0) + self._clock.monotonic() - began
            guard.found(is_hit=hit is not None)
            if hit is not None:
                await self._copy(hit.entry, self._guards[:depth], since)
                return hit
        return None

    async def _found(
        self, guard: Guard, keys: Sequence[CacheKey], control: CacheControl, cap: int | None
    ) -> Hit | None:
        for key in keys:
            entry = await guard.get(key)
            if entry is None or not entry.serves(cap) or self._is_purged(key, entry):
                continue
            age_s = max(0.0, self._clock.now() - entry.created_at)
            if control.max_age_s is None or age_s <= control.max_age_s:
                return Hit(entry, guard.name, age_s)
        return None

    def _is_purged(self, key: CacheKey, entry: Entry) -> bool:
        """Whether it was purged since, as the answer to what was asked or as one of the model that gave it."""
        if self._purges.covers(key, entry.created_at):
            return True
        by = entry.reply.model
        return by != key.model and self._purges.covers(replace(key, model=by), entry.created_at)

    def why_missed(self, keys: Sequence[CacheKey], control: CacheControl, cap: int | None) -> str:
        """Why `find` found nothing: one of `cache.missed.REASONS`, as far as this process knows. It asks nobody."""
        return self._remembered.why(keys, control, cap, self._clock.now(), self._is_purged)

    def has_newer(self, key: CacheKey, created_at: float) -> bool:
        """Whether this process knows a later answer to the question under `key`, as after a `no-cache`."""
        return self._memory is not None and self._memory.has_newer(key, created_at)

    async def put(self, entry: Entry, since: int) -> bool:
        """Keep `entry`, whose question was asked under the generation `since`. Return whether any tier has it now.

        It has not when there was a purge meanwhile: what was purged may be what the answer was made of.
        """
        if self._notice() != since:
            return False
        # No waiting between the check and the memory tier: a purge comes before both or after both.
        is_kept = any([await guard.put(entry) for guard in self._guards])
        if is_kept:
            self._remembered.keep(entry)
        return is_kept

    async def purge(self, scope: Scope) -> Purged:
        """Drop every answer in `scope`, everywhere.

        Whatever happens none of them is served again; what was not reached is named in the result. It is
        carried to its end though the caller may not wait for it.
        Raises TimeoutError when the generation file is stuck; then nothing was done, and it can be tried again.
        """
        return await asyncio.shield(self._sees_through(self._purge(scope)))

    async def _purge(self, scope: Scope, *, is_repeat: bool = False) -> Purged:
        await self._count_up()
        purged, now = Purged(), self._clock.now()
        purge = Purge(scope, now)
        if self._feed is not None:
            # A repeat that cannot be told is let go: told later it would look like a purge, and be repeated itself.
            purge = replace(purge, is_unsent=not is_repeat, again_at=now + _AGAIN_S)
        try:
            await self._purges.add([purge], now)
        except (OrchestratorError, TimeoutError) as error:
            purged.failed["record"] = _reason(error)
        entry = None
        if self._feed is not None:
            try:
                entry = await self._feed.tell([purge], is_repeat=is_repeat)
            except FeedUnavailable as error:
                purged.failed[OTHER_MACHINES] = f"{error} They are told once it can be reached."
        await self._sweep([purge], self._guards, purged)
        try:
            await self._count_up()
        except TimeoutError as error:
            purged.failed["other processes"] = _reason(error)
        if self._feed is not None and entry is not None and (behind := await self._feed.behind(entry)):
            purged.failed[OTHER_MACHINES] = behind
        return purged

    async def _sweep(self, purges: Sequence[Purge], guards: Sequence[Guard], purged: Purged) -> None:
        for guard in guards:
            try:
                async with asyncio.timeout(SWEEP_S):
                    counts = [await guard.tier.purge(purge.scope) for purge in purges]
                    purged.counts[guard.name] = sum(counts)
            except (OrchestratorError, TimeoutError) as error:
                purged.failed[guard.name] = _reason(error)

    def listen(self) -> None:
        """Begin to hear what other machines purge; until `aclose`."""
        if self._feed is not None:
            self._feed.listen(self)

    async def hear(self, purges: Sequence[Purge]) -> list[Purge]:
        """Do here what other machines purged, and return what of it no process of this machine had done.

        Doing it twice is harmless. Raises TimeoutError when the generation file is stuck; then it was not done.
        """
        await self._count_up()
        now = self._clock.now()
        # The later of two clocks: the other machine's may be behind, and so may this one.
        heard = [
            replace(
                purge,
                at=max(purge.at, now),
                is_ours=False,
                is_unsent=False,
                again_at=now + _AGAIN_S if purge.id else None,
            )
            for purge in purges
        ]
        try:
            new = await self._purges.add(heard, now)
        except (OrchestratorError, TimeoutError):
            new = heard  # every process hears for itself, and the log writes it down when it can
        if new:
            # What cannot be swept is out of sight.
            await self._sweep(new, [guard for guard in self._guards if not guard.tier.is_shared], Purged())
        await self._count_up()
        return new

    def repeat(self, purges: Sequence[Purge]) -> None:
        """Purge once more everywhere what this machine heard of too late: it may have shared answers meanwhile."""

        async def one_after_another() -> None:
            for purge in purges:
                try:
                    await self._purge(purge.scope, is_repeat=True)
                except TimeoutError as error:
                    logger.warning("A purge that was heard of late cannot be repeated: %s", error)

        self._sees_through(one_after_another())

    def sweep_again(self) -> None:
        """Sweep once more what was purged a moment ago, on this machine or another."""
        if self._sweeping_again is None or self._sweeping_again.done():
            self._sweeping_again = self._sees_through(self._sweep_due())

    async def _sweep_due(self) -> None:
        store, now = self._purges.store, self._clock.now()
        if store is None:
            return
        try:
            due = await store.take_due_purges(now, now + _LEASE_S)
            if not due:
                return
            await self._count_up()
            self._purges.note([replace(purge, at=max(purge.at, now)) for purge in due], now)
            shared = [guard for guard in self._guards if guard.tier.is_shared]
            own = [guard for guard in self._guards if not guard.tier.is_shared]
            await self._sweep(due, own, Purged())
            await self._sweep([purge for purge in due if purge.is_ours], shared, Purged())
            await self._count_up()
            await store.purges_were_swept([purge.id for purge in due])
        except (OrchestratorError, TimeoutError) as error:
            logger.warning("A purge cannot be finished for now: %s", _reason(error))

    def _sees_through(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._sweeping.add(task)
        task.add_done_callback(self._sweeping.discard)
        return task

    async def holding(self, scope: Scope) -> dict[str, Holding | None]:
        """Count what each tier keeps of `scope`; None for one that cannot say."""
        holdings: dict[str, Holding | None] = {}
        for guard in self._guards:
            try:
                async with asyncio.timeout(SWEEP_S):
                    holdings[guard.name] = await guard.tier.holding(scope)
            except (OrchestratorError, TimeoutError):
                holdings[guard.name] = None
        return holdings

    async def holding_here(self) -> dict[str, Holding]:
        """Count what the tiers within this process keep; waits for nothing."""
        return {guard.name: await guard.tier.holding(Scope()) for guard in self._guards if not guard.waits}

    async def answering(self) -> dict[str, bool | None]:
        """Whether each tier answers at this moment; None for one that is switched off."""
        states = await asyncio.gather(*(guard.answers() for guard in self._guards))
        return {guard.name: state for guard, state in zip(self._guards, states, strict=True)}

    def stats(self) -> dict[str, TierStats]:
        """What became of this process's lookups, by tier."""
        return {guard.name: guard.stats() for guard in self._guards}

    async def aclose(self) -> None:
        """Finish what is being copied and written, and end the tiers."""
        if self._feed is not None:
            await self._feed.stop()
        while under_way := self._copying | self._sweeping:
            await asyncio.wait(under_way)
        if self._feed is not None:
            await self._feed.aclose()
        for guard in self._guards:
            await guard.aclose()

    async def _count_up(self) -> None:
        """In a thread: another process may hold the file's lock."""
        await asyncio.to_thread(self._generation.bump)

    def _notice(self) -> int:
        """The generation now; when there was a purge, what this process alone holds is forgotten first."""
        generation = self._generation.current()
        if generation != self._seen:
            self._seen = generation
            for guard in self._guards:
                guard.tier.forget()
        return generation

    async def _know_purges(self, generation: int) -> bool:
        """Read the purge log, if it was not read since `generation`. Return whether it is known now.

        While it is not, no tier outside this process is asked: an answer from there may have been purged.
        """
        if self._feed is not None and not self._feed.is_caught_up and not await self._feed.catches_up():
            return False
        if self._loaded == generation:
            return True
        async with self._loading:
            if self._loaded == generation:
                return True
            if self._clock.monotonic() < self._load_again_at:
                return False
            try:
                await self._purges.load(self._clock.now())
            except (OrchestratorError, TimeoutError) as error:
                self._load_again_at = self._clock.monotonic() + _LOAD_AGAIN_S
                if not self._is_log_unread:
                    logger.warning("The record of purges cannot be read; memory only until then: %s", _reason(error))
                self._is_log_unread = True
                return False
            if self._is_log_unread:
                logger.warning("The record of purges can be read again.")
            self._is_log_unread = False
            self._loaded = generation
            return True

    async def _copy(self, entry: Entry, nearer: Sequence[Guard], since: int) -> None:
        if not nearer or self._notice() != since:
            return
        distant = []
        for guard in nearer:
            if guard.waits:
                distant.append(guard)
            else:
                await guard.put(entry)
        if distant and len(self._copying) < _MOST_COPYING:
            task = asyncio.create_task(_put_in(distant, entry))
            self._copying.add(task)
            task.add_done_callback(self._copying.discard)


async def _put_in(guards: Sequence[Guard], entry: Entry) -> None:
    for guard in guards:
        await guard.put(entry)


def _reason(error: Exception) -> str:
    return str(error) or f"no answer within {SWEEP_S:g} s"
