"""What this process asks of Redis about its buckets and places, and tells it of them."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from orchestrator.core.clock import Clock
from orchestrator.core.ids import hex_id
from orchestrator.core.limits import Limit
from orchestrator.core.tasks import end
from orchestrator.limits.buckets import Bucket, Lease
from orchestrator.limits.meter import Receipt
from orchestrator.limits.scripts import BEATS, GIVES_BACK, TAKES
from orchestrator.limits.shared import Shared

log = logging.getLogger(__name__)
BEAT_S = 1.0  # how often Redis is told who holds a place, and asked whether it has forgotten anything
LOOK_BEATS = 10
HELD_S = 4.0  # how long a place is held after the last word of its process
MOST_QUIET = 4096  # buckets that are kept though a new one would do
MOST_BUSY = 50_000
_BATCH = 64


@dataclass(slots=True, eq=False)
class Places:
    """How many may be at a time, and who of this process is."""

    key: str
    limit: Limit
    members: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked of one bucket: so much is needed, so much wanted besides."""

    bucket: Bucket
    need: int = 0
    extra: int = 0


@dataclass(frozen=True, slots=True)
class Charge:
    """What was charged, and what it takes to give some of it back."""

    bucket: Bucket
    units: int
    receipt: Receipt
    life: str
    is_alone: bool = False


class _Sent(NamedTuple):
    """What Redis was told of a bucket."""

    life: str
    floor: float
    owed: float


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of asking: a charge for each bucket, or who refused."""

    charges: Sequence[Charge]
    refused: Ask | Places | None = None


class Counting:
    """The buckets and places of this process, and its side of what all processes count together."""

    def __init__(self, shared: Shared, clock: Clock, workers: int, forgot: Callable[[], None]) -> None:
        """What it works with.

        workers  share what there is, where there is no Redis to ask.
        forgot   is called when buckets and places were let go of: whoever has some asks for them anew.
        """
        self.shared = shared
        self._clock = clock
        self._workers = workers
        self._buckets: dict[str, Bucket] = {}
        self._places: dict[str, Places] = {}
        self._leased: set[Bucket] = set()
        self._unused: list[Charge] = []  # to be given back in a moment
        self._owing: set[Bucket] = set()  # to be told of in a moment
        self._restored = ""  # the life of Redis in which it was last told all there is to tell
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._forgot = forgot
        self.leases = 0  # that were taken

    def start(self) -> None:
        """Look after what is held, from now on."""
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name="limits")

    def bucket(self, limit: Limit, key: str) -> Bucket:
        """The one of that key; what was used of it under another amount stays used."""
        known = self._buckets.get(key)
        if known is not None and known.limit == limit:
            return known
        bucket = Bucket(key, limit, self.shared, self._workers, self._clock.monotonic(), self._renew)
        if known is not None:
            bucket.succeed(known)
            self.begin(self._give_leases_back([(bucket, lease) for lease in known.give_up()]))
        self._buckets[key] = bucket
        return bucket

    def places(self, limit: Limit, key: str) -> Places:
        """The places of that key."""
        known = self._places.setdefault(key, Places(key, limit))
        known.limit = limit
        return known

    async def take(self, asks: Sequence[Ask], places: Sequence[Places] = (), member: str = "") -> Taken | None:
        """Charge what is needed, and take a place in each, all or nothing; None when Redis does not say."""
        now = self._clock.monotonic()
        sent = [_Sent(ask.bucket.life, ask.bucket.floor(now), ask.bucket.owed) for ask in asks]
        arguments: list[str | int] = [hex_id(16), len(asks), member, int(HELD_S * 1e6)]
        for ask, said in zip(asks, sent, strict=True):
            bucket, rate = ask.bucket, ask.bucket.rate
            arguments += (rate.amount, rate.per_s * 1_000_000, rate.burst, ask.need, ask.extra)
            arguments += (repr(said.floor), said.life, repr(said.owed))
            bucket.owed = 0.0
            bucket.is_asking = bucket.is_asking or ask.extra > 0
        arguments += [one.limit.amount for one in places]
        keys = [*(ask.bucket.key for ask in asks), *(one.key for one in places)]
        answer = None
        try:
            answer = await self.shared.ask(TAKES, keys, arguments)
        finally:
            for ask, said in zip(asks, sent, strict=True):
                if ask.extra:
                    ask.bucket.is_asking = False
                if answer is None:
                    ask.bucket.owed += said.owed
        return None if answer is None else self._taken(answer, asks, sent, places)

    def _taken(self, answer: list[Any], asks: Sequence[Ask], sent: Sequence[_Sent], places: Sequence[Places]) -> Taken:
        now = self._clock.monotonic()
        life, redis_s, refused = answer[0].decode(), float(answer[1]) / 1e6, int(answer[2])
        if self.shared.lives(life):
            self.begin(self._restore())
        charges = []
        for place, (ask, said) in enumerate(zip(asks, sent, strict=True)):
            if said.life != life and ask.bucket.life == said.life:
                # Redis forgot after it had charged what this process had not heard of when it named its floor.
                ask.bucket.owed += max(0.0, ask.bucket.meter.level - said.floor)
            level, given, extra = (float(word) for word in answer[3 + 3 * place : 6 + 3 * place])
            ask.bucket.told(life, level, given, now)
            charges.append(Charge(ask.bucket, ask.need, Receipt(level, redis_s, given), life))
            if extra:
                ask.bucket.leased(int(extra), charges[-1].receipt, now)
                self._leased.add(ask.bucket)
                self.leases += 1
        asked: list[Ask | Places] = [*asks, *places]
        return Taken(charges, asked[refused - 1] if refused else None)

    def _renew(self, bucket: Bucket) -> None:
        """Fetch the next lease, while there is still some of this one."""
        bucket.is_asking = True
        self.begin(self.tell(Ask(bucket, extra=bucket.wanted(self._clock.monotonic()))))

    async def tell(self, *asks: Ask) -> None:
        """Ask for what is never refused."""
        await self.take(asks)

    async def give_back(self, *charges: Charge) -> None:
        """Tell Redis what was charged and not used; what it does not hear, or has forgotten, drains by itself."""
        current = [charge for charge in charges if charge.life == self.shared.life]
        for start in range(0, len(current), _BATCH):
            some = current[start : start + _BATCH]
            arguments: list[str | int] = [self.shared.life]
            for charge in some:
                rate, receipt = charge.bucket.rate, charge.receipt
                arguments += (rate.amount, rate.per_s * 1_000_000, charge.units)
                arguments += (repr(receipt.level), repr(receipt.at * 1e6), repr(receipt.given))
            await self.shared.ask(GIVES_BACK, [charge.bucket.key for charge in some], arguments)

    def settle_soon(self, unused: Charge | None = None, owing: Bucket | None = None) -> None:
        """Give back what was not used, and tell what is owed; many calls that end at once are told of together."""
        is_first = not self._unused and not self._owing
        if unused is not None:
            self._unused.append(unused)
        if owing is not None:
            self._owing.add(owing)
        if is_first:
            self.begin(self._settle())

    async def _settle(self) -> None:
        unused, self._unused = self._unused, []
        owing, self._owing = list(self._owing), set()
        await self.give_back(*unused)
        for start in range(0, len(owing), _BATCH):
            await self.tell(*map(Ask, owing[start : start + _BATCH]))

    async def _give_leases_back(self, leases: Iterable[tuple[Bucket, Lease]]) -> None:
        unused = [Charge(bucket, lease.left, lease.receipt, lease.life) for bucket, lease in leases if lease.left]
        await self.give_back(*unused)

    async def _keep(self) -> None:
        for beat in itertools.count(1):
            await asyncio.sleep(BEAT_S)
            try:
                await self._look_after(beat)
            except Exception:  # without another beat, places that are held would be free in a moment
                log.exception("Limits: places and leases could not be looked after this time")

    async def _look_after(self, beat: int) -> None:
        now = self._clock.monotonic()
        over = [(bucket, lease) for bucket in self._leased for lease in bucket.expire(now)]
        self._leased = {bucket for bucket in self._leased if bucket.lease is not None}
        await self._give_leases_back(over)
        await self.beat()
        if beat % LOOK_BEATS == 0:  # to look at every bucket takes milliseconds where there are many
            await self._restore()
            self._forget(now)

    async def beat(self) -> None:
        """Say who holds a place; hear whether Redis is there, and whether it has forgotten."""
        if not self.shared.exists:
            return
        held = [places for places in self._places.values() if places.members]
        arguments: list[str | int] = [hex_id(16), int(HELD_S * 1e6)]
        for places in held:
            arguments += (len(places.members), *places.members)
        was_alone = self.shared.is_alone
        answer = await self.shared.ask(BEATS, [places.key for places in held], arguments)
        if answer is not None:
            self.shared.lives(answer[0].decode())
            if was_alone or self.shared.life != self._restored:
                await self._restore()

    async def _restore(self) -> None:
        """Tell Redis what it does not know: what was used before it forgot, and what was spent without it."""
        now, life = self._clock.monotonic(), self.shared.life
        if self.shared.is_alone or not life:
            return
        self._restored = life
        buckets = self._buckets.values()
        unknown = [one for one in buckets if one.owed or (one.life != life and one.floor(now) > 0)]
        for start in range(0, len(unknown), _BATCH):
            await self.tell(*map(Ask, unknown[start : start + _BATCH]))

    def _forget(self, now: float) -> None:
        """Let go of buckets that a new one would do for, when there are many; and of any, when there are too many."""
        quiet = [key for key, bucket in self._buckets.items() if bucket.is_quiet(now)]
        empty = [key for key, places in self._places.items() if not places.members]
        too_many = max(0, len(self._buckets) - len(quiet) - MOST_BUSY)
        if len(quiet) + len(empty) <= MOST_QUIET and not too_many:
            return
        for key in quiet:
            del self._buckets[key]
        for key in self._crowd(too_many):
            del self._buckets[key]
        for key in empty:
            del self._places[key]
        self._forgot()

    def _crowd(self, count: int) -> list[str]:
        """So many buckets, the oldest of the limits that count most apart.

        A flood of addresses makes room by addresses: what a tenant has used is not to be forgotten for it.
        """
        if not count:
            return []
        crowds: dict[int, list[str]] = defaultdict(list)
        for key, bucket in self._buckets.items():
            crowds[bucket.limit.id].append(key)
        largest_first = sorted(crowds.values(), key=len, reverse=True)
        return list(itertools.islice(itertools.chain.from_iterable(largest_first), count))

    async def aclose(self) -> None:
        """Give back what is held."""
        if self._keeper is not None:
            await end([self._keeper])
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=BEAT_S)
        await end(self._tasks)
        await self._give_leases_back(
            [(bucket, lease) for bucket in self._buckets.values() for lease in bucket.give_up()]
        )
        for places in self._places.values():
            for member in places.members:
                self.shared.drop(places.key, member)
        await self.shared.aclose()

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it in the background."""
        task = asyncio.create_task(work, name="limits")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
