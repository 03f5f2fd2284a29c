"""How many states a pattern has: few where it is what people look for, and as many as RE2 comes to."""

from __future__ import annotations

import pytest

from routing.rules.expressions import MOST_STATES, faults_in
from routing.rules.patterns import Unread, states_of

USUAL = [
    r"(?i)\b(ssn|passport)\b",
    r"sk-[A-Za-z0-9_-]{20,}",
    r"\b(AKIA|ASIA)[0-9A-Z]{16}\b",
    r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+",
    r"-----BEGIN (RSA |EC )?PRIVATE KEY-----",
    r"\b\d{4}[ -]?\d{4}[ -]?\d{4}[ -]?\d{4}\b",
    r"\b\d{3}-\d{2}-\d{4}\b",
    r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}",
    r"\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b",
    r"\+?[0-9][0-9 ()-]{7,14}[0-9]",
    r"[A-Z]{2}[0-9]{2}[A-Z0-9]{20}",
    r"(?i)password\s*[:=]\s*\S{4}",
    r"[a-z]{8}[0-9]{8}",
    r"^[A-Z][A-Z0-9]{20}$",
    r"(?i)falcon|project x",
    r"[[:alpha:]]{4}[[:digit:]]{8}\z",
]


@pytest.mark.parametrize("pattern", USUAL)
def test_usual_patterns_may_be_published(pattern: str) -> None:
    assert faults_in(f"conversation.matches(r'{pattern}')") == []


@pytest.mark.parametrize(
    ("pattern", "states"),
    [
        ("abc", 3),  # nothing, a, ab; with abc it is over
        ("abc$", 4),
        ("(?i)abc", 3),
        ("[0-9]{16}", 16),
        ("[0-9]+", 1),
        ("a{0}b", 1),
        ("a.{4}x", 2**5),
        ("a.{9}x", 2**10),
        ("a..........x", 2**11),
        ("^a.{9}x", 12),
        ("(?m)^a.{9}x", 2**10 + 2**9),
        ("[^a]{4}", 4),
        (r"\d\D\d", 3),
        ("a|b|cd", 2),
    ],
)
def test_states_are_counted(pattern: str, states: int) -> None:
    assert states_of(pattern, MOST_STATES) == states


@pytest.mark.parametrize(
    "pattern",
    [
        "a.{31}",
        "a.{31}$",
        "(?i)a.{30}x",
        "a.{8}b.{8}a.{8}x",
        "(a.|b.|.a.|..b)*.{20}x",
        "[a-z][a-z0-9]{20}",
        "k.*z.{30}q",
    ],
)
def test_no_more_are_counted_than_may_be(pattern: str) -> None:
    assert states_of(pattern, 1_000) == 1_000


@pytest.mark.parametrize("pattern", [r"\Qa.b\E", "[[:graph:]]", "a(?i)b", "(?<name>a)", r"\x{61}", "(?=a)b", "(a)\\1"])
def test_what_is_not_read_is_said_to_be_so(pattern: str) -> None:
    with pytest.raises(Unread):
        states_of(pattern, MOST_STATES)
