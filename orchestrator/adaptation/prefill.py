"""Models that refuse to go on from an answer that was begun for them: the user asks them to."""

from __future__ import annotations

import re
from collections.abc import Sequence

from orchestrator.core.types import Message, Model

# Claude from 4.6 on, whoever serves it: `claude-opus-4-6`, `anthropic/claude-sonnet-5`, `claude-mythos-preview`.
_LACKING = re.compile(
    r"(^|[/.])claude-(?!instant)[a-z]+-(?:4[-.](?:[6-9]|[1-9]\d)(?!\d)|[5-9](?!\d)|[1-9]\d(?!\d)|(?!\d))"
)
GO_ON = (
    "Go on with your last message exactly where it ends. Begin with what comes next: repeat nothing of it, and say "
    "nothing about this."
)


def is_lacking(model: Model) -> bool:
    """Whether `model` refuses a conversation that ends with what it said itself."""
    return model.is_remote and bool(_LACKING.search((model.remote_name or model.name).lower()))


def begun(messages: Sequence[Message]) -> str:
    """What the answer is to go on from: what the last turn says, where that is the assistant's; else empty."""
    last = next((message for message in reversed(messages) if message.role != "system"), None)
    if last is None or last.role != "assistant" or last.tool_calls or not last.content.strip():
        return ""
    return last.content


def asked_on(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The same, and after it a turn in which the user asks for the rest."""
    return (*messages, Message(role="user", content=GO_ON))
