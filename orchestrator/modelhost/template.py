"""A model's chat template: Jinja that came with the file, run in a sandbox."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from orchestrator.core.errors import BadRequest
from orchestrator.core.types import Message

LONGEST = 64 * 1024**2  # characters of a prompt
# For a file without one: what was said, each turn on its own line.
PLAIN = "{% for message in messages %}{{ message.content }}\n{% endfor %}"


class ChatTemplate:
    """Turns messages into the text a model was trained on. Source: the conventions of `transformers`."""

    def __init__(self, source: str, *, bos: str = "", eos: str = "") -> None:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = _now
        self.source = source or PLAIN
        self._names = {"bos_token": bos, "eos_token": eos}
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
        """The prompt for these messages. Raises BadRequest when the template refuses them or makes it too long."""
        names: dict[str, Any] = {**self._names, "add_generation_prompt": True}
        if tools:
            names["tools"] = [dict(tool) for tool in tools]
        if think is not None:
            names["enable_thinking"] = bool(think)
            if isinstance(think, str):
                names["reasoning_effort"] = think
        parts: list[str] = []
        size = 0
        try:
            for part in self._template.generate(messages=[_plain(message) for message in messages], **names):
                parts.append(part)
                size += len(part)
                if size > longest:
                    raise TemplateError(f"the text gets too long; {longest:,} characters are allowed")
        # A template is a program from a stranger: it may fail in any way a program can.
        except Exception as error:  # noqa: BLE001
            raise BadRequest(f"the model's chat template refused the messages: {str(error)[:300]}") from None
        return "".join(parts)


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


def _to_json(value: Any, indent: int | None = None, **_ignored: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)  # unlike Jinja's own, which escapes for HTML


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.datetime.now().astimezone().strftime(form)
