"""Calls in flight, shared by the processes that have a Redis in common.

Who is to make a call writes its name under the question, the *claim*; whoever finds it taken asks the
process that has it to tell. A follower elsewhere is one more listener of that process's call, so what
holds within a process holds between them: it hears the answer from the start, slows the source down to
its own pace, and when the last one leaves, wherever, the call is cancelled.

Each process has an inbox, a channel it subscribes to, and nothing that was said stays in Redis. That
PUBLISH says how many heard it is how a dead process is noticed: the kernel closed its connection. A
living one that hangs is given up after some seconds of silence. How a call is told and followed, though
messages may get lost, is in `cache.following`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from redis.asyncio import Redis
from redis.exceptions import RedisError

from cache.following import PATIENCE, Follow, Relay
from cache.inflight import ANSWERED_S, Call, Question
from cache.wire import BadMessage, Left, Listen, Message, No, seal, secret_name, unseal
from orchestrator.core.breaker import Breaker, Turn
from orchestrator.core.clock import Clock
from orchestrator.core.errors import Busy, CallLost
from orchestrator.core.redis_async import Line, open_redis, socket_s
from orchestrator.core.tasks import end

TICK_S = 1.0
MOST_RELAYS = 1024  # followers elsewhere, at once; one more makes its own call
MOST_FOLLOWED = 1024  # calls of others
CLAIM_S = 3600  # claims are given back or taken over; this is for those nobody asks after

_PREFIX = "orchestrator:1:"  # what django-redis puts before the cache's keys
_ANSWERED = b"answered"
_RECONNECT_S = 0.1  # at first
_TROUBLE = (RedisError, OSError, TimeoutError, Busy)

# Take the claim when nobody has it, or who is expected to; return who has it otherwise.
_TAKE = """
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return held end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return ''
"""
_GIVE_BACK = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Claim:
    """A call of this process that others may follow."""

    number: int
    key: str
    holder: bytes
    question: Question
    call: Call


class Sharing:
    """This process's part in sharing calls with others. `InFlight` asks it before it starts a call.

    Where Redis is away or slow, calls are shared within the process alone, after one deadline and then
    without delay; it comes back by itself.
    """

    def __init__(self, redis: Redis, clock: Clock, deadline_s: float, tick_s: float = TICK_S) -> None:
        """To be made on the event loop; close it with `aclose`.

        redis       of its own, from `open_redis`; it may take longer than the deadline.
        deadline_s  how long a question waits to learn from Redis whose call it is.
        tick_s      how often those who tell and those who listen give each other a sign of life.
        """
        self._redis = redis
        self._line = Line(redis, deadline_s)
        self._deadline_s = deadline_s
        self._breaker = Breaker(clock)
        self.tick_s = tick_s
        self.name = secrets.token_hex(8)
        self.inbox = _inbox(self.name)
        self._numbers = itertools.count(1)
        self._claims: dict[int, _Claim] = {}
        self._numbers_of: dict[Call, int] = {}
        self._relays: dict[tuple[str, int], Relay] = {}
        self._follows: dict[int, Follow] = {}
        self._given_up: deque[bytes] = deque(maxlen=MOST_FOLLOWED)  # holders of claims
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_apart = False
        self._is_closed = False
        self.is_listening = asyncio.Event()
        self._start(self._listen())
        self._start(self._tick())

    async def claim(self, question: Question, call: Call) -> Follow | None:
        """See `Elsewhere`."""
        if self._is_closed or not self.is_listening.is_set() or len(self._follows) >= MOST_FOLLOWED:
            return None
        number = next(self._numbers)
        key = f"{_PREFIX}call:{secret_name(question.hash)}"
        # Known here before it is known there: who finds the claim finds the call.
        claim = _Claim(number, key, f"{self.name}:{number}".encode(), question, call)
        self._claims[number] = claim
        self._numbers_of[call] = number
        # However this ends, `release` follows when the call is over.
        return await self._claimed(claim)

    async def _claimed(self, claim: _Claim) -> Follow | None:
        held = b""
        for _ in range(2 + PATIENCE):
            found = await self._take(claim, held)
            if not found:
                return None
            held = found
            if held == _ANSWERED:
                if not claim.question.is_again:
                    raise CallLost("The same question has just been answered; ask again.")
                continue
            holder, _, number = held.decode("ascii", "replace").partition(":")
            if holder == self.name or not number.isdecimal():
                continue  # ours, from before a purge, or on its way to be given back
            if held in self._given_up:
                continue
            follow = Follow(self, held, _inbox(holder), next(self._numbers), int(number))
            self._follows[follow.number] = follow
            try:
                if await follow.begin():
                    self._forget(claim.call)
                    return follow
            except BaseException as error:
                await follow.aclose()
                if isinstance(error, _TROUBLE):
                    return None
                raise
            await follow.aclose()
        return None

    def release(self, call: Call) -> None:
        """See `Elsewhere`."""
        claim = self._forget(call)
        if claim is not None:
            said = _ANSWERED if call.is_complete else b""
            self._line.send("EVAL", _GIVE_BACK, 1, claim.key, claim.holder, said, int(ANSWERED_S))

    def tell(self, inbox: str, message: Message) -> asyncio.Future[Any]:
        """Send `message`. The reply to be is how many heard it. Raises BadMessage when it cannot be said."""
        return self._line.send("PUBLISH", inbox, seal(inbox, message))

    def count(self, inbox: str) -> asyncio.Future[Any]:
        """The reply to be is a pair: the inbox, and how many listen to it."""
        return self._line.send("PUBSUB", "NUMSUB", inbox)

    def unfollow(self, follow: Follow) -> None:
        """Hear no more of it."""
        self._follows.pop(follow.number, None)

    def give_up(self, holder: bytes) -> None:
        """Take its claim over without asking it, when the same question is asked again."""
        self._given_up.append(holder)

    async def drain(self) -> None:
        """See `Elsewhere`."""
        while self._relays:
            await asyncio.wait([relay.task for relay in self._relays.values()])

    async def aclose(self) -> None:
        """Tell followers that they hear no more, give the claims back, end every task, close the connections."""
        self._is_closed = True
        for relay in self._relays.values():
            relay.refuse("The process that made the call has ended; ask again.")
        for call in list(self._numbers_of):
            self.release(call)
        for follow in list(self._follows.values()):
            follow.lose("This process ends; ask again.")
        await end(self._tasks)
        await self._line.aclose()

    async def _take(self, claim: _Claim, held: bytes) -> bytes:
        """Take the claim from `held`. Return who else has it; nothing when it is ours, or Redis does not say."""
        turn = self._breaker.turn()
        if turn is Turn.NONE:
            return b""
        reply = self._line.send("EVAL", _TAKE, 1, claim.key, held, claim.holder, CLAIM_S)
        try:
            found: bytes = await reply
        except _TROUBLE as error:
            self._breaker.failed(turn)
            self._note(str(error))
            return b""
        except BaseException:
            self._breaker.abandoned(turn)
            raise
        if reply.took_s is not None and reply.took_s > self._deadline_s / 2:
            self._breaker.failed(turn)  # it answers, and keeps everybody waiting
            self._note(f"Redis is slow: {reply.took_s:.3f} s")
        else:
            self._breaker.succeeded(turn)
            self._note()
        return found

    def _forget(self, call: Call) -> _Claim | None:
        number = self._numbers_of.pop(call, None)
        return None if number is None else self._claims.pop(number)

    def _note(self, why: str = "") -> None:
        """Say when calls are no longer shared, and when they are again."""
        is_apart = self._breaker.is_open or not self.is_listening.is_set()
        if is_apart != self._is_apart and not self._is_closed:
            self._is_apart = is_apart
            if is_apart:
                logger.warning("Calls in flight are shared within this process only: %s", why)
            else:
                logger.warning("Calls in flight are shared between processes again.")

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name="sharing")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("Sharing of calls failed in a way it should not.", exc_info=error)

    async def _tick(self) -> None:
        # Ticks are counted, not seconds: a process that was busy itself must not blame the others.
        while True:
            await asyncio.sleep(self.tick_s)
            for follow in list(self._follows.values()):
                follow.tick()
            for relay in list(self._relays.values()):
                relay.tick()

    async def _listen(self) -> None:
        """Hear what comes into the inbox, for ever; a connection that is lost or silent is replaced."""
        pause_s = _RECONNECT_S
        while True:
            try:
                async with self._redis.pubsub() as inbox:
                    await inbox.subscribe(self.inbox)
                    is_asked = False
                    while True:
                        message = await inbox.get_message(timeout=2 * self.tick_s)
                        if message is None:
                            if is_asked:
                                raise TimeoutError(f"Redis is silent for {2 * self.tick_s:g} s")
                            await inbox.ping()
                        is_asked = message is None
                        if message is not None and message["type"] == "subscribe":
                            pause_s = _RECONNECT_S
                            self.is_listening.set()
                            self._note()
                        elif message is not None and message["type"] == "message":
                            self._received(message["data"])
            except _TROUBLE as error:
                self.is_listening.clear()
                self._note(str(error) or type(error).__name__)
            finally:
                self.is_listening.clear()  # whoever claims must be there to be asked
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 2 * self.tick_s)

    def _received(self, data: bytes) -> None:
        try:
            message = unseal(self.inbox, data)
        except BadMessage:
            return
        match message:
            case Listen():
                self._listened(message)
            case Left(inbox, follower):
                if relay := self._relays.get((inbox, follower)):
                    relay.leave()
            case _:
                if follow := self._follows.get(message.follower):
                    follow.hear(message)

    def _listened(self, message: Listen) -> None:
        place = (message.inbox, message.follower)
        relay = self._relays.get(place)
        if relay is None:
            claim = self._claims.get(message.call)
            # Without a listener it is being given up already.
            if claim is None or claim.call.is_over or not claim.call.listeners:
                why = "The call is over; ask again."
            elif not claim.question.is_current():
                why = "It was asked before a purge; ask again."
            elif len(self._relays) >= MOST_RELAYS or self._is_closed:
                why = "Too many follow the calls of this process."
            else:
                relay = self._relays[place] = Relay(self, claim.call, message)
                relay.task = self._start(relay.run())
                relay.task.add_done_callback(lambda _: self._relays.pop(place, None))
                return
            self.tell(message.inbox, No(message.follower, why))
            return
        relay.renew(message)


def open_sharing(clock: Clock) -> Sharing | None:
    """Return this process's part in sharing, to be made on the event loop; None where nobody could share with it."""
    if not settings.REDIS_LOCATION or not (settings.REDIS_URL or settings.WEB_WORKERS > 1):
        return None
    # A connection for the inbox, one for commands, and one more for when the last is still being closed.
    deadline_s = settings.REDIS_TIMEOUT_S
    return Sharing(open_redis(timeout_s=socket_s(deadline_s), most_connections=3), clock, deadline_s)


def _inbox(process: str) -> str:
    return f"{_PREFIX}inbox:{process}"
