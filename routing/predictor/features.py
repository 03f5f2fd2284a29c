"""A question as numbers: what can be counted on its surface, and the six dimensions of its analysis.

They say things that a vector of meaning leaves out: how long it is, how its options look, whether it negates.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from routing.analysis import cues
from routing.analysis.reading import Reading
from routing.analysis.types import DIMENSIONS, Analysis

Surface = npt.NDArray[np.float32]

NAMES: tuple[str, ...] = (
    "characters",
    "words",
    "characters a word",
    "stem",
    "option length",
    "option spread",
    "options",
    "options with numbers",
    "digits",
    "capitals",
    "names",
    "marks",
    "marks of code",
    "marks of maths",
    "lines",
    "sentences",
    "commas",
    "asks",
    "negates",
    "numbers",
    "blank",
    "hypotheses",
    "longest word",
    "variety",
    "following",
    "superlative",
    "roman",
    "not ascii",
    "wants an answer",
    "subject terms",
    "words of reasoning",
    "words of judgement",
    "words of maths",
    "words of code",
    *DIMENSIONS,
    "complexity",
)


def surface_of(reading: Reading, analysis: Analysis) -> Surface:
    """One number for each of `NAMES`.

    analysis  of the same text, made without a vector: the same features whether there is one or not.
    """
    text, words = reading.text, reading.words
    length, count = len(text) + 1, len(words) + 1
    options = [len(option) for option in reading.options]
    mean = sum(options) / len(options) if options else 0.0
    spread = math.sqrt(sum((one - mean) ** 2 for one in options) / len(options)) if options else 0.0
    digits = sum(map(text.count, "0123456789"))
    marks = sum(map(text.count, ".,;:!?'\"-()"))
    log = math.log1p
    counted = (
        log(reading.characters),
        log(len(words)),
        length / count,
        log(len(reading.stem)),
        log(mean),
        log(spread),
        len(options) / 4,
        sum(_has_digit(option[2:]) for option in reading.options) / (len(options) or 1),
        10 * digits / length,
        10 * reading.capitals / count,
        log(reading.capitals),
        10 * marks / length,
        log(reading.code_marks),
        log(reading.maths_marks),
        log(len(reading.lines)),
        log(text.count(".")),
        log(text.count(",")),
        float("?" in text),
        float(not reading.vocabulary.isdisjoint(cues.NEGATIONS)),
        log(reading.numbers),
        float("__" in text),
        log(sum(map(reading.lower.count, cues.HYPOTHESES[:2]))),
        log(max(map(len, words), default=0)),
        len(reading.vocabulary) / count,
        float("following" in reading.vocabulary),
        float("best" in reading.vocabulary or "most" in reading.vocabulary),
        float("ii" in reading.vocabulary or "iii" in reading.vocabulary),
        10 * (len(text.encode("utf-8", "replace")) - len(text)) / length,
        float(reading.lower.rstrip().endswith("answer:")),
        log(len(reading.vocabulary & cues.SPECIALIST)),
        log(len(reading.vocabulary & cues.REASON)),
        log(len(reading.vocabulary & cues.MORAL)),
        log(len(reading.vocabulary & cues.SURE_MATHS)),
        log(len(reading.vocabulary & cues.SURE_CODE)),
    )
    dimensions = (dimension.score for dimension in analysis.dimensions)
    return np.array((*counted, *dimensions, analysis.complexity), np.float32)


def _has_digit(text: str) -> bool:
    return any(map(text.count, "0123456789"))
