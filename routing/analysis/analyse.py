"""Look at a question: its kind, its language, its size, and how hard it is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orchestrator.core.tokens import size_of, tokens_in
from routing.analysis.dimensions import Asked, dimensions_of
from routing.analysis.language import language_of
from routing.analysis.prototypes import likeness_of
from routing.analysis.reading import LONGEST, Reading, read
from routing.analysis.tasks import task_of
from routing.analysis.types import Analysis, combined

_PIECE = 1.35  # tokens to a word of plain text, the usual for vocabularies of 32,000 pieces and more


def analyse(
    text: str,
    *,
    system: str = "",
    turns: int = 1,
    has_tools: bool = False,
    has_images: bool = False,
    vector: npt.NDArray[np.float32] | None = None,
) -> Analysis:
    """Say what `text` asks of a model. Equal arguments make an equal analysis.

    vector  the text's embedding, where there is one: what the text is like then adds to what stands in it.
    """
    return analysed(read(text), text, system, turns, has_tools, has_images, vector)


def analysed(
    reading: Reading,
    text: str,
    system: str = "",
    turns: int = 1,
    has_tools: bool = False,
    has_images: bool = False,
    vector: npt.NDArray[np.float32] | None = None,
) -> Analysis:
    """`analyse` for a text that was read already."""
    likeness = likeness_of(vector) if vector is not None else {}
    language = language_of(reading)
    task, because = task_of(reading, likeness)
    tokens = tokens_of(reading, text) + tokens_in(size_of(system))
    asked = Asked(reading, task, language, tokens, turns, read(system), has_tools, has_images, likeness)
    dimensions = dimensions_of(asked)
    notes = []
    if reading.characters > LONGEST:
        notes.append(f"Only its head and tail were read: {LONGEST} of {reading.characters} characters.")
    return Analysis(
        task=task,
        task_because=because,
        language=language,
        tokens=tokens,
        dimensions=dimensions,
        complexity=combined(dimensions),
        characters=reading.characters,
        read=min(LONGEST, reading.characters),
        notes=tuple(notes),
    )


def tokens_of(reading: Reading, text: str) -> int:
    """About how many tokens: by words and marks where words are short, by bytes where a script has no spaces."""
    if not text:
        return 0
    marks = reading.code_marks + reading.maths_marks
    scale = len(text) / len(reading.text)
    by_words = (len(reading.words) * _PIECE + marks) * scale
    return max(1, round((by_words + tokens_in(size_of(text))) / 2))
