"""Whether a caller may ask once more, and what a call takes of its limits.

Redis counts for all processes; docs/limits.md says how far they may be off without it.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from orchestrator.core.clock import Clock
from orchestrator.core.errors import TooMany
from orchestrator.core.ids import hex_id
from orchestrator.core.limits import NO_LIMIT, Limit, Standing
from orchestrator.core.redis_async import Line
from orchestrator.core.types import Caller
from orchestrator.limits.buckets import REFUSED_S, Bucket
from orchestrator.limits.counting import Ask, Charge, Counting, Places, Taken
from orchestrator.limits.scopes import counted_under, counter, in_words, limits_about, policy
from orchestrator.limits.scripts import LOOKS
from orchestrator.limits.shared import Shared

PLACE_AGAIN_S = 1.0  # nobody knows when a place gets free
MOST_SHOWN = 4  # limits in the headers
MOST_SCOPES = 4096
PLENTY = 100
SAME_S = 0.0005  # a moment: to write it down anew for each of ten answers would be most of what limits cost


class Hold:
    """What a call has taken of its caller's limits: a place among those at a time, and the tokens it may come to."""

    def settle(self, tokens: int) -> None:
        """The model read and wrote so many: what was held beyond them is given back, what is missing is taken.

        A second time it does nothing.
        """

    def leave(self) -> None:
        """Whoever asked has gone, and its place is free; the call may go on for others, and is settled when it ends."""

    def release(self) -> None:
        """The call is over. What was not settled is given back whole; a second time it does nothing."""


@dataclass(slots=True)
class Scope:
    """The limits that are about one caller's questions to one model, from one address."""

    caller: Caller  # kept, so that no other object has its id
    requests: tuple[Bucket, ...]
    tokens: tuple[Bucket, ...]
    places: tuple[Places, ...]
    none: tuple[Limit, ...]  # that let nothing through
    policy: str
    shown: tuple[Bucket, ...]
    said: Standing = NO_LIMIT
    said_at: float = -math.inf  # monotonic seconds

    def at_once(self, now: float) -> Standing:
        """As `standing`; those who are answered in the same moment are told the same, while there is plenty left."""
        if now - self.said_at >= SAME_S:
            self.said = self.standing(now)
            if all(bucket.left >= PLENTY for bucket in self.shown):
                self.said_at = now
        return self.said

    def standing(self, now: float) -> Standing:
        """As the headers have it."""
        if not self.policy:
            return NO_LIMIT
        return Standing(self.policy, ", ".join([bucket.standing(now) for bucket in self.shown]))


class Limiter:
    """Counts what callers ask against their limits."""

    def __init__(self, line: Line | None = None, clock: Clock | None = None, workers: int = 1) -> None:
        """`line` leads to the Redis that counts for all; without it each of `workers` processes counts its share."""
        self._clock = clock or Clock()
        self._workers = workers
        self._shared = Shared(line, self._clock)
        self._scopes: dict[tuple[int, str, str], Scope] = {}
        self._counting = Counting(self._shared, self._clock, workers, self._scopes.clear)
        self._name = hex_id(16)
        self._numbers = itertools.count()
        self.refused: Counter[tuple[str, str]] = Counter()  # by name and kind of the limit

    @property
    def is_alone(self) -> bool:
        """Whether it counts without Redis, though there is one."""
        return self._shared.exists and self._shared.is_alone

    @property
    def leases(self) -> int:
        """How many were taken."""
        return self._counting.leases

    def charge_at_once(self, caller: Caller, model: str, address: str) -> Standing | None:
        """Charge one request from what this process holds; None when that does not do: then `charge` is asked.

        Takes microseconds and waits for nothing: repeated answers are charged so.
        """
        if not caller.limits:
            return NO_LIMIT
        scope = self._scopes.get((id(caller), model, address)) or self._scope(caller, model, address)
        if scope.none and any(limit.kind == "requests" for limit in scope.none):
            return None  # to be refused in words
        now = self._clock.monotonic()
        for place, bucket in enumerate(scope.requests):
            if not bucket.take(now):
                for other in scope.requests[:place]:
                    other.put_back()
                return None
        return scope.at_once(now)

    def put_back(self, caller: Caller, model: str, address: str) -> None:
        """What `charge_at_once` charged just now was for nothing."""
        scope = self._scopes.get((id(caller), model, address))
        for bucket in scope.requests if scope else ():
            bucket.put_back()

    async def charge(self, caller: Caller, model: str, address: str, *, besides: str | None = None) -> Standing:
        """Charge one request to `model`, by its full name; an empty one is not known. Raises TooMany.

        besides  what the request was charged as before: no limit counts it twice.
        """
        if not caller.limits:
            return NO_LIMIT
        scope = self._scopes.get((id(caller), model, address)) or self._scope(caller, model, address)
        self._refuse_none(scope, "requests")
        now = self._clock.monotonic()
        held: list[Bucket] = []
        missing: list[Bucket] = []
        before = () if besides is None else self._scope(caller, besides, address).requests
        for bucket in scope.requests:
            if any(bucket is one for one in before):
                continue
            (held if bucket.take(now) else missing).append(bucket)
        if missing:
            try:
                await self._charge_missing(missing, now)
            except BaseException:
                for bucket in held:
                    bucket.put_back()
                raise
        return scope.standing(self._clock.monotonic())

    async def hold(self, caller: Caller, model: str, address: str, tokens: Callable[[], int]) -> Hold:
        """Take a place among the calls at a time, and as many tokens as `tokens` says, before a model is asked.

        `tokens` is called where a limit counts them. Raises TooMany.
        """
        if not caller.limits:
            return Hold()
        scope = self._scopes.get((id(caller), model, address)) or self._scope(caller, model, address)
        self._refuse_none(scope, "tokens", "concurrent")
        if not scope.tokens and not scope.places:
            return Hold()
        units = max(1, tokens()) if scope.tokens else 0
        member = f"{self._name}:{next(self._numbers)}"
        taken = None
        if not self._shared.is_alone:
            asks = [Ask(bucket, units) for bucket in scope.tokens]
            taking = asyncio.ensure_future(self._counting.take(asks, scope.places, member))
            try:
                taken = await asyncio.shield(taking)
            except asyncio.CancelledError:
                self._counting.begin(self._for_nobody(taking, scope.places, member))
                raise
        # Those of the scope may have been let go of meanwhile, and of them nobody says that they are held.
        here = [self._counting.places(places.limit, places.key) for places in scope.places]
        if taken is None:
            charges: Sequence[Charge] = self._hold_alone(scope.tokens, here, units)
        else:
            self._refused_by(taken.refused)
            charges = taken.charges
        for places in here:
            places.members.add(member)
        return _Held(self, charges, here, member)

    async def _for_nobody(self, taking: asyncio.Future[Taken | None], places: Iterable[Places], member: str) -> None:
        """Whoever asked has hung up: what was taken all the same is given back."""
        taken = await taking
        self.leave(places, member)
        if taken is not None and taken.refused is None:
            for charge in taken.charges:
                self.settle(charge, 0)

    def settle(self, charge: Charge, tokens: int) -> None:
        """A call for which tokens were charged came to `tokens`. What is more becomes a debt, which time pays."""
        now = self._clock.monotonic()
        bucket, more = charge.bucket, tokens - charge.units
        if more > 0 and self._shared.is_alone:
            bucket.owe(more, now)
        elif more > 0:
            bucket.owed += more
            self._counting.settle_soon(owing=bucket)
        elif more < 0 and charge.is_alone:
            bucket.given_back_alone(-more, charge.receipt, now)
        elif more < 0:
            self._counting.settle_soon(Charge(bucket, -more, charge.receipt, charge.life))

    def leave(self, places: Iterable[Places], member: str) -> None:
        """A call is over: its place is free."""
        for one in places:
            one.members.discard(member)
            self._shared.drop(one.key, member)

    async def used(self, counted: Sequence[tuple[Limit, str]]) -> Sequence[float] | None:
        """How much of each limit is used at this moment: units of what may be at once, or calls at a time.

        counted  limits of requests, tokens or calls, each with whose use is asked: what it counts apart, as `counter`.
        As all processes count it, with what they took in advance; None when Redis does not say.
        """
        if not counted:
            return ()
        rates = [(limit.amount, limit.per_s * 1_000_000) for limit, _ in counted]
        keys = [counter(limit, value) for limit, value in counted]
        answer = await self._shared.ask(LOOKS, keys, [word for rate in rates for word in rate])
        return None if answer is None else [float(word) for word in answer]

    async def aclose(self) -> None:
        """Give back what is held."""
        await self._counting.aclose()

    def _scope(self, caller: Caller, model: str, address: str) -> Scope:
        """Find out which limits are about a request, and remember it."""
        self._counting.start()
        limits = limits_about(caller, model, address)
        counted = [(limit, counted_under(limit, caller, model, address)) for limit in limits if limit.amount]
        requests, tokens = (
            tuple(self._counting.bucket(limit, key) for limit, key in counted if limit.kind == kind)
            for kind in ("requests", "tokens")
        )
        places = tuple(self._counting.places(limit, key) for limit, key in counted if limit.kind == "concurrent")
        shown = (*requests, *tokens)[:MOST_SHOWN]
        scope = Scope(
            caller=caller,
            requests=requests,
            tokens=tokens,
            places=places,
            none=tuple(limit for limit in limits if not limit.amount),
            policy=", ".join(policy(bucket.limit) for bucket in shown),
            shown=shown,
        )
        if len(self._scopes) >= MOST_SCOPES:
            self._scopes.clear()
        self._scopes[id(caller), model, address] = scope
        return scope

    async def _charge_missing(self, buckets: Sequence[Bucket], now: float) -> None:
        """Charge one to each, or to none. Raises TooMany."""
        if not self._shared.is_alone:
            for bucket in buckets:
                if now < bucket.refused_until:
                    self._refuse(bucket.limit, bucket.meter.wait_s(bucket.rate, 1, now))
            asks = [Ask(bucket, 1, 0 if bucket.is_asking else bucket.wanted(now)) for bucket in buckets]
            if taken := await self._counting.take(asks):
                self._refused_by(taken.refused)
                return
        now = self._clock.monotonic()
        for place, bucket in enumerate(buckets):
            if wait_s := bucket.take_alone(1, now):
                for other in buckets[:place]:
                    other.put_back()
                self._refuse(bucket.limit, wait_s)

    def _hold_alone(self, buckets: Sequence[Bucket], here: Sequence[Places], units: int) -> list[Charge]:
        """As `hold`, of this process's share. Raises TooMany."""
        now = self._clock.monotonic()
        for places in here:
            if len(places.members) >= max(1, places.limit.amount // self._workers):
                self._refuse(places.limit, PLACE_AGAIN_S)
        for bucket in buckets:
            if wait_s := bucket.wait_alone_s(units, now):
                self._refuse(bucket.limit, wait_s)
        return [Charge(bucket, units, bucket.owe(units, now), "", is_alone=True) for bucket in buckets]

    def _refused_by(self, who: Ask | Places | None) -> None:
        """Raise TooMany, unless nobody refused."""
        if isinstance(who, Places):
            self._refuse(who.limit, PLACE_AGAIN_S)
        if who is not None:
            now = self._clock.monotonic()
            wait_s = who.bucket.meter.wait_s(who.bucket.rate, who.need, now)
            if who.need == 1:
                who.bucket.refused_until = now + min(wait_s, REFUSED_S)
            self._refuse(who.bucket.limit, wait_s)

    def _refuse_none(self, scope: Scope, *kinds: str) -> None:
        for limit in scope.none:
            if limit.kind in kinds:
                self.refused[limit.name, limit.kind] += 1
                raise TooMany(f"{in_words(limit)}.", standing=Standing(policy(limit), f'"{limit.name}";r=0'))

    def _refuse(self, limit: Limit, wait_s: float) -> NoReturn:
        self.refused[limit.name, limit.kind] += 1
        again_s = max(1, math.ceil(wait_s))
        standing = Standing(policy(limit), f'"{limit.name}";r=0;t={again_s}')
        raise TooMany(f"{in_words(limit)}; come again in {again_s} s.", retry_after_s=again_s, standing=standing)


class _Held(Hold):
    """Places and tokens of one call."""

    def __init__(self, limiter: Limiter, charges: Sequence[Charge], places: Sequence[Places], member: str) -> None:
        self._limiter = limiter
        self._charges = charges
        self._places = places
        self._member = member

    def settle(self, tokens: int) -> None:
        """As in `Hold`."""
        charges, self._charges = self._charges, ()
        for charge in charges:
            self._limiter.settle(charge, tokens)

    def release(self) -> None:
        """As in `Hold`."""
        self.settle(0)
        self.leave()

    def leave(self) -> None:
        """As in `Hold`."""
        places, self._places = self._places, ()
        self._limiter.leave(places, self._member)
