"""Whatever is cancelled or overdue, nobody gets another's reply."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from orchestrator.core.errors import Busy
from orchestrator.core.redis_async import Line, open_redis, socket_s
from tests.cache.conftest import PATIENT_S
from tests.servers import RedisServer


class SlowWay:
    """A way to Redis on which replies take as long as `delay_s` says, drawn anew for each read."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self.delay_s = lambda: 0.0
        self.address = ""
        self.opened = 0

    async def __aenter__(self) -> SlowWay:
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"redis://127.0.0.1:{self._listening.sockets[0].getsockname()[1]}/0"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listening.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        server_reader, server_writer = await asyncio.open_unix_connection(str(self._server.socket))
        there = asyncio.create_task(self._pass(reader, server_writer, delays=False))
        back = asyncio.create_task(self._pass(server_reader, writer, delays=True))
        await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        for task in (there, back):
            task.cancel()
        for one in (writer, server_writer):
            one.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, delays: bool) -> None:
        while data := await reader.read(65536):
            if delays:
                await asyncio.sleep(self.delay_s())
            try:
                writer.write(data)
                await writer.drain()
            except OSError:
                return


@pytest.fixture
async def way(redis_server: RedisServer) -> AsyncIterator[SlowWay]:
    async with SlowWay(redis_server) as way:
        yield way


async def echo(client: Redis, word: str, deadline_s: float) -> bool:
    """Whether there was a reply; it must be the right one."""
    try:
        async with asyncio.timeout(deadline_s):
            reply = await client.execute_command("ECHO", word)
    except (RedisError, TimeoutError):
        return False
    assert reply.decode() == word
    return True


async def test_no_reply_crosses_to_another_caller(way: SlowWay) -> None:
    chance = random.Random(7)
    way.delay_s = lambda: chance.choice([0.0, 0.0, 0.002, 0.02])
    client = open_redis(way.address, 0.01, most_connections=3)
    echoed = []
    for round_ in range(40):
        calls = [
            asyncio.create_task(echo(client, f"{round_}-{number}", chance.choice([0.0, 0.001, 0.005, PATIENT_S])))
            for number in range(8)
        ]
        await asyncio.sleep(chance.choice([0.0, 0.001, 0.003]))
        chance.choice(calls).cancel()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert not [result for result in results if isinstance(result, AssertionError)]
        echoed += [result for result in results if result is True]
    assert echoed
    way.delay_s = lambda: 0.0
    assert not client.connection_pool._in_use_connections, "each connection is back"
    await client.aclose()
    patient = open_redis(way.address, PATIENT_S)
    assert await echo(patient, "the end", PATIENT_S)
    await patient.aclose()


async def test_a_reply_that_comes_too_late_is_never_read(own_redis: RedisServer) -> None:
    client = open_redis(own_redis.url, PATIENT_S, most_connections=1)
    assert await echo(client, "first", PATIENT_S)
    own_redis.pause()
    assert not await echo(client, "overdue", 0.02)
    own_redis.resume()
    assert await echo(client, "second", PATIENT_S)
    await client.aclose()


async def test_a_full_pool_is_waited_for_only_so_long(own_redis: RedisServer) -> None:
    client = open_redis(own_redis.url, 0.05, most_connections=2)
    own_redis.pause()
    async with asyncio.timeout(PATIENT_S):
        assert not any(await asyncio.gather(*(echo(client, str(number), PATIENT_S) for number in range(10))))
    own_redis.resume()
    await client.aclose()


async def test_without_a_redis_each_command_says_so(own_redis: RedisServer) -> None:
    client = open_redis(own_redis.url, PATIENT_S)
    own_redis.kill()
    with pytest.raises((RedisError, OSError)):
        await client.ping()
    own_redis.start()
    assert await echo(client, "back", PATIENT_S)
    await client.aclose()


@pytest.fixture
async def line(own_redis: RedisServer) -> AsyncIterator[Line]:
    line = Line(open_redis(own_redis.url, PATIENT_S, most_connections=1), PATIENT_S)
    yield line
    await line.aclose()


async def test_in_line_every_caller_gets_its_own_reply(line: Line) -> None:
    replies = [line.send("ECHO", str(number)) for number in range(500)]
    wrong = line.send("HGET", "no", "such", "form")
    after = line.send("ECHO", "after")
    assert await asyncio.gather(*replies) == [str(number).encode() for number in range(500)]
    with pytest.raises(RedisError):
        await wrong
    assert await after == b"after"


async def test_who_gives_up_in_line_does_not_disturb_the_others(line: Line, own_redis: RedisServer) -> None:
    await line.send("PING")
    own_redis.pause()
    begun, other = line.send("INCR", "begun"), line.send("ECHO", "other")
    await asyncio.sleep(0)
    begun.cancel()
    behind = line.send("SET", "behind", "1")
    behind.cancel()
    last = line.send("GET", "behind")
    own_redis.resume()
    assert await other == b"other"
    assert await last is None, "its turn had not come"


@pytest.mark.parametrize("socket_s", [0.05, PATIENT_S], ids=["connection lost", "connection kept"])
async def test_a_line_that_gets_no_answer_says_so_and_goes_on_when_there_is_one(
    own_redis: RedisServer, socket_s: float
) -> None:
    line = Line(open_redis(own_redis.url, socket_s, most_connections=1), 0.1)
    assert await line.send("ECHO", "before") == b"before"
    own_redis.pause()
    with pytest.raises((RedisError, OSError, TimeoutError)):
        await line.send("ECHO", "overdue")
    behind = line.send("ECHO", "behind")
    with pytest.raises((RedisError, OSError, TimeoutError)):
        await behind
    own_redis.resume()

    async def answers() -> bool:
        try:
            return bool(await line.send("ECHO", "after") == b"after")
        except (RedisError, TimeoutError):
            await asyncio.sleep(0)
            return False

    async with asyncio.timeout(60):
        while not await answers():
            pass
    await line.aclose()


async def test_an_answer_that_takes_longer_than_usual_comes_where_callers_wait_for_it(own_redis: RedisServer) -> None:
    line = Line(open_redis(own_redis.url, socket_s(PATIENT_S), most_connections=1), PATIENT_S)
    assert await line.send("ECHO", "before") == b"before"
    own_redis.pause()
    late = line.send("ECHO", "late")
    await asyncio.sleep(socket_s(0) + 0.2)
    own_redis.resume()
    assert await late == b"late"
    await line.aclose()


async def test_what_the_client_fails_with_reaches_who_waits_and_ends_no_line(
    line: Line, own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    redis = line._redis
    made = redis.pipeline

    def broken(**options: bool) -> None:
        raise ValueError("a bug of the client")

    monkeypatch.setattr(redis, "pipeline", broken)
    async with asyncio.timeout(60):
        for reply in [line.send("PING") for _ in range(3)]:
            with pytest.raises(RedisError, match="a bug of the client"):
                await reply
        assert "as it should not" in caplog.text
        monkeypatch.setattr(redis, "pipeline", made)
        assert await line.ask("PING")
        await line.aclose()


async def test_a_line_is_only_so_long_and_ends(own_redis: RedisServer) -> None:
    line = Line(open_redis(own_redis.url, PATIENT_S, most_connections=1), PATIENT_S, most_waiting=3)
    replies = [line.send("PING") for _ in range(4)]
    with pytest.raises(Busy):
        await replies[3]
    await line.aclose()
    assert all(reply.result() for reply in replies[:3]), "what waited was carried out"
    with pytest.raises(Busy):
        await line.send("PING")
