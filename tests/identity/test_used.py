"""When a key was used last, and the words it puts on every record."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from django.db import OperationalError

from orchestrator.core.permissions import EVERYBODY
from orchestrator.identity.callers import REMEMBERED_S, Identity
from orchestrator.ledger import writing
from orchestrator.ledger.writer import Ledger
from orchestrator.ledger.writing import USED_EVERY_S
from orchestrator.models import ApiKey, RequestRecord
from orchestrator.parts import Parts
from tests.fakes import SetClock
from tests.keys import issue_key


def last_used() -> datetime | None:
    return ApiKey.objects.of(EVERYBODY).values_list("last_used_at", flat=True).get()


async def until(found: Callable[[], Any]) -> Any:
    async with asyncio.timeout(60):
        while not (value := await asyncio.to_thread(found)):
            await asyncio.sleep(0.01)
        return value


async def test_whatever_a_key_is_shown_for_says_that_it_is_used_and_changes_no_policy(
    client: httpx.AsyncClient, parts: Parts
) -> None:
    key = await asyncio.to_thread(issue_key, "web", "acme")
    before = parts.generation.policy()
    assert (await client.get("/api/tags", headers={"Authorization": f"Bearer {key}"})).status_code == 200
    at = await until(last_used)
    assert abs(at - datetime.now(UTC)) < timedelta(minutes=1)
    assert parts.generation.policy() == before


async def test_a_key_that_is_remembered_is_heard_of_again_when_it_is_read_again(transactional_db: None) -> None:
    heard: list[int] = []
    clock = SetClock()
    identity = Identity(clock, lambda: 0, require_keys=True, used=heard.append)
    headers = (f"Bearer {await asyncio.to_thread(issue_key, 'web', 'acme')}", "")
    for _ in range(3):
        for _ in range(5):
            assert identity.remembered(*headers) or await identity.caller(*headers)
        clock.pass_(REMEMBERED_S)
    identity.close()
    assert heard == [(await ApiKey.objects.of(EVERYBODY).aget()).pk] * 3


async def test_it_is_written_once_a_minute_and_never_set_back(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(issue_key, "web", "acme")
    key = await ApiKey.objects.of(EVERYBODY).aget()
    written: list[datetime] = []
    write = writing.write_used

    def noting(keys: list[int], at: datetime) -> None:
        write(keys, at)
        written.append(at)

    monkeypatch.setattr(writing, "write_used", noting)
    clock = SetClock()
    ledger = Ledger(clock)
    for number in range(1, 3):
        ledger.used(key.pk)
        await until(lambda number=number: len(written) == number)  # type: ignore[misc]
        clock.pass_(USED_EVERY_S - 1)
        ledger.used(key.pk)
        await until(lambda: not ledger._used)
        clock.pass_(1)
    ledger.close()
    assert written[1] - written[0] == timedelta(seconds=USED_EVERY_S)
    assert await asyncio.to_thread(last_used) == written[1]
    await asyncio.to_thread(write, [key.pk], written[0])
    assert await asyncio.to_thread(last_used) == written[1]


async def test_the_ledger_lives_on_when_it_cannot_be_written_that_a_key_is_used(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def locked(*_: object) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr(writing, "write_used", locked)
    ledger = Ledger(SetClock())
    ledger.used(1)
    await until(lambda: "1 keys are used: database is locked" in caplog.text)
    assert ledger.failure is None
    ledger.close()


async def test_a_keys_words_are_on_every_record_beside_the_callers(
    client: httpx.AsyncClient, parts: Parts, recorded: Any
) -> None:
    key = await asyncio.to_thread(lambda: issue_key("web", "acme", tags=["prod", "search"]))
    headers = {"Authorization": f"Bearer {key}", "X-Orchestrator-Tags": "nightly, prod"}
    for prompt in ("one", "one"):  # from the engine, and from memory
        body = {"model": "tiny", "prompt": prompt, "stream": False}
        assert (await client.post("/api/generate", json=body, headers=headers)).status_code == 200
    del headers["X-Orchestrator-Tags"]
    assert (await client.post("/api/generate", content=b"{", headers=headers)).status_code == 400
    records: list[RequestRecord] = await recorded(3)
    assert [record.tags for record in records] == ["prod,search,nightly", "prod,search,nightly", "prod,search"]
