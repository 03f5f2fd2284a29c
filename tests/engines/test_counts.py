"""Counts of tokens that can be true are believed, and no others."""

from __future__ import annotations

import pytest

from orchestrator.core.types import ChatRequest, Message, Model, Usage
from orchestrator.engines.counts import AROUND, PICTURE, THOUGHTS, most_answered, most_asked, plausible


def test_a_question_is_bounded_by_its_bytes_and_pictures() -> None:
    shown = ChatRequest(model="m", messages=(Message(role="user", images=("a", "b")), Message(role="user")))
    assert most_asked(ChatRequest(model="m"), 100) == 100 + AROUND
    assert most_asked(shown, 100) == 100 + AROUND + 2 * PICTURE


def test_an_answer_is_bounded_by_its_bytes_and_what_may_have_been_thought() -> None:
    plain = Model(name="m", digest="", engine="openai", capabilities=frozenset({"completion"}))
    thinking = Model(name="m", digest="", engine="openai", capabilities=frozenset({"completion", "thinking"}))
    assert most_answered(plain, 100) == 100 + AROUND
    assert most_answered(thinking, 100) == 100 + THOUGHTS


@pytest.mark.parametrize(
    ("asked", "answered", "seen"),
    [(5, 7, (5, 7, False)), (6, 7, (0, 7, False)), (5, 8, (5, 2, True)), (0, 0, (0, 0, False))],
)
def test_a_count_that_cannot_be_is_none(asked: int, answered: int, seen: tuple[int, int, bool]) -> None:
    usage = Usage(prompt_tokens=asked, completion_tokens=answered, prompt_ns=3)
    usage = plausible(usage, most_asked=5, most_answered=7, about=2, is_paid=False)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.is_estimated, usage.prompt_ns) == (*seen, 3)


@pytest.mark.parametrize(("asked", "answered", "is_odd"), [(5, 7, False), (6, 7, True), (5, 8, True)])
def test_what_is_charged_for_stays_as_it_was_told(asked: int, answered: int, is_odd: bool) -> None:
    usage = Usage(prompt_tokens=asked, completion_tokens=answered)
    usage = plausible(usage, most_asked=5, most_answered=7, about=2, is_paid=True)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.is_estimated) == (asked, answered, False)
    assert usage.is_implausible == is_odd
