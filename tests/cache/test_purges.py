"""The record of purges in memory is no longer than what may still matter."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.conf import settings

from cache.entries import Scope
from cache.purges import Purge, PurgeLog
from cache.tiers.sqlite import SQLiteTier
from tests.cache.conftest import ALICE, CHARLIE, HandClock, MakeEntry

DAY_S = 86400


def size(log: PurgeLog) -> int:
    return sum(len(purged) for purged in log._purged.values())


async def purge(log: PurgeLog, scope: Scope, clock: HandClock) -> None:
    await log.add([Purge(scope, clock.now())], clock.now())


async def test_a_purge_is_forgotten_when_no_answer_is_as_old(clock: HandClock, make_entry: MakeEntry):
    log, entry = PurgeLog(None), make_entry()
    for number in range(100):
        await purge(log, Scope(hash=str(number)), clock)
    await purge(log, Scope(tenant_id=ALICE.tenant_id), clock)
    clock.advance(29 * DAY_S)
    await purge(log, Scope(tenant_id=CHARLIE.tenant_id), clock)
    assert log.covers(entry.key, entry.created_at)
    assert size(log) == 102
    clock.advance(2 * DAY_S)
    await log.load(clock.now())
    assert not log.covers(entry.key, entry.created_at)
    assert log.covers(make_entry(caller=CHARLIE).key, entry.created_at)
    assert size(log) == 1


async def test_answers_that_live_longer_are_guarded_for_longer(
    clock: HandClock, make_entry: MakeEntry, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(settings, "CACHE_TTL_S", 100 * DAY_S)
    log, entry = PurgeLog(None), make_entry()
    await purge(log, Scope(hash=entry.key.hash), clock)
    clock.advance(99 * DAY_S)
    await log.load(clock.now())
    assert log.covers(entry.key, entry.created_at)


async def test_a_purge_of_everything_stands_for_all_before_it_whoever_made_it(
    clock: HandClock, make_entry: MakeEntry, make_sqlite_tier: Callable[[], SQLiteTier]
):
    store = make_sqlite_tier()
    log, entry = PurgeLog(store), make_entry()
    for number in range(100):
        await purge(log, Scope(hash=str(number)), clock)
    clock.advance(1)
    await store.record_purges([Purge(Scope(), clock.now())])
    await log.load(clock.now())
    assert size(log) == 1
    assert log.covers(entry.key, entry.created_at)
    clock.advance(1)
    later = make_entry()
    assert not log.covers(later.key, later.created_at)
    await purge(log, Scope(hash=later.key.hash), clock)
    assert log.covers(later.key, later.created_at)


async def test_a_purge_under_a_clock_that_ran_ahead_outlasts_one_of_everything(clock: HandClock, make_entry: MakeEntry):
    log = PurgeLog(None)
    clock.advance(3600)
    ahead = make_entry()
    await purge(log, Scope(hash=ahead.key.hash), clock)
    clock.set_back(3600)
    await purge(log, Scope(), clock)
    assert log.covers(ahead.key, ahead.created_at)
