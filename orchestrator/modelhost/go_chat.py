"""A chat template in Ollama's own form, which is Go's: a layer of a model, or a request's `template`.

It either goes through `.Messages` itself, or writes one exchange (`.System`, `.Prompt`, `.Response`) and is
run once for each. What stands behind `.Response` is left out of the last one: there the model goes on.
Source: how Ollama's documentation describes templates, and what its own library's templates expect.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.core.errors import BadRequest
from orchestrator.core.types import Message, ToolCall
from orchestrator.modelhost.gotemplate.functions import LONGEST, JSONList, JSONMap, Struct
from orchestrator.modelhost.gotemplate.running import STEPS, run
from orchestrator.modelhost.gotemplate.syntax import Action, Branch, Node, Path, Pipe, Template, TemplateError, parse
from orchestrator.modelhost.reply import thinking_in

STEPS_EACH = 200  # more, for each turn and tool; usual templates take some tens


class GoChat:
    """Turns messages into a prompt."""

    def __init__(self, source: str) -> None:
        """Raises TemplateError when it cannot be read."""
        template = parse(source)
        self.source = source
        self._fields = template.fields
        if not template.fields & {"Messages", "Response"}:
            response = Action(Pipe((), False, ((Path(None, ("Response",), 0),),), 0))
            template = replace(template, nodes=(*template.nodes, response))
        self._template = template
        self._last = replace(template, nodes=_cut(template.nodes)[0])

    @property
    def takes_suffix(self) -> bool:
        """Whether it can ask for what is missing in the middle."""
        return "Suffix" in self._fields

    @property
    def takes_tools(self) -> bool:
        """Whether it tells the model of tools."""
        return "Tools" in self._fields

    @property
    def takes_thinking(self) -> bool:
        """Whether it is for a model that thinks."""
        return bool(thinking_in(self.source) or self._fields & {"Think", "ThinkLevel", "IsThinkSet", "Thinking"})

    @property
    def is_dated(self) -> bool:
        """Whether it may write what day it is."""
        return "currentDate" in self.source or "yesterdayDate" in self.source

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        think: bool | str | None = None,
        longest: int = LONGEST,
    ) -> str:
        """The prompt for these messages, of `longest` characters at most.

        Raises BadRequest when the template cannot make one.
        """
        system, turns = _collated(messages)
        thinking = self._thinking(think)
        elements = len(turns) + len(tools) + sum(len(turn.tool_calls) for turn in turns)
        if "Messages" in self._fields:
            told = {"System": system, "Messages": [_message(turn) for turn in turns], "Response": ""}
            told |= {"Tools": _tools(tools)}
            return _run(self._template, told | thinking, STEPS + STEPS_EACH * elements, longest)
        *before, last = _exchanges(turns)
        steps = STEPS // (len(before) + 1) + STEPS_EACH
        texts: list[str] = []
        for template, exchange in [*((self._template, exchange) for exchange in before), (self._last, last)]:
            texts.append(_run(template, exchange | thinking, steps, longest))
            longest -= len(texts[-1])
        return "".join(texts)

    def insert(self, prompt: str, suffix: str, *, think: bool | str | None = None, longest: int = LONGEST) -> str:
        """The prompt for what belongs between two texts. Raises BadRequest when the template cannot make one."""
        told = {"Prompt": prompt, "Suffix": suffix, "Response": ""}
        return _run(self._template, told | self._thinking(think), STEPS, longest)

    def _thinking(self, think: bool | str | None) -> dict[str, Any]:
        """A model that can think does, unless it is told otherwise."""
        if think is None and self.takes_thinking:
            think = True
        level = think if isinstance(think, str) else ""
        return {"Think": bool(think), "ThinkLevel": level, "IsThinkSet": think is not None}


def _run(template: Template, values: Mapping[str, Any], steps: int, longest: int) -> str:
    try:
        return run(template, values, steps=steps, longest=longest)
    except TemplateError as error:
        raise BadRequest(str(error)) from None


def _collated(messages: Sequence[Message]) -> tuple[str, list[Message]]:
    """All that system messages say, and the turns, with what one role says in a row as one; but results of tools."""
    turns: list[Message] = []
    for message in messages:
        if turns and turns[-1].role == message.role != "tool":
            turns[-1] = _joined(turns[-1], message)
        else:
            turns.append(message)
    return "\n\n".join(message.content for message in messages if message.role == "system"), turns


def _joined(one: Message, other: Message) -> Message:
    return replace(
        one,
        content=f"{one.content}\n\n{other.content}" if other.content else one.content,
        thinking="\n\n".join(filter(None, (one.thinking, other.thinking))),
        images=one.images + other.images,
        tool_calls=one.tool_calls + other.tool_calls,
    )


def _exchanges(turns: Sequence[Message]) -> Iterator[dict[str, str]]:
    """What is said, in exchanges; the last one is never missing."""
    nothing = {"System": "", "Prompt": "", "Response": ""}
    said = dict(nothing)
    for turn in turns:
        if turn.role == "system":
            if said["Prompt"] or said["Response"]:
                yield said
                said = dict(nothing)
            said["System"] = turn.content
        elif turn.role == "user":
            if said["Response"]:
                yield said
                said = dict(nothing)
            said["Prompt"] = turn.content
        elif turn.role == "assistant":
            said["Response"] = turn.content
    yield said


def _cut(nodes: Sequence[Node], is_past: bool = False) -> tuple[tuple[Node, ...], bool]:
    """The nodes without what stands behind the first that writes the response, and whether there is one."""
    kept: list[Node] = []
    for node in nodes:
        if isinstance(node, Branch):
            then, is_past = _cut(node.then, is_past)
            otherwise, is_past = _cut(node.otherwise, is_past)
            kept.append(replace(node, then=then, otherwise=otherwise))
        elif not is_past:
            kept.append(node)
            is_past = isinstance(node, Action) and _writes_response(node.pipe)
    return tuple(kept), is_past


def _writes_response(pipe: Pipe) -> bool:
    return any(
        isinstance(operand, Path)
        and ("Response" in operand.fields or (isinstance(operand.base, Pipe) and _writes_response(operand.base)))
        for command in pipe.commands
        for operand in command
    )


def _message(message: Message) -> Struct:
    calls = [_call(call, place) for place, call in enumerate(message.tool_calls)]
    fields = {
        "Role": message.role,
        "Content": message.content,
        "Thinking": message.thinking,
        "Images": list(message.images),
        "ToolCalls": calls,
        "ToolName": message.tool_name,
        "ToolCallID": message.tool_call_id,
    }
    plain: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.thinking:
        plain["thinking"] = message.thinking
    if calls:
        plain["tool_calls"] = [call.plain for call in calls]
    return Struct(fields, plain)


def _call(call: ToolCall, place: int) -> Struct:
    arguments = JSONMap(call.arguments)
    plain = {"index": place, "name": call.name, "arguments": arguments}
    function = Struct({"Index": place, "Name": call.name, "Arguments": arguments}, plain)
    return Struct({"ID": call.id, "Function": function}, {"id": call.id, "function": plain})


def _tools(tools: Sequence[Mapping[str, Any]]) -> JSONList:
    try:
        return JSONList(_tool(tool) for tool in tools)
    except RecursionError:
        raise BadRequest("a tool's parameters are nested too deep") from None


def _tool(tool: Mapping[str, Any]) -> Struct:
    function = _mapping(tool.get("function"))
    parameters = _mapping(function.get("parameters"))
    told = Struct(
        {
            "Name": _text(function.get("name")),
            "Description": _text(function.get("description")),
            "Parameters": _schema(parameters),
        },
        dict(function),
    )
    return Struct({"Type": _text(tool.get("type")), "Items": tool.get("items"), "Function": told}, dict(tool))


def _schema(schema: Mapping[str, Any]) -> Struct:
    """The shape of a tool's arguments, or of one of them."""
    kinds = _list(schema.get("type"))
    properties = _mapping(schema.get("properties"))
    fields = {
        "Type": JSONList(kinds) if len(kinds) > 1 else _text(kinds[0] if kinds else schema.get("type")),
        "Items": schema.get("items"),
        "Description": _text(schema.get("description")),
        "Enum": _list(schema.get("enum")),
        "Required": _list(schema.get("required")),
        "Properties": JSONMap((name, _schema(_mapping(shape))) for name, shape in properties.items()),
        "AnyOf": [_schema(_mapping(shape)) for shape in _list(schema.get("anyOf"))],
        "Defs": schema.get("$defs"),
    }
    return Struct(fields, dict(schema))


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
