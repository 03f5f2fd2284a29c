"""A model's chat template: Jinja that came with the file, run in a sandbox."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from orchestrator.core.errors import BadRequest
from orchestrator.core.types import Message
from orchestrator.modelhost.reply import CHANNEL, thinking_in

LONGEST = 64 * 1024**2  # characters of a prompt
_NINE = re.compile(r"length\s*[!=]=\s*9\b")  # which Mistral's templates demand of ids of calls
# For a file without one: what was said, each turn on its own line.
PLAIN = "{% for message in messages %}{{ message.content }}\n{% endfor %}"


class Generation(Extension):
    """`{% generation %}` marks for training what a model says; here it is what stands in it."""

    tags = {"generation"}  # noqa: RUF012  # Jinja's own way to say it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Called by Jinja at the tag."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """Turns messages into the text a model was trained on. Source: the conventions of `transformers`."""

    def __init__(self, source: str, *, bos: str = "", eos: str = "") -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = _now
        self.source = source or PLAIN
        self._names = {"bos_token": bos, "eos_token": eos}
        self._splits = thinking_in(self.source) == CHANNEL
        self._wants_short_ids = _NINE.search(self.source) is not None
        try:
            self._template = environment.from_string(self.source)
        except TemplateError as error:
            raise ValueError(f"the model's chat template cannot be read: {error}") from error

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        think: bool | str | None = None,
        longest: int = LONGEST,
    ) -> str:
        """The prompt for these messages. Raises BadRequest when the template refuses them or makes it too long.

        An answer that was begun is gone on with. Where the template knows no system, what it says is put before
        what the first user says.
        """
        names: dict[str, Any] = dict(self._names)
        if tools:
            names["tools"] = [dict(tool) for tool in tools]
        if think is not None:
            names["enable_thinking"] = bool(think)
            if isinstance(think, str):
                names["reasoning_effort"] = think
        turns = [_plain(turn) for message in messages for turn in (_apart(message) if self._splits else (message,))]
        if self._wants_short_ids:
            _shorten_ids(turns)
        # A template is a program from a stranger: it may fail in any way a program can.
        try:
            return self._written(turns, names, longest)
        except Exception as error:  # noqa: BLE001
            said = str(error)[:300]
        if len(turns) > 1 and (turns[0]["role"], turns[1]["role"]) == ("system", "user"):
            system, user, *others = turns
            try:
                content = f"{system['content']}\n\n{user['content']}"
                return self._written([user | {"content": content}, *others], names, longest)
            except Exception:  # noqa: BLE001, S110  # that was not what it refused
                pass
        raise BadRequest(f"the model's chat template refused the messages: {said}")

    def _written(self, turns: Sequence[Mapping[str, Any]], names: Mapping[str, Any], longest: int) -> str:
        """Raises whatever the template does."""
        last = turns[-1] if turns else {}
        begun = str(last.get("content", "")) if last.get("role") == "assistant" and "tool_calls" not in last else ""
        if begun.strip():
            text = self._text(turns, {**names, "add_generation_prompt": False}, longest)
            for words in (begun, begun.strip()):
                if (place := text.rfind(words)) >= 0:
                    return text[: place + len(words)]
        return self._text(turns, {**names, "add_generation_prompt": True}, longest)

    def _text(self, turns: Sequence[Mapping[str, Any]], names: Mapping[str, Any], longest: int) -> str:
        parts: list[str] = []
        size = 0
        for part in self._template.generate(messages=turns, **names):
            parts.append(part)
            size += len(part)
            if size > longest:
                raise TemplateError(f"the text gets too long; {longest:,} characters are allowed")
        return "".join(parts)


def _apart(message: Message) -> Sequence[Message]:
    """What was said before a call as a turn of its own: gpt-oss's template takes that or a thought beside a call."""
    if not (message.tool_calls and message.content and message.thinking):
        return (message,)
    return replace(message, thinking="", tool_calls=()), replace(message, content="")


def _plain(message: Message) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.thinking:
        turn["reasoning_content"] = turn["thinking"] = message.thinking
    if message.tool_calls:
        turn["tool_calls"] = [
            {"type": "function", "id": call.id, "function": {"name": call.name, "arguments": dict(call.arguments)}}
            for call in message.tool_calls
        ]
    if message.tool_name:
        turn["name"] = message.tool_name
    if message.tool_call_id:
        turn["tool_call_id"] = message.tool_call_id
    return turn


def _shorten_ids(turns: Sequence[dict[str, Any]]) -> None:
    """Give calls, and the answers of tools to them, ids as Mistral's templates demand: nine letters and digits.

    An answer without the id of a call is to the first of its name that has none yet, or to the first that has none.
    """
    open_calls: list[tuple[str, str, str]] = []  # each with its id, its short one and its name
    for at, turn in enumerate(turns):
        for number, call in enumerate(turn.get("tool_calls", ())):
            short = blake2b(f"{at} {number} {call['id']}".encode(), digest_size=5).hexdigest()[:9]
            open_calls.append((call["id"], short, call["function"]["name"]))
            call["id"] = short
        if turn["role"] == "tool" and open_calls:
            given, name = turn.get("tool_call_id"), turn.get("name")
            meant = next((one for one in open_calls if given and one[0] == given), None)
            meant = meant or next((one for one in open_calls if name and one[2] == name), open_calls[0])
            open_calls.remove(meant)
            turn["tool_call_id"] = meant[1]


def _to_json(value: Any, indent: int | None = None, **_ignored: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)  # unlike Jinja's own, which escapes for HTML


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.datetime.now().astimezone().strftime(form)
