"""What every drill shares: its form and seed, what it counted, and whether everything held."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, NamedTuple

from tests.drills.provider import ScriptedProvider
from tests.product import Product

MOST_REASONS = 20  # that are printed; every one is counted
LONGEST_REASON = 500  # characters, in the verdict
LAG_EVERY_S = 0.05
LAST_WORDS = 4000  # characters of the product's log that are shown when something broke


class Overdue(BaseException):  # not an Exception: nothing on the way may take it for a fault of its own
    """The drill's deadline has passed."""


class Wake(NamedTuple):
    """The event loop woke `at` (monotonic), `late_s` after it was to."""

    at: float
    late_s: float


@dataclass(frozen=True, slots=True)
class Drill:
    """One drill. `run` raises nothing for what does not hold: it tells its `Run`."""

    name: str
    about: str
    run: Callable[[Run], Awaitable[None]]
    long_within_s: float
    within_s: float = 400.0  # the short form, which takes a minute at most on a machine that has nothing else to do


@dataclass(slots=True)
class Run:
    """One run of a drill: what it is to do, and what came of it.

    counts   how often things happened.
    figures  measurements; each name ends in its unit (`_s`, `_ms`, `_mb`, `_kb`).
    reasons  what did not hold; the drill holds when there are none.
    """

    drill: str
    seed: int
    is_long: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    figures: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def pick(self, short: int, long: int) -> int:
        """A size, by the form of the drill."""
        return long if self.is_long else short

    def expect(self, holds: bool, reason: str) -> bool:
        """Note `reason` when something does not hold; return whether it does."""
        self.counts["checks"] += 1
        if not holds:
            self.counts["broken"] += 1
            self.reasons.append(reason)
            if len(self.reasons) <= MOST_REASONS:
                self.say(f"broken: {reason}")
        return holds

    def in_time(self, took_s: float, most_s: float, what: str) -> None:
        """A bound on a time: judged in the long form, which has a machine to itself; elsewhere what is over is said."""
        over = f"{what}: {took_s:.2f} s; {most_s:.2f} s at most"
        if self.is_long:
            self.expect(took_s <= most_s, over)
        elif took_s > most_s:
            self.say(f"slow: {over}")

    def note(self, words: str) -> None:
        """Something a reader of the verdict should know; it breaks nothing."""
        self.notes.append(words)
        self.say(words)

    def say(self, words: str) -> None:
        """Progress, on standard error."""
        sys.stderr.write(f"{self.drill} {time.monotonic() - self.began:6.1f} s  {words}\n")
        sys.stderr.flush()

    def timed(self, name: str, seconds: Iterable[float]) -> float:
        """Put p50, p99 and the longest of some durations into the figures; return p99 (0 when there are none)."""
        ordered = sorted(seconds)
        if not ordered:
            return 0.0
        for label, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
            place = max(0, min(len(ordered) - 1, round(share * len(ordered)) - 1))
            self.figures[f"{name}_{label}_s"] = round(ordered[place], 4)
        return self.figures[f"{name}_p99_s"]

    def verdict(self) -> dict[str, Any]:
        """What is printed."""
        return {
            "drill": self.drill,
            "seed": self.seed,
            "form": "long" if self.is_long else "short",
            "counts": dict(sorted(self.counts.items())),
            "figures": {**self.figures, "took_s": round(time.monotonic() - self.began, 1)},
            "notes": self.notes,
            "verdict": "broken" if self.reasons else "held",
            "why": [reason[:LONGEST_REASON] for reason in self.reasons[:MOST_REASONS]] or ["everything held"],
        }


def carry_out(drill: Drill, *, seed: int, is_long: bool = False) -> Run:
    """Run `drill`; when it fails or does not end in time, that is what did not hold."""
    run = Run(drill.name, seed, is_long)
    within_s = drill.long_within_s if is_long else drill.within_s
    try:
        with deadline(within_s):
            asyncio.run(_run(drill, run))
    except Overdue:
        run.expect(False, f"the drill did not end within {within_s:g} s")
    except Exception as error:  # noqa: BLE001  # whatever it is, the verdict is printed, and it is not "held"
        run.expect(False, f"the drill failed: {type(error).__name__}: {str(error)[-LAST_WORDS:]}")
    return run


async def _run(drill: Drill, run: Run) -> None:
    await drill.run(run)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise Overdue in this (the main) thread after `seconds`, whatever it waits for."""

    def overdue(signum: int, frame: FrameType | None) -> None:
        raise Overdue

    before = signal.signal(signal.SIGALRM, overdue)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def running(run: Run, provider: ScriptedProvider, **env: Any) -> Iterator[Product]:
    """The product, asking `provider`. When something breaks, the end of its log goes to standard error."""
    settings: dict[str, Any] = provider.environment() | env
    with Product(**settings) as product:
        broken = len(run.reasons)
        try:
            yield product
        except BaseException:
            run.say(f"the product said:\n{product.logs()[-LAST_WORDS:]}")
            raise
        if len(run.reasons) > broken:
            run.say(f"the product said:\n{product.logs()[-LAST_WORDS:]}")


@asynccontextmanager
async def own_lag() -> AsyncIterator[list[Wake]]:
    """Notes how late this process's event loop wakes: what callers here cannot blame the product for."""
    wakes = [Wake(time.monotonic(), 0.0)]

    async def sample() -> None:
        while True:
            due = time.monotonic() + LAG_EVERY_S
            await asyncio.sleep(LAG_EVERY_S)
            now = time.monotonic()
            wakes.append(Wake(now, now - due))

    sampling = asyncio.create_task(sample())
    try:
        yield wakes
    finally:
        sampling.cancel()


async def eventually(found: Callable[[], Any], what: str, within_s: float = 60.0) -> Any:
    """Poll until `found`, called in a thread, returns something true, and return that. Raises TimeoutError."""
    give_up = time.monotonic() + within_s
    while True:
        value = await asyncio.to_thread(found)
        if value:
            return value
        if time.monotonic() > give_up:
            raise TimeoutError(f"waited {within_s:g} s for {what}")
        await asyncio.sleep(0.02)
