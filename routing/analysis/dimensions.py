"""The six numbers, each as the terms that make it.

Weights were set by hand so that plain talk is near 0 and what people call hard is near 1; what they say of models
is learned elsewhere, from outcomes (`routing.predictor`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from routing.analysis import cues
from routing.analysis.reading import LONG_WORD, Reading
from routing.analysis.types import DIMENSIONS, Dimension, DimensionName, Task, Term, score_of

FULL_CONTEXT = 32_000  # tokens: as much as counts


@dataclass(frozen=True, slots=True)
class Asked:
    """A reading, and what stands around the text."""

    reading: Reading
    task: Task
    language: str
    tokens: int
    turns: int
    system: Reading
    has_tools: bool
    has_images: bool
    likeness: Mapping[Task, float]


def dimensions_of(asked: Asked) -> tuple[Dimension, ...]:
    """All six, in order."""
    return tuple(_dimension(name, asked) for name in DIMENSIONS)


def _dimension(name: DimensionName, asked: Asked) -> Dimension:
    terms = tuple(term for term in _TERMS[name](asked) if term.weight)
    return Dimension(name, score_of(terms), terms)


def _counted(name: str, hits: tuple[str, ...], each: float, most: float) -> Term:
    shown = ", ".join(hit.strip() for hit in hits[:4]) + (" …" if len(hits) > 4 else "")
    return Term(name, min(most, each * len(hits)), f"it says {shown}")


def _measured(name: str, share: float, most: float, because: str) -> Term:
    """`share` of what counts at most, held between 0 and 1."""
    return Term(name, most * min(1.0, max(0.0, share)), because)


def _like(asked: Asked, tasks: tuple[Task, ...], most: float) -> Iterator[Term]:
    if asked.likeness:
        middle = sum(asked.likeness.values()) / len(asked.likeness)
        above = max(asked.likeness[task] for task in tasks) - middle
        yield _measured("likeness", above / 0.3, most, f"its vector is like {' or '.join(tasks)} by {above:+.2f}")


def _reasoning(asked: Asked) -> Iterator[Term]:
    reading = asked.reading
    base: dict[Task, float] = {"reasoning": 0.3, "maths": 0.3, "code": 0.2, "knowledge": 0.05}
    yield Term("task", base.get(asked.task, 0.0), f"{asked.task} takes thinking")
    yield _counted("words of reasoning", reading.hits(cues.REASON), 0.08, 0.32)
    yield _counted("steps", reading.phrases(cues.STEPS), 0.1, 0.2)
    yield _counted("hypotheses", reading.phrases(cues.HYPOTHESES), 0.06, 0.18)
    yield _counted("judgement", reading.hits(cues.MORAL), 0.05, 0.15)
    yield _counted("negation", reading.hits(cues.NEGATIONS), 0.04, 0.12)
    yield _measured("numbers", (reading.numbers - 2) / 8, 0.12, f"{reading.numbers} numbers stand in relation")
    questions = reading.text.count("?")
    yield _measured("questions", (questions - 1) / 4, 0.1, f"{questions} questions at once")
    yield _measured("length", len(reading.stem) / 2000 - 0.1, 0.15, f"{len(reading.stem)} characters to take in")
    yield from _like(asked, ("reasoning", "maths"), 0.15)


def _knowledge(asked: Asked) -> Iterator[Term]:
    reading = asked.reading
    count = len(reading.words) or 1
    base: dict[Task, float] = {"knowledge": 0.25, "reasoning": 0.1, "code": 0.1}
    yield Term("task", base.get(asked.task, 0.0), f"{asked.task} asks for what is known")
    yield _counted("question words", reading.hits(cues.ASK), 0.06, 0.12)
    yield _counted("terms of a subject", reading.hits(cues.SPECIALIST), 0.09, 0.36)
    yield _measured("names", reading.capitals / count / 0.2, 0.2, f"{reading.capitals} words that look like names")
    long = reading.long_words
    yield _measured("long words", long / count / 0.2, 0.2, f"{long} words of {LONG_WORD} letters or more")
    years = sum(len(word) == 4 and word[0] in "12" for word in filter(str.isdigit, reading.words))
    yield _measured("years", years / 2, 0.08, f"{years} numbers that look like years")
    if asked.language not in ("en", "und"):
        yield Term("language", 0.1, f"it is in {asked.language}, of which models have read less")
    yield from _like(asked, ("knowledge",), 0.1)


def _constraints(asked: Asked) -> Iterator[Term]:
    reading = asked.reading
    yield _counted("musts", reading.hits(cues.MUST), 0.09, 0.36)
    yield _counted("limits", reading.phrases(cues.LIMITS), 0.09, 0.27)
    yield _counted("formats", reading.hits(cues.FORMATS), 0.12, 0.24)
    yield _measured("items", reading.items / 8, 0.25, f"{reading.items} items of a list")
    yield _measured("options", len(reading.options) / 8, 0.15, f"{len(reading.options)} options, of which one is right")
    yield _counted("musts of the system prompt", asked.system.hits(cues.MUST), 0.05, 0.15)
    if asked.has_tools:
        yield Term("tools", 0.3, "there are tools whose forms must be kept")


def _creativity(asked: Asked) -> Iterator[Term]:
    reading = asked.reading
    if asked.task == "writing":
        yield Term("task", 0.35, "it asks for a text of its own")
    yield _counted("words of invention", reading.hits(cues.CREATE), 0.15, 0.45)
    yield _counted("words of writing", reading.hits(cues.WRITE), 0.06, 0.18)
    yield from _like(asked, ("writing",), 0.2)


def _context(asked: Asked) -> Iterator[Term]:
    size = math.log2(1 + asked.tokens / 250) / math.log2(1 + FULL_CONTEXT / 250)
    yield _measured("size", size, 0.7, f"about {asked.tokens} tokens to read")
    yield _measured("turns", (asked.turns - 1) / 12, 0.2, f"turn {asked.turns} of a conversation")
    yield _counted("references", asked.reading.phrases(cues.REFERS), 0.05, 0.15)
    if asked.has_images:
        yield Term("images", 0.3, "there are images to look at")


def _code_maths(asked: Asked) -> Iterator[Term]:
    reading = asked.reading
    if asked.task in ("code", "maths"):
        yield Term("task", 0.3, f"it is {asked.task}")
    if "```" in reading.text:
        yield Term("block", 0.15, "a block of code")
    code = reading.code_marks / (len(reading.text) + 100)
    maths = reading.maths_marks / (len(reading.text) + 100)
    yield _measured("marks of code", code / 0.04, 0.2, f"{reading.code_marks} marks that code is written with")
    yield _measured("marks of maths", maths / 0.03, 0.25, f"{reading.maths_marks} marks that formulas are written with")
    yield _counted("words of code", reading.hits(cues.SURE_CODE), 0.1, 0.2)
    yield _counted("hard parts of code", reading.hits(cues.ADVANCED_CODE), 0.07, 0.21)
    yield _counted("words of maths", reading.hits(cues.SURE_MATHS), 0.1, 0.3)
    yield from _like(asked, ("code", "maths"), 0.15)


_TERMS = {
    "reasoning": _reasoning,
    "knowledge": _knowledge,
    "constraints": _constraints,
    "creativity": _creativity,
    "context": _context,
    "code_maths": _code_maths,
}
