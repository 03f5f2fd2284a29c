"""When requests come in a replayed day, how long they are, and which of them ask what was asked before."""

from __future__ import annotations

import csv
import gzip
import io
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path

import numpy as np

from orchestrator.core.types import Usage
from routing.day.questions import Mask, Numbers, Questions, Rows

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, eq=False)
class Day:
    """Requests in their order.

    at        seconds since midnight.
    identity  equal where the same is asked. Fewer questions were graded than are asked, so many identities share a
              grading: that of the question `identity % size`.
    costs     of each at each candidate, in millionths of a dollar.
    first     the first request that asked the same: itself, where nobody had.
    """

    at: Numbers
    identity: Rows
    row: Rows
    prompt: Rows
    completion: Rows
    is_judged: Mask
    costs: Rows
    first: Rows
    seed: int

    @property
    def noon(self) -> int:
        """The first request of the second half."""
        return len(self.at) // 2

    def request_id(self, place: int) -> str:
        """What chance draws for a request hangs on it."""
        return f"day-{self.seed}-{place}"

    def usage(self, place: int) -> Usage:
        """The tokens of its call."""
        return Usage(prompt_tokens=int(self.prompt[place]), completion_tokens=int(self.completion[place]))


def day_of(trace: Path, asked: Questions, requests: int, repeats: float, feedback: float, seed: int) -> Day:
    """The trace's requests from its first on, stretched to a day; beyond its end each of them comes twice, and so on.

    repeats  the share of requests that ask what was asked before.
    """
    hour, tokens = _trace(trace)
    picked = np.sort(np.arange(requests) % len(hour))
    rng = np.random.default_rng(seed)
    identity = _drawn(rng, len(asked.good), requests, repeats)
    before: dict[int, int] = {}
    first = np.array([before.setdefault(one, place) for place, one in enumerate(identity.tolist())])
    prompt, completion = tokens[picked[first]].T  # what is asked again is as long as it was
    usages = [
        Usage(prompt_tokens=one, completion_tokens=other)
        for one, other in zip(prompt.tolist(), completion.tolist(), strict=True)
    ]
    return Day(
        at=hour[picked] / max(hour[picked[-1]], 1e-9) * DAY_S,
        identity=identity,
        row=identity % len(asked.good),
        prompt=prompt,
        completion=completion,
        is_judged=rng.random(requests) < feedback,
        costs=np.array([[one.cost(usage) for one in asked.candidates] for usage in usages], np.int64),
        first=first,
        seed=seed,
    )


@lru_cache(maxsize=1)
def _trace(path: Path) -> tuple[Numbers, Rows]:
    """Seconds since its first request, and tokens each way."""
    rows = list(csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode())))
    began = datetime.fromisoformat(rows[0]["TIMESTAMP"][:26])
    hour = np.array([(datetime.fromisoformat(row["TIMESTAMP"][:26]) - began).total_seconds() for row in rows])
    return hour, np.array([(int(row["ContextTokens"]), int(row["GeneratedTokens"])) for row in rows])


def _drawn(rng: np.random.Generator, questions: int, requests: int, repeats: float) -> Rows:
    """An identity for each request: a repeat asks what an earlier one asked, by its popularity so far (Simon 1955)."""
    identities = np.zeros(requests, np.int64)
    order = rng.permutation(questions)
    parts = order[: questions // 2], order[questions // 2 :]  # what is new in the second half is new to the first
    fresh = [0, 0]
    is_repeat, which = rng.random(requests) < repeats, rng.random(requests)
    for place in range(requests):
        if place and is_repeat[place]:
            identities[place] = identities[int(which[place] * place)]
        else:
            half = int(place >= requests // 2)
            part, number = parts[half], fresh[half]
            identities[place] = (number // len(part)) * questions + part[number % len(part)]
            fresh[half] += 1
    return identities
