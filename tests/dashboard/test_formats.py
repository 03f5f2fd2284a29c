"""How figures are written."""

from datetime import UTC, datetime, timedelta

import pytest

from dashboard import formats
from dashboard.tiers import depth

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
N = formats.NARROW


@pytest.mark.parametrize(
    ("us", "written"),
    [(None, ""), (40, "0.04"), (300, "0.3"), (9_940, "9.9"), (9_960, "10"), (184_200, "184"), (30_000_000, "30,000")],
)
def test_milliseconds_in_a_column_have_no_unit(us, written):
    assert formats.milliseconds(us) == written


@pytest.mark.parametrize(
    ("us", "written"),
    [
        (None, ("unknown", "")),
        (900, ("0.9", "ms")),
        (999_400, ("999", "ms")),
        (999_600, ("1.00", "s")),
        (1_940_000, ("1.94", "s")),
        (12_340_000, ("12.3", "s")),
        (600_000_000, ("10", "min")),
    ],
)
def test_durations_in_prose_have_three_digits(us, written):
    assert formats.duration(us) == written


@pytest.mark.parametrize(
    ("share", "written"),
    [(None, "unknown"), (0, "0"), (1, "100"), (0.797, "79.7"), (0.99999, "99.9"), (0.000001, "0.01"), (0.0081, "0.81")],
)
def test_a_share_is_0_or_100_only_when_it_is(share, written):
    assert formats.percent(share) == written


@pytest.mark.parametrize(
    ("number", "written"),
    [(None, "unknown"), (512, f"512{N}B"), (1024, f"1{N}kB"), (128 * 1024**2, f"128{N}MB"), (2040109466, f"1.9{N}GB")],
)
def test_bytes_are_counted_as_in_the_settings(number, written):
    assert formats.size(number) == written


@pytest.mark.parametrize(
    ("ago", "written"),
    [
        (timedelta(milliseconds=300), "just now"),
        (timedelta(seconds=42), f"42{N}s ago"),
        (timedelta(minutes=2), f"2{N}min ago"),
        (timedelta(hours=23), f"23{N}h ago"),
        (timedelta(days=2), "21 Nov"),
        (timedelta(days=400), "19 Oct 2025"),
    ],
)
def test_times_are_relative_up_to_a_day(ago, written):
    assert formats.when(NOW - ago, NOW) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (7 * 86400 - 3, f"7{N}d"),
        (6 * 86400, f"6{N}d"),
        (3540, f"59{N}min"),
        (3599, f"1{N}h"),
        (298, f"5{N}min"),
        (4.2, f"4{N}s"),
    ],
)
def test_what_is_left_is_rounded_to_the_nearest(seconds, written):
    assert formats.left(seconds) == written


def test_a_minus_is_a_minus_and_thousands_have_commas():
    assert formats.count(12406) == "12,406"
    assert formats.count(-5) == "−5"
    assert formats.count(None) == "unknown"


def test_a_listing_reads_as_a_sentence():
    assert formats.listing(["Redis"]) == "Redis"
    assert formats.listing(["Redis", "Web", "Tasks"]) == "Redis, Web and Tasks"


def states(tier):
    return [step.state for step in depth(tier)]


def test_a_depth_mark_shows_who_was_asked_and_who_answered():
    assert states("memory") == ["answered", *["unasked"] * 4]
    assert states("sqlite") == ["asked", "asked", "answered", "unasked", "unasked"]
    assert states("miss") == ["asked", "asked", "asked", "unasked", "answered"]
    assert states("bypass") == [*["unasked"] * 4, "answered"]
    assert states("") == ["unasked"] * 5


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("0", "0"),
        ("-1234567.0100000000000000001", "−1,234,567.0100000000000000001"),
        ("0.000000004", "0.000000004"),
        ("2026-03-01", "2026-03-01"),
        ("v/m-1", "v/m-1"),
    ],
)
def test_amounts_keep_their_digits(number: str, shown: str) -> None:
    assert formats.amount(number) == shown
