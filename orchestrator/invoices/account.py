"""An account as it was read from a file, before anybody keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

ALL, INPUT, OUTPUT, CACHE_READ, CACHE_WRITE, OTHER = "all", "input", "output", "cache_read", "cache_write", "other"

MOST_BYTES = 16 * 1024**2
MOST_LINES = 50_000
MOST_DAYS = 400
LONGEST_MODEL, LONGEST_REF = 255, 128  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What was used of a model on a day, or of all of them where `model` is empty. None: the line does not tell.

    number         where it is in the file
    kind           what its cost is for
    ref            what the provider calls the call, where it is one's
    prompt_tokens  with those read from and written to the provider's cache
    """

    number: int
    day: date
    model: str = ""
    kind: str = ALL
    ref: str = ""
    requests: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    cost_usd: Decimal | None = None

    @property
    def tells(self) -> bool:
        """Whether there is a figure in it. Days without use may have lines without one."""
        return any(
            figure is not None
            for figure in (
                self.requests,
                self.prompt_tokens,
                self.completion_tokens,
                self.cached_tokens,
                self.cache_write_tokens,
                self.cost_usd,
            )
        )


@dataclass(frozen=True, slots=True)
class Account:
    """All lines of a file, and the days it is about, which may be more than the lines have."""

    form: str
    first_day: date
    last_day: date
    lines: tuple[Line, ...]
