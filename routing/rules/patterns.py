"""How long a pattern can take on a text: by the states of the machine that goes through it.

RE2 makes a state when a text first leads there, and goes from one to the next with each letter. Where there are few it
has all of them soon. A pattern such as `a.{30}x` has thousands of millions, and any text of `a` and `b` leads to a new
one with each letter, which takes a thousand times as long.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from re import _constants as code  # type: ignore[attr-defined]  # Python's own reader: RE2 is written nearly the same
from re import _parser as reader  # type: ignore[attr-defined]
from typing import Any, NamedTuple

State = tuple[int, ...]  # positions as bits, of what began at the same letter each
Ranges = list[tuple[int, int]]  # of letters by their numbers, both ends included
LAST = 0x10FFFF
_SMALL, _LARGE = (ord("a"), ord("z")), (ord("A"), ord("Z"))
_NAMED = {
    "alpha": "a-zA-Z",
    "digit": "0-9",
    "alnum": "a-zA-Z0-9",
    "upper": "A-Z",
    "lower": "a-z",
    "space": r"\s",
    "word": r"\w",
    "xdigit": "0-9a-fA-F",
}
_CATEGORIES: dict[Any, Ranges] = {
    code.CATEGORY_DIGIT: [(48, 57)],
    code.CATEGORY_SPACE: [(9, 13), (32, 32)],
    code.CATEGORY_WORD: [(48, 57), _LARGE, (95, 95), _SMALL],
}
_OTHERS = {
    code.CATEGORY_NOT_DIGIT: code.CATEGORY_DIGIT,
    code.CATEGORY_NOT_SPACE: code.CATEGORY_SPACE,
    code.CATEGORY_NOT_WORD: code.CATEGORY_WORD,
}


class Unread(Exception):
    """It is written in a way that is not read here."""


@lru_cache(1_000)
def states_of(pattern: str, most: int) -> int:
    """How many states there are; `most` where there are as many or more. Raises Unread."""
    for name, letters in _NAMED.items():
        pattern = pattern.replace(f"[:{name}:]", letters)
    if re.search(r"\[:\^?\w+:\]|\\Q", pattern):
        raise Unread
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = reader.parse(pattern.replace(r"\z", r"\Z"))
        return _Machine(tree).count(most)
    except (re.error, OverflowError, RecursionError, NotImplementedError):
        raise Unread from None


class Piece(NamedTuple):
    """Where a part of a pattern may begin and end, a bit for each position, and whether it may be nothing."""

    first: int = 0
    last: int = 0
    is_empty: bool = True


class _Machine:
    """Each letter of a pattern is a position. A state is all that the text has come to, the first begun first."""

    def __init__(self, tree: Any) -> None:
        self._letters: list[Ranges] = []  # of each position
        self._after: list[int] = []  # of each position: those that may follow
        self._is_cut = True  # it is over with the first match: nothing else has to be so there
        self._whole = self._sequence(tree, is_caseless=bool(tree.state.flags & re.IGNORECASE))
        begins = bool(tree) and tree[0][0] is code.AT and tree[0][1] in {code.AT_BEGINNING, code.AT_BEGINNING_STRING}
        is_anchored = begins and not tree.state.flags & re.MULTILINE
        self._again = 0 if is_anchored else self._whole.first  # else a match may begin anywhere

    def count(self, most: int) -> int:
        """As `states_of`."""
        kinds = self._kinds()
        seen: set[State] = set()
        new: list[State] = [(self._whole.first,)]
        while new and len(seen) < most:
            reached = new.pop()
            for kind in kinds:
                state = tuple(one & kind for one in reached if one & kind)
                if state not in seen and not (self._is_cut and any(one & self._whole.last for one in state)):
                    seen.add(state)
                    new.append(self._reached(state))
        return min(len(seen), most)

    def _reached(self, state: State) -> State:
        """What may come next. Where two would come to one position, it is of the one that began before."""
        found, taken = [], 0
        for begun in (*state, 0):
            following = _all(self._after[at] for at in _bits(begun)) if begun else self._again
            found.append(following & ~taken)
            taken |= following
        return tuple(found)

    def _kinds(self) -> set[int]:
        """Letters that no position tells apart are of one kind: the positions that they fit."""
        edges = {0} | {edge for ranges in self._letters for low, high in ranges for edge in (low, high + 1)}
        return {
            _all(1 << at for at, ranges in enumerate(self._letters) if any(low <= edge <= high for low, high in ranges))
            for edge in edges
        }

    def _sequence(self, parts: Iterable[Any], *, is_caseless: bool) -> Piece:
        whole = Piece()
        for kind, told in parts:
            whole = self._joined(whole, self._piece(kind, told, is_caseless=is_caseless))
        return whole

    def _piece(self, kind: Any, told: Any, *, is_caseless: bool) -> Piece:
        if kind is code.AT:
            self._is_cut = False
            return Piece()
        if kind is code.BRANCH:
            ways = [self._sequence(one, is_caseless=is_caseless) for one in told[1]]
            return Piece(_all(one.first for one in ways), _all(one.last for one in ways), any(w.is_empty for w in ways))
        if kind is code.SUBPATTERN:
            _, more, less, inner = told
            return self._sequence(inner, is_caseless=bool((is_caseless or more & re.I) and not less & re.I))
        if kind in {code.MAX_REPEAT, code.MIN_REPEAT}:
            return self._repeated(*told, is_caseless=is_caseless)
        self._letters.append(_ranges(kind, told, is_caseless=is_caseless))
        self._after.append(0)
        here = 1 << len(self._after) - 1
        return Piece(here, here, is_empty=False)

    def _repeated(self, low: int, high: Any, inner: Any, *, is_caseless: bool) -> Piece:
        is_endless = high is code.MAXREPEAT
        times = max(low, 1) if is_endless else high
        copies = [self._sequence(inner, is_caseless=is_caseless) for _ in range(times)]
        if is_endless:
            self._follow(copies[-1].last, copies[-1].first)
        whole = Piece()
        for number, one in reversed(list(enumerate(copies))):  # x{1,3} is x(x(x)?)?, as RE2 has it
            whole = self._joined(one, whole)
            whole = whole._replace(is_empty=whole.is_empty or number >= low)
        return whole

    def _joined(self, before: Piece, then: Piece) -> Piece:
        self._follow(before.last, then.first)
        return Piece(
            before.first | (then.first if before.is_empty else 0),
            then.last | (before.last if then.is_empty else 0),
            before.is_empty and then.is_empty,
        )

    def _follow(self, last: int, first: int) -> None:
        for at in _bits(last):
            self._after[at] |= first


def _ranges(kind: Any, told: Any, *, is_caseless: bool) -> Ranges:
    """The letters that fit one position."""
    if kind is code.ANY:
        return _without([(10, 10)])
    if kind in {code.LITERAL, code.NOT_LITERAL}:
        found = _cased([(told, told)], is_caseless=is_caseless)
        return _without(found) if kind is code.NOT_LITERAL else found
    if kind is not code.IN:
        raise NotImplementedError
    found = []
    for part, of in told:
        if part is code.LITERAL:
            found.append((of, of))
        elif part is code.RANGE:
            found.append(of)
        elif part is code.CATEGORY:
            found += _without(_CATEGORIES[_OTHERS[of]]) if of in _OTHERS else _CATEGORIES[of]
    found = _cased(found, is_caseless=is_caseless)
    return _without(found) if told[0][0] is code.NEGATE else found


def _cased(ranges: Ranges, *, is_caseless: bool) -> Ranges:
    """With the other case of each, of a to z; others have none here."""
    if not is_caseless:
        return ranges
    more = list(ranges)
    for low, high in ranges:
        for (begin, end), shift in ((_SMALL, -32), (_LARGE, 32)):
            if max(low, begin) <= min(high, end):
                more.append((max(low, begin) + shift, min(high, end) + shift))
    return more


def _without(ranges: Sequence[tuple[int, int]]) -> Ranges:
    """All other letters."""
    others, at = [], 0
    for low, high in sorted(ranges):
        if at < low:
            others.append((at, low - 1))
        at = max(at, high + 1)
    return [*others, (at, LAST)] if at <= LAST else others


def _all(bits: Iterable[int]) -> int:
    found = 0
    for one in bits:
        found |= one
    return found


def _bits(number: int) -> Iterator[int]:
    while number:
        low = number & -number
        yield low.bit_length() - 1
        number ^= low
