"""How many tokens a call may have had where nobody counted them: a caller hung up, or the line broke.

What was asked of a provider that charges is paid for all the same. An estimate is a guess, and said to be one; nothing
would be wrong for certain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import orjson

from orchestrator.core.types import JSON, ChatRequest, Usage

BYTES_A_TOKEN = 4
AN_ANSWER = 256  # tokens, where the caller sets no cap
A_PICTURE = 1_024  # tokens, about: providers count squares of it


def counted(usage: Usage, pieces: int, asked: ChatRequest | None) -> Usage:
    """`usage` with counts in place of those that are missing.

    pieces  of answer that came: about as many tokens.
    asked   the question; None where nobody charges for it, and its count may stay unknown.
    """
    if pieces and not usage.completion_tokens:
        usage = replace(usage, completion_tokens=pieces, is_estimated=True)
    if asked and not usage.prompt_tokens:
        usage = replace(usage, prompt_tokens=about(asked), is_estimated=True)
    return usage


def expected(request: ChatRequest) -> int:
    """The tokens that a call may come to: those of the question, and as many of an answer as it may have."""
    return about(request) + (request.cap or AN_ANSWER)


def about(request: ChatRequest) -> int:
    """The tokens of a question, more or less."""
    texts = [request.prompt or "", request.suffix, *(request.inputs or ())]
    pictures = 0
    for message in request.messages:
        texts += [message.content, message.thinking]
        texts += [_written(call.arguments) for call in message.tool_calls]
        pictures += len(message.images)
    texts += map(_written, request.tools)
    if isinstance(request.format, Mapping):
        texts.append(_written(request.format))
    size = sum(len(text.encode("utf-8", "replace")) for text in texts)
    return -(-size // BYTES_A_TOKEN) + A_PICTURE * pictures


def _written(value: JSON) -> str:
    try:
        return orjson.dumps(value, default=dict).decode()
    except TypeError:  # what JSON holds and orjson does not
        return str(value)
