"""What an operator may do with a model of this machine: load it, keep it loaded, let it go. Each is audited."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Literal

from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone

from dashboard import formats
from orchestrator.audit import note
from orchestrator.core.errors import Busy, OrchestratorError
from orchestrator.core.types import Model
from orchestrator.wiring import parts

log = logging.getLogger(__name__)

Act = Literal["load", "keep", "unload"]
ACTS: tuple[Act, ...] = ("load", "keep", "unload")
NOTED_S = 20.0  # longest wait until an act is written down
PATIENCE_S = 10.0  # a large model takes longer to load than a page waits
FAILED_SHOWN = timedelta(minutes=15)  # how long a page says that an act failed which none waited for
MOST_FAILED = 100  # models
FOR_EVER = -1.0
DONE = {"load": "model.loaded", "keep": "model.kept", "unload": "model.unloaded"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is true after an act, and the act that takes it back."""

    words: str
    is_warning: bool = False
    back: Act | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """An act that came to nothing when no page waited for it any more."""

    act: Act
    words: str
    at: datetime


_under_way: set[asyncio.Task[Outcome]] = set()
_failed: dict[str, Failed] = {}  # the last by model, the oldest first; pages are made where acts are done


async def carry_out(act: Act, model: Model, actor: str) -> Outcome:
    """Do it. What takes longer than a page waits goes on by itself; where it fails then, `failures` has it."""
    task = asyncio.create_task(_carry_out(act, model, actor), name=f"{act} {model.name}")
    _under_way.add(task)
    task.add_done_callback(_under_way.discard)
    _failed.pop(model.name, None)
    done, _ = await asyncio.wait({task}, timeout=PATIENCE_S)
    if done:
        return task.result()
    task.add_done_callback(partial(_remember, act, model.name))
    if act == "unload":
        return Outcome(f"{model.name} is being unloaded.")
    return Outcome(f"{model.name} is being loaded. It stands here as loaded as soon as it is.")


def failures() -> Mapping[str, Failed]:
    """Acts that failed lately when no page waited for them, by the model's name, until the next act on it."""
    since = timezone.now() - FAILED_SHOWN
    return {name: failed for name, failed in _failed.items() if failed.at > since}


def _remember(act: Act, name: str, task: asyncio.Task[Outcome]) -> None:
    if task.cancelled():
        return
    if error := task.exception():
        log.error("to %s %s ended in a fault", act, name, exc_info=error)
        outcome = Outcome(f"{_undone(act, name)} The log says more.", is_warning=True)
    else:
        outcome = task.result()
    if outcome.is_warning:
        _failed.pop(name, None)
        _failed[name] = Failed(act, outcome.words, timezone.now())
        while len(_failed) > MOST_FAILED:
            del _failed[next(iter(_failed))]


async def _carry_out(act: Act, model: Model, actor: str) -> Outcome:
    try:
        outcome = await _unload(model) if act == "unload" else await _load(model, stays=act == "keep")
    except OrchestratorError as error:
        log.warning("%s wanted to %s %s: %s", actor, act, model.name, error)
        return Outcome(f"{_undone(act, model.name)} {formats.sentence(str(error))}", is_warning=True)
    try:  # in a thread that outlives the page, which may have gone on by then
        await parts().managing.run(NOTED_S, _write_down, act, model, actor)
    except (Busy, TimeoutError) as error:
        log.error("that %s was to %s could not be written down: %s", model.name, act, str(error) or "no answer in time")
    return outcome


async def _load(model: Model, *, stays: bool) -> Outcome:
    local = parts().local
    was_there = {one.model.name: one.expires_at for one in await local.ps()}
    took_ns = await local.load(model, FOR_EVER if stays else settings.KEEP_ALIVE_S)
    took = formats.NARROW.join(formats.duration(took_ns / 1000))
    if model.name not in was_there:
        stay = " It stays loaded." if stays else ""
        return Outcome(f"{model.name} is loaded; that took {took}.{stay}", back="unload")
    if stays:
        return Outcome(f"{model.name} stays loaded from now on.", back="load")
    stayed = was_there[model.name] is None
    words = "goes again when it was not asked for a while." if stayed else "is loaded already; its time begins anew."
    return Outcome(f"{model.name} {words}", back="keep" if stayed else None)


async def _unload(model: Model) -> Outcome:
    local = parts().local
    before = next((one for one in await local.ps() if one.model.name == model.name), None)
    if not await local.unload(model) or before is None:
        return Outcome(f"{model.name} was not loaded any more.")
    back: Act = "keep" if before.expires_at is None else "load"
    if before.busy:
        answers = "its answer is" if before.busy == 1 else f"its {before.busy} answers are"
        return Outcome(f"{model.name} takes nothing new, and is unloaded as soon as {answers} done.", back=back)
    return Outcome(f"{model.name} is unloaded; {formats.size(before.size)} of memory are free again.", back=back)


def _undone(act: Act, name: str) -> str:
    return f"{name} could not be {'unloaded' if act == 'unload' else 'loaded'}."


def _write_down(act: Act, model: Model, actor: str) -> None:
    """It is done: a failure here is only logged."""
    log.info("%s: %s %s", actor, act, model.name)
    try:
        note(actor, DONE[act], model.name)
    except DatabaseError as error:
        log.error("what was done with %s could not be written into the audit: %s", model.name, error)


def act_of(text: str) -> Act | None:
    """The act of that name."""
    return next((one for one in ACTS if one == text), None)
