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
from dashboard.periods import DEFAULT
from dashboard.providers_verdict import providers_part
from dashboard.reading import reader
from dashboard.strip import Part, strip
from orchestrator.core.types import Model
from orchestrator.engines.llamacpp import LoadedModel
from orchestrator.wiring import parts

log = logging.getLogger(__name__)
T = TypeVar("T")

LOOK_S = 2.0  # longest wait for what a page shows
COUNT_S = 10.0  # longest wait for a count over the tiers
PURGE_S = 90.0  # longest wait for a purge of every tier


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
    """Ask health, models and providers, all at once."""
    health, providers, loaded, installed = await asyncio.gather(
        _known("health", lambda: parts().health()),
        _known("providers", lambda: reader.providers(DEFAULT)),
        _known("loaded models", lambda: parts().local.ps()),
        _known("installed models", lambda: parts().local.models()),
    )
    shown = None if health is None else [*strip(health), providers_part(providers)]
    return Look(shown, loaded, installed, _paces_of(loaded, timezone.now()))


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
            log.warning("the dashboard cannot read %s: %s", what, str(error) or type(error).__name__)
        return None
    if what in _unknown:
        _unknown.discard(what)
        log.warning("the dashboard can read %s again", what)
    return found
