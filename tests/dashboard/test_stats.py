"""The figures against a count by hand."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from orchestrator.core.permissions import EVERYBODY, Reach
from orchestrator.ledger import rolled
from orchestrator.ledger.grouping import leading_digits
from orchestrator.ledger.stats import (
    BY_A_MODEL,
    ENDED_WELL,
    WITHOUT_A_CALL,
    Tier,
    bucket_length,
    figures,
    has_failed,
    latency,
)
from orchestrator.models import RequestRecord, Tenant
from tests.dashboard.site import record, traffic

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def rank(durations: list[int], share: float, digits: int = 2) -> int | None:
    """The nearest-rank percentile, by sorting."""
    if not durations:
        return None
    return leading_digits(sorted(durations)[math.ceil(len(durations) * share) - 1], digits)


@pytest.fixture
def rows() -> list[RequestRecord]:
    traffic(NOW, count=1500)
    since = NOW - timedelta(hours=1)
    return list(RequestRecord.objects.of(EVERYBODY).filter(at__gte=since, at__lt=NOW))


def test_counts_and_sums_are_those_of_the_records(rows):
    found = figures(NOW - timedelta(hours=1), NOW, EVERYBODY)
    assert found.requests == len(rows) > 300
    assert found.by_tier == {tier: sum(row.tier == tier for row in rows) for tier in Tier.values}
    assert found.errors == sum(has_failed(row) for row in rows) > 0
    assert found.refused == sum(400 <= row.status <= 499 for row in rows) > 0
    assert found.prompt_tokens == sum(row.prompt_tokens for row in rows)
    assert found.completion_tokens == sum(row.completion_tokens for row in rows)


def test_the_hit_rate_is_of_those_who_asked_the_cache_and_counts_shared_calls(rows):
    hits = sum(row.tier in WITHOUT_A_CALL for row in rows)
    misses = sum(row.tier == Tier.MISS for row in rows)
    assert figures(NOW - timedelta(hours=1), NOW, EVERYBODY).hit_rate == hits / (hits + misses)


def test_percentiles_are_those_of_a_sorted_list_to_two_digits(rows):
    found = figures(NOW - timedelta(hours=1), NOW, EVERYBODY)
    everything = [row.total_us for row in rows]
    assert found.latency.p50_us == rank(everything, 0.5)
    assert found.latency.p95_us == rank(everything, 0.95)
    assert found.latency.p99_us == rank(everything, 0.99)
    for tier in Tier.values:
        assert found.latency_by_tier[tier].p95_us == rank([r.total_us for r in rows if r.tier == tier], 0.95)
    first = [row.first_us for row in rows if row.tier in BY_A_MODEL and row.first_us is not None]
    assert found.first.p50_us == rank(first, 0.5)


def test_models_come_busiest_first_with_their_own_figures(rows):
    found = figures(NOW - timedelta(hours=1), NOW, EVERYBODY).by_model
    by_hand = {name: [r for r in rows if r.model == name] for name in {r.model for r in rows} if name}
    assert [one.model for one in found] == sorted(by_hand, key=lambda name: (-len(by_hand[name]), name))
    for one in found:
        own = by_hand[one.model]
        assert (one.requests, one.errors) == (len(own), sum(map(has_failed, own)))
        assert (one.prompt_tokens, one.completion_tokens) == (
            sum(r.prompt_tokens for r in own),
            sum(r.completion_tokens for r in own),
        )
        assert one.latency.p50_us == rank([r.total_us for r in own], 0.5)
        fresh = [r.total_us for r in own if r.tier in BY_A_MODEL and r.status == 200]
        assert (one.fresh_answers, one.fresh.p95_us) == (len(fresh), rank(fresh, 0.95))


def test_buckets_lie_on_round_times_without_gaps_and_hold_every_record(rows):
    found = figures(NOW - timedelta(hours=1), NOW, EVERYBODY)
    assert found.bucket_s == 60
    starts = [bucket.start for bucket in found.buckets]
    assert starts[0] == datetime(2026, 11, 23, 11, 0, tzinfo=UTC)
    assert starts == [starts[0] + timedelta(minutes=n) for n in range(60)]
    assert sum(bucket.requests for bucket in found.buckets) == len(rows)
    for bucket in found.buckets:
        own = [r for r in rows if bucket.start <= r.at < bucket.start + timedelta(minutes=1)]
        assert bucket.requests == len(own)
        assert bucket.errors == sum(map(has_failed, own))
        assert bucket.latency.p95_us == rank([r.total_us for r in own], 0.95)


def test_a_tenant_sees_its_own_requests_only(rows):
    globex = Tenant.objects.get(name="globex")
    found = figures(NOW - timedelta(hours=1), NOW, Reach(frozenset({globex.pk})))
    assert found.requests == sum(row.tenant_id == globex.pk for row in rows) > 0


def test_nothing_asked_means_unknown_shares_and_percentiles_not_zeros():
    found = figures(NOW - timedelta(hours=1), NOW, EVERYBODY)
    assert found.requests == 0
    assert found.hit_rate is None
    assert found.error_rate is None
    assert found.latency.p50_us is None
    assert len(found.buckets) == 60


def test_the_window_holds_its_begin_and_not_its_end():
    record(NOW - timedelta(hours=1))
    record(NOW)
    assert figures(NOW - timedelta(hours=1), NOW, EVERYBODY).requests == 1


def test_a_broken_stream_is_an_error_although_its_status_was_200():
    record(NOW, outcome="engine_error", status=200)
    record(NOW, outcome="cancelled", status=200)
    record(NOW, outcome="bad_request", status=400)
    found = figures(NOW, NOW + timedelta(seconds=1), EVERYBODY)
    assert (found.errors, found.refused) == (1, 1)
    assert "cancelled" in ENDED_WELL


@pytest.mark.parametrize("us", [0, 1, 99, 999, 1000, 1239, 99_999, 4_294_967_295, 10**11, 10**14])
def test_the_database_cuts_durations_as_the_function_does(us):
    record(NOW, total_us=us)
    found = figures(NOW, NOW + timedelta(seconds=1), EVERYBODY)
    assert found.latency.p50_us == leading_digits(us, 2)


def test_percentiles_of_few_are_one_of_them():
    assert latency({5: 1}).p99_us == 5
    assert latency({5: 1, 7: 1}).p50_us == 5
    assert latency({}).p50_us is None


@pytest.mark.parametrize(
    ("span_s", "length"),
    [(60, 60), (900, 60), (3600, 60), (86400, 900), (7 * 86400, 7200), (30 * 86400, 43200), (90 * 86400, 86400)],
)
def test_a_window_has_at_most_a_hundred_buckets_of_round_length(span_s, length):
    assert bucket_length(NOW - timedelta(seconds=span_s), NOW) == length


def test_the_figures_take_four_queries(monkeypatch, django_assert_num_queries):
    traffic(timezone.now(), count=200)
    monkeypatch.setattr(rolled, "MOST_RAW", 10**9)  # however high numbers are by now
    with django_assert_num_queries(4):
        figures(timezone.now() - timedelta(hours=1), timezone.now(), EVERYBODY)
