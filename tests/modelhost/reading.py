"""What a reader finds in an answer that comes in pieces."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orchestrator.modelhost.channels import ChannelReader
from orchestrator.modelhost.reply import ReplyReader


def found(reader: ReplyReader | ChannelReader, pieces: Iterable[str]) -> list[tuple[str, Any]]:
    """What is found, in order, with text that comes in a row as one."""
    events: list[tuple[str, Any]] = []
    for chunk in [chunk for piece in pieces for chunk in reader.feed(piece)] + reader.flush():
        assert bool(chunk.text) + bool(chunk.thinking) + bool(chunk.tool_calls) == 1
        events += [("call", (call.name, call.arguments)) for call in chunk.tool_calls]
        for sort, said in (("text", chunk.text), ("thinking", chunk.thinking)):
            if said and events and events[-1][0] == sort:
                said = events.pop()[1] + said
            events += [(sort, said)] if said else []
    return events
