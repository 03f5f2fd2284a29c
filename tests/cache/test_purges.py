"""The record of purges in memory is no longer than what may still matter."""

from __future__ import annotations

import pytest
from django.conf import settings

from cache.entries import Scope
from cache.purges import PurgeLog
from tests.cache.conftest import ALICE, CHARLIE, HandClock, MakeEntry

DAY_S = 86400


def size(log: PurgeLog) -> int:
    return sum(len(purged) for purged in log._purged.values())


class Recorded:
    """What other processes wrote down."""

    def __init__(self, *purges: tuple[Scope, float]) -> None:
        self.purges = list(purges)

    async def record_purge(self, scope: Scope, at: float) -> None:
        self.purges.append((scope, at))

    async def recorded_purges(self) -> list[tuple[Scope, float]]:
        return self.purges


async def test_a_purge_is_forgotten_when_no_answer_is_as_old(clock: HandClock, make_entry: MakeEntry):
    log, entry = PurgeLog(None), make_entry()
    for number in range(100):
        await log.add(Scope(hash=str(number)), clock.now())
    await log.add(Scope(tenant_id=ALICE.tenant_id), clock.now())
    clock.advance(29 * DAY_S)
    await log.add(Scope(tenant_id=CHARLIE.tenant_id), clock.now())
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
    await log.add(Scope(hash=entry.key.hash), clock.now())
    clock.advance(99 * DAY_S)
    await log.load(clock.now())
    assert log.covers(entry.key, entry.created_at)


async def test_a_purge_of_everything_stands_for_all_before_it_whoever_made_it(clock: HandClock, make_entry: MakeEntry):
    store = Recorded()
    log, entry = PurgeLog(store), make_entry()
    for number in range(100):
        await log.add(Scope(hash=str(number)), clock.now())
    clock.advance(1)
    store.purges = [(Scope(), clock.now())]
    await log.load(clock.now())
    assert size(log) == 1
    assert log.covers(entry.key, entry.created_at)
    clock.advance(1)
    later = make_entry()
    assert not log.covers(later.key, later.created_at)
    await log.add(Scope(hash=later.key.hash), clock.now())
    assert log.covers(later.key, later.created_at)


async def test_a_purge_under_a_clock_that_ran_ahead_outlasts_one_of_everything(clock: HandClock, make_entry: MakeEntry):
    log = PurgeLog(None)
    clock.advance(3600)
    ahead = make_entry()
    await log.add(Scope(hash=ahead.key.hash), clock.now())
    clock.set_back(3600)
    await log.add(Scope(), clock.now())
    assert log.covers(ahead.key, ahead.created_at)
