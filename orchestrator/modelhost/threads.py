"""How many threads a model computes with: measured once on this machine, and watched from then on.

llama.cpp's threads meet at a barrier for every operation, and wait for the slowest: one more than the
machine has free makes all of them slow. So a core is left for serving unless using it as well is
clearly faster, and when it turns out not to be free the count is lowered at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

WORTH_THE_LAST_CORE = 1.25  # times as fast as without it
COLLAPSED = 0.35  # of the best rate seen
SLOW_STEPS, SLOW_S = 3, 0.25  # in a row, and seconds of them, before it counts
FIRST_REST_S, LONGEST_REST_S = 20.0, 600.0  # until more threads are tried again
MOST_REMEMBERED = 1000
WEEK_S = 7 * 86400
DRIFT = 1.01  # a step may grow this much slower each time, as it does when the context fills


def usable_cores() -> int:
    """The cores this process may use, by its affinity and its control group's quota."""
    cores = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):  # no such file, or "max": no quota
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def candidates(cores: int) -> list[int]:
    """The counts worth measuring: powers of two, all but one core, all."""
    powers = [1 << n for n in range(cores.bit_length()) if 1 << n <= cores]
    return sorted({*powers, max(1, cores - 1), cores})


def choose(rates: dict[int, float], cores: int) -> int:
    """The count to use, from tokens per second by count. The last core must be clearly worth it."""
    spare = {count: rate for count, rate in rates.items() if count < cores} or rates
    best = max(spare, key=lambda count: (spare[count], -count))
    if cores in rates and rates[cores] >= WORTH_THE_LAST_CORE * spare[best]:
        return cores
    return best


@dataclass(frozen=True, slots=True)
class Pace:
    """What was measured: with so many threads, so many tokens per second, one answer alone."""

    threads: int
    tokens_per_s: float


class Remembered:
    """Measured paces in a small file, by model and number of cores; each is good for a week."""

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self.path, self._now = path, now

    def get(self, digest: str, cores: int) -> Pace | None:
        """What was measured; None when that is yet to be done."""
        match self._read().get(f"{digest}/{cores}"):
            case {"threads": int(threads), "tokens_per_s": float(rate), "at": int(at)} if 0 < threads <= cores:
                return Pace(threads, rate) if self._now() - at < WEEK_S else None
        return None

    def put(self, digest: str, cores: int, pace: Pace) -> None:
        """Keep a measurement."""
        kept = self._read()
        kept.pop(f"{digest}/{cores}", None)
        kept[f"{digest}/{cores}"] = {**asdict(pace), "at": int(self._now())}
        self._write(dict(list(kept.items())[-MOST_REMEMBERED:]))

    def forget(self, digest: str, cores: int) -> None:
        """Measure again at the next load."""
        kept = self._read()
        if kept.pop(f"{digest}/{cores}", None) is not None:
            self._write(kept)

    def _read(self) -> dict[str, object]:
        # A file that cannot be read costs one measurement.
        with contextlib.suppress(OSError, ValueError):
            kept = json.loads(self.path.read_text())
            if isinstance(kept, dict):
                return kept
        return {}

    def _write(self, kept: dict[str, object]) -> None:
        draft = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex}")
        draft.write_text(json.dumps(kept, indent=1))
        draft.replace(self.path)


class Governor:
    """Watches the pace of a running model and lowers its threads while a core is taken by others."""

    def __init__(self, pace: Pace, apply: Callable[[int], None], now: Callable[[], float]) -> None:
        self.threads, self.wanted = pace.threads, pace.threads
        self.collapses = 0
        self._apply, self._now = apply, now
        self._alone_s = 1 / pace.tokens_per_s if pace.tokens_per_s else float("inf")
        self._best: dict[int, float] = {}  # seconds a step takes at best, by the answers in it
        self._slow, self._slow_s = 0, 0.0
        self._rest_s = FIRST_REST_S
        self._raise_at = 0.0

    def note(self, answers: int, step_s: float) -> None:
        """Take in how long a step took that made one token for each of `answers`."""
        if self.wanted == 1:
            return
        if self.threads < self.wanted:
            if self._now() >= self._raise_at:
                self._set(self.wanted)
            return
        # Together they take no longer than one after the other would have.
        best = min(step_s, DRIFT * self._best.get(answers, answers * self._alone_s))
        self._best[answers] = best
        if best >= COLLAPSED * step_s:
            self._slow, self._slow_s = 0, 0.0
            return
        self._slow, self._slow_s = self._slow + 1, self._slow_s + step_s
        if self._slow >= SLOW_STEPS and self._slow_s >= SLOW_S:
            self.collapses += 1
            self._set(max(1, self.wanted // 2))
            self._raise_at = self._now() + self._rest_s
            self._rest_s = min(2 * self._rest_s, LONGEST_REST_S)

    def _set(self, threads: int) -> None:
        self.threads, self._slow, self._slow_s = threads, 0, 0.0
        self._apply(threads)
