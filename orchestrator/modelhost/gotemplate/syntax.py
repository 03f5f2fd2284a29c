"""A template's text as a tree."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.modelhost.gotemplate.functions import FUNCTIONS, LAZY

LONGEST_SOURCE = 64 * 1024  # characters; the longest in Ollama's library has 10,000
DEEPEST = 40  # blocks, or parentheses, within each other
MOST_VARIABLES = 200  # that can be seen at one place

_SPACE = " \t\r\n"
_RIGHT = re.compile(r"[ \t\r\n]*(?:(?<=[ \t\r\n])(?P<trims>-))?\}\}")
_COMMENT = re.compile(r"[ \t\r\n]*/\*")
_TOKEN = re.compile(
    r"""
     (?P<space>[ \t\r\n]+)
    |(?P<field>(?:\.[^\W\d]\w*)+)
    |(?P<variable>\$\w*(?:\.[^\W\d]\w*)*)
    |(?P<string>"(?:[^"\\\n]|\\[^\n])*")
    |(?P<raw>`[^`]*`)
    |(?P<char>'(?:[^'\\\n]|\\[^\n])[^'\n]{0,8}')
    |(?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|(?:[0-9][0-9_]*(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?))
    |(?P<word>[^\W\d]\w*)
    |(?P<sign>:=|[=|,().])
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:[abfnrtv\\'\"]|[0-7]{3}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})")
_LEFT_OUT = {"define", "template", "block"}


class TemplateError(ValueError):
    """A template that cannot be read, or not be run with these values; the message says where."""

    def __init__(self, why: str, source: str, at: int) -> None:
        line = source.count("\n", 0, at) + 1
        column = at - source.rfind("\n", 0, at)
        super().__init__(f"template: line {line}, column {column}: {why}")


@dataclass(frozen=True, slots=True)
class Token:
    """A word of an action; `kind` is the name of its group in the pattern."""

    kind: str
    text: str
    at: int

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.at + len(self.text)


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that stands in the template."""

    value: Any
    at: int


@dataclass(frozen=True, slots=True)
class Function:
    """A function by its name."""

    name: str
    at: int


@dataclass(frozen=True, slots=True)
class Path:
    """Fields of something: of the dot (`base` is None), of a variable (its name), or of what is in parentheses."""

    base: str | Pipe | None
    fields: tuple[str, ...]
    at: int


Operand = Constant | Function | Path


@dataclass(frozen=True, slots=True)
class Pipe:
    """Commands, each with the value of the one before as its last argument; the value may be given names."""

    names: tuple[str, ...]
    declares: bool  # or, when there are names, sets
    commands: tuple[tuple[Operand, ...], ...]
    at: int


@dataclass(frozen=True, slots=True)
class Text:
    """What is written as it stands."""

    text: str


@dataclass(frozen=True, slots=True)
class Action:
    """A value that is written, or named."""

    pipe: Pipe


@dataclass(frozen=True, slots=True)
class Jump:
    """The end of a round, or of all rounds."""

    kind: Literal["break", "continue"]


@dataclass(frozen=True, slots=True)
class Branch:
    """`if`, `with` or `range`."""

    kind: str
    pipe: Pipe
    then: tuple[Node, ...]
    otherwise: tuple[Node, ...]


Node = Text | Action | Jump | Branch


@dataclass(frozen=True, slots=True)
class Template:
    """A template that was read."""

    source: str
    nodes: tuple[Node, ...]
    fields: frozenset[str]  # every name of a field that is used anywhere


def parse(source: str) -> Template:
    """Read a template. Raises TemplateError."""
    if len(source) > LONGEST_SOURCE:
        raise TemplateError(f"it is longer than {LONGEST_SOURCE} characters", source, LONGEST_SOURCE)
    parser = _Parser(source)
    return Template(source, parser.whole(), frozenset(parser.fields))


def _pieces(source: str) -> Iterator[str | list[Token]]:
    """Texts and actions in turn, whitespace trimmed where that is asked for. Raises TemplateError."""
    at, trims = 0, False
    while True:
        left = source.find("{{", at)
        text = source[at:] if left < 0 else source[at:left]
        if trims:
            text = text.lstrip(_SPACE)
        if left < 0:
            yield text
            return
        at = left + 2
        if source[at : at + 1] == "-" and source[at + 1 : at + 2] in tuple(_SPACE):
            text, at = text.rstrip(_SPACE), at + 1
        yield text
        if comment := _COMMENT.match(source, at):
            end = source.find("*/", comment.end())
            right = _RIGHT.match(source, end + 2) if end >= 0 else None
            if right is None:
                raise TemplateError("the comment is not closed", source, left)
        else:
            tokens, right = _tokens(source, at, left)
            yield tokens
        at, trims = right.end(), right["trims"] is not None


def _tokens(source: str, at: int, left: int) -> tuple[list[Token], re.Match[str]]:
    """The words of one action, and what closes it."""
    tokens = []
    while (right := _RIGHT.match(source, at)) is None:
        match = _TOKEN.match(source, at)
        if match is None:
            if at >= len(source):
                raise TemplateError("the action is not closed", source, left)
            raise TemplateError(f"unexpected {source[at]!r}", source, at)
        if match.lastgroup != "space":
            tokens.append(Token(match.lastgroup or "", match[0], at))
        at = match.end()
    if not tokens:
        raise TemplateError("the action is empty", source, left)
    return tokens, right


class _Parser:
    """Goes through the pieces of one template."""

    def __init__(self, source: str) -> None:
        self.fields: set[str] = set()
        self._source = source
        self._pieces = _pieces(source)
        self._names = ["$"]  # variables that can be seen here
        self._loops = 0
        self._depth = 0
        self._action: list[Token] = []  # what is left of it, backwards
        self._at = 0

    def whole(self) -> tuple[Node, ...]:
        nodes, _ = self._block(is_whole=True)
        return nodes

    def _block(self, *, is_whole: bool = False) -> tuple[tuple[Node, ...], str]:
        """Nodes up to `else` or `end`, and which of the two it was."""
        nodes: list[Node] = []
        for piece in self._pieces:
            if isinstance(piece, str):
                if piece:
                    nodes.append(Text(piece))
                continue
            self._action = piece[::-1]
            self._at = piece[0].at
            word = piece[0].text if piece[0].kind == "word" else ""
            if word in {"else", "end"}:
                if is_whole:
                    raise self._wrong(f"unexpected {word}")
                self._take()
                if word == "end":
                    self._over()
                return tuple(nodes), word
            nodes.append(self._node(word))
        if not is_whole:
            raise self._wrong("a block is not ended")
        return tuple(nodes), "end"

    def _node(self, word: str) -> Node:
        if word in {"if", "with", "range"}:
            self._take()
            return self._branch(word)
        if word in {"break", "continue"}:
            self._take()
            self._over()
            if not self._loops:
                raise self._wrong(f"{word} outside of range")
            return Jump("break" if word == "break" else "continue")
        if word in _LEFT_OUT:
            raise self._wrong(f"{word} is not supported")
        action = Action(self._pipe())
        self._over()
        return action

    def _branch(self, kind: str) -> Branch:
        self._deeper()
        seen, loops = len(self._names), self._loops
        pipe = self._pipe(may_have_two=kind == "range")
        self._over()
        self._loops += kind == "range"
        then, ended = self._block()
        self._loops = loops
        otherwise: tuple[Node, ...] = ()
        if ended == "else":
            if kind != "range" and self._action and self._action[-1].text == kind:  # {{ else if … }}
                self._take()
                otherwise = (self._branch(kind),)
            else:
                self._over()
                otherwise, ended = self._block()
                if ended == "else":
                    raise self._wrong("a second else")
        del self._names[seen:]
        self._depth -= 1
        return Branch(kind, pipe, then, otherwise)

    def _pipe(self, *, may_have_two: bool = False) -> Pipe:
        """Up to the end of the action, or a closing parenthesis."""
        at = self._at
        names, declares = self._declared(may_have_two=may_have_two)
        commands = [self._command()]
        while self._peek() == "|":
            self._take()
            command = self._command()
            if not isinstance(command[0], Function):
                raise self._wrong("only a function takes what is piped to it")
            commands.append(command)
        if declares:
            self._names += names
            if len(self._names) > MOST_VARIABLES:
                raise self._wrong("it has too many variables")
        return Pipe(names, declares, tuple(commands), at)

    def _declared(self, *, may_have_two: bool) -> tuple[tuple[str, ...], bool]:
        ahead = self._action[::-1][:4]
        kinds = [token.text if token.kind == "sign" else token.kind for token in ahead]
        if kinds[:1] == ["variable"] and kinds[1:2] in ([":="], ["="]):
            found, sign = ahead[:1], kinds[1]
        elif may_have_two and kinds[:3] == ["variable", ",", "variable"] and kinds[3:] in ([":="], ["="]):
            found, sign = [ahead[0], ahead[2]], kinds[3]
        else:
            return (), False
        del self._action[len(self._action) - 2 * len(found) :]
        names = tuple(token.text for token in found)
        if any("." in name for name in names):
            raise self._wrong("a field cannot be set")
        if sign == "=":
            for name in names:
                self._known(name)
        return names, sign == ":="

    def _command(self) -> tuple[Operand, ...]:
        operands: list[Operand] = []
        while (ahead := self._peek()) not in {"", "|", ")"}:
            if ahead in {":=", "=", ","}:
                raise self._wrong(f"unexpected {ahead!r}")
            operands.append(self._operand())
        if not operands:
            raise self._wrong("a value is missing")
        if len(operands) > 1 and not isinstance(operands[0], Function):
            raise self._wrong("only a function takes arguments")
        return tuple(operands)

    def _operand(self) -> Operand:
        token = self._take()
        match token.kind:
            case "word":
                return self._word(token)
            case "field":
                return self._path(None, token.text[1:].split("."), token.at)
            case "variable":
                name, *fields = token.text.split(".")
                self._known(name)
                return self._path(name, fields, token.at)
            case "sign" if token.text == ".":
                return Path(None, (), token.at)
            case "sign":  # an opening parenthesis: the others are looked for before
                return self._parenthesis(token)
            case _:
                return Constant(self._value(token), token.at)

    def _word(self, token: Token) -> Operand:
        constants = {"true": True, "false": False, "nil": None}
        if token.text in constants:
            return Constant(constants[token.text], token.at)
        if token.text not in FUNCTIONS and token.text not in LAZY:
            raise self._wrong(f"function {token.text!r} is not known")
        return Function(token.text, token.at)

    def _parenthesis(self, token: Token) -> Operand:
        self._deeper()
        inner = self._pipe()
        self._depth -= 1
        if self._peek() != ")":
            raise self._wrong("a parenthesis is not closed")
        closed = self._take()
        follows = self._action[-1] if self._action else None
        if follows and follows.kind == "field" and follows.at == closed.end:
            self._take()
            return self._path(inner, follows.text[1:].split("."), token.at)
        return Path(inner, (), token.at)

    def _path(self, base: str | Pipe | None, fields: list[str], at: int) -> Path:
        self.fields.update(fields)
        return Path(base, tuple(fields), at)

    def _value(self, token: Token) -> Any:
        if token.kind == "raw":
            return token.text[1:-1].replace("\r", "")
        if token.kind == "number":
            return self._number(token)
        if "\\" in _ESCAPE.sub("", token.text):
            raise self._wrong("an escape that is not known")
        try:
            text: str = ast.literal_eval(token.text)  # Python's escapes are Go's, and more, which are refused above
            text.encode()  # half a character is none
        except (ValueError, SyntaxError):
            raise self._wrong("a text that cannot be read") from None
        if token.kind == "string":
            return text
        if len(text) != 1:
            raise self._wrong("a character that is not one")
        return ord(text)

    def _number(self, token: Token) -> int | float:
        digits = token.text.replace("_", "")
        try:
            value = float(digits) if re.search(r"[.eE]", digits) and "x" not in digits.lower() else int(digits, 0)
        except ValueError:
            raise self._wrong("a number that cannot be read") from None
        if abs(value) >= 2**63 and isinstance(value, int):
            raise self._wrong("a number that is too large")
        return value

    def _known(self, name: str) -> None:
        if name not in self._names:
            raise self._wrong(f"undefined variable {name!r}")

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._wrong("it is nested too deep")

    def _peek(self) -> str:
        """The sign that comes next, another word's kind, or nothing at the end."""
        if not self._action:
            return ""
        token = self._action[-1]
        return token.text if token.kind == "sign" else token.kind

    def _take(self) -> Token:
        token = self._action.pop()
        self._at = token.at
        return token

    def _over(self) -> None:
        if self._action:
            self._at = self._action[-1].at
            raise self._wrong(f"unexpected {self._action[-1].text[:40]!r}")

    def _wrong(self, why: str) -> TemplateError:
        return TemplateError(why, self._source, self._at)
