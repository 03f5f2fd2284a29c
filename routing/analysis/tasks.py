"""What kind of task a question is: points for each kind, and the kind with most of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from routing.analysis import cues
from routing.analysis.reading import Reading
from routing.analysis.types import TASKS, Task

LIKENESS_POINTS = 6.0  # for each 1.0 of cosine above the mean of all kinds
_OPENING = 12  # words at the start, where a task is usually named: they count twice


def task_of(reading: Reading, likeness: Mapping[Task, float]) -> tuple[Task, str]:
    """The kind, and why.

    likeness  the cosine of the question's vector to each kind's prototypes; empty where there is no vector.
    """
    points: dict[Task, float] = dict.fromkeys(TASKS, 0.0)
    reasons: dict[Task, list[str]] = {task: [] for task in TASKS}

    def give(task: Task, amount: float, why: str) -> None:
        if amount > 0:
            points[task] += amount
            reasons[task].append(why)

    for task, amount, why in (*_by_words(reading), *_by_form(reading)):
        give(task, amount, why)
    if likeness:
        middle = sum(likeness.values()) / len(likeness)
        for task, cosine in likeness.items():
            give(task, LIKENESS_POINTS * (cosine - middle), "it is like other questions of this kind")
    best = max(TASKS, key=lambda task: points[task])
    if not points[best]:
        return "chat", "nothing in it says otherwise"
    return best, "; ".join(reasons[best])


def _by_words(reading: Reading) -> Iterator[tuple[Task, float, str]]:
    opening = frozenset(reading.words[:_OPENING])
    for task, words, each, most in _BY_WORDS:
        hits = reading.hits(words)
        early = opening.intersection(hits)
        yield task, min(most, each * (len(hits) + len(early))), f"the words {_some(hits)}"


def _by_form(reading: Reading) -> Iterator[tuple[Task, float, str]]:
    asks = "?" in reading.text or "？" in reading.text
    density = 60.0 / (len(reading.text) + 200)
    if "```" in reading.text:
        yield "code", 3.0, "a block of code"
    yield "code", min(3.0, density * reading.code_marks), "marks that code is written with"
    yield "maths", min(3.0, density * reading.maths_marks), "marks that formulas are written with"
    if asks and reading.numbers > 2:
        yield "maths", min(2.0, 0.4 * reading.numbers), f"{reading.numbers} numbers and a question"
    if reading.options:
        yield "knowledge", 1.5, f"{len(reading.options)} options to choose from"
    if asks:
        yield "knowledge", 0.7, "a question mark"
    if len(reading.words) < 6 and not reading.numbers:
        yield "chat", 0.6, "it is short"


def _some(words: tuple[str, ...]) -> str:
    return ", ".join(words[:4]) + (" …" if len(words) > 4 else "")


# Each word's points, and the most they make together. An opening word counts twice.
_BY_WORDS: tuple[tuple[Task, frozenset[str], float, float], ...] = (
    ("chat", cues.GREET, 0.8, 2.4),
    ("writing", cues.WRITE, 0.9, 3.6),
    ("writing", cues.CREATE, 0.9, 3.6),
    ("summary", cues.SUMMARY, 2.2, 4.4),
    ("translation", cues.TRANSLATE, 2.6, 5.2),
    ("extraction", cues.EXTRACT, 0.8, 2.4),
    ("classification", cues.CLASSIFY, 0.9, 3.6),
    ("code", cues.CODE, 0.5, 3.0),
    ("code", cues.SURE_CODE, 1.2, 3.6),
    ("maths", cues.MATHS, 0.35, 2.8),
    ("maths", cues.SURE_MATHS, 1.2, 3.6),
    ("reasoning", cues.REASON, 0.8, 3.2),
    ("reasoning", cues.MORAL, 0.6, 1.8),
    ("knowledge", cues.ASK, 0.5, 1.5),
    ("knowledge", cues.SPECIALIST, 0.4, 2.0),
)
