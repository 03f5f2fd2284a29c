"""What was purged, from machine to machine: a bounded stream in the Redis they share.

Every purge is an entry of the stream, and every web process reads on from where its machine was. The
entry that was read last is the bookmark: as long as it is still there, nothing after it can have been
missed. When it is gone, Redis has lost the stream or has cut it off; of a lost one, everybody tells again
what they know, and who finds one cut off forgets everything that another machine may have purged.

Beside the stream there is a table of who has heard how much, so that who purges can say which machine
has not followed.

    entry   purge: MessagePack    check: keyed checksum of it
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import math
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Protocol

import msgspec
from django.conf import settings
from redis.asyncio import Redis
from redis.exceptions import RedisError

from cache.entries import Scope
from cache.purges import Place, Purge, PurgeLog
from orchestrator.core.clock import Clock
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.ids import hex_id
from orchestrator.core.tasks import end

TIMEOUT_S = 1.0  # of one command; longer than reading blocks
BLOCK_S = 0.5
MOST_ENTRIES = 10_000  # that the stream remembers, about
CONFIRM_S = 2.0  # how long a purge waits for the other machines
SILENT_S = 3.0  # a machine that has not been heard of for so long is not waited for
FORGOTTEN_S = 86_400.0  # nor is it named any more after so long, and by then it serves nothing from before

_STREAM, _HEARD = "orchestrator:purges", "orchestrator:purges:heard"
_AT_ONCE = 500  # entries
_LATE_S = 1.5  # a purge heard later than this is repeated
_PAUSES_S = (0.05, 0.1, 0.2, 0.5)  # between attempts to reach Redis
_START_S = 0.5  # how long the first requests wait until it is known what was purged meanwhile
_LOOK_S = 0.02
_SKEW_S = 5.0
_CHECK_SIZE = 16

logger = logging.getLogger(__name__)


class FeedUnavailable(OrchestratorError):
    """Other machines cannot be told of a purge."""

    status = 503
    kind = "cache_unavailable"


class Hearer(Protocol):
    """Who does what is heard."""

    async def hear(self, purges: Sequence[Purge]) -> list[Purge]:
        """Do what other machines purged, and return what of it this machine had not done. Raises TimeoutError."""
        ...

    def repeat(self, purges: Sequence[Purge]) -> None:
        """Purge once more everywhere what was heard of too late."""
        ...

    def sweep_again(self) -> None:
        """Finish what is due."""
        ...


class Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An entry of the stream."""

    id: str
    machine: str
    at: float  # seconds since the epoch, by that machine's clock
    # tenant, namespace, model, hash; None: it is no purge
    scope: tuple[int | None, str | None, str | None, str | None] | None
    is_repeat: bool = False


class BadMessage(Exception):
    """This is no entry of ours."""


_decoder = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> dict[Any, Any]:
    """Return `message` as the fields of an entry."""
    body = msgspec.msgpack.encode(message)
    return {"purge": body, "check": _check(body)}


def decode(fields: dict[bytes, bytes]) -> Message:
    """Return the message in the fields of an entry. Raises BadMessage."""
    body = fields.get(b"purge", b"")
    check = fields.get(b"check", b"")
    mac_keys = (settings.CACHE_MAC_KEY, *settings.OLD_CACHE_MAC_KEYS)
    if not any(hmac.compare_digest(check, _check(body, mac_key)) for mac_key in mac_keys):
        raise BadMessage("The checksum is wrong.")
    try:
        message = _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise BadMessage(f"The checksum is right, the content is not: {error}.") from None
    if not math.isfinite(message.at):
        raise BadMessage("It has no time.")
    return message


def _check(body: bytes, mac_key: bytes | None = None) -> bytes:
    return blake2b(body, key=mac_key or settings.CACHE_MAC_KEY, digest_size=_CHECK_SIZE, person=b"purge feed").digest()


class Feed:
    """Tells other machines what is purged here, and hears what they purge."""

    def __init__(self, redis: Redis, machine: str, purges: PurgeLog, clock: Clock) -> None:
        """`machine` is this one's name, unlike any other's. `redis` has TIMEOUT_S for a command; it is closed here."""
        self._redis = redis
        self._machine = machine
        self._purges = purges
        self._clock = clock
        self._listening: asyncio.Task[None] | None = None
        self._place: Place | None = None  # None: not yet known
        self._kept = Place()  # what of it is written down
        self._is_telling_again = False  # the stream was lost
        self._ids: set[str] = set()  # of what was heard since
        self._told: dict[str, None] = {}  # ids of what this process told, the latest
        self._others: set[str] = set()
        self._heard_at = clock.monotonic()
        self._since_ms: float = math.inf  # when this process first heard, by the clock of Redis
        self._looked = asyncio.Event()
        self._is_out = False
        self._warned: set[str] = set()
        self.is_caught_up = True  # unless it listens and has not heard yet

    async def tell(self, purges: Sequence[Purge], *, is_repeat: bool = False) -> str:
        """Append `purges`, and return the last one's entry. Raises FeedUnavailable; then they are still unsent."""
        pipeline = self._redis.pipeline(transaction=False)
        for purge in purges:
            scope = purge.scope
            about = (scope.tenant_id, scope.namespace, scope.model, scope.hash)
            message = Message(purge.id, self._machine, purge.at, about, is_repeat)
            pipeline.xadd(_STREAM, encode(message), maxlen=MOST_ENTRIES)
            self._told[purge.id] = None
        while len(self._told) > MOST_ENTRIES:
            del self._told[next(iter(self._told))]
        try:
            entries = await pipeline.execute()
        except (RedisError, OSError) as error:
            for purge in purges:
                self._told.pop(purge.id, None)
            raise FeedUnavailable(f"Redis: {type(error).__name__}: {error}.") from error
        if self._purges.store is not None and (unsent := [purge.id for purge in purges if purge.is_unsent]):
            with contextlib.suppress(OrchestratorError, TimeoutError):  # then it is told twice
                await self._purges.store.purges_were_sent(unsent)
        return str(entries[-1].decode())

    async def behind(self, entry: str) -> str:
        """Wait, not long, until every other machine has heard up to `entry`. Return which have not; empty: none."""
        give_up = self._clock.monotonic() + CONFIRM_S
        while True:
            try:
                now_s, heard = await self._who_heard()
            except (RedisError, OSError):
                return "Redis went away before they said that they have heard."
            late = {
                machine: now_s - seen_s
                for machine, (place, seen_s) in heard.items()
                if machine != self._machine and _order(place) < _order(entry) and now_s - seen_s < FORGOTTEN_S
            }
            is_hopeless = all(silent_s > SILENT_S for silent_s in late.values())
            if is_hopeless or self._clock.monotonic() > give_up:
                return ", ".join(_in_words(machine, silent_s) for machine, silent_s in sorted(late.items()))
            await asyncio.sleep(_LOOK_S)

    def listen(self, hearer: Hearer) -> None:
        """Begin to hear; until `stop`."""
        self.is_caught_up = False
        self._listening = asyncio.create_task(self._listen(hearer), name="purge feed")

    async def catches_up(self) -> bool:
        """Wait, not long, for what was purged while this machine did not listen. Return whether that is known.

        When Redis cannot be reached it counts as known, unless this machine had taken its leave: then
        others purge without waiting for it, and what it holds may have been purged.
        """
        if not self._looked.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._looked.wait(), _START_S)
        return self.is_caught_up

    async def stop(self) -> None:
        """Hear no more, and say so: nobody is to wait for this machine."""
        if self._listening is None:
            return
        listening, self._listening = self._listening, None
        await end([listening])
        self.is_caught_up = True
        with contextlib.suppress(RedisError, OSError, OrchestratorError, TimeoutError):
            if self._purges.store is not None and self._place is not None and self._others:
                await self._purges.store.keep_place(Place(self._kept.entry, was_left=True))
            await self._redis.hdel(_HEARD, self._machine)

    async def aclose(self) -> None:
        """Close the connections, after `stop`."""
        await self._redis.aclose()

    async def _listen(self, hearer: Hearer) -> None:
        failures = 0
        while True:
            try:
                await self._catch_up(hearer)
                self._is_reached()
                failures = 0
                # Only to be woken up: what is there is read together with the bookmark.
                await self._redis.xread({_STREAM: self._entry or "0-0"}, count=1, block=int(BLOCK_S * 1000))
            except (RedisError, OSError, TimeoutError, OrchestratorError) as error:
                await self._is_missed(error, hearer)
                await asyncio.sleep(_PAUSES_S[min(failures, len(_PAUSES_S) - 1)])
                failures += 1
            except Exception:
                logger.exception("Hearing of purges failed in a way it should not.")
                self._looked.set()
                await asyncio.sleep(_PAUSES_S[-1])

    async def _catch_up(self, hearer: Hearer) -> None:
        """Tell what is left to tell, hear what there is to hear, say how far that is."""
        store = self._purges.store
        assert store is not None, "who listens keeps a record"
        if self._place is None:
            with contextlib.suppress(OrchestratorError, TimeoutError):  # hear everything, then
                self._place = self._kept = await store.place()
        with contextlib.suppress(OrchestratorError, TimeoutError):  # the record cannot be read now
            if unsent := await store.unsent_purges():
                await self.tell(unsent)
        hearer.sweep_again()
        while await self._hear(hearer):
            pass
        with contextlib.suppress(OrchestratorError, TimeoutError):
            await self._purges.write_rest()  # first: after a restart it is heard from the place on
            if self._kept != Place(self._entry):
                await store.keep_place(Place(self._entry))
                self._kept = Place(self._entry)
        now_s = await self._say_how_far()
        self._heard_at = self._clock.monotonic()
        if math.isinf(self._since_ms):
            self._since_ms = now_s * 1000

    async def _hear(self, hearer: Hearer) -> bool:
        """Hear of some purges. Return whether there may be more."""
        pipeline = self._redis.pipeline(transaction=True)  # so that the bookmark speaks for what follows it
        pipeline.time()
        pipeline.xlen(_STREAM)
        pipeline.xrange(_STREAM, self._entry or "-", self._entry or "-", count=1)
        pipeline.xrange(_STREAM, _after(self._entry), "+", count=_AT_ONCE)
        (seconds, micros), length, bookmark, entries = await pipeline.execute()
        if self._entry and not bookmark:
            await self._lost(length, hearer)
            return True
        if entries:
            await self._do(entries, seconds * 1000 + micros / 1000, hearer)
            self._place = Place(entries[-1][0].decode())
        if len(entries) == _AT_ONCE:
            return True
        if self._is_telling_again:
            self._is_telling_again = not await self._tell_again()
            return True
        if not self._entry:  # an empty stream has no room for a bookmark
            mark = Message(hex_id(32), self._machine, self._clock.now(), None)
            await self._redis.xadd(_STREAM, encode(mark), maxlen=MOST_ENTRIES)
            return True
        return False

    async def _do(self, entries: list[tuple[bytes, dict[bytes, bytes]]], now_ms: float, hearer: Hearer) -> None:
        purges, late = [], set()
        for name, fields in entries:
            try:
                message = decode(fields)
            except BadMessage:
                self._warn("", "The purge feed holds what is not ours; do all machines have the same keys/master?")
                continue
            if self._is_telling_again:
                self._ids.add(message.id)
            if message.scope is None or message.id in self._told:
                continue
            tenant_id, namespace, model, hash_ = message.scope
            scope = Scope(tenant_id=tenant_id, namespace=namespace, model=model, hash=hash_)
            purges.append(Purge(scope, message.at, message.id))
            told_ms = _order(name.decode())[0]
            if not message.is_repeat and told_ms > self._since_ms and now_ms - told_ms > _LATE_S * 1000:
                late.add(message.id)
            if message.at - self._clock.now() > _SKEW_S:
                self._warn(message.machine, f"The clock of {message.machine} is ahead of this one; set both by NTP.")
        if purges:
            new = await hearer.hear(purges)
            if repeats := [purge for purge in new if purge.id in late]:
                hearer.repeat(repeats)

    async def _lost(self, length: int, hearer: Hearer) -> None:
        """Begin anew: the bookmark is gone."""
        if length >= MOST_ENTRIES:
            logger.warning("More was purged than the feed remembers, so every answer on this machine is forgotten.")
            await self._forget_everything(hearer)
        else:
            logger.warning("Redis lost the purge feed; what is known of purges is told again.")
            self._is_telling_again = True
        self._ids.clear()
        self._place = Place()

    async def _tell_again(self) -> bool:
        """Append what others may have missed. Return whether that was possible."""
        assert self._purges.store is not None
        try:
            recorded = await self._purges.store.recorded_purges()
        except (OrchestratorError, TimeoutError):
            return False
        # Half of what it holds: as others may, too.
        missing = [purge for purge in recorded if purge.id and purge.id not in self._ids][-MOST_ENTRIES // 2 :]
        for start in range(0, len(missing), _AT_ONCE):
            await self.tell(missing[start : start + _AT_ONCE], is_repeat=True)
        self._ids.clear()
        return True

    async def _forget_everything(self, hearer: Hearer) -> None:
        await hearer.hear([Purge(Scope(), self._clock.now(), id="")])

    async def _say_how_far(self) -> float:
        """Write into the table of who heard how much. Return the time of Redis, in seconds since the epoch."""
        now_s, heard = await self._who_heard()
        self._others = {machine for machine, (_, seen_s) in heard.items() if now_s - seen_s < FORGOTTEN_S}
        self._others.discard(self._machine)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hset(_HEARD, self._machine, f"{self._entry} {now_s:.3f}")
        if gone := [machine for machine in heard if machine not in self._others and machine != self._machine]:
            pipeline.hdel(_HEARD, *gone)
        await pipeline.execute()
        return now_s

    async def _who_heard(self) -> tuple[float, dict[str, tuple[str, float]]]:
        """The time of Redis, in seconds since the epoch, and by machine the last entry heard and when."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.time()
        pipeline.hgetall(_HEARD)
        (seconds, micros), table = await pipeline.execute()
        heard = {}
        for machine, value in table.items():
            with contextlib.suppress(ValueError):  # somebody else's
                place, seen_s = value.decode().split(" ")
                _order(place)
                heard[machine.decode()] = place, float(seen_s)
        return seconds + micros / 1e6, heard

    @property
    def _entry(self) -> str:
        return self._place.entry if self._place else ""

    def _is_reached(self) -> None:
        if self._is_out:
            logger.warning("What other machines purge can be heard again.")
        self._is_out = False
        self.is_caught_up = True
        self._looked.set()

    async def _is_missed(self, error: Exception, hearer: Hearer) -> None:
        if not self._is_out:
            logger.warning("What other machines purge cannot be heard for now: %s", str(error) or "no answer in time")
        self._is_out = True
        if self._place is not None and not self._place.was_left:
            self.is_caught_up = True  # others know that this machine is there, and that it does not hear
        self._looked.set()
        if self._others and self._clock.monotonic() - self._heard_at > FORGOTTEN_S:
            logger.warning("Nothing was heard for so long that every answer on this machine is forgotten.")
            with contextlib.suppress(TimeoutError):
                await self._forget_everything(hearer)
                self._heard_at = self._clock.monotonic()

    def _warn(self, about: str, words: str) -> None:
        if about not in self._warned and len(self._warned) < 100:
            self._warned.add(about)
            logger.warning("%s", words)


def _in_words(machine: str, silent_s: float) -> str:
    if silent_s > SILENT_S:
        return f"{machine} has been silent for {silent_s:.0f} s and hears of it when it is back"
    return f"{machine} has not said yet that it heard"


def _after(entry: str) -> str:
    """The entry that may come next."""
    if not entry:
        return "-"
    millis, number = _order(entry)
    return f"{millis}-{number + 1}"


def _order(entry: str) -> tuple[int, int]:
    """What entries are sorted by: milliseconds by the clock of Redis, and a number. Raises ValueError."""
    if not entry:
        return 0, 0
    millis, number = entry.split("-")
    return int(millis), int(number)
