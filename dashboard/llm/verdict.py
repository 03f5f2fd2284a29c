"""The sentence of the models' page, and that of the page about one."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings

from dashboard import formats
from dashboard.llm.rows import Local, Place, Used
from orchestrator.modelhost.memory import available


@dataclass(frozen=True, slots=True)
class Memory:
    """What loaded models take. `whole`: what they may take; without a bound, what there is."""

    used: int
    whole: int | None = None
    is_bound: bool = False  # an operator said how much they may take

    @property
    def left(self) -> int | None:
        """What is left; None when nobody knows."""
        return None if self.whole is None else max(0, self.whole - self.used)

    @property
    def share(self) -> float:
        """How much of it is taken, 0 to 100."""
        return min(100.0, 100 * self.used / self.whole) if self.whole else 0.0


@dataclass(frozen=True, slots=True)
class ModelsVerdict:
    """What is so, why, and in which state that is. `place` is the one to look at first."""

    headline: str
    why: str
    state: str
    place: str = ""


def memory_of(rows: Sequence[Local] | None) -> Memory:
    """What is taken, and of how much."""
    used = sum(row.loaded.size for row in rows or () if row.loaded)
    if settings.MODEL_MEMORY:
        return Memory(used, settings.MODEL_MEMORY, is_bound=True)
    with contextlib.suppress(OSError, ValueError):  # not on every system
        return Memory(used, used + available())
    return Memory(used)


def models_verdict(
    rows: Sequence[Local] | None, memory: Memory, places: Sequence[Place], used: Used | None, *, is_known: bool
) -> ModelsVerdict:
    """What is loaded and how much memory that leaves; then who waits, then what is not well elsewhere.

    is_known  whether the model host said what is loaded.
    """
    unwell = [row for row in places if row.state.name in {"down", "slow"} and (row.figures.requests or row.offer.names)]
    elsewhere, place = _elsewhere(places, unwell), unwell[0].name if unwell else ""
    if rows is None or not is_known:
        why = f"It is started again by itself; see the log where that does not help. {elsewhere}"
        return ModelsVerdict("The model host does not answer.", why.strip(), "down", place)
    loaded = [row for row in rows if row.loaded]
    waiting = [row for row in loaded if row.loaded and row.loaded.waiting]
    asked = f"{_asked(used)} {elsewhere}".strip()
    if not rows:
        return ModelsVerdict("No local model is installed.", asked, "off", place)
    if not loaded:
        installed = (
            f"{_models(len(rows))} {'is' if len(rows) == 1 else 'are'} installed; one is loaded when it is asked."
        )
        return ModelsVerdict("No model is loaded.", f"{installed} {asked}".strip(), "ok", place)
    headline = f"{_models(len(loaded))} loaded, {taken(memory)}"
    if waiting:
        most = max(waiting, key=lambda row: row.loaded.waiting if row.loaded else 0)
        assert most.loaded is not None
        others = f", {len(waiting) - 1} more {'has' if len(waiting) == 2 else 'have'} some" if len(waiting) > 1 else ""
        return ModelsVerdict(
            f"{headline}; {most.name} has {most.loaded.waiting} waiting{others}.", asked, "slow", place
        )
    return ModelsVerdict(f"{headline}.", asked, "slow" if unwell else "ok", place)


def taken(memory: Memory) -> str:
    """3.3 of 8 GB; 3.3 GB, 12 GB free."""
    used = formats.size(memory.used)
    if memory.whole is None:
        return used
    if not memory.is_bound:
        return f"{used}; {formats.size(memory.left)} free"
    whole = formats.size(memory.whole)
    number, _, unit = used.partition(formats.NARROW)
    return f"{number} of {whole}" if whole.endswith(f"{formats.NARROW}{unit}") else f"{used} of {whole}"


def _elsewhere(places: Sequence[Place], unwell: Sequence[Place]) -> str:
    if unwell:
        first = unwell[0]
        more = f", and {len(unwell) - 1} more are not well" if len(unwell) > 1 else ""
        return f"{first.name} is {first.state.words}{more}."
    return "" if not places else f"{formats.count(len(places))} elsewhere."


def _asked(used: Used | None) -> str:
    if used is None:
        return ""
    if not used.requests:
        return f"None was asked in the {used.period.words}."
    return f"{formats.count(used.requests)} request{'' if used.requests == 1 else 's'} in the {used.period.words}."


def _models(count: int) -> str:
    return f"{count} model{'' if count == 1 else 's'}"
