"""Redis for the event loop: for all that waits for it there. What sweeps the cache goes by way of django-redis."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any

from django.conf import settings
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from orchestrator.core.errors import Busy
from orchestrator.core.redis_address import sentinels
from orchestrator.core.tasks import end, turned
from orchestrator.core.threads import worked_s

MOST_CONNECTIONS = 16
_SOCKET_S = 1.0

_MOST_WAITING = 4096  # commands
_BATCH = 64
_BATCH_S = 2.0

logger = logging.getLogger(__name__)


def socket_s(silence_s: float) -> float:
    """How long the connection of a line may be silent, in seconds, whose callers wait so long.

    Far longer than is usual for them, so that a connection that is only slow is kept.
    """
    return max(_SOCKET_S, silence_s)


def open_redis(location: str = "", timeout_s: float | None = None, most_connections: int = MOST_CONNECTIONS) -> Redis:
    """Return a client of the Redis that the settings name, or of the one at `location`. Close it with `aclose`.

    Nothing is connected before the first command. A command raises RedisError or OSError when Redis cannot
    be reached, or is silent for `timeout_s` (of the settings): also for a connection of the pool, of which
    there are `most_connections`. It is tried once. One that blocks on purpose needs a longer timeout than it blocks.

    A command that is cancelled or times out closes its connection, so no other caller can read its reply.
    """
    location = location or settings.REDIS_LOCATION
    timeout_s = settings.REDIS_TIMEOUT_S if timeout_s is None else timeout_s
    options: dict[str, Any] = {
        "socket_connect_timeout": timeout_s,
        "socket_timeout": timeout_s,
        # A second try would come after its caller's deadline.
        "retry": Retry(NoBackoff(), 0),
        # With version 3 the pool hands out a connection in which there is something unread: it may be a notice.
        "protocol": 2,
        "driver_info": None,
    }
    if asked := sentinels(location):
        account = {"username": asked.username or None, "password": asked.password or None}
        manager = Sentinel(asked.hosts, sentinel_kwargs=dict(options), **options)  # type: ignore[no-untyped-call]
        return _BySentinels(
            manager,
            SentinelConnectionPool(  # type: ignore[no-untyped-call]
                asked.service, manager, max_connections=most_connections, db=asked.db, **account, **options
            ),
        )
    pool = BlockingConnectionPool.from_url(location, max_connections=most_connections, timeout=timeout_s, **options)
    return Redis.from_pool(pool)


class _BySentinels(Redis):
    """Also closes the connections to the Sentinels."""

    def __init__(self, manager: Sentinel, pool: SentinelConnectionPool) -> None:
        super().__init__(connection_pool=pool)
        self.auto_close_connection_pool = True
        self._manager = manager

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await super().aclose(close_connection_pool)
        for sentinel in self._manager.sentinels:
            await sentinel.aclose()


class Reply(asyncio.Future[Any]):
    """What Redis will have said to a command."""

    took_s: float | None = None  # for the batch it was in, while the event loop turned; None without an answer


class Line:
    """Short commands of many callers over one connection: what waits while a batch is under way goes with the next.

    So a caller costs no connection and, when there are many, hardly a round trip; and one who gives up
    does not reach the connection at all.
    """

    def __init__(self, redis: Redis, silence_s: float, most_waiting: int = _MOST_WAITING) -> None:
        """`redis` is closed with the line; its connection outlives a silence that is shorter than its own timeout."""
        self._redis = redis
        self._silence_s = silence_s
        self._most_waiting = most_waiting
        self._waiting: deque[tuple[tuple[str | bytes | int, ...], Reply]] = deque()
        self._work: asyncio.Task[None] | None = None
        self._is_closed = False
        self._is_silent = False  # Redis has not answered the last batch yet

    def send(self, *command: str | bytes | int) -> Reply:
        """Return its reply to be, which nobody has to wait for. Commands are carried out in the order they come.

        It fails with RedisError or OSError when Redis does not do it, with TimeoutError when Redis has said nothing
        for `silence_s`, with Busy when too many wait. Waiting one's turn is no silence. A command whose future is
        cancelled before its turn is not sent.
        """
        reply = Reply(loop=asyncio.get_running_loop())
        reply.add_done_callback(_look_at)
        if self._is_silent:
            reply.set_exception(self._silence())
            return reply
        if self._is_closed or len(self._waiting) >= self._most_waiting:
            why = "The way to Redis is closed." if self._is_closed else "Too many commands wait for Redis."
            reply.set_exception(Busy(why))
            return reply
        self._waiting.append((command, reply))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._carry_out(), name="redis line")
        return reply

    async def ask(self, *command: str | bytes | int) -> Any:
        """Send it and wait for the reply. Raises what `send` fails with; `worked_s` says how long Redis took."""
        reply = self.send(*command)
        try:
            return await reply
        finally:
            worked_s.set(reply.took_s)

    async def aclose(self) -> None:
        """Carry out what waits, for as long as one batch may take, and close the connection."""
        self._is_closed = True
        if self._work is not None:
            await asyncio.wait({self._work}, timeout=_BATCH_S)
            await end([self._work])
        while self._waiting:
            self._waiting.popleft()[1].cancel()
        await self._redis.aclose()

    async def _carry_out(self) -> None:
        while self._waiting:
            taken = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            batch = [(command, reply) for command, reply in taken if not reply.done()]
            if batch:
                await self._settle([command for command, _ in batch], [reply for _, reply in batch])

    async def _execute(self, commands: list[tuple[str | bytes | int, ...]]) -> list[Any]:
        """What Redis says to each, or fails with. Raises RedisError, OSError and TimeoutError where it says nothing."""
        try:
            pipeline = self._redis.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            return list(await pipeline.execute(raise_on_error=False))
        except (RedisError, OSError, TimeoutError):
            raise
        except Exception as error:  # of the client, or not of this protocol: those who wait must hear of it, too
            logger.exception("Redis was asked in a way that failed as it should not.")
            raise RedisError(f"Redis could not be asked: {error!r}.") from error

    async def _settle(self, commands: list[tuple[str | bytes | int, ...]], replies: list[Reply]) -> None:
        under_way = asyncio.create_task(self._execute(commands))
        try:
            took_s = await turned(under_way, self._silence_s)
            if took_s is None:
                self._is_silent = True
                for reply in (*replies, *(reply for _, reply in self._waiting)):
                    _settle(reply, self._silence())
                self._waiting.clear()
                # A connection that still answers need not be opened anew.
                await asyncio.wait({under_way}, timeout=_BATCH_S)
            if not under_way.done():
                return
            results = under_way.result()
        except asyncio.CancelledError:
            for reply in replies:
                reply.cancel()
            raise
        except (RedisError, OSError, TimeoutError) as error:
            results = [error] * len(replies)
            took_s = None
        finally:
            self._is_silent = False
            under_way.cancel()
        for reply, result in zip(replies, results, strict=True):
            reply.took_s = took_s
            _settle(reply, result)

    def _silence(self) -> TimeoutError:
        return TimeoutError(f"Redis is silent for {self._silence_s:g} s")


def _settle(reply: Reply, result: Any) -> None:
    if reply.done():
        return
    if isinstance(result, Exception):
        reply.set_exception(result)
    else:
        reply.set_result(result)


def _look_at(reply: asyncio.Future[Any]) -> None:
    """So that a failure nobody waits for is not complained of."""
    if not reply.cancelled():
        reply.exception()
