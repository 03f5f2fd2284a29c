"""How much of anything a request may hold. `docs/validation.md` says it to callers, and a test holds the two together.

What a body may have in bytes, and how long it may take to come, are settings; what a head may have is the server's.
Each bound is above what honest requests hold by an order of magnitude or two, and below what would cost us a tenth of
a second to refuse.
"""

from __future__ import annotations

from collections.abc import Sized

from orchestrator.core.errors import BadRequest
from orchestrator.core.types import ChatRequest

# Of a body's JSON
DEEPEST = 200  # lists and objects within each other; what writes JSON for providers ends at 254, and wraps it in some
MOST_VALUES = 150_000  # names and values, of all lists and objects together
MOST_OBJECTS = 20_000  # each is checked on the event loop, which takes about 10 µs
MOST_TOKENS_EXPLAINED = 20_000  # what it may cost us to say where a body goes wrong
MOST_UNPACKED = 20 * 1024**2  # bytes
MOST_FRAMES = 1000

# Of a question
LONGEST_MODEL = 512  # characters
MOST_MESSAGES = 10_000
MOST_TOOLS = 1024
MOST_CALLS = 1024  # of tools, in one message
MOST_INPUTS = 2048  # texts for vectors
MOST_IMAGES = 100
MOST_STOPS = 64
LONGEST_STOP = 256  # characters

# Of its headers
MOST_TAGS = 16
LONGEST_TAG = 64  # characters


def check_question(asked: ChatRequest) -> None:
    """Raises BadRequest when there is too much of something, or the model's name is none that anybody could mean.

    A name that is not ASCII may look like another, or be one to a reader who normalises it, so there are none.
    """
    if not asked.model.isascii():
        raise BadRequest("invalid model name")
    if len(asked.model) > LONGEST_MODEL:
        raise BadRequest(f"invalid model name: it may have {LONGEST_MODEL} characters at most")
    _check_count("messages", asked.messages, MOST_MESSAGES)
    _check_count("tools", asked.tools, MOST_TOOLS)
    images = 0
    for message in asked.messages:
        if message.tool_calls:
            _check_count("tool_calls", message.tool_calls, MOST_CALLS)
        images += len(message.images)
    if images > MOST_IMAGES:
        raise BadRequest(f"The request holds {images:,} images; at most {MOST_IMAGES} are taken.")


def _check_count(what: str, given: Sized, most: int) -> None:
    if len(given) > most:
        raise BadRequest(f"{what} holds {len(given):,} items; at most {most:,} are taken.")
