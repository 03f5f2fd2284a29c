"""The sentence a page opens with."""

from datetime import UTC, datetime, timedelta

import pytest

from dashboard.periods import PERIODS
from dashboard.reading import read_snapshot
from dashboard.running import Look
from dashboard.strip import NO_REDIS, Part, strip
from dashboard.verdict import cache_verdict, overview_verdict
from orchestrator.core.permissions import EVERYBODY
from orchestrator.core.types import Model
from orchestrator.parts import Health
from tests.dashboard.site import record

NOW = datetime(2026, 11, 23, 12, 0, 30, tzinfo=UTC)
HOUR = PERIODS[1]
WEB = Part("Web", "ok", "answering")
pytestmark = pytest.mark.django_db(transaction=True)


def look(*parts: Part) -> Look:
    return Look(parts or (WEB,), (), ())


def snapshot():
    return read_snapshot(HOUR, EVERYBODY, NOW)


def test_a_fresh_install_is_ready():
    assert overview_verdict(look(), snapshot()).headline == "Ready. Nothing has been asked yet."


def test_a_quiet_hour_is_said_to_be_one():
    record(NOW - timedelta(hours=3))
    verdict = overview_verdict(look(), snapshot())
    assert (verdict.headline, verdict.why) == ("Healthy.", "Nothing was asked in the last hour.")


def test_nothing_is_called_healthy_of_which_no_figure_can_be_read():
    verdict = overview_verdict(look(WEB), None)
    assert (verdict.headline, verdict.state) == ("What requests come to is unknown.", "unknown")


def test_what_is_down_comes_first_with_its_reason():
    verdict = overview_verdict(look(WEB, Part("Redis", "down", "not answering", "dashboard:cache")), snapshot())
    assert verdict.headline == "Redis is down."
    assert verdict.why.startswith("Redis: not answering.")
    assert (verdict.link, verdict.link_words) == ("/dashboard/cache/", "See Redis")


def test_two_that_are_down_share_a_sentence():
    parts = (Part("Model host", "down", ""), Part("Ledger", "down", ""))
    assert overview_verdict(look(*parts), snapshot()).headline == "Model host and ledger are down."


def test_slow_is_still_healthy():
    assert overview_verdict(look(Part("Ledger", "slow", "")), snapshot()).headline == "Healthy. Ledger is slow."


def test_many_failures_are_not_healthy():
    for index in range(40):
        record(NOW - timedelta(minutes=1), outcome="engine_error" if index < 4 else "done")
    verdict = overview_verdict(look(), snapshot(), "/records")
    assert verdict.headline.startswith("10.0")
    assert verdict.headline.endswith("of requests failed.")
    assert verdict.why == "4 of 40 in the last hour."
    assert verdict.link == "/records?outcome=failed&period=1h"


def test_a_share_from_cache_says_of_what():
    for tier in ("memory", "miss", "miss", ""):
        record(NOW - timedelta(minutes=1), tier=tier)
    why = overview_verdict(look(), snapshot()).why
    assert why == "4 requests in the last hour; the cache answered 33.3\u202f% of the 3 it was asked."


def test_a_local_model_that_is_slow_is_said_to_be_with_the_requests_that_prove_it():
    for index in range(20):
        record(NOW - timedelta(minutes=1), tier="miss", total_us=61_000_000 if index < 2 else 80_000)
    here = Look((WEB,), (), (Model(name="smollm2:135m", digest="0" * 64, engine="llamacpp", size=1),))
    verdict = overview_verdict(here, snapshot(), "/records")
    assert (verdict.headline, verdict.state) == ("Healthy. The local model smollm2:135m is slow.", "slow")
    assert verdict.why.startswith("One in twenty of the 20 fresh answers of smollm2:135m took 61.0\u202fs or longer.")
    assert verdict.link == "/records?period=1h&slower=20000"


def test_a_few_slow_answers_say_nothing_of_a_model_and_slow_copies_from_cache_neither():
    for _ in range(3):
        record(NOW - timedelta(minutes=1), tier="miss", total_us=61_000_000)
    for _ in range(30):
        record(NOW - timedelta(minutes=1), tier="memory", total_us=61_000_000)
        record(NOW - timedelta(minutes=1), tier="miss", total_us=61_000_000, outcome="too_large", status=413)
    assert overview_verdict(look(), snapshot()).headline == "Healthy."


def test_one_failure_of_few_is_no_trend():
    record(NOW - timedelta(minutes=1), outcome="engine_error")
    assert overview_verdict(look(), snapshot()).headline == "Healthy."


def test_no_answer_from_the_parts_is_unknown_not_healthy():
    assert overview_verdict(Look(None, None, None), snapshot()).headline == "Health is unknown."


def test_a_redis_that_is_not_set_up_is_off_and_parts_have_names():
    shown = strip([Health("sqlite", "ok", "answering"), Health("web", "ok", "answering")])
    assert [part.name for part in shown] == ["Web", "Cache file", "Redis"]
    assert NO_REDIS in shown


def test_the_cache_page_says_how_much_it_answered_in_words_where_they_fit():
    for index in range(10):
        record(NOW - timedelta(minutes=1), tier="memory" if index < 8 else "miss")
    assert cache_verdict(snapshot(), 40).headline == "Four in five answers came from cache."
    assert cache_verdict(snapshot(), 1).why.endswith("1 answer is kept.")


def test_an_unasked_cache_says_what_it_keeps():
    assert cache_verdict(snapshot(), 0).headline == "Nothing is kept."
    assert cache_verdict(snapshot(), None).headline == "What is kept is unknown."
