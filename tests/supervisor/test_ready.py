"""Ready means that every part is; after a while those that can be done without are not waited for."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from orchestrator.env import Address
from orchestrator.supervisor import ready
from orchestrator.supervisor.ready import until_ready

States = list[tuple[int, dict[str, str]]]


@pytest.fixture
async def answers() -> States:
    """What /readyz says, one after the other; the last again and again."""
    return []


@pytest.fixture
async def address(answers: States) -> AsyncIterator[Address]:
    """Where it says it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        status, parts = answers.pop(0) if len(answers) > 1 else answers[0]
        writer.write(b"HTTP/1.0 %d -\r\n\r\n" % status + json.dumps({"parts": parts}).encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield Address(*server.sockets[0].getsockname()[:2])


async def test_it_waits_for_every_part(address: Address, answers: States) -> None:
    answers += [(503, {"ledger": "down"}), (200, {"ledger": "ok", "models": "down"}), (200, {"models": "ok"})]
    await asyncio.wait_for(until_ready(address), 60)
    assert answers == [(200, {"models": "ok"})]


async def test_a_part_that_is_not_vital_is_waited_for_a_while_and_named(
    address: Address, answers: States, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ready, "PATIENCE_S", 0.1)
    answers.append((200, {"models": "ok", "redis": "down"}))
    await asyncio.wait_for(until_ready(address), 60)
    assert "ready, missing: redis" in caplog.text


async def test_a_vital_part_is_waited_for_as_long_as_it_takes(
    address: Address, answers: States, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ready, "PATIENCE_S", 0.1)
    answers += [(503, {"ledger": "down"})] * 10 + [(200, {"ledger": "ok"})]
    await asyncio.wait_for(until_ready(address), 60)
    assert answers == [(200, {"ledger": "ok"})]
    assert caplog.text.count("not ready, missing: ledger") == 1


async def test_a_server_that_is_not_there_yet_is_waited_for() -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(until_ready(Address("127.0.0.1", 1)), 0.2)
