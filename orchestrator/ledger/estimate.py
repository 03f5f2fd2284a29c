"""How many tokens a call may have had where nobody counted them, and how many it can come to before it is made.

What was asked of a provider that charges is paid for all the same when a caller hung up or the line broke. An estimate
is a guess, and said to be one; nothing would be wrong for certain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import orjson

from orchestrator.core.tokens import BYTES_A_TOKEN, size_of
from orchestrator.core.types import JSON, ChatRequest, Model, Usage

AN_ANSWER = 256  # tokens, where the caller sets no cap
A_PICTURE = 1_024  # tokens, about: providers count squares of it

# The most, for what is reserved: a token has three bytes and more in nearly all that people write, and what has fewer
# is settled at what it came to.
FEWEST_BYTES_A_TOKEN = 3
AROUND = 65  # tokens that a provider puts around a conversation
AROUND_A_TURN = 8
AROUND_TOOLS = 512  # some explain to their models how tools are called
MOST_A_PICTURE = 36_864  # the largest picture with gpt-4o-mini, which counts more for one than any other
UNCAPPED = 4_096  # tokens of an answer, where neither its caller nor its provider sets an end to it


class Most(NamedTuple):
    """The most tokens that a call may come to."""

    prompt: int
    completion: int


def counted(usage: Usage, pieces: int) -> Usage:
    """`usage` with so many tokens of answer as pieces came, where nobody counted them."""
    if pieces and not usage.completion_tokens:
        usage = replace(usage, completion_tokens=pieces, is_estimated=True)
    return usage


def expected(request: ChatRequest) -> int:
    """The tokens that a call may come to: those of the question, and as many of an answer as it may have."""
    return about(request) + (request.cap or AN_ANSWER)


def about(request: ChatRequest) -> int:
    """The tokens of a question, more or less."""
    return -(-_size(request) // BYTES_A_TOKEN) + A_PICTURE * _pictures(request)


def at_most(request: ChatRequest, model: Model) -> Most:
    """The tokens that a call comes to at most, with the cap that it is sent or would end at by itself."""
    prompt = -(-_size(request) // FEWEST_BYTES_A_TOKEN) + MOST_A_PICTURE * _pictures(request) + AROUND
    prompt += AROUND_A_TURN * (len(request.messages) + len(request.inputs or ()))
    prompt += AROUND_TOOLS if request.tools else 0
    if request.inputs is not None:
        return Most(prompt, 0)
    if request.cap is not None:
        return Most(prompt, min(request.cap, model.most_output or request.cap))
    most = model.most_output or UNCAPPED
    room = model.context_length - about(request)  # about, since an answer is not to be cut for a guess on the safe side
    return Most(prompt, min(most, room) if room > 0 else most)


def at_most_again(tokens: int, turns: int, cap: int, *, has_tools: bool, has_images: bool) -> Most:
    """About the same of a request that is gone, from what was kept of it.

    tokens  what `about` said of it.    turns  its messages.    cap  of its answer; 0: there was none.
    Pictures were not counted, so they are taken for one; what its model ends at by itself is not known.
    """
    size = max(tokens - A_PICTURE * has_images, 0) * BYTES_A_TOKEN
    prompt = -(-size // FEWEST_BYTES_A_TOKEN) + MOST_A_PICTURE * has_images + AROUND
    return Most(prompt + AROUND_A_TURN * turns + AROUND_TOOLS * has_tools, cap or UNCAPPED)


def _size(request: ChatRequest) -> int:
    return sum(map(size_of, _texts(request)))


def _pictures(request: ChatRequest) -> int:
    return sum(len(message.images) for message in request.messages)


def _texts(request: ChatRequest) -> Iterator[str]:
    """All of a question that a model reads, but for pictures."""
    yield request.prompt or ""
    yield request.suffix
    yield from request.inputs or ()
    for message in request.messages:
        yield message.content
        yield message.thinking
        for call in message.tool_calls:
            yield _written(call.arguments)
    yield from map(_written, request.tools)
    if isinstance(request.format, Mapping):
        yield _written(request.format)


def _written(value: JSON) -> str:
    try:
        return orjson.dumps(value, default=dict).decode()
    except TypeError:  # what JSON holds and orjson does not
        return str(value)
