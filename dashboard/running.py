"""What the running parts say of themselves: health, loaded models, what the cache holds.

This is the only place where the dashboard reaches for the parts, and every wait has a deadline: a
page shows "unknown" for a part that does not answer, and the rest of the page stands.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from django.utils import timezone

from cache.entries import Holding, Scope
from cache.tiered import Purged
from orchestrator.core.types import Model
from orchestrator.engines.llamacpp import LoadedModel
from orchestrator.parts import Health
from orchestrator.wiring import parts

log = logging.getLogger(__name__)
T = TypeVar("T")

LOOK_S = 2.0  # longest wait for what a page shows
COUNT_S = 10.0  # longest wait for a count over the tiers
PURGE_S = 90.0  # longest wait for a purge of every tier


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the product as the health strip shows it."""

    name: str
    state: str  # ok, slow, down, off
    words: str
    page: str = ""  # the name of the page that says more


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


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a model last wrote, and when that was seen."""

    tokens_per_s: float
    at: datetime


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the parts; None where nobody answered in time."""

    health: Sequence[Part] | None
    loaded: Sequence[LoadedModel] | None
    installed: Sequence[Model] | None
    paces: Mapping[str, Pace] = field(default_factory=dict)


async def look() -> Look:
    """Ask health and models, all at once."""
    health, loaded, installed = await asyncio.gather(
        _known("health", lambda: parts().health()),
        _known("loaded models", lambda: parts().local.ps()),
        _known("installed models", lambda: parts().local.models()),
    )
    return Look(None if health is None else strip(health), loaded, installed, _paces_of(loaded, timezone.now()))


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


async def holding(scope: Scope) -> Mapping[str, Holding | None] | None:
    """What each tier holds of `scope`, None for one that cannot say; None when there is no answer at all."""
    return await _known("holding", lambda: parts().cache.holding(scope), COUNT_S)


async def purge(scope: Scope) -> Purged:
    """Forget the answers in `scope` in every tier. Raises TimeoutError when that is not over in time."""
    return await asyncio.wait_for(parts().cache.purge(scope), PURGE_S)


_paces: dict[str, Pace] = {}


def _paces_of(loaded: Sequence[LoadedModel] | None, now: datetime) -> Mapping[str, Pace]:
    """The last pace seen of each loaded model: an idle one has none to tell, and forgets what it had."""
    if loaded is not None:
        for name in _paces.keys() - {one.model.name for one in loaded}:
            del _paces[name]
        _paces.update({one.model.name: Pace(one.tokens_per_s, now) for one in loaded if one.tokens_per_s})
    return dict(_paces)


_unknown: set[str] = set()


async def _known(what: str, ask: Callable[[], Awaitable[T]], deadline_s: float = LOOK_S) -> T | None:
    """The answer, or None when it did not come. One line is logged when that begins, and when it ends."""
    try:
        found = await asyncio.wait_for(ask(), deadline_s)
    except Exception as error:  # noqa: BLE001  # whatever ails a part, the page says "unknown" and stands
        if what not in _unknown:
            _unknown.add(what)
            log.warning("the dashboard cannot read %s: %s", what, error or type(error).__name__)
        return None
    if what in _unknown:
        _unknown.discard(what)
        log.warning("the dashboard can read %s again", what)
    return found
