"""Leaves out the oldest turns of a conversation that is too long for a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.core.errors import ContextTooLong
from orchestrator.core.tokens import size_of
from orchestrator.core.types import ChatRequest, Message, Model

BYTES_A_TOKEN = 3  # of text, so that it rather fits: English has four or five
EACH = 8  # tokens that frame a message
ANSWER = 512  # tokens that are left for it where the caller does not say how long it may be


def trimmed(request: ChatRequest, model: Model, *, must_fit: bool = False) -> ChatRequest:
    """`request` itself where it fits, or where nobody knows how much does; else without its oldest exchanges.

    System messages stay, and so does the last exchange: what the user said last, and what came of it.
    Raises ContextTooLong where it must fit and does not.
    """
    if not model.context_length or request.prompt is not None:
        return request
    room = model.context_length - min(request.cap or ANSWER, model.context_length // 2) - _tokens(str(request.tools))
    sizes = [_size(message) for message in request.messages]
    over = sum(sizes) - room
    if over <= 0:
        return request
    if must_fit:
        raise ContextTooLong(
            f"{model.name} has room for {model.context_length:,} tokens, and the conversation is longer; "
            "a rule here says that nothing is left out of it."
        )
    gone: set[int] = set()
    for exchange in _exchanges(request.messages)[:-1]:
        if over <= 0:
            break
        gone.update(exchange)
        over -= sum(sizes[place] for place in exchange)
    if not gone:
        return request
    return replace(request, messages=tuple(turn for place, turn in enumerate(request.messages) if place not in gone))


def _exchanges(messages: Sequence[Message]) -> list[list[int]]:
    """The places of what belongs together: a user's turn, and all up to the next, so that a call keeps its result."""
    found: list[list[int]] = []
    for place, message in enumerate(messages):
        if message.role == "system":
            continue
        if message.role == "user" or not found:
            found.append([])
        found[-1].append(place)
    return found


def _size(message: Message) -> int:
    """About how many tokens a turn is; its images are left out of it."""
    calls = sum(_tokens(call.name) + _tokens(str(call.arguments)) for call in message.tool_calls)
    return EACH + _tokens(message.content) + _tokens(message.thinking) + calls


def _tokens(text: str) -> int:
    return -(-size_of(text) // BYTES_A_TOKEN)
