"""What the doctor finds in this environment, for a page: looked at in a thread of its own, and kept for a moment."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.core import checks
from django.db import close_old_connections
from django.utils import timezone

from dashboard import formats
from orchestrator.checks.finding import LEVELS
from orchestrator.checks.looking import findings
from orchestrator.core.errors import Busy
from orchestrator.core.threads import WorkerThread

log = logging.getLogger(__name__)
DEADLINE_S = 10.0
KEPT_S = 60.0  # so that many who look, and a page that is reloaded, cost one look
LEAST_S = 5.0  # between two looks, however often somebody asks
STATES = {"fatal": "down", "unsafe": "slow", "unwise": "off"}
_thread = WorkerThread("doctor", most_waiting=20)
_last: Looked | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One, as a page has it."""

    number: str
    weight: str  # fatal, unsafe, unwise
    what: str
    remedy: str

    @property
    def state(self) -> str:
        """The shape it is shown with."""
        return STATES[self.weight]


@dataclass(frozen=True, slots=True)
class Looked:
    """What one look found."""

    at: datetime
    found: Sequence[Finding]

    @property
    def headline(self) -> str:
        """What is so, in a sentence."""
        if not self.found:
            return "The doctor finds nothing to mend."
        count = len(self.found)
        return f"{formats.count(count)} {'thing' if count == 1 else 'things'} to mend, {self._how_bad()}."

    def _how_bad(self) -> str:
        counts = {weight: sum(one.weight == weight for one in self.found) for weight in LEVELS.values()}
        heavy = [f"{counts[weight]} {weight}" for weight in ("fatal", "unsafe") if counts[weight]]
        return formats.listing(heavy) if heavy else "nothing unsafe"

    @property
    def report(self) -> str:
        """The same as text, to be copied."""
        lines = [f"{self.headline} {formats.exact(self.at)}"]
        lines += [f"{one.weight.upper()} {one.what} [{one.number}]\n  → {one.remedy}" for one in self.found]
        return "\n\n".join(lines)


async def doctor(*, anew: bool = False) -> Looked | None:
    """The last look, or a new one; None when it does not end in time, which is logged.

    anew  the last one is too old to go by; still, one a few seconds old does.
    """
    most_s = LEAST_S if anew else KEPT_S
    if last := _last_within(most_s):
        return last
    try:
        return await _thread.run(DEADLINE_S, lambda: _look(most_s))
    except (TimeoutError, Busy) as error:
        log.warning("the doctor was not done in time: %s", str(error) or f"{DEADLINE_S:g} s")
        return None


def _last_within(most_s: float) -> Looked | None:
    """The last look, where it is not older."""
    return _last if _last is not None and (timezone.now() - _last.at).total_seconds() < most_s else None


def _look(most_s: float) -> Looked:
    """Look, unless somebody who waited before has."""
    global _last
    if last := _last_within(most_s):
        return last
    close_old_connections()
    _last = Looked(timezone.now(), [_finding(one) for one in findings()])
    return _last


def _finding(one: checks.CheckMessage) -> Finding:
    return Finding(str(one.id).removeprefix("orchestrator."), LEVELS.get(one.level, "unsafe"), one.msg, str(one.hint))
