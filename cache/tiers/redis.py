"""The tier that processes and machines share: answers in Redis."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from typing import Any

from django.core.cache.backends.base import BaseCache
from django_redis.serializers.base import BaseSerializer
from redis.backoff import NoBackoff
from redis.connection import DefaultParser
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeout
from redis.retry import Retry
from redis.sentinel import SentinelConnectionPool

from cache.codec import LARGEST, BadEntry, LongEntry, decode, encode
from cache.entries import CacheKey, Entry, Holding, Scope
from cache.tiers.base import SWEEP_S, TierUnavailable
from cache.weight import weigh
from orchestrator.core.clock import Clock
from orchestrator.core.errors import Busy
from orchestrator.core.redis_async import Line, open_redis, socket_s
from orchestrator.core.threads import WorkerThread

_MOST_WAITING = 256  # commands, for each line
_MOST_LONG = 64  # calls, for each thread
_BATCH = 500  # names per command when sweeping
_SHORT = 16 * 1024  # bytes; what is longer would hold up the event loop, and the line for others
_FIRST = 256 * 1024  # bytes; more are fetched only when it is not too many


class Bytes(BaseSerializer):  # type: ignore[misc]
    """Lets bytes through and nothing else: no pickle reaches Redis, or comes from it."""

    def dumps(self, value: object) -> bytes:
        """Return `value`. Raises TypeError when it is not bytes."""
        if not isinstance(value, bytes):
            raise TypeError(f"Redis takes bytes here, not {type(value).__name__}; encode it first.")
        return value

    def loads(self, value: bytes) -> bytes:
        """Return `value`."""
        return value


class WholeReply(DefaultParser):  # type: ignore[misc, valid-type]  # hiredis' where it is installed
    """Gives a reply as a whole the socket's timeout, which redis-py gives each piece of it.

    Else one that trickles in would hold its thread long after its caller has gone on.
    """

    _give_up: float | None = None  # when the reply must be complete; None before its first piece

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Return the next reply. Raises redis' TimeoutError when it is not complete in time."""
        self._give_up = None
        return super().read_response(*args, **kwargs)

    def read_from_socket(self, *args: Any, **kwargs: Any) -> Any:
        """Read one piece, the first as long as the socket allows, each further one as long as is left."""
        now = time.monotonic()
        if self._give_up is None:
            self._give_up = now + (self._socket_timeout or SWEEP_S)
            return super().read_from_socket(*args, **kwargs)
        if now >= self._give_up:
            raise RedisTimeout("The reply comes too slowly.")
        return super().read_from_socket(timeout=self._give_up - now)


class RedisTier:
    """Keeps answers in Redis until they expire or Redis needs the room.

    Short ones, which nearly all are, go over two lines on the event loop: one to read and one to write, since
    what cannot be written may well be read. Long ones and sweeps go by way of django-redis, which is synchronous,
    in threads of our own: a Redis that hangs holds these and no others, for one socket timeout each.
    """

    name = "redis"
    is_shared = True

    def __init__(self, cache: BaseCache, clock: Clock, deadline_s: float, location: str = "") -> None:
        """`cache` is a django-redis one whose socket timeouts are no longer than `deadline_s`.

        location  of the same Redis, as `open_redis` takes it. Nothing is connected before it is asked.
        """
        self.deadline_s: float | None = deadline_s
        self.invalid = 0
        self._cache: Any = cache
        self._clock = clock
        self._deadline_s = deadline_s
        # A connection each, and one more for when the last is still being closed.
        self._reads, self._writes = (
            Line(open_redis(location, socket_s(deadline_s), most_connections=2), deadline_s, _MOST_WAITING)
            for _ in range(2)
        )
        self._long_reads = WorkerThread("cache-redis-read", _MOST_LONG)
        self._long_writes = WorkerThread("cache-redis-write", _MOST_LONG)
        self._sweeper = WorkerThread("cache-redis-sweep", most_waiting=16)
        self._client: Any = cache.client.get_client()  # type: ignore[attr-defined]
        # A second try would come after the deadline; the breaker above does the waiting.
        once = Retry(NoBackoff(), 0)
        self._client.set_retry(once)
        if isinstance(self._client.connection_pool, SentinelConnectionPool):
            for sentinel in self._client.connection_pool.sentinel_manager.sentinels:
                sentinel.set_retry(once)

    async def get(self, key: CacheKey) -> Entry | None:
        """Return the answer under `key` while it is fresh. Raises TierUnavailable, TimeoutError or Busy."""
        try:
            entry = await self._read(key)
        except BadEntry:
            self.invalid += 1
            return None
        return entry if entry is not None and entry.is_fresh(self._clock.now()) else None

    async def put(self, entry: Entry) -> bool:
        """Keep `entry`, so that the next `get` finds it; False when it is too large. Raises as `get` does."""
        if weigh(entry) > _SHORT:
            return await self._long_writes.run(self._deadline_s, self._write_long, entry)
        left_ms = int(1000 * (entry.expires_at - self._clock.now()))
        if left_ms <= 0:
            return False
        try:
            data = encode(entry)
        except BadEntry:
            return False
        with _redis_errors():
            await self._writes.ask("SET", self._full_name(entry.key), data, "PX", left_ms)
        return True

    async def purge(self, scope: Scope) -> int:
        """Drop every answer in `scope`, and return how many. Raises TierUnavailable when some may be left."""
        return await self._sweeper.run(SWEEP_S, self._sweep, scope)

    async def holding(self, scope: Scope) -> Holding:
        """Count what is kept of `scope`. Raises as `purge` does."""
        return await self._sweeper.run(SWEEP_S, self._count, scope)

    def forget(self) -> None:
        """Hold nothing that only this process has."""

    async def aclose(self) -> None:
        """End the lines, the threads, and the connections nobody uses; django-redis shares its own in the process."""
        await asyncio.gather(self._reads.aclose(), self._writes.aclose())
        for thread in (self._long_reads, self._long_writes, self._sweeper):
            thread.close()
        self._client.connection_pool.disconnect(inuse_connections=False)

    async def _read(self, key: CacheKey) -> Entry | None:
        name = self._full_name(key)
        try:
            with _redis_errors():
                data: bytes = await self._reads.ask("GETRANGE", name, 0, _SHORT - 1)
            if len(data) == _SHORT:
                return await self._long_reads.run(self._deadline_s, self._read_long, key, name)
            if not data:
                return None
            try:
                return decode(key, data, _SHORT)
            except LongEntry:  # what repeats itself is short only while it is packed
                return await self._long_reads.run(self._deadline_s, decode, key, data)
        except BadEntry:
            # Where that is refused it is met, and passed over, again.
            with suppress(RedisError, OSError, Busy):
                await self._writes.send("UNLINK", name)
            raise

    def _full_name(self, key: CacheKey) -> str:
        return str(self._cache.make_key(_name(key)))

    def _read_long(self, key: CacheKey, name: str) -> Entry | None:
        with _redis_errors():
            data = self._fetch(name)
        return decode(key, data) if data else None

    def _fetch(self, name: str) -> bytes:
        """What is under `name`. Not by GET, which would bring a value of any size that someone left there."""
        data: bytes = self._client.getrange(name, 0, _FIRST - 1)
        if len(data) < _FIRST:
            return data
        size = self._client.strlen(name)
        if size > LARGEST:
            raise BadEntry(f"{size:,} bytes are no answer.")
        # When it is replaced between the two, the checksum tells.
        return data + bytes(self._client.getrange(name, _FIRST, size - 1))

    def _write_long(self, entry: Entry) -> bool:
        left_s = entry.expires_at - self._clock.now()
        if left_s <= 0:
            return False
        try:
            data = encode(entry)
        except BadEntry:
            return False
        with _redis_errors():
            self._cache.set(_name(entry.key), data, timeout=left_s)
        return True

    def _sweep(self, scope: Scope) -> int:
        dropped = 0
        with _redis_errors():
            for names in self._batches(scope):
                dropped += self._client.unlink(*names)
        return dropped

    def _count(self, scope: Scope) -> Holding:
        entries = size = 0
        with _redis_errors():
            for names in self._batches(scope):
                pipeline = self._client.pipeline(transaction=False)
                for name in names:
                    pipeline.strlen(name)
                sizes = [answer for answer in pipeline.execute(raise_on_error=False) if isinstance(answer, int)]
                entries += len(sizes)
                size += sum(sizes)
        return Holding(entries, size)

    def _batches(self, scope: Scope) -> Iterator[list[bytes]]:
        """The full names of what is kept of `scope`, some at a time; a name may come twice."""
        give_up = time.monotonic() + SWEEP_S
        found = self._client.scan_iter(match=str(self._cache.make_key(_pattern(scope))), count=_BATCH)
        while names := list(itertools.islice(found, _BATCH)):
            yield names
            if time.monotonic() > give_up:
                raise TierUnavailable(f"Redis holds too much to go through in {SWEEP_S:g} s; some is left.")


def _name(key: CacheKey) -> str:
    return f"answer:{key.tenant_id}:{_short(key.namespace)}:{_short(key.model)}:{key.hash}"


def _pattern(scope: Scope) -> str:
    """What SCAN matches for `scope`."""
    tenant = "*" if scope.tenant_id is None else scope.tenant_id
    namespace = "*" if scope.namespace is None else _short(scope.namespace)
    model = "*" if scope.model is None else _short(scope.model)
    # An operator may have typed anything, also what a pattern gives a meaning to.
    name = "*" if scope.hash is None else re.sub(r"([*?\[\\])", r"\\\1", scope.hash)
    return f"answer:{tenant}:{namespace}:{model}:{name}"


def _short(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


@contextmanager
def _redis_errors() -> Iterator[None]:
    """Whatever Redis or the way to it says, here it means one thing; but for what lies there that is no answer."""
    try:
        yield
    except TimeoutError:
        raise
    except ResponseError as error:
        if str(error).startswith("WRONGTYPE"):
            raise BadEntry(str(error)) from None
        raise TierUnavailable(f"Redis: {error}") from error
    except (RedisError, OSError) as error:
        raise TierUnavailable(f"Redis: {type(error).__name__}: {error}") from error
