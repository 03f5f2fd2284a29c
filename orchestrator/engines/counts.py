"""Which counts of tokens can be true, by the bytes that went to a provider and came back: records add them up."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.core.types import ChatRequest, Model, Usage

# A token is a byte at least. What is counted and not seen comes on top of that: words that the provider
# puts around a question, the squares of a picture, thoughts that it keeps to itself.
AROUND = 4_096
PICTURE = 65_536
THOUGHTS = 262_144


def most_asked(request: ChatRequest, size: int) -> int:
    """The most tokens that a question of `size` bytes can have."""
    return size + AROUND + PICTURE * sum(len(message.images) for message in request.messages)


def most_answered(model: Model, size: int) -> int:
    """The most tokens that an answer of `size` bytes can have."""
    return size + (THOUGHTS if "thinking" in model.capabilities else AROUND)


def plausible(usage: Usage, *, most_asked: int, most_answered: int, pieces: int) -> Usage:
    """`usage` without counts that cannot be: nothing is known of the question, then, and an answer is its pieces."""
    if usage.prompt_tokens > most_asked:
        usage = replace(usage, prompt_tokens=0)
    if usage.completion_tokens > most_answered:
        usage = replace(usage, completion_tokens=pieces, is_estimated=True)
    return usage
