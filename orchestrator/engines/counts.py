"""Which counts of tokens can be true, by the bytes that went to a provider and came back: records add them up.

Who charges is believed all the same, since that is what the bill will say; the charge then says that it is doubted.
"""

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


def plausible(usage: Usage, *, most_asked: int, most_answered: int, about: int, is_paid: bool) -> Usage:
    """`usage` without counts that cannot be: nothing is known of the question, then, and the answer is `about` so long.

    Of a provider that charges they stay, and are marked.
    """
    if is_paid:
        is_odd = usage.prompt_tokens > most_asked or usage.completion_tokens > most_answered
        return replace(usage, is_implausible=True) if is_odd else usage
    if usage.prompt_tokens > most_asked:
        usage = replace(usage, prompt_tokens=0)
    if usage.completion_tokens > most_answered:
        usage = replace(usage, completion_tokens=about, is_estimated=True)
    return usage
