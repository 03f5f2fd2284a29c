"""How providers say that it is our account that they refuse, not the question: many do with another status."""

from __future__ import annotations

import re

NO_MONEY = {
    "insufficient_quota",  # OpenAI, with 429
    "billing_error",  # Anthropic
    "exceeded_current_quota_error",  # Moonshot, with 429
}
NOT_FOR_US = {"FAILED_PRECONDITION"}  # Gemini, with 400: a region, or a country where it wants an account that pays
# Words of their own, which others repeat who stand in front of them.
_NO_MONEY_SAID = re.compile(
    r"credit balance is too low to access"  # Anthropic, with 400
    r"|reached your specified (?:\w+ )?API usage limits",  # Anthropic, with 400: what an operator allowed it to spend
    re.IGNORECASE,
)
_NOT_FOR_US_SAID = re.compile(r"user location is not supported", re.IGNORECASE)  # Gemini


def is_about_money(words: str, *codes: object) -> bool:
    """Whether a refusal says that our account has none left, or may not spend more."""
    return _has(NO_MONEY, codes) or bool(_NO_MONEY_SAID.search(words))


def is_about_us(words: str, *codes: object) -> bool:
    """Whether a refusal says that we may not use the provider as we are."""
    return _has(NOT_FOR_US, codes) or bool(_NOT_FOR_US_SAID.search(words))


def _has(known: set[str], codes: tuple[object, ...]) -> bool:
    return any(isinstance(code, str) and code in known for code in codes)
