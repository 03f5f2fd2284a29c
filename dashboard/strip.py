"""The health strip: each part of the product, and how it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.parts import Health


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the product as the health strip shows it."""

    name: str
    state: str  # ok, slow, down, off
    words: str
    page: str = ""  # the name of the page that says more
    sentence: str = ""  # what is wrong, where "it is down" would not say it well


# What parts call themselves, and what people call them.
NAMES = {
    "web": "Web",
    "models": "Model host",
    "redis": "Redis",
    "ledger": "Ledger",
    "sqlite": "Cache file",
    "tasks": "Tasks",
}
PAGES = {"redis": "dashboard:cache", "sqlite": "dashboard:cache"}
NO_REDIS = Part("Redis", "off", "not set up")


def strip(health: Sequence[Health]) -> list[Part]:
    """Health in the order of the strip; a Redis that is not set up is off, not missing."""
    order = list(NAMES)
    known = sorted(health, key=lambda part: order.index(part.name) if part.name in order else len(order))
    shown = [
        Part(NAMES.get(part.name, part.name.capitalize()), part.state, part.words, PAGES.get(part.name, ""))
        for part in known
    ]
    if all(part.name != "redis" for part in health):
        shown.insert(min(2, len(shown)), NO_REDIS)
    return shown
