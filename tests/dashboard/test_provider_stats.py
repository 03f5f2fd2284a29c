"""What providers did, against a count by hand; and over which index it is read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.core.permissions import EVERYBODY
from orchestrator.ledger import rolled
from orchestrator.ledger.provider_stats import provider_figures
from orchestrator.models import Attempt, Tenant
from tests.dashboard.site import record

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SINCE = NOW - timedelta(hours=1)


def call(**fields: Any) -> None:
    """One call of groq's, a minute ago."""
    known = {"provider": "groq", "tier": "miss", "is_paid": True, "cost_microusd": 1500, "engine_first_us": 412_345}
    record(fields.pop("at", NOW - timedelta(minutes=1)), **known | fields)


def attempt(request_id: str, provider: str = "groq", outcome: str = "engine_timeout") -> None:
    """A place that did not answer."""
    acme = Tenant.objects.get_or_create(name="acme")[0]
    Attempt.objects.create(
        tenant=acme, request_id=request_id, at=NOW - timedelta(minutes=1), provider=provider, outcome=outcome, took_us=1
    )


def test_calls_and_tokens_are_added_up_by_provider():
    call()
    call(tier="bypass", engine_first_us=900_000, cost_microusd=None)
    call(provider="mistral")
    call(tier="memory")  # no call
    call(at=SINCE - timedelta(seconds=1))
    found = provider_figures(SINCE, NOW, EVERYBODY)
    groq = found["groq"]
    assert set(found) == {"groq", "mistral"}
    assert (groq.calls, groq.failed, groq.error_rate) == (2, 0, 0)
    assert groq.share == 2 / 3
    assert (groq.first.p50_us, groq.first.p95_us) == (410_000, 900_000)
    assert (groq.prompt_tokens, groq.completion_tokens) == (82, 36)
    assert groq.answered_at == NOW - timedelta(minutes=1)


def test_a_place_that_failed_counts_once_whoever_answered_in_the_end():
    call(request_id="a", provider="mistral")
    attempt("a")
    call(request_id="b", outcome="engine_timeout", status=504, engine_first_us=None)
    attempt("b")
    call(request_id="c", outcome="engine_error", status=502)  # broke off: nobody else was asked
    call(request_id="d", outcome="bad_request", status=400)  # the caller's own
    found = provider_figures(SINCE, NOW, EVERYBODY)
    assert dict(found["groq"].failures) == {"engine_timeout": 2, "engine_error": 1}
    assert (found["groq"].calls, found["groq"].error_rate) == (3, 1)
    assert (found["mistral"].calls, found["mistral"].failed) == (1, 0)


def test_the_first_piece_is_told_step_by_step_with_gaps():
    call(at=NOW - timedelta(minutes=30), engine_first_us=210_000)
    call(at=NOW - timedelta(minutes=30), engine_first_us=870_000)
    steps = provider_figures(SINCE, NOW, EVERYBODY)["groq"].first_p95_us
    assert len(steps) == 12  # five minutes each
    assert {index: us for index, us in enumerate(steps) if us is not None} == {6: 870_000}


def test_a_call_without_a_first_piece_says_nothing_of_how_long_one_takes():
    call(engine_first_us=None, outcome="cancelled")
    groq = provider_figures(SINCE, NOW, EVERYBODY)["groq"]
    assert (groq.calls, groq.first.p95_us, groq.answered_at) == (1, None, None)


def test_it_takes_four_queries_however_many_providers_there_are(monkeypatch, django_assert_num_queries):
    for number in range(50):
        call(provider=f"p{number}")
    monkeypatch.setattr(rolled, "MOST_RAW", 10**9)  # however high numbers are by now
    with django_assert_num_queries(4):
        assert len(provider_figures(SINCE, NOW, EVERYBODY)) == 50
