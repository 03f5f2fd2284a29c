"""Rollups against the records they are made of."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from orchestrator.core.permissions import EVERYBODY, Reach
from orchestrator.ledger import folding, retention, rolled, stats
from orchestrator.ledger.folding import Folder
from orchestrator.ledger.provider_stats import provider_figures
from orchestrator.ledger.rolled import ATTEMPTS, REQUESTS
from orchestrator.ledger.saved_sums import saved_sums
from orchestrator.ledger.stats import figures
from orchestrator.ledger.stretches import DAY_S, KEPT_DAYS, LENGTHS, covering
from orchestrator.models import Attempt, RequestRecord, Rollup, Tenant
from tests.dashboard.site import record, traffic

pytestmark = pytest.mark.django_db(transaction=True)
NOW = datetime(2026, 11, 23, 12, 7, tzinfo=UTC)
PERIODS = (timedelta(minutes=15), timedelta(hours=1), timedelta(hours=24), timedelta(days=7), timedelta(days=30))


def folder() -> Folder:
    """One for which it is `NOW`."""
    return Folder(NOW.timestamp)


def fold_all() -> None:
    """Until nothing is left."""
    assert folder().fold(60) > 0
    marks = rolled.read_marks()
    assert (marks.requests, marks.attempts) == (marks.last_request, marks.last_attempt)


def attempt(request_id: str, **fields: Any) -> None:
    """A place that did not answer."""
    acme = Tenant.objects.get_or_create(name="acme")[0]
    known = {"tenant": acme, "at": NOW - timedelta(minutes=3), "provider": "groq", "outcome": "engine_timeout"}
    Attempt.objects.create(request_id=request_id, took_us=1, **known | fields)


def company() -> list[Reach]:
    """Traffic of a month, a day, an hour and minutes, failures and savings; everybody's, and each tenant's."""
    for seed, span in enumerate(PERIODS):
        traffic(NOW, span, count=300, seed=seed)
    chance = random.Random(5)
    for number in range(60):
        why = chance.choice(["price", "charge", "free", "unknown"])
        saved = None if why == "unknown" else chance.randrange(10**9) * (why != "free")
        at = NOW - timedelta(days=30) * chance.random()
        record(at, tier="redis", saved_why=why, saved_microusd=saved, tenant=chance.choice(["acme", "globex"]))
        broken = {"request_id": f"b{number}", "provider": "groq", "outcome": "engine_error", "status": 502}
        record(at, tier="miss", engine_first_us=5, **broken)
        if number % 2:
            attempt(f"b{number}", at=at)
    return [EVERYBODY, *(Reach(frozenset({tenant.pk})) for tenant in Tenant.objects.all())]


def told(reach: Reach) -> list[Any]:
    """All that is ever shown."""
    shown: list[Any] = [figures(NOW - period, NOW, reach) for period in PERIODS]
    shown += [provider_figures(NOW - period, NOW, reach) for period in PERIODS]
    last = NOW.date() + timedelta(days=1)
    shown += [saved_sums(last - timedelta(days=35), last, by, reach) for by in (["day", "tier"], ["tenant", "model"])]
    return shown


def test_what_is_folded_reads_as_what_is_not():
    """Records that are in no rollup are read as they are: the same must come of both, and of half and half."""
    reaches = company()
    before = [told(reach) for reach in reaches]
    assert before[0][4].requests > 1000
    one = folder()
    assert one.fold_some(REQUESTS) > 0
    assert rolled.read_marks().requests < rolled.read_marks().last_request
    assert [told(reach) for reach in reaches] == before
    fold_all()
    assert [told(reach) for reach in reaches] == before


def test_money_is_exactly_that_of_the_records():
    company()
    fold_all()
    rows = list(RequestRecord.objects.of(EVERYBODY).filter(saved_why__isnull=False))
    found = saved_sums(date(2026, 10, 1), date(2026, 12, 1), ["day", "tenant"], EVERYBODY)
    assert sum(one["microusd"] for one in found) == sum(row.saved_microusd or 0 for row in rows) > 10**9
    assert sum(one["unknown"] for one in found) == sum(row.saved_why == "unknown" for row in rows) > 0
    for one in found:
        own = [row for row in rows if row.at.date() == one["day"] and row.tenant.name == one["tenant"]]
        assert one["microusd"] == sum(row.saved_microusd or 0 for row in own)


def test_a_record_that_comes_late_is_in_its_minute_and_all_that_is_longer():
    record(NOW - timedelta(minutes=2))
    fold_all()
    late = NOW - timedelta(minutes=40)
    record(late)
    fold_all()
    second = int(late.timestamp())
    for length in LENGTHS:
        rows = Rollup.objects.of(EVERYBODY).filter(tenant_id=0, length=length, start=second // length * length)
        assert rows.count() == 1, length
    assert figures(NOW - timedelta(hours=1), NOW, EVERYBODY).requests == 2


def test_numbers_that_no_record_has_are_not_waited_for(monkeypatch):
    record(NOW - timedelta(minutes=2))
    record(NOW - timedelta(minutes=1))
    first = RequestRecord.objects.of(EVERYBODY).earliest("pk")
    RequestRecord.objects.of(EVERYBODY).filter(pk=first.pk).delete()  # it was pruned before it was added up
    monkeypatch.setattr(rolled, "MOST_RAW", 1)
    found = figures(NOW - timedelta(hours=1), NOW, EVERYBODY)
    assert (found.requests, found.is_behind) == (1, False)


@pytest.mark.parametrize("step", range(8))
def test_what_goes_wrong_at_any_moment_neither_loses_nor_doubles(step, monkeypatch):
    """The fault comes in the middle of what is written, wherever that is; what was begun is undone."""
    company()
    before = told(EVERYBODY)
    said = 0

    def failing(*args: Any, **options: Any) -> Any:
        nonlocal said
        said += 1
        if said == step + 1:
            raise OSError("the machine is gone")
        return insert_all(*args, **options)

    insert_all = folding.insert_all
    monkeypatch.setattr(folding, "insert_all", failing)
    with pytest.raises(OSError, match="gone"):
        folder().fold(60)
    assert told(EVERYBODY) == before
    fold_all()
    assert told(EVERYBODY) == before


@pytest.mark.parametrize("meant", [REQUESTS, ATTEMPTS])
@pytest.mark.parametrize("other", [REQUESTS, ATTEMPTS])
def test_of_two_that_fold_at_once_only_one_is_heard(meant, other, monkeypatch):
    """Whatever the other folds: it may be in the same rollups."""
    company()
    before = told(EVERYBODY)
    add = folding._add_what_is_there

    def meanwhile(tallies: Any) -> None:
        add(tallies)
        monkeypatch.setattr(folding, "_add_what_is_there", add)
        assert folder().fold_some(other) > 0

    monkeypatch.setattr(folding, "_add_what_is_there", meanwhile)
    assert folder().fold_some(meant) == 0
    assert told(EVERYBODY) == before
    fold_all()
    assert told(EVERYBODY) == before


def test_who_did_not_answer_stays_until_the_request_is_folded():
    """Else it would count as a call that failed, and its request as another."""
    at = NOW - timedelta(days=10)
    record(at, request_id="b", tier="miss", provider="groq", outcome="engine_timeout", status=504)
    attempt("b", at=at)
    while folder().fold_some(ATTEMPTS):
        pass
    retention.prune(1)
    assert Attempt.objects.of(EVERYBODY).exists()
    fold_all()
    found = provider_figures(NOW - timedelta(days=30), NOW, EVERYBODY)["groq"]
    assert found.failures == {"engine_timeout": 1}
    assert retention.prune(1) == 1
    assert not Attempt.objects.of(EVERYBODY).exists()
    assert provider_figures(NOW - timedelta(days=30), NOW, EVERYBODY)["groq"].failures == {"engine_timeout": 1}


def test_whoever_reads_while_it_is_folded_sees_each_record_once(monkeypatch):
    """The mark, the rollups and the records are of one moment, though they are asked for one after the other."""
    company()
    before = figures(NOW - timedelta(days=30), NOW, EVERYBODY)
    marks = rolled.read_marks

    def then_folded() -> Any:
        found = marks()
        monkeypatch.setattr(rolled, "read_marks", marks)
        from threading import Thread

        def fold() -> None:
            fold_all()
            connection.close()

        beside = Thread(target=fold)
        beside.start()
        beside.join()
        return found

    monkeypatch.setattr(rolled, "read_marks", then_folded)
    assert figures(NOW - timedelta(days=30), NOW, EVERYBODY) == before
    assert rolled.read_marks().requests > 0


def test_who_is_far_behind_says_so_and_reads_no_more_than_it_may(monkeypatch):
    company()
    monkeypatch.setattr(rolled, "MOST_RAW", 100)
    found = figures(NOW - timedelta(days=30), NOW, EVERYBODY)
    assert found.is_behind
    assert found.behind_s > 0
    assert found.requests <= 100
    fold_all()
    assert not figures(NOW - timedelta(days=30), NOW, EVERYBODY).is_behind


def test_short_stretches_go_and_days_stay():
    company()
    fold_all()
    later = NOW.timestamp() + 500 * DAY_S
    assert folding.prune(NOW.timestamp()) == 0
    assert folding.prune(later, batch=1, within_s=0.0) == 1
    assert folding.prune(later, batch=7) > 0
    assert {row.length for row in Rollup.objects.of(EVERYBODY)} == {DAY_S}


@pytest.mark.parametrize("period", PERIODS)
def test_what_is_compared_is_as_long_and_each_request_is_in_one_of_both(period):
    """Of what is compared no minutes are kept; it loses none of its requests for that, at neither end."""
    now = NOW + timedelta(hours=4, minutes=40, seconds=20)
    back = max(period, timedelta(days=1))
    chance = random.Random(7)
    ends = [now - period, now - back, now - back - period]
    near = [end + timedelta(minutes=chance.uniform(-45, 45)) for end in ends for _ in range(60)]
    at = [*near, *(now - (back + period) * chance.random() for _ in range(60))]
    at = [one for one in at if one < now]
    for one in at:
        record(one)
    Folder(now.timestamp).fold(60)
    folding.prune(now.timestamp())
    shown, before = figures(now - period, now, EVERYBODY), stats.figures_before(period, now, EVERYBODY)
    assert before.until - before.since == period
    assert before.until == shown.since - (back - period), "side by side, or at the same time of the day before"
    assert before.requests == sum(before.since <= one < before.until for one in at) > 10
    assert shown.requests == sum(shown.since <= one for one in at) > 10
    assert timedelta() <= shown.until - shown.since - period < timedelta(seconds=shown.bucket_s)


def test_minutes_of_long_ago_are_not_made():
    record(NOW - timedelta(days=KEPT_DAYS[60] + 1))
    fold_all()
    assert {row.length for row in Rollup.objects.of(EVERYBODY)} == set(LENGTHS[1:])


@pytest.mark.parametrize("seed", range(20))
def test_stretches_cover_a_window_once_and_are_few(seed):
    chance = random.Random(seed)
    first = chance.randrange(10**6) * 60
    until = first + chance.randrange(30 * 1440) * 60
    at = first
    for one in covering(first, until):
        assert one.first == at
        assert one.first % one.length == one.until % one.length == 0
        at = one.until
    assert at == until
    assert len(list(covering(first, until))) <= 9


def test_rollups_are_found_by_their_index():
    rows = rolled._rows(covering(0, 30 * DAY_S + 60), EVERYBODY).values_list("cells")
    sql, bound = rows.query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}", bound)
        plan = " ".join(row[3] for row in cursor.fetchall())
    assert "SCAN" not in plan
    assert "tenant_id=? AND length=? AND start>? AND start<?" in plan
    assert ATTEMPTS != REQUESTS
