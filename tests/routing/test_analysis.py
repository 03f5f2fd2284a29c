"""What is said of a question: reasons that add up, the same each time, of every text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.analysis.analyse import analyse
from routing.analysis.prototypes import FILE, likeness_of
from routing.analysis.reading import LONGEST
from routing.analysis.types import DIMENSIONS, SHARES, TASKS

ANYTHING = st.text(max_size=400)
VECTORS = st.integers(0, 50).map(lambda seed: np.random.default_rng(seed).normal(size=384).astype(np.float32))


@settings(max_examples=40, deadline=None)
@given(ANYTHING, ANYTHING, st.integers(1, 40), st.booleans(), st.booleans(), st.none() | VECTORS)
def test_every_score_is_the_sum_of_its_terms(
    text: str, system: str, turns: int, tools: bool, images: bool, vector: np.ndarray | None
) -> None:
    said = analyse(text, system=system, turns=turns, has_tools=tools, has_images=images, vector=vector)
    assert tuple(dimension.name for dimension in said.dimensions) == DIMENSIONS
    left = 1.0
    for dimension in said.dimensions:
        total = sum(term.weight for term in dimension.terms)
        assert dimension.score == pytest.approx(min(1.0, max(0.0, total)), abs=1e-9)
        assert all(term.because and term.weight for term in dimension.terms)
        left *= 1 - SHARES[dimension.name] * dimension.score
    assert said.complexity == pytest.approx(1 - left)
    assert said.task in TASKS
    assert said.task_because
    assert said == analyse(text, system=system, turns=turns, has_tools=tools, has_images=images, vector=vector)


@pytest.mark.parametrize(
    ("text", "task", "language"),
    [
        ("Hello!", "chat", "en"),
        ("What is the capital of France?", "knowledge", "en"),
        ("Write a poem about rain in exactly 12 lines.", "writing", "en"),
        ("Write a Python function that returns the median of a list.", "code", "en"),
        ("Prove that the square root of 2 is irrational, step by step, and explain why.", "reasoning", "en"),
        ("Ann has 12 apples, gives 3 to Tom and buys 5 for 2 dollars each. What did it cost?", "maths", "en"),
        ("Bitte übersetze diesen Satz ins Englische: Wie geht es dir?", "translation", "de"),
        ("Summarize the following article: the cat sat on the mat.", "summary", "en"),
        ("Classify the sentiment of this review as positive or negative: I loved it", "classification", "en"),
        ("为什么天空是蓝色的？", "knowledge", "zh"),
        ("", "chat", "und"),
    ],
)
def test_what_a_question_is(text: str, task: str, language: str) -> None:
    said = analyse(text)
    assert (said.task, said.language) == (task, language)


def test_what_is_hard_is_harder() -> None:
    asked = [
        "Hi there!",
        "What is the capital of France?",
        "Prove step by step that there are infinitely many primes, and compare two proofs. You must not use induction.",
    ]
    scores = [analyse(text).complexity for text in asked]
    assert scores == sorted(scores)
    assert scores[2] > scores[1] + 0.15


def test_what_stands_around_the_text_counts() -> None:
    plain = analyse("Go on.")
    assert analyse("Go on.", turns=9).score("context") > plain.score("context")
    assert analyse("Go on.", has_images=True).score("context") > plain.score("context")
    assert analyse("Go on.", has_tools=True).score("constraints") > plain.score("constraints")
    system = analyse("Go on.", system="You must always answer in JSON. " * 50)
    assert system.tokens > plain.tokens + 300
    assert system.score("constraints") > plain.score("constraints")


def test_a_long_text_is_read_at_head_and_tail_and_says_so() -> None:
    filler = "lorem ipsum dolor sit amet " * 4000
    said = analyse(f"Translate this: {filler} Prove the theorem.")
    assert (said.read, said.characters) == (LONGEST, len(filler) + 35)
    assert str(LONGEST) in said.notes[0]
    assert said.task == "translation"
    assert said.tokens > 20_000
    assert analyse("Translate this: hello").notes == ()


@pytest.mark.parametrize("piece", ["a", "a'", "'", "1.", "A. ", "```", "x" * 99 + "\n", "\u200d", "((((", " "])
def test_no_text_is_too_much(piece: str) -> None:
    """Pieces that a pattern could go back over: with one that did, this would not end."""
    said = analyse(piece * 200_000)
    assert said.read == LONGEST
    assert said.characters == 200_000 * len(piece)


def test_a_vector_makes_alike_what_is_meant_alike() -> None:
    with np.load(FILE, allow_pickle=False) as kept:
        vectors = kept["vectors"].astype(np.float32)
    for task, vector in zip(TASKS, vectors, strict=True):
        likeness = likeness_of(vector)
        assert max(likeness, key=lambda one: likeness[one]) == task
    maths = vectors[TASKS.index("maths")]
    assert analyse("And now?", vector=maths).task == "maths"
    assert analyse("And now?", vector=maths).score("code_maths") > analyse("And now?").score("code_maths")
    with pytest.raises(ValueError, match="384"):
        analyse("And now?", vector=maths[:10])
