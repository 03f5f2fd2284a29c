"""What a provider writes down of each connection and each call. Times are the machine's monotonic clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Opened:
    """One connection, from the provider's side."""

    number: int
    at: float
    received: int = 0  # bytes
    calls: int = 0
    closed_at: float | None = None  # when the other side closed it; None while it did not, and when we did first


@dataclass(slots=True)
class Call:
    """One question to the provider."""

    model: str
    path: str
    at: float
    connection: Opened
    headers: dict[str, str]  # names in small letters
    body: dict[str, Any] = field(repr=False)
    sent: int = 0  # bytes handed to the connection
    is_whole: bool = False  # all that was to be said was handed over
    closed_at: float | None = None  # when the other side closed the connection before that
    ended_at: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether it goes on."""
        return self.ended_at is None
