"""What a request record says, in words: one place, so that every page says the same."""

from __future__ import annotations

from orchestrator.models import RequestRecord

ENDINGS = {
    "done": "done",
    "cut": "length limit",
    "": "unknown",
}


def ending(outcome: str) -> str:
    """How a request ended; a kind of error reads as it is called: model not found."""
    return ENDINGS.get(outcome, outcome.replace("_", " "))


def tokens_read(record: RequestRecord) -> int | None:
    """The tokens of the question; None where the answer ended before anybody had counted them."""
    has_count = record.prompt_tokens or record.outcome in {"done", "cut"}
    return record.prompt_tokens if has_count else None


def milliseconds(microseconds: float) -> str:
    """Milliseconds for a table, without the unit: 0.04, 0.3, 8.6, 184, 30,000."""
    ms = microseconds / 1000
    if ms < 0.095:
        return f"{ms:.2f}"
    if ms < 9.95:
        return f"{ms:.1f}"
    return f"{ms:,.0f}"
