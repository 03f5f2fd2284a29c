"""What is logged or recorded tells that there was a secret, and not which."""

from __future__ import annotations

import logging
import sys

import pytest

from orchestrator.core import redaction
from orchestrator.core.redaction import Lines, hide, redacted
from tests.drills.secrets import Aviary

OURS = "orch_abcdefghij_" + "x" * 43


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_hidden", set(redaction._hidden))
    redaction._values.cache_clear()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"key {OURS} is unknown", "key orch_abcdefghij_[…] is unknown"),
        ("sk-proj-" + "a" * 40, "[…]"),
        ("model 'sk-ant-api03-" + "b" * 30 + "' not found", "model '[…]' not found"),
        ("Authorization: Bearer abcdefghijklmnop.qrst", "Authorization: Bearer […]"),
        ("AIza" + "c" * 35, "[…]"),
        ("hidden-by-value stays out", "[…] stays out"),
        ("gpt-4.1-mini", "gpt-4.1-mini"),
        ("hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M", "hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M"),
        ("openrouter/anthropic/claude-sonnet-4-5-20250929", "openrouter/anthropic/claude-sonnet-4-5-20250929"),
        ("risk-assessment-model-large-v2", "risk-assessment-model-large-v2"),
        ("hf-internal-testing/tiny-random-gpt2", "hf-internal-testing/tiny-random-gpt2"),
        ("gsk_" + "d" * 52, "[…]"),
        ("", ""),
    ],
)
def test_secrets_go_and_words_stay(text: str, said: str) -> None:
    hide("hidden-by-value", "", "short")
    assert redacted(text) == said
    assert redacted("a short text") == "a short text"


def test_a_log_line_is_one_line_without_secrets_and_a_traceback_has_none_either() -> None:
    lines = Lines("{levelname} {message}", style="{")
    record = logging.LogRecord("x", logging.INFO, "", 0, "%s\n2026 ERROR forged \x1b[2J\u2028\x9b", (OURS,), None)
    assert lines.format(record) == r"INFO orch_abcdefghij_[…]\n2026 ERROR forged \x1b[2J\u2028\x9b"
    try:
        raise ValueError(f"no key {OURS}")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "failed", (), sys.exc_info())
    said = lines.format(record)
    assert said.startswith("ERROR failed\nTraceback")
    assert said.endswith("ValueError: no key orch_abcdefghij_[…]")


def test_a_canary_is_found_in_every_form_and_where_it_may_be_is_no_find() -> None:
    value = 'a "secret" of öne kind+more'
    for form, needle in _one(value).canaries["k"].forms():
        aviary = _one(value)
        aviary.saw("log", "line", b"before " + needle + b" after")
        assert len(list(aviary.escaped())) == 1, form
    aviary = _one(value, "log")
    aviary.saw("log", "line", value)
    assert not list(aviary.escaped())
    aviary.saw("page", "/", value[:-2])
    assert [words.split(":")[0] for words in aviary.escaped()] == ["k (its beginning) is in page"]


def _one(value: str, *may_be: str) -> Aviary:
    aviary = Aviary()
    aviary.add("k", value, *may_be)
    return aviary
