"""What is said of JSON to providers of OpenAI's protocol that want it said, or know no schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.core.types import ChatRequest, Message
from orchestrator.engines.wires.base import form_in_words


def with_the_word(request: ChatRequest) -> ChatRequest:
    """The same, with a word on JSON where it is asked for and no message has that word: it is refused then."""
    if request.format != "json" or any("json" in message.content.lower() for message in request.messages):
        return request
    return _told(request, form_in_words(request.format))


def with_the_schema(request: ChatRequest) -> ChatRequest:
    """The same, with its schema in words: what is left to ask for is any object, or nothing where that is not it."""
    if not isinstance(request.format, Mapping):
        return with_the_word(request)
    is_object = request.format.get("type", "object") == "object"
    told = _told(request, form_in_words(request.format))
    return replace(told, format="json" if is_object else None)


def _told(request: ChatRequest, words: str) -> ChatRequest:
    """With `words` at the end of what the system says."""
    messages = request.messages
    place = next((at for at, one in enumerate(messages) if one.role != "system"), len(messages))
    told = Message(role="system", content=words)
    return replace(request, messages=(*messages[:place], told, *messages[place:]))
