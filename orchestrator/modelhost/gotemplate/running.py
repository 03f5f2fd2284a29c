"""A template and values become text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.modelhost.gotemplate.functions import FUNCTIONS, LAZY, LONGEST, CallError, Struct, is_true, show
from orchestrator.modelhost.gotemplate.syntax import (
    Action,
    Branch,
    Constant,
    Function,
    Jump,
    Node,
    Operand,
    Path,
    Pipe,
    Template,
    TemplateError,
    Text,
)

STEPS = 200_000  # about half a second; what is written takes few, its length has a bound of its own
_PER_STEP = 100  # characters, or elements, that a function may take or make in the time of a step
_PER_STEP_COPIED = 2_000  # elements of a list that is only measured, looked into or cut
_COPY = frozenset({"len", "index", "slice"})


def run(template: Template, values: Mapping[str, Any], *, steps: int = STEPS, longest: int = LONGEST) -> str:
    """The text that `template` makes of `values`; a name that is not there is nil. Raises TemplateError.

    values   texts, numbers, truth values, None, lists, dicts and `Struct`s of such.
    steps    how many it may take.
    longest  characters it may make, of the text and of any value.
    """
    running = _Running(template.source, dict(values), steps, longest)
    running.nodes(template.nodes, running.root)
    return "".join(running.out)


@dataclass(slots=True)
class _Variable:
    name: str
    value: Any


class _Running:
    """One run."""

    def __init__(self, source: str, root: dict[str, Any], steps: int, longest: int) -> None:
        self.root = root
        self.out: list[str] = []
        self._source = source
        self._most_steps = self._steps = steps
        self._longest = longest
        self._size = 0
        self._variables = [_Variable("$", root)]

    def nodes(self, nodes: Iterable[Node], dot: Any) -> str:
        """Run one after the other; returns "break" or "continue" when that was met."""
        for node in nodes:
            match node:
                case Text():
                    self._write(node.text, 0)
                case Action():
                    value = self._pipe(node.pipe, dot)
                    if not node.pipe.names:
                        self._write(self._shown(value, node.pipe.at), node.pipe.at)
                case Jump():
                    return node.kind
                case Branch():
                    if jump := self._branch(node, dot):
                        return jump
        return ""

    def _branch(self, node: Branch, dot: Any) -> str:
        seen = len(self._variables)
        try:
            if node.kind == "range":
                return self._range(node, dot)
            value = self._pipe(node.pipe, dot)
            if is_true(value):
                return self.nodes(node.then, value if node.kind == "with" else dot)
            return self.nodes(node.otherwise, dot)
        finally:
            del self._variables[seen:]

    def _range(self, node: Branch, dot: Any) -> str:
        value = self._value(node.pipe, dot)
        pairs = self._pairs(value, node.pipe.at)
        seen = len(self._variables)
        is_empty = True
        for key, item in pairs:
            is_empty = False
            self._spend(1, node.pipe.at)
            del self._variables[seen:]
            self._name(node.pipe, (item,) if len(node.pipe.names) == 1 else (key, item))
            if self.nodes(node.then, item) == "break":
                break
        del self._variables[seen:]
        return self.nodes(node.otherwise, dot) if is_empty else ""

    def _pairs(self, value: Any, at: int) -> Iterable[tuple[Any, Any]]:
        if isinstance(value, list):
            return enumerate(value)
        if isinstance(value, dict) and not isinstance(value, Struct):
            self._spend(len(value), at)
            return value.items() if type(value) is not dict else sorted(value.items())
        if isinstance(value, int) and not isinstance(value, bool):
            return ((number, number) for number in range(value))
        if value is None:
            return ()
        raise self._wrong("range needs a list, a map or a whole number", at)

    def _pipe(self, pipe: Pipe, dot: Any) -> Any:
        value = self._value(pipe, dot)
        self._name(pipe, (value,))
        return value

    def _name(self, pipe: Pipe, values: Sequence[Any]) -> None:
        for name, value in zip(pipe.names, values, strict=False):
            if pipe.declares:
                self._variables.append(_Variable(name, value))
            else:
                self._variable(name, pipe.at).value = value

    def _value(self, pipe: Pipe, dot: Any) -> Any:
        value, is_piped = None, False
        for command in pipe.commands:
            value = self._command(command, dot, (value,) if is_piped else ())
            is_piped = True
        return value

    def _command(self, command: Sequence[Operand], dot: Any, piped: tuple[Any, ...]) -> Any:
        first, *others = command
        if not isinstance(first, Function):
            return self._operand(first, dot)
        if first.name in LAZY:
            return self._lazy(first, others, dot, piped)
        return self._call(first, [*(self._operand(operand, dot) for operand in others), *piped])

    def _lazy(self, function: Function, operands: Sequence[Operand], dot: Any, piped: tuple[Any, ...]) -> Any:
        """The first value that decides, or else the last."""
        if not operands and not piped:
            raise self._wrong(f"{function.name} needs a value", function.at)
        value = None
        for operand in operands:
            value = self._operand(operand, dot)
            if is_true(value) == (function.name == "or"):
                return value
        return piped[0] if piped else value

    def _call(self, function: Function, values: list[Any]) -> Any:
        per_element = _PER_STEP_COPIED if function.name in _COPY else _PER_STEP
        self._spend(1 + sum(_cost(value, per_element) for value in values), function.at)
        self._bound(sum(len(value) for value in values if isinstance(value, str)), function.at)
        try:
            value = FUNCTIONS[function.name](*values)
        except TypeError:
            raise self._wrong(f"{function.name} cannot be called like this", function.at) from None
        except (CallError, ValueError, OverflowError) as error:
            raise self._wrong(f"{function.name}: {error}", function.at) from None
        except RecursionError:
            raise self._wrong(f"{function.name}: the value is nested too deep", function.at) from None
        self._spend(_cost(value, per_element), function.at)
        if isinstance(value, str):
            self._bound(len(value), function.at)
        return value

    def _operand(self, operand: Operand, dot: Any) -> Any:
        self._spend(1, operand.at)
        match operand:
            case Constant():
                return operand.value
            case Function():
                return self._command((operand,), dot, ())
            case Path():
                return self._path(operand, dot)

    def _path(self, path: Path, dot: Any) -> Any:
        if path.base is None:
            value = dot
        elif isinstance(path.base, str):
            value = self._variable(path.base, path.at).value
        else:
            value = self._pipe(path.base, dot)
        for field in path.fields:
            if not isinstance(value, dict):
                raise self._wrong(f"there is no field {field!r} in it", path.at)
            if isinstance(value, Struct) and field not in value:
                raise self._wrong(f"there is no field {field!r} in it", path.at)
            value = value.get(field)
        return value

    def _variable(self, name: str, at: int) -> _Variable:
        for variable in reversed(self._variables):
            if variable.name == name:
                return variable
        raise self._wrong(f"{name} has no value here", at)  # it is set in a part that was passed over

    def _shown(self, value: Any, at: int) -> str:
        try:
            return show(value)
        except RecursionError:
            raise self._wrong("the value is nested too deep", at) from None
        except ValueError as error:
            raise self._wrong(str(error), at) from None

    def _write(self, text: str, at: int) -> None:
        self._size += len(text)
        self._bound(self._size, at)
        self._spend(1, at)
        self.out.append(text)

    def _spend(self, steps: int, at: int) -> None:
        self._steps -= steps
        if self._steps < 0:
            raise self._wrong(f"it takes too many steps; {self._most_steps:,} are allowed", at)

    def _bound(self, length: int, at: int) -> None:
        if length > self._longest:
            raise self._wrong(f"the text gets too long; {self._longest:,} characters are allowed", at)

    def _wrong(self, why: str, at: int) -> TemplateError:
        return TemplateError(why, self._source, at)


def _cost(value: Any, per_element: int) -> int:
    """Steps for a value that a function takes or makes."""
    if isinstance(value, str):
        return len(value) // _PER_STEP
    return len(value) // per_element if isinstance(value, list) else 0
