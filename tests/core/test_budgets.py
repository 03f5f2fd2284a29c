"""What a budget counts a call under, when it is renewed, and what is said where it does not reach."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from orchestrator.core.budgets import EVER, Budget, begins, in_words, renewed_at, spent, under
from orchestrator.core.dollars import dollars, read_dollars
from orchestrator.core.types import Caller

TEAM = Budget(id=1, name="team", period="month", each="key", amount=50_000_000)
CALLER = Caller(tenant_id=3, tenant="acme", key_id=9, team_id=4)
LATE = datetime(2026, 11, 30, 23, 59, 50, tzinfo=UTC).timestamp()
NOVEMBER = date(2026, 11, 1)


@pytest.mark.parametrize(
    ("microusd", "text"),
    [
        (0, "0.00"),
        (1, "0.000001"),
        (3_200_000, "3.20"),
        (12_345_678, "12.345678"),
        (50_000_000, "50.00"),
        (10**15, "1000000000.00"),
        (100_500, "0.1005"),
    ],
)
def test_dollars_are_written_and_read_without_loss(microusd: int, text: str) -> None:
    assert dollars(microusd) == text
    assert read_dollars(text) == microusd


def test_less_than_nothing_is_written_with_its_sign() -> None:
    assert dollars(-1_500_000) == "-1.50"


@pytest.mark.parametrize(
    "text", ["", "-1", "1e3", "1.", ".5", "0.0000001", "1,50", "$5", "five", "1_000", "٣", "1" * 13]
)
def test_what_is_no_amount_is_not_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        read_dollars(text)


@pytest.mark.parametrize(
    ("each", "word"),
    [("key", "9"), ("team", "4"), ("tenant", "3"), ("model", "openai/gpt"), ("provider", "openai"), ("all", "")],
)
def test_a_call_counts_under_one_word(each: Any, word: str) -> None:
    assert under(replace(TEAM, each=each), CALLER, "openai/gpt", "openai") == word


def test_a_key_counts_as_the_first_of_its_line_and_no_word_is_too_long() -> None:
    assert under(TEAM, replace(CALLER, first_key_id=2), "m", "p") == "2"
    assert under(TEAM, Caller(tenant_id=3, tenant="acme"), "m", "p") == "0"
    assert len(under(replace(TEAM, each="model"), CALLER, "m" * 300, "p")) == 255


def test_periods_begin_at_midnight_in_utc() -> None:
    in_asia = datetime(2026, 12, 1, 5, tzinfo=timezone(timedelta(hours=9)))  # still November in UTC
    assert [begins(period, in_asia) for period in ("day", "week", "month", "total")] == [
        date(2026, 11, 30), date(2026, 11, 30), NOVEMBER, EVER,
    ]  # fmt: skip
    assert renewed_at("month", date(2026, 12, 1)) == datetime(2027, 1, 1, tzinfo=UTC)
    assert renewed_at("week", date(2026, 11, 30)) == datetime(2026, 12, 7, tzinfo=UTC)
    assert renewed_at("day", date(2028, 2, 28)) == datetime(2028, 2, 29, tzinfo=UTC)
    assert renewed_at("total", EVER) is None


def test_who_meets_a_budget_is_told_what_is_left_and_when_it_is_renewed() -> None:
    error = spent(TEAM, used=46_800_000, reserved=0, asked=4_000_000, first=NOVEMBER, now=LATE)
    assert str(error) == (
        'Budget "team" allows 50.00 USD a month for each key; 3.20 are left, and this call may cost 4.00;'
        " it is renewed on 1 December (UTC)."
    )
    assert (error.status, error.kind, error.retry_after_s) == (429, "budget", 10.0)


def test_what_others_hold_may_come_back_in_a_moment() -> None:
    error = spent(TEAM, used=1_000_000, reserved=49_000_000, asked=5, first=NOVEMBER, now=LATE)
    assert str(error).endswith(
        "0.00 are left, and this call may cost 0.000005; 49.00 are reserved for calls under way."
    )
    assert error.retry_after_s == 2.0


@pytest.mark.parametrize("each", ["model", "provider", "all"])
def test_nobody_is_told_what_other_tenants_spend(each: Any) -> None:
    """How much is left of what all of them share tells each of the others."""
    common = replace(TEAM, each=each, is_common=True)
    for used, reserved, end in ((48_111_111, 0, "it is renewed on 1 December (UTC)."), (0, 48_111_111, "under way.")):
        error = str(spent(common, used=used, reserved=reserved, asked=4_000_000, first=NOVEMBER, now=LATE))
        assert error.startswith(f"{in_words(common)}; it does not reach for this call, which may cost 4.00; ")
        assert error.endswith(end)
        assert "48.1" not in error
        assert "1.88" not in error
    own = spent(replace(common, each="tenant"), used=46_800_000, reserved=0, asked=4_000_000, first=NOVEMBER, now=LATE)
    assert "3.20 are left" in str(own), "what is one's own is told"


def test_nobody_is_told_to_wait_for_longer_than_a_day_and_not_for_what_never_comes() -> None:
    early = datetime(2026, 11, 2, tzinfo=UTC).timestamp()
    used = {"used": 60_000_000, "reserved": 0, "asked": 1}
    assert spent(TEAM, **used, first=NOVEMBER, now=early).retry_after_s == 86_400
    late = spent(TEAM, **used, first=NOVEMBER, now=LATE + 100)
    assert late.retry_after_s == 1.0
    ever = spent(replace(TEAM, period="total", each="all"), **used, first=EVER, now=early)
    assert ever.retry_after_s is None
    assert str(ever).startswith('Budget "team" allows 50.00 USD in all for all together; 0.00 are left')
    assert str(ever).endswith("; it is not renewed.")


def test_in_words() -> None:
    assert (
        in_words(replace(TEAM, period="day", each="provider"))
        == 'Budget "team" allows 50.00 USD a day for each provider'
    )
