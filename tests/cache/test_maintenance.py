"""What expired is deleted, and the space is given back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings

from cache.entries import Scope
from cache.maintenance import expire
from cache.purges import Purge
from cache.tiers.sqlite import SQLiteTier
from tests.cache.conftest import HandClock, MakeEntry, reply, until


@pytest.fixture(autouse=True)
def _this_file(cache_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings.DATABASES["cache"], "NAME", str(cache_file))


async def test_what_expired_is_deleted_and_nothing_else(
    make_sqlite_tier: Callable[..., SQLiteTier], make_entry: MakeEntry, clock: HandClock
):
    tier = make_sqlite_tier()
    for number in range(1200):
        await tier.put(make_entry(f"What is {number}?", ttl_s=60))
    lasting = make_entry("What lasts?", ttl_s=3600)
    await tier.put(lasting)
    await until(lambda: not tier._pending)
    clock.advance(61)
    assert expire(clock.now()) == 1200
    assert expire(clock.now()) == 0
    assert (await tier.holding(Scope())).entries == 1
    assert await tier.get(lasting.key) == lasting


async def test_free_pages_go_back_to_the_file_system(
    make_sqlite_tier: Callable[..., SQLiteTier], make_entry: MakeEntry, clock: HandClock, cache_file: Path
):
    tier = make_sqlite_tier()
    for number in range(300):
        text = "".join(chr(0x4E00 + (number * 7919 + place * place * 31) % 20_000) for place in range(2000))
        await tier.put(make_entry(f"What is {number}?", reply(text), ttl_s=60))
    await until(lambda: not tier._pending)
    pages = _pages(cache_file)
    clock.advance(61)
    expire(clock.now())
    assert _pages(cache_file) < pages / 2


async def test_the_record_of_a_purge_goes_when_no_answer_is_as_old(
    make_sqlite_tier: Callable[..., SQLiteTier], clock: HandClock
):
    tier = make_sqlite_tier()
    await tier.record_purges([Purge(Scope(tenant_id=1), clock.now())])
    expire(clock.now() + 86400)
    assert len(await tier.recorded_purges()) == 1
    expire(clock.now() + 31 * 86400)
    assert await tier.recorded_purges() == []


def _pages(path: Path) -> int:
    connection = sqlite3.connect(path)
    (count,) = connection.execute("PRAGMA page_count").fetchone()
    connection.close()
    return int(count)
