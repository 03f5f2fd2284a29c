"""What each tenant keeps is counted and bounded; one tenant's flood drives out nothing of another's."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cache.entries import CacheKey, Entry, Scope
from cache.maintenance import expire
from cache.replacement import Fair
from cache.tiers.memory import MemoryTier
from cache.tiers.sqlite import SQLiteTier
from orchestrator.core.types import Caller
from tests.cache.conftest import ALICE, CHARLIE, HandClock, MakeEntry, reply, until

MakeSQLiteTier = Callable[..., SQLiteTier]
KINDS = ("put", "again", "purge", "drop")


def counted(path: Path) -> tuple[dict[int, tuple[int, int]], dict[int, tuple[int, int]]]:
    """What the table of holdings says, and what there is."""
    with sqlite3.connect(path) as connection:
        said = connection.execute("SELECT tenant_id, entries, bytes FROM cache_tenantholding WHERE entries").fetchall()
        there = connection.execute("SELECT tenant_id, count(*), sum(size) FROM cache_cacheentry GROUP BY tenant_id")
        found = {tenant: (entries, size) for tenant, entries, size in there.fetchall()}
    connection.close()
    return {tenant: (entries, size) for tenant, entries, size in said}, found


def noise(seed: int, size: int = 1500) -> str:
    return random.Random(seed).randbytes(size // 2).hex()


async def written(tier: SQLiteTier) -> None:
    await until(lambda: not tier._pending)


async def test_what_each_keeps_is_counted_exactly_whatever_happens(
    make_sqlite_tier: MakeSQLiteTier, make_entry: MakeEntry, cache_file: Path, clock: HandClock
) -> None:
    tier, choose = make_sqlite_tier(), random.Random(7)
    callers = [Caller(tenant_id=number, tenant=f"t{number}") for number in range(1, 5)]
    kept: list[Entry] = []
    for number in range(300):
        match choose.choice(KINDS) if kept else "put":
            case "put":
                kept.append(make_entry(f"q{number}", reply(noise(number)), caller=choose.choice(callers)))
                await tier.put(kept[-1])
            case "again":
                clock.advance(0.01)
                entry = choose.choice(kept)
                await tier.put(replace(entry, reply=reply(noise(number, 100)), created_at=clock.now()))
            case "purge" if number % 10 == 0:
                await written(tier)
                await tier.purge(Scope(tenant_id=choose.choice(callers).tenant_id, model="tiny:latest"))
            case "drop":
                await written(tier)
                await tier._drop(choose.choice(kept).key)
    await written(tier)
    said, there = counted(cache_file)
    assert said == there
    for tenant, (entries, size) in there.items():
        held = await tier.holding(Scope(tenant_id=tenant))
        assert (held.entries, held.bytes) == (entries, size)


async def test_a_tenant_keeps_no_more_than_its_allowance_and_loses_its_own_oldest(
    make_sqlite_tier: MakeSQLiteTier, make_entry: MakeEntry, cache_file: Path, clock: HandClock
) -> None:
    tier = make_sqlite_tier()
    others = [make_entry(f"other {number}", reply(noise(number)), caller=CHARLIE) for number in range(5)]
    for entry in others:
        await tier.put(entry)
    own = []
    for number in range(40):
        clock.advance(0.01)
        own.append(replace(make_entry(f"own {number}", reply(noise(number))), allowance=10_000))
        await tier.put(own[-1])
    await written(tier)
    held = await tier.holding(Scope(tenant_id=ALICE.tenant_id))
    size = held.bytes // held.entries
    assert 10_000 - size <= held.bytes <= 10_000, "as much as it may, and no more"
    found = [await tier.get(entry.key) is not None for entry in own]
    assert found == [False] * (40 - held.entries) + [True] * held.entries
    assert all([await tier.get(entry.key) for entry in others])
    said, there = counted(cache_file)
    assert said == there


async def test_an_answer_larger_than_the_allowance_drives_nothing_out(
    make_sqlite_tier: MakeSQLiteTier, make_entry: MakeEntry
) -> None:
    tier = make_sqlite_tier()
    small = replace(make_entry("small", reply("4")), allowance=2000)
    large = replace(make_entry("large", reply(noise(1, 8000))), allowance=2000)
    for entry in (small, large):
        await tier.put(entry)
    await written(tier)
    assert await tier.get(small.key)
    assert await tier.get(large.key) is None


async def test_a_flood_drives_out_the_flooders_own_from_the_file(
    make_sqlite_tier: MakeSQLiteTier, make_entry: MakeEntry, clock: HandClock
) -> None:
    tier = make_sqlite_tier(2 * 1024**2)
    quiet = [make_entry(f"quiet {number}", reply(noise(number)), caller=CHARLIE) for number in range(50)]
    for entry in quiet:
        await tier.put(entry)
    for number in range(3000):
        clock.advance(0.001)
        await tier.put(make_entry(f"flood {number}", reply(noise(number))))
        if number % 200 == 0:
            await written(tier)
    await written(tier)
    assert all([await tier.get(entry.key) for entry in quiet]), "though they are the oldest of all"


async def test_a_flood_drives_out_the_flooders_own_from_memory(clock: HandClock, make_entry: MakeEntry) -> None:
    tier = MemoryTier(clock, 1024**2)
    quiet = [make_entry(f"quiet {number}", reply("4"), caller=CHARLIE) for number in range(100)]
    for entry in quiet:
        await tier.put(entry)
    for number in range(3000):
        await tier.put(make_entry(f"flood {number}", reply("x" * 1000)))
    assert all([await tier.get(entry.key) for entry in quiet])


async def test_the_same_hash_under_another_tenant_is_another_place(
    make_sqlite_tier: MakeSQLiteTier, clock: HandClock, make_entry: MakeEntry
) -> None:
    """No two tenants have the same hash; where one was made up, it opens nothing."""
    entry = make_entry()
    forged = CacheKey(entry.key.hash, CHARLIE.tenant_id, entry.key.namespace, entry.key.model)
    file, memory = make_sqlite_tier(), MemoryTier(clock, 1024**2)
    for tier in (file, memory):
        await tier.put(entry)
        await written(file)
        assert await tier.get(forged) is None
        await tier.purge(Scope(tenant_id=CHARLIE.tenant_id, hash=entry.key.hash))
        assert await tier.get(entry.key) == entry
    await file.put(replace(entry, key=forged, created_at=entry.created_at + 1))
    await written(file)
    assert await file.get(entry.key) == entry


def test_what_expired_is_counted_no_more(
    cache_file: Path, settings: object, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.DATABASES["cache"], "NAME", str(cache_file))  # type: ignore[attr-defined]
    with sqlite3.connect(cache_file) as connection:
        connection.execute(
            "INSERT INTO cache_cacheentry (hash, tenant_id, namespace, model, created_at, expires_at, size, body)"
            " VALUES ('h', 1, '', 'm', '2020-01-01', '2020-01-02', 10, 'x')"
        )
    connection.close()
    assert counted(cache_file)[0] == {1: (1, 10)}
    assert expire(clock.now()) == 1
    assert counted(cache_file)[0] == {}


def test_nobody_who_holds_nothing_is_remembered() -> None:
    fair: Fair[tuple[int, int]] = Fair(lambda key: key[0])
    for owner in range(1000):
        fair.added((owner, 1), 10)
        fair.removed((owner, 1))
    assert not fair._queues
    with pytest.raises(KeyError):
        fair.victim()
    fair.added((1, 1), 10)
    fair.added((2, 1), 30)
    fair.added((1, 2), 10)
    assert [fair.victim() for _ in range(3)] == [(2, 1), (1, 1), (1, 2)]
