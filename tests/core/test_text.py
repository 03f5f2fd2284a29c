"""What others wrote is made harmless, and what is harmless stays as it is."""

from __future__ import annotations

import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.text import escaped
from orchestrator.logs import Line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("naïve 🎈 你好\tשלום", "naïve 🎈 你好\tשלום"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("one\r\n2026-01-01 INFO forged", r"one\r\n2026-01-01 INFO forged"),
        ("\x00\x7f\x9b2J", r"\x00\x7f\x9b2J"),
        ("user\u202enimda", r"user\u202enimda"),
        ("\u2066\u2069\u200f\u061c\ufeff\u2028", r"\u2066\u2069\u200f\u061c\ufeff\u2028"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_is_harmful_is_written_out(text: str, shown: str) -> None:
    assert escaped(text) == shown
    assert escaped(shown) == shown


@given(st.text(alphabet=st.characters()))
def test_it_can_always_be_written_in_one_line(text: str) -> None:
    shown = escaped(text)
    shown.encode()
    assert len(shown.splitlines()) <= 1
    assert "\x1b" not in shown


def test_a_message_is_one_line_of_the_log_and_a_traceback_keeps_its_own() -> None:
    formatter = Line("{levelname}: {message}", style="{")
    try:
        raise ValueError("bad\x1b[2J")
    except ValueError:
        info = sys.exc_info()
    record = logging.LogRecord("x", logging.ERROR, "", 0, "from %s", ("a\nINFO: forged",), info)
    first, *trace = formatter.format(record).split("\n")
    assert first == r"ERROR: from a\nINFO: forged"
    assert trace[0] == "Traceback (most recent call last):"
    assert trace[-1] == r"ValueError: bad\x1b[2J"
