"""Expressions of rules, in the Common Expression Language: compiled, answered, and what is wrong with one.

An operator writes them and every request waits for them, so each is held to bounds that can be read off its text:
see `faults_in`. No loop multiplies what another one made. The library adds its own bounds: 32 levels of nesting, and
10,000 rounds of all loops together.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import cache
from typing import Any, NamedTuple

from routing.rules.facts import FACTS, TEXTS
from routing.rules.patterns import Unread, states_of

MOST_TEXTS, MOST_PATTERNS, LONGEST_PATTERN, MOST_REPEATS = 16, 4, 200, 32
LARGEST_PATTERN = 1000  # its characters, times its repetitions: it is compiled anew for each request
MOST_STATES = 6_000  # of all patterns: a text that leads to each of them is gone through in about 10 ms
# The next loop may go through what one made: each sum in both is a factor.
MOST_MAPS, MOST_SUMS = 1, 4
# Values that loops may go through, times the words within loops.
MOST_STEPS = 20_000
MOST_TAGS = 32  # of a key and of a request
LOOPS = frozenset({"all", "exists", "exists_one", "filter", "map"})
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_BY_KIND = {"flag": "bool", "number": "double", "words": "words", "time": "time"}
_WHOLE = {"tokens": "int", "turns": "int", "cap": "int", "hour": "int"}
# What expressions may name, and of what type each is: every fact, and two things of `time` in UTC.
VARIABLES: dict[str, str] = {
    **{name: _BY_KIND.get(fact.kind, "string") for name, fact in FACTS.items()},
    "weekday": "string",
    **_WHOLE,
}
_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<text>
        (?:[rR][bB]?|[bB][rR])(?:\"{3}.*?\"{3}|'{3}.*?'{3}|"[^"\n]*"|'[^'\n]*')
        |[bB]?(?:\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
    |(?P<number>\.?\d[\w.]*)
    |(?P<name>[A-Za-z_]\w*)
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_FOUND = re.compile(r"^(?:[A-Z_]+: )?ERROR: <input>:(-?\d+):(-?\d+): (.*)$")
_COUNTED = re.compile(r"(?P<group>\)?)\{(?P<low>\d+)(?:,(?P<high>\d*))?\}")


class Failed(Exception):
    """The expression has no answer for this request."""


class Place(NamedTuple):
    """A line and a column, both from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"column {self.column}" if self.line == 1 else f"line {self.line}, column {self.column}"


class Token(NamedTuple):
    """A piece of an expression, and where it begins."""

    kind: str
    text: str
    at: int


class Expression:
    """A compiled expression, and the facts that it names."""

    def __init__(self, source: str) -> None:
        """Raises RuntimeError where it cannot be compiled, or is beyond the bounds: an earlier release had others."""
        self.source = source
        self.names = names_in(source)
        self.analysed = tuple(name for name in self.names if FACTS[name].is_analysed)
        self.texts = self.names & TEXTS
        self._program = _environment().compile(source)
        for at, words in _bounds(_tokens(source)):
            raise RuntimeError(f"{_place(source, at)}: {words}")

    def answer(self, activation: Any) -> bool:
        """Whether it holds for what `activation_of` made. Raises Failed."""
        try:
            value = self._program.eval(activation).value()
        except Exception as error:  # noqa: BLE001  # whatever a library says must not end a request
            raise Failed(str(error)) from None
        if value is True or value is False:
            return bool(value)
        raise Failed(str(value))


def activation_of(values: Mapping[str, Any]) -> Any:
    """What expressions are answered from: a value for each name of `VARIABLES`."""
    try:
        return _environment().Activation(values)
    except Exception:  # noqa: BLE001  # half a surrogate pair, a number beyond 64 bits: what it holds is not ours
        return _environment().Activation({name: _tame(value) for name, value in values.items()})


def _tame(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_tame(one) for one in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return max(-(2**63), min(value, 2**63 - 1))
    return value


def names_in(source: str) -> frozenset[str]:
    """The facts that an expression names. `hour` and `weekday` are of `time`."""
    found = {name for name, _ in _names(_tokens(source))}
    if found & {"hour", "weekday"}:
        found.add("time")
    return frozenset(found & FACTS.keys())


def texts_in(source: str) -> Iterator[str]:
    """The texts that are written in an expression, in their order; what is escaped in them stays so."""
    for token in _tokens(source):
        if token.kind == "text":
            yield token.text.lstrip("rRbB").strip("\"'")


def faults_in(source: str) -> list[str]:
    """What is wrong with an expression, each with its place; empty when it can be published."""
    try:
        program = _environment().compile(source)
    except RuntimeError as error:
        return [_said(source, line) for line in str(error).splitlines() if _FOUND.match(line)] or [_plain(str(error))]
    except Exception as error:  # noqa: BLE001
        return [_plain(str(error))]
    if program.return_type() != _cel().Type.BOOL:
        return [f"column 1: it has to say true or false, and this is of type {program.return_type().name().lower()}"]
    tokens = _tokens(source)
    beyond = list(_bounds(tokens)) or list(_long(tokens))
    return [f"{_place(source, at)}: {words}" for at, words in beyond] or list(_tried(program))


@cache
def _cel() -> Any:
    # Only where somebody wrote an expression: it takes 11 MB of each process.
    from cel_expr_python import cel

    return cel


@cache
def _environment() -> Any:
    kinds = _cel().Type
    types = {
        "bool": kinds.BOOL,
        "int": kinds.INT,
        "double": kinds.DOUBLE,
        "string": kinds.STRING,
        "words": kinds.List(kinds.STRING),
        "time": kinds.TIMESTAMP,
    }
    return _cel().NewEnv(variables={name: types[kind] for name, kind in VARIABLES.items()})


def _tokens(source: str) -> list[Token]:
    found = (Token(match.lastgroup or "", match[0], match.start()) for match in _TOKEN.finditer(source))
    return [token for token in found if token.kind != "space"]


def _names(tokens: Sequence[Token]) -> Iterator[tuple[str, int]]:
    """Names that stand for themselves: no field of something, no function."""
    for at, token in enumerate(tokens):
        is_field = at > 0 and tokens[at - 1].text == "." and _follows_value(tokens, at - 1)
        if token.kind == "name" and not is_field and not _is_called(tokens, at):
            yield token.text, token.at


def _follows_value(tokens: Sequence[Token], at: int) -> bool:
    """Whether a value ends before `at`: a dot is of a field then, else of a name, and a bracket is no list."""
    if not at or tokens[at - 1].text == "in":
        return False
    return tokens[at - 1].kind != "other" or tokens[at - 1].text in {")", "]", "}"}


def _is_called(tokens: Sequence[Token], at: int) -> bool:
    return at + 1 < len(tokens) and tokens[at + 1].text == "("


def _bounds(tokens: Sequence[Token]) -> Iterator[tuple[int, str]]:
    """What would take too long, and where it is."""
    texts = [(name, at) for name, at in _names(tokens) if name in TEXTS]
    for name, at in texts[MOST_TEXTS : MOST_TEXTS + 1]:
        yield at, f"{name} may be named {MOST_TEXTS} times"
    patterns = _patterns(tokens)
    if len(patterns) > MOST_PATTERNS:
        yield tokens[patterns[MOST_PATTERNS]].at, f"an expression has {MOST_PATTERNS} `matches` at most"
    for at in patterns:
        yield from _pattern(tokens, at)
    yield from _loops(tokens)


def _patterns(tokens: Sequence[Token]) -> list[int]:
    """Where there is a `matches`."""
    return [at for at, token in enumerate(tokens) if token.text == "matches" and _is_called(tokens, at)]


def _loops(tokens: Sequence[Token]) -> Iterator[tuple[int, str]]:
    loops = [at for at in range(len(tokens)) if _is_loop(tokens, at)]
    if not loops:
        return
    maps = [at for at in loops if tokens[at].text == "map"]
    for at in maps[MOST_MAPS : MOST_MAPS + 1]:
        yield tokens[at].at, "an expression has one map at most"
    around = _around(tokens, {at + 1 for at in loops})
    for token, brackets in zip(tokens, around, strict=True):
        if token.kind == "name" and token.text in {*TEXTS, "matches"} and "loop" in brackets:
            yield token.at, f"{token.text} cannot be within a loop"
        elif token.kind == "name" and token.text in TEXTS and "list" in brackets:
            yield token.at, f"{token.text} cannot be within a list where there is a loop"
    for at in loops:
        if "loop" in around[at]:
            yield tokens[at].at, f"{tokens[at].text} cannot be within another loop"
    sums = [one for one, brackets in zip(tokens, around, strict=True) if one.text == "+" and "loop" in brackets]
    for one in sums[MOST_SUMS : MOST_SUMS + 1]:
        yield one.at, f"+ may be within loops {MOST_SUMS} times"
    steps = _steps(tokens, around)
    if steps > MOST_STEPS:
        words = f"the loops come to {steps:,} steps, and {MOST_STEPS:,} are allowed"
        yield tokens[loops[0]].at, f"{words}: go through less, or say less within"


def _around(tokens: Sequence[Token], loops: Collection[int]) -> list[tuple[str, ...]]:
    """What each token is within, from the outside in. `loops` are the places of brackets that open one."""
    opened: list[str] = []
    found = []
    for at, token in enumerate(tokens):
        if token.kind == "other" and token.text in {")", "]", "}"} and opened:
            opened.pop()
        found.append(tuple(opened))
        if token.kind == "other" and token.text in {"(", "[", "{"}:
            opened.append("loop" if at in loops else "list" if _is_list(tokens, at) else "")
    return found


def _steps(tokens: Sequence[Token], around: Sequence[tuple[str, ...]]) -> int:
    """Values that there can be in lists, times what is said within loops; more than it comes to for any request."""
    values = within = 0
    for token, brackets in zip(tokens, around, strict=True):
        size = MOST_TAGS if token.kind == "name" and token.text == "tags" else 1
        if "loop" in brackets:
            within += size
        elif size > 1 or token.text in {",", "[", "{"}:
            values += size
    return values * within


def _is_loop(tokens: Sequence[Token], at: int) -> bool:
    return at > 0 and tokens[at].text in LOOPS and tokens[at - 1].text == "." and _is_called(tokens, at)


def _is_list(tokens: Sequence[Token], at: int) -> bool:
    """Whether a bracket opens a list or a map, and no place in one."""
    return tokens[at].text == "{" or (tokens[at].text == "[" and not _follows_value(tokens, at))


def _pattern(tokens: Sequence[Token], at: int) -> Iterator[tuple[int, str]]:
    """What is wrong with the pattern of the `matches` at `at`."""
    close = _closing(tokens, at + 1)
    given = tokens[close - 1]
    if given.kind != "text" or tokens[close - 2].text not in {"(", ","}:
        yield tokens[at].at, "the pattern of `matches` is a text, written here"
        return
    program = _environment().compile(given.text)
    pattern = program.eval(data={}).value()
    if not isinstance(pattern, str):
        return
    if words := _too_large(pattern):
        yield given.at, words
        return
    found = _environment().compile(f"''.matches({given.text})").eval(data={})
    if found.type() == _cel().Type.ERROR:
        yield given.at, _plain(str(found.value()))


def _too_large(pattern: str) -> str:
    """Why a pattern could take long; empty where it cannot. It never goes back, whatever it is."""
    counts = list(_COUNTED.finditer(pattern))
    repeats = sum(int(found["high"] or found["low"]) for found in counts)
    if len(pattern) > LONGEST_PATTERN:
        return f"a pattern has {LONGEST_PATTERN} characters at most"
    if re.search(r"\\[pP]", pattern):
        return "a pattern has no \\p: it is of thousands of letters; name those that are meant, as in [a-zà-ÿ]"
    if any(found["group"] for found in counts):
        return "a group cannot be repeated a number of times: write it out, or use + or *"
    if repeats > MOST_REPEATS or len(pattern) * (1 + repeats) > LARGEST_PATTERN:
        return f"the numbers of repetitions come to {MOST_REPEATS} at most, in a long pattern to fewer"
    return ""


def _long(tokens: Sequence[Token]) -> Iterator[tuple[int, str]]:
    """Patterns, within the bounds, that some text would take long to be gone through by.

    It is asked before an expression is published only: what was published before goes on.
    """
    left = MOST_STATES
    for at in _patterns(tokens):
        given = tokens[_closing(tokens, at + 1) - 1]
        try:
            left -= states_of(str(_environment().compile(given.text).eval(data={}).value()), MOST_STATES + 1)
        except Unread:
            yield given.at, r"a pattern has flags at its beginning only, and no \Q, \x{} or (?<name>)"
            continue
        if left < 0:
            words = "repeat fewer times, or begin with what cannot come again in what follows"
            yield given.at, f"a text could begin to match in too many places at once: {words}"
            return


def _closing(tokens: Sequence[Token], at: int) -> int:
    """Where the bracket that opens at `at` is closed."""
    depth = 0
    for place in range(at, len(tokens)):
        if tokens[place].kind == "other":
            depth += (tokens[place].text in "([{") - (tokens[place].text in ")]}")
        if depth == 0:
            return place
    return len(tokens) - 1


def _tried(program: Any) -> Iterator[str]:
    """Why it can be answered for no request, if so: a time zone that is none, an index that never is."""
    why = ""
    for values in _samples():
        try:
            value = program.eval(_environment().Activation(values)).value()
        except RuntimeError as error:
            value = error
        if value is True or value is False:
            return
        why = why or _plain(str(value))
    yield f"column 1: it has no answer for any of the requests that were tried: {why}"


def _samples() -> Iterator[dict[str, Any]]:
    """Requests that differ in all that they can."""
    moment = datetime(2026, 1, 5, 12, tzinfo=UTC)
    for few in (
        {"bool": False, "int": 0, "double": 0.0, "string": "", "words": []},
        {"bool": True, "int": 1, "double": 0.5, "string": "1", "words": ["1"]},
        {"bool": False, "int": 5000, "double": 1.0, "string": "a/b-c:d, e@f", "words": ["a", "b", "c", "d"]},
    ):
        yield {name: few.get(kind, moment) for name, kind in VARIABLES.items()}


def _place(source: str, at: int) -> Place:
    before = source[:at]
    return Place(before.count("\n") + 1, at - (before.rfind("\n") + 1) + 1)


def _said(source: str, line: str) -> str:
    """A complaint of the library, in words for whoever wrote the expression."""
    found = _FOUND.match(line)
    assert found is not None
    words = _reworded(found[3])
    place = Place(int(found[1]), int(found[2]))
    return f"{place}: {words}" if place.line > 0 else words


def _reworded(words: str) -> str:
    if unknown := re.match(r"undeclared reference to '([^']*)'", words):
        near = get_close_matches(unknown[1], sorted(VARIABLES), 1)
        return f"there is no {unknown[1]} here" + (f"; is {near[0]} meant?" if near else "")
    if misfit := re.match(r"found no matching overload for '([^']*)' applied to '(.*)'", words):
        operator = misfit[1].strip("_").replace("_", " ").replace("@", "")
        hint = (
            " (write 1.0 for a double, 1 for an int)" if {"int", "double"} <= set(re.findall(r"\w+", misfit[2])) else ""
        )
        return f"{operator} does not go with {misfit[2].strip('()')}{hint}"
    if "recursion" in words:
        return "it is nested too deep, or has too many operators in a row"
    words = words.removeprefix("Syntax error: ")
    if "'<EOF>' expecting" in words:
        return "it ends too soon"
    if wrong := re.match(r"(?:mismatched|extraneous) input (.*?) expecting", words, re.DOTALL):
        return f"{wrong[1]} is not expected here"
    if wrong := re.match(r"token recognition error at: (.*)", words, re.DOTALL):
        return f"{wrong[1]} cannot be read"
    return words


def _plain(words: str) -> str:
    """Without the library's codes."""
    words = re.sub(r"^[A-Z_]+: |\s*\[[A-Z_]+\]$", "", words.strip())
    return _reworded(words) if "recursion" in words else words[:300]
