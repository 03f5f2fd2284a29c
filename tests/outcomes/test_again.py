"""A question that is asked again says something of the answer before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.core.types import CacheControl, Caller, ChatRequest, Message
from orchestrator.outcomes.again import FORGOTTEN_S, MOST_REMEMBERED, MOST_TEXT, Again, Before

ALICE = Caller(tenant_id=1, tenant="acme", key_id=1)
EARLIER = (Message(role="user", content="Hello"), Message(role="assistant", content="Hello!"))


def question(text: str, request_id: str, *, earlier: tuple[Message, ...] = EARLIER, **fields: Any) -> ChatRequest:
    return ChatRequest(
        model="auto", messages=(*earlier, Message(role="user", content=text)), request_id=request_id, **fields
    )


def greeted() -> Again:
    """Somebody began the conversation here."""
    again = Again()
    again.asked(question("Hello", "first", earlier=()), ALICE, 0.0)
    return again


ANEW = {"control": CacheControl(read=False)}


@pytest.mark.parametrize(
    ("then", "found"),
    [
        (question("How high is the Eiger in metres?", "b", **ANEW), Before("a", "retry")),
        (question("How high is the Eiger in metres?", "b"), None),
        (question("How high is the Eiger in metres?", "b", control=CacheControl(read=False, write=False)), None),
        (question("How high is the Eiger in feet?", "b"), Before("a", "edit")),
        (question("How HIGH is the eiger, in metres?", "b"), Before("a", "edit")),
        (question("What else?", "b"), None),
        (question("How high is the Eiger in feet?", "b", earlier=(*EARLIER, *EARLIER)), None),
        (question("How high is the Eiger in metres?", "a", **ANEW), None),
    ],
)
def test_what_a_second_question_says_of_the_first_answer(then: ChatRequest, found: Before | None) -> None:
    again = greeted()
    assert again.asked(question("How high is the Eiger in metres?", "a"), ALICE, 0.0) is None
    assert again.asked(then, ALICE, 60.0) == found


def test_a_first_question_in_much_the_same_words_is_another_question() -> None:
    again = Again()
    again.asked(question("Translate: the red house", "a", earlier=()), ALICE, 0.0)
    assert again.asked(question("Translate: the blue house", "b", earlier=()), ALICE, 1.0) is None


SYSTEM = Message(role="system", content="You extract fields.")
SHOTS = (SYSTEM, Message(role="user", content="Extract the name: Ann"), Message(role="assistant", content="Ann"))


@pytest.mark.parametrize("earlier", [(SYSTEM,), SHOTS, SHOTS[1:], (*SHOTS, *EARLIER)])
def test_what_an_application_sends_before_each_question_makes_no_edits(earlier: tuple[Message, ...]) -> None:
    """Instructions and examples stand before each of its questions, and its template gives them the same words."""
    again = Again()
    for number in range(5):
        asked = question(f"Extract the name from this line of text: {number}", str(number), earlier=earlier)
        assert again.asked(asked, ALICE, float(number)) is None


def test_under_instructions_a_conversation_that_was_begun_here_is_edited() -> None:
    again = Again()
    again.asked(question("Hello", "a", earlier=(SYSTEM,)), ALICE, 0.0)
    again.asked(question("Bye", "another", earlier=(SYSTEM,)), ALICE, 0.5)
    begun = (SYSTEM, *EARLIER)
    assert again.asked(question("How high is the Eiger in metres?", "b", earlier=begun), ALICE, 1.0) is None
    other = question("How high is the Eiger in feet?", "c", earlier=begun)
    assert again.asked(other, ALICE, 2.0) == Before("b", "edit")


def test_of_a_long_question_its_beginning_is_looked_through() -> None:
    again = greeted()
    begins = f"Sum this up: {'y' * MOST_TEXT}"
    again.asked(question(begins + " one two three four five six seven", "a"), ALICE, 0.0)
    other = question(begins + " eight nine ten eleven twelve thirteen fourteen", "b")
    assert again.asked(other, ALICE, 1.0) == Before("a", "edit")


def test_it_is_of_the_same_caller_and_of_late() -> None:
    again = Again()
    first, second = question("How high is the Eiger?", "a"), question("How high is the Eiger?", "b", **ANEW)
    again.asked(first, ALICE, 0.0)
    for other in (replace(ALICE, key_id=2), replace(ALICE, tenant_id=2)):
        assert again.asked(second, other, 1.0) is None
    assert again.asked(second, ALICE, FORGOTTEN_S + 1) is None


def test_only_so_many_are_remembered() -> None:
    again = Again()
    for number in range(MOST_REMEMBERED + 10):
        again.asked(question("?", str(number), earlier=(Message(role="user", content=str(number)),)), ALICE, 0.0)
    assert len(again._asked) == len(again._whole) == MOST_REMEMBERED


def test_any_text_can_be_a_question() -> None:
    again = Again()
    odd = question("\ud800", "a", format={"n": 1 << 70})
    again.asked(odd, ALICE, 0.0)
    assert again.asked(replace(odd, request_id="b", **ANEW), ALICE, 1.0) == Before("a", "retry")
    assert again.asked(ChatRequest(model="m", prompt="raw"), ALICE, 1.0) is None
