"""A text as counts: read once, in one pass each, by what the standard library does in C.

A long text is read at its head and its tail, where what is asked of a model stands; no pattern here can take
longer than its text is long.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

LONGEST = 8000  # characters that are read
HEAD = 5500  # of them from the head, where the text is longer
LONG_WORD = 10  # letters
_WORD = re.compile(r"[^\W_]+")
_BETWEEN = {code: " " for code in range(128) if not chr(code).isalnum()}
_OPTION_MARKS = ".):"
_OPTION_LETTERS = frozenset("ABCDEFGHIJ")
_BULLETS = ("- ", "* ", "• ", "– ")
_ITEM_STARTS = frozenset("-*•–0123456789")
CODE_MARKS = "{}[]();`_="
MATHS_MARKS = "=+*/^<>\\$×÷∑∫√≤≥∈"


@dataclass(frozen=True, slots=True)
class Reading:
    """What was counted.

    text, lower  what was read of it. `characters` is how long it is in all.
    words        in order, lower case; `cased` as they were written.
    stem         the part before the options of a question that has some.
    """

    text: str
    lower: str
    characters: int
    cased: tuple[str, ...]
    words: tuple[str, ...]
    vocabulary: frozenset[str]
    lines: tuple[str, ...]
    options: tuple[str, ...]
    stem: str
    items: int  # lines that are marked as items of a list
    numbers: int
    long_words: int  # of LONG_WORD letters or more
    capitals: int  # words with a capital that do not begin a sentence
    code_marks: int
    maths_marks: int

    def hits(self, cues: frozenset[str]) -> tuple[str, ...]:
        """Which of these words are in it, in the order of the alphabet."""
        return tuple(sorted(self.vocabulary & cues))

    def phrases(self, cues: Iterable[str]) -> tuple[str, ...]:
        """Which of these pieces of text are in it, in the order given."""
        return tuple(cue for cue in cues if cue in self.lower)


def read(text: str) -> Reading:
    """Count what is in `text`."""
    seen = text if len(text) <= LONGEST else f"{text[:HEAD]}\n{text[HEAD - LONGEST + 1 :]}"
    # Both cut at whatever is no letter and no digit; the first is four times as fast, where it can be used.
    cased = tuple(seen.translate(_BETWEEN).split() if seen.isascii() else _WORD.findall(seen))
    words = tuple(map(str.lower, cased))
    lines = tuple(filter(None, map(str.strip, seen.split("\n"))))
    options = tuple(line for line in lines if line[0] in _OPTION_LETTERS and _is_option(line))
    first = seen.find(f"\n{options[0]}") if len(options) > 1 else -1
    return Reading(
        text=seen,
        lower=seen.lower(),
        characters=len(text),
        cased=cased,
        words=words,
        vocabulary=frozenset(words),
        lines=lines,
        options=options if len(options) > 1 else (),
        stem=seen[:first] if first > 0 else seen,
        items=sum(_is_item(line) for line in lines if line[0] in _ITEM_STARTS),
        numbers=sum(map(str.isdigit, words)),
        long_words=sum(map((LONG_WORD - 1).__lt__, map(len, words))),
        capitals=_capitals(seen, cased),
        code_marks=sum(map(seen.count, CODE_MARKS)),
        maths_marks=sum(map(seen.count, MATHS_MARKS)),
    )


def _is_option(line: str) -> bool:
    return len(line) > 2 and line[1] in _OPTION_MARKS


def _is_item(line: str) -> bool:
    if line.startswith(_BULLETS):
        return True
    number = line[:3].rstrip(".) ")
    return number.isdigit() and line[len(number) : len(number) + 1] in (".", ")")


def _capitals(text: str, cased: tuple[str, ...]) -> int:
    """Words with a capital, less those that begin a sentence or a line, or are the word I."""
    written = sum(map(str.istitle, cased)) + sum(map(str.isupper, cased)) - 2 * cased.count("I") - 2 * cased.count("A")
    begun = 1 + text.count(". ") + text.count("? ") + text.count("\n") + text.count(": ")
    return max(0, written - begun)
