"""Which day is asked of the product, and what is wrong when it did something else than was reckoned."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A day: `name` is one of `sold.ASKED`, `vectors` a folder where those of texts are kept."""

    name: str
    requests: int
    repeats: float
    feedback: float
    seed: int
    vectors: str


class DayDiffers(Exception):
    """The product did something else than was reckoned."""
