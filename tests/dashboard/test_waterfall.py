"""Where the time of a request went, from what its record and its attempts say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from dashboard.requests.waterfall import LEAST_WIDTH, Span, asked_at, drawn, staged, waterfall
from orchestrator.models import Attempt, RequestRecord

AT = datetime(2026, 11, 24, 14, 24, 7, tzinfo=UTC)


class Lap(NamedTuple):
    """A stage as a record has it."""

    name: str
    begin_us: int
    took_us: int


def request(**fields: Any) -> RequestRecord:
    """A request to a model, which took 4.147 s."""
    usual = {
        "at": AT,
        "tier": "miss",
        "model": "anthropic/claude-haiku-4.5",
        "first_us": 1_716_000,
        "engine_first_us": 514_000,
        "total_us": 4_147_000,
        "completion_tokens": 388,
        "outcome": "done",
    }
    return RequestRecord(**usual | fields)


def attempt(began_us: int, took_us: int, **fields: Any) -> Attempt:
    """Somebody who was asked, and given up."""
    at = AT + timedelta(microseconds=began_us + took_us)
    return Attempt(**{"at": at, "took_us": took_us, "model": "smollm2:135m", "outcome": "not_sure"} | fields)


TRIED = [
    attempt(13_000, 389_000),
    attempt(402_000, 800_000, model="groq/llama-3.3-70b", outcome="engine_timeout"),
]


def test_the_third_try_is_told_from_those_before() -> None:
    ours, models = waterfall(request(), TRIED)
    assert (ours.title, ours.took_us) == ("Before any model", 13_000)
    assert [bar.span.name for bar in models.bars] == [
        "smollm2:135m",
        "groq/llama-3.3-70b",
        "anthropic/claude-haiku-4.5, waiting",
        "anthropic/claude-haiku-4.5, writing",
    ]
    assert [bar.span.kind for bar in models.bars] == ["given-up", "given-up", "waiting", "ours"]
    assert [bar.span.begin_us for bar in models.bars] == [13_000, 402_000, 1_202_000, 1_716_000]
    assert models.bars[1].span.words == "nothing came, given up"
    assert models.bars[-1].span.words == "388 tokens, 160 a second"


def test_bars_follow_each_other_and_end_where_the_request_does() -> None:
    _, models = waterfall(request(), TRIED)
    for one, following in zip(models.bars, models.bars[1:], strict=False):
        assert one.x + one.width == pytest.approx(following.x, abs=LEAST_WIDTH)
    assert models.bars[-1].x + models.bars[-1].width == pytest.approx(100, abs=0.01)


def test_a_kept_answer_asked_no_model() -> None:
    (only,) = waterfall(request(tier="redis", first_us=1_000, engine_first_us=None, total_us=1_400), [])
    assert only.title == "All of it"
    assert [(bar.span.kind, bar.span.took_us) for bar in only.bars] == [("t-redis", 1_000), ("ours", 400)]


def test_measured_stages_take_the_place_of_one_bar() -> None:
    laps = [Lap("route", 0, 3_000), Lap("memory", 3_000, 20), Lap("redis", 3_020, 390), Lap("later", 3_410, 9_000)]
    ours, _ = waterfall(request(), TRIED, laps)
    assert [(bar.span.name, bar.span.kind) for bar in ours.bars] == [
        ("Rules, routing", "ours"),
        ("Memory", "t-memory"),
        ("Redis", "t-redis"),
        ("Later", "ours"),
    ]
    assert staged([]) == []


def test_what_stages_do_not_account_for_is_a_row_of_its_own() -> None:
    ours, _ = waterfall(request(), TRIED, [Lap("route", 0, 3_000)])
    assert [(bar.span.name, bar.span.took_us) for bar in ours.bars] == [("Rules, routing", 3_000), ("The rest", 10_000)]
    assert sum(bar.span.took_us for bar in ours.bars) == ours.took_us


def test_where_nobody_knows_when_the_model_was_asked_one_bar_says_so() -> None:
    record = request(first_us=None, engine_first_us=None, outcome="engine_timeout")
    assert asked_at(record, []) == 0
    (only,) = waterfall(record, [])
    assert [bar.span.words for bar in only.bars] == ["no piece came"]


def test_who_shares_a_call_waits_for_it() -> None:
    (only,) = waterfall(request(tier="collapsed", engine_first_us=None, provider="anthropic"), [])
    assert only.bars[0].span.name == "claude-haiku-4.5, shared call"


def test_a_request_that_was_refused_has_only_its_beginning() -> None:
    (only,) = waterfall(request(tier="", model="", first_us=None, engine_first_us=None, total_us=400), [])
    assert [bar.span.name for bar in only.bars] == ["Read, route, look it up"]


@pytest.mark.parametrize("skew_s", [-3600, -1, 1, 3600])
def test_clocks_that_disagree_draw_nothing_outside(skew_s: int) -> None:
    """An attempt's time is the clock's, the request's lengths are the stopwatch's."""
    skewed = [attempt(13_000 + skew_s * 1_000_000, 389_000)]
    for drawing in waterfall(request(), skewed):
        for bar in drawing.bars:
            assert 0 <= bar.x <= 99
            assert 0 < bar.width <= 100
            assert bar.end <= 100


@pytest.mark.parametrize("took_us", [0, 1, 7, 999, 13_400, 4_134_000, 10**10])
def test_an_axis_has_round_labels_within_it(took_us: int) -> None:
    drawing = drawn("x", [Span("one", 0, took_us, "ours")], 0, took_us)
    assert drawing.ticks[0].label == "0"
    assert 1 <= len(drawing.ticks) <= 7
    assert all(0 <= tick.at <= 100 for tick in drawing.ticks)
