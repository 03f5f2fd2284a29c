"""Models that know no system role: what it says goes before what the user says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from orchestrator.core.types import Message, Model

# They refuse such a message, as their makers document it or as they answer: Gemma before 4, the first of OpenAI's o1.
_LACKING = re.compile(r"(^|/)(gemma-?[123]\b|gemma-?[123][-n]|o1-(mini|preview)\b)")


def is_lacking(model: Model) -> bool:
    """Whether `model`, which somebody else runs, refuses a system message. A local one's template sees to that."""
    return model.is_remote and bool(_LACKING.search((model.remote_name or model.name).lower()))


def folded(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The same without system messages: what they say opens the first thing that the user says."""
    said = "\n\n".join(message.content for message in messages if message.role == "system" and message.content)
    turns = [message for message in messages if message.role != "system"]
    if not said:
        return tuple(turns)
    first = next((place for place, turn in enumerate(turns) if turn.role == "user"), None)
    if first is None:
        return (Message(role="user", content=said), *turns)
    content = f"{said}\n\n{turns[first].content}" if turns[first].content else said
    turns[first] = replace(turns[first], content=content)
    return tuple(turns)
