"""A cache file that is locked, full, damaged or gone stops storing at worst, and serves on."""

from __future__ import annotations

import asyncio
import logging
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from cache.database import CacheFile
from cache.entries import Entry, Scope
from cache.purges import Purge
from cache.tiers import sqlite as sqlite_tier
from cache.tiers.base import TierUnavailable
from cache.tiers.sqlite import SQLiteTier, used_bytes
from tests.cache.conftest import HandClock, MakeEntry, reply, until

MakeSQLiteTier = Callable[..., SQLiteTier]


def rows(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        (count,) = connection.execute("SELECT count(*) FROM cache_cacheentry").fetchone()
    connection.close()
    return int(count)


def spoil(path: Path, start: int = 0, end: int | None = None) -> None:
    """Write rubbish over a part of the file, in place."""
    end = path.stat().st_size if end is None else end
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xa5" * (end - start))


def remove(path: Path, *suffixes: str) -> None:
    for suffix in suffixes:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


async def finds(tier: SQLiteTier, entry: Entry) -> bool:
    try:
        return await tier.get(entry.key) == entry
    except (TierUnavailable, TimeoutError):
        return False


async def put_and_found(tier: SQLiteTier, entry: Entry) -> None:
    """Wait until an answer goes in and can be read from the file."""
    await tier.put(entry)
    await until(lambda: not tier._pending)
    assert await finds(tier, entry)


async def test_answers_survive_a_restart(make_sqlite_tier: MakeSQLiteTier, make_entry: MakeEntry):
    first, entry = make_sqlite_tier(), make_entry()
    await first.put(entry)
    await first.aclose()
    assert await make_sqlite_tier().get(entry.key) == entry


async def test_another_process_sees_what_was_written(make_sqlite_tier: MakeSQLiteTier, make_entry: MakeEntry):
    one, other, entry = make_sqlite_tier(), make_sqlite_tier(), make_entry()
    await put_and_found(one, entry)
    assert await other.get(entry.key) == entry


async def test_a_locked_file_is_read_on_and_written_when_the_lock_is_gone(
    make_sqlite_tier: MakeSQLiteTier,
    make_entry: MakeEntry,
    cache_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    monkeypatch.setattr(sqlite_tier, "_BUSY_S", 0.05)
    tier, old, new = make_sqlite_tier(), make_entry("old"), make_entry("new")
    await put_and_found(tier, old)
    lock = sqlite3.connect(cache_file, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    await tier.put(new)
    await until(lambda: "takes no more answers" in caplog.text)
    assert await tier.get(old.key) == old
    assert await tier.get(new.key) == new
    assert rows(cache_file) == 1
    lock.execute("ROLLBACK")
    lock.close()
    await until(lambda: rows(cache_file) == 2)
    assert [record.levelno for record in caplog.records].count(logging.WARNING) <= 2


async def test_what_waits_to_be_written_has_a_bound(
    make_sqlite_tier: MakeSQLiteTier, make_entry: MakeEntry, cache_file: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sqlite_tier, "_BUSY_S", 0.05)
    monkeypatch.setattr(sqlite_tier, "_MOST_PENDING", 10)
    tier = make_sqlite_tier()
    lock = sqlite3.connect(cache_file, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    entries = [make_entry(f"What is {number}?") for number in range(11)]
    for entry in entries[:10]:
        assert await tier.put(entry)
    with pytest.raises(TierUnavailable, match="10 answers wait"):
        await tier.put(entries[10])
    lock.execute("ROLLBACK")
    lock.close()
    await until(lambda: not tier._pending)
    assert await tier.put(entries[10])


async def test_a_full_disk_stops_storing_and_storing_goes_on_when_there_is_room(
    make_sqlite_tier: MakeSQLiteTier, make_entry: MakeEntry, caplog: pytest.LogCaptureFixture
):
    """SQLite's own page limit gives the same error as a disk without room."""
    tier, old = make_sqlite_tier(), make_entry("old")
    await put_and_found(tier, old)
    await tier._writer.run(60, limit_pages, tier._writing, 1)
    entries = [make_entry(f"What is {number}?", reply(unpackable(number))) for number in range(50)]
    for entry in entries:
        await tier.put(entry)
    await until(lambda: "full" in caplog.text)
    assert await finds(tier, old)
    assert await finds(tier, entries[0])
    await tier._writer.run(60, limit_pages, tier._writing, 1_000_000)
    await until(lambda: not tier._pending)
    assert await finds(tier, entries[49])


def limit_pages(file: CacheFile, pages: int) -> None:
    file.connection().execute(f"PRAGMA max_page_count={pages}").fetchone()


def unpackable(seed: int) -> str:
    """2,000 characters that no packing makes much shorter."""
    return "".join(map(chr, random.Random(seed).choices(range(0x4E00, 0x9000), k=2000)))


async def test_the_file_keeps_its_bound_and_the_oldest_go_first(
    make_sqlite_tier: MakeSQLiteTier, make_entry: MakeEntry, clock: HandClock
):
    limit = 2 * 1024**2
    tier = make_sqlite_tier(limit)
    entries = []
    for number in range(900):
        entries.append(make_entry(f"What is {number}?", reply(unpackable(number))))
        await tier.put(entries[-1])
        clock.advance(0.001)
        if number % 100 == 0:
            await until(lambda: not tier._pending)
    await until(lambda: not tier._pending)
    used = await tier._reader.run(60, lambda: used_bytes(tier._reading.connection()))
    assert used <= limit
    assert await finds(tier, entries[-1])
    assert not await finds(tier, entries[0])


@pytest.mark.parametrize("damage", ["header", "middle", "all"])
async def test_a_damaged_file_is_set_aside_and_a_new_one_used(
    make_sqlite_tier: MakeSQLiteTier, make_entry: MakeEntry, cache_file: Path, damage: str
):
    filling = make_sqlite_tier()
    for number in range(100):
        await filling.put(make_entry(f"What is {number}?", reply(unpackable(number))))
    await filling.aclose()
    start, end = {"header": (0, 100), "middle": (4096, None), "all": (0, None)}[damage]
    spoil(cache_file, start, end)

    tier, entry = make_sqlite_tier(), make_entry("new")
    assert not await finds(tier, make_entry("What is 1?"))
    await tier.put(entry)
    await until(lambda: list(cache_file.parent.glob("*.corrupt-*Z")))
    await until(lambda: not tier._pending)
    assert await finds(tier, entry)
    assert rows(cache_file) == 1


async def test_a_file_damaged_under_two_processes_is_set_aside_once(
    make_sqlite_tier: MakeSQLiteTier, make_entry: MakeEntry, cache_file: Path
):
    tiers = [make_sqlite_tier(), make_sqlite_tier()]
    spoil(cache_file)
    entries = [make_entry("one"), make_entry("other")]
    await asyncio.gather(*(tier.put(entry) for tier, entry in zip(tiers, entries, strict=True)))
    await until(lambda: not any(tier._pending for tier in tiers))
    assert rows(cache_file) == 2
    assert len(list(cache_file.parent.glob("*.corrupt-*Z"))) == 1
    for tier in tiers:
        for entry in entries:
            assert await finds(tier, entry)


async def test_a_file_damaged_while_it_is_open_is_replaced(
    make_sqlite_tier: MakeSQLiteTier, make_entry: MakeEntry, cache_file: Path
):
    tier, entry = make_sqlite_tier(), make_entry("new")
    for number in range(100):
        await tier.put(make_entry(f"What is {number}?", reply(unpackable(number))))
    await until(lambda: not tier._pending)
    await tier._writer.run(60, lambda: tier._writing.connection().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
    spoil(cache_file)
    for number in range(100):
        await finds(tier, make_entry(f"What is {number}?"))
    await tier.put(entry)
    await until(lambda: list(cache_file.parent.glob("*.corrupt-*Z")))
    await until(lambda: not tier._pending)
    await put_and_found(tier, entry)


async def test_a_deleted_file_is_made_anew(make_sqlite_tier: MakeSQLiteTier, make_entry: MakeEntry, cache_file: Path):
    tier, old, new = make_sqlite_tier(), make_entry("old"), make_entry("new")
    await put_and_found(tier, old)
    remove(cache_file, "", "-wal", "-shm")
    assert not await finds(tier, old)
    await put_and_found(tier, new)
    assert rows(cache_file) == 1


async def test_a_file_that_was_deleted_is_also_made_anew_by_reading(
    make_sqlite_tier: MakeSQLiteTier, make_entry: MakeEntry, cache_file: Path
):
    remove(cache_file, "")
    tier = make_sqlite_tier()
    assert not await finds(tier, make_entry())
    await until(cache_file.exists)
    assert tier._repairing is not None
    await tier._repairing
    assert await tier.get(make_entry().key) is None


async def test_a_folder_that_is_gone_stops_storing_until_it_is_back(
    make_sqlite_tier: MakeSQLiteTier, make_entry: MakeEntry, cache_file: Path, caplog: pytest.LogCaptureFixture
):
    tier, entry = make_sqlite_tier(), make_entry()
    folder = cache_file.parent
    aside = folder.rename(folder.with_name("elsewhere"))
    assert not await finds(tier, entry)
    await tier.put(entry)
    await until(lambda: "takes no more answers" in caplog.text)
    assert await tier.get(entry.key) == entry
    with pytest.raises(TierUnavailable):
        await tier.purge(Scope(tenant_id=2))
    aside.rename(folder)
    await until(lambda: not tier._pending)
    assert await finds(tier, entry)


async def test_only_so_many_damaged_files_are_kept(
    make_sqlite_tier: MakeSQLiteTier, make_entry: MakeEntry, cache_file: Path
):
    tier = make_sqlite_tier()
    for number in range(4):
        tier._writing.close()
        spoil(cache_file)
        remove(cache_file, "-wal")
        await put_and_found(tier, make_entry(f"What is {number}?"))
    assert len(list(cache_file.parent.glob("*.corrupt-*Z"))) == 2


async def test_a_flipped_bit_in_a_row_is_a_miss_and_the_row_is_deleted(
    make_sqlite_tier: MakeSQLiteTier, make_entry: MakeEntry, cache_file: Path
):
    tier, entry, other = make_sqlite_tier(), make_entry("one"), make_entry("other")
    await put_and_found(tier, entry)
    await put_and_found(tier, other)
    with sqlite3.connect(cache_file) as connection:
        (body,) = connection.execute("SELECT body FROM cache_cacheentry WHERE hash = ?", (entry.key.hash,)).fetchone()
        flipped = body[:-1] + bytes([body[-1] ^ 1])
        connection.execute("UPDATE cache_cacheentry SET body = ? WHERE hash = ?", (flipped, entry.key.hash))
    connection.close()
    assert await tier.get(entry.key) is None
    assert tier.invalid == 1
    await until(lambda: rows(cache_file) == 1)


async def test_rows_swapped_between_tenants_are_misses(
    make_sqlite_tier: MakeSQLiteTier, make_entry: MakeEntry, cache_file: Path
):
    tier, one, other = make_sqlite_tier(), make_entry("one"), make_entry("other")
    await put_and_found(tier, one)
    await put_and_found(tier, other)
    with sqlite3.connect(cache_file) as connection:
        bodies = dict(connection.execute("SELECT hash, body FROM cache_cacheentry").fetchall())
        for mine, theirs in ((one, other), (other, one)):
            connection.execute(
                "UPDATE cache_cacheentry SET body = ? WHERE hash = ?", (bodies[theirs.key.hash], mine.key.hash)
            )
    connection.close()
    assert await tier.get(one.key) is None
    assert await tier.get(other.key) is None


async def test_a_purge_reaches_what_still_waits_to_be_written(
    make_sqlite_tier: MakeSQLiteTier, make_entry: MakeEntry, cache_file: Path
):
    tier = make_sqlite_tier()
    for round_ in range(20):
        entries = [make_entry(f"What is {number}?") for number in range(round_ + 1)]
        for entry in entries:
            await tier.put(entry)
        if round_ % 2:
            await asyncio.sleep(0)  # a batch is on its way
        assert await tier.purge(Scope()) == len(entries)
        assert not any([await tier.get(entry.key) for entry in entries])
    await until(lambda: not tier._pending)
    assert rows(cache_file) == 0


async def test_a_purge_of_a_locked_file_says_so(
    make_sqlite_tier: MakeSQLiteTier, make_entry: MakeEntry, cache_file: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sqlite_tier, "_BUSY_S", 0.05)
    tier = make_sqlite_tier()
    await put_and_found(tier, make_entry())
    lock = sqlite3.connect(cache_file, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    with pytest.raises(TierUnavailable, match="locked"):
        await tier.purge(Scope())
    lock.execute("ROLLBACK")
    lock.close()
    assert await tier.purge(Scope()) == 1


async def test_the_same_purge_twice_is_one_line_and_a_purge_of_everything_replaces_the_others(
    make_sqlite_tier: MakeSQLiteTier,
):
    tier = make_sqlite_tier()
    await tier.record_purges([Purge(Scope(tenant_id=1), 100.0)])
    await tier.record_purges([Purge(Scope(tenant_id=1), 200.5)])
    await tier.record_purges([Purge(Scope(tenant_id=1, namespace=""), 150.0)])
    assert sorted(round(purge.at, 3) for purge in await tier.recorded_purges()) == [150.0, 200.5]
    await tier.record_purges([Purge(Scope(), 300.0)])
    (purge,) = await tier.recorded_purges()
    assert (purge.scope, round(purge.at, 3)) == (Scope(), 300.0)
