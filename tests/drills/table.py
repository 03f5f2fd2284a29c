"""Which drills there are."""

from __future__ import annotations

from importlib import import_module

from tests.drills.base import Drill

NAMES = (
    "stampede",
    "cancel",
    "failover",
    "streams",
    "overload",
    "redis",
    "restart",
    "fuzz",
    "quota",
    "isolation",
    "secrets",
    "money",
    "folding",
    "budget",
    "console",
)  # each is a module here with a `DRILL`


def drill(name: str) -> Drill:
    """The drill of that name, one of NAMES."""
    found: Drill = import_module(f"tests.drills.{name}").DRILL
    return found
