"""Steady callers, each asking one question after another, who write down what they heard."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from tests.drills.base import Run
from tests.drills.caller import Caller, Heard
from tests.drills.provider import ScriptedProvider
from tests.drills.question import MODEL, PATHS, Question

KNOWN = 24  # questions that are asked again and again
NAMESPACES = ("one", "two", "three", "four")
SHARE_OF_NEW = 0.4
GIVES_UP_S = 20.0


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, with the monotonic times at which it was made and was over. Status 0: the connection broke."""

    question: Question
    at: float
    over_at: float
    heard: Heard

    @property
    def took_s(self) -> float:
        """How long it took."""
        return self.over_at - self.at

    @property
    def tier(self) -> str:
        """Which tier answered; empty when none did."""
        return self.heard.headers.get("cache-status", "").partition("; hit; detail=")[2]

    @property
    def is_call(self) -> bool:
        """Whether a call of the provider was made for it, and it was the one who made it."""
        status = self.heard.headers.get("cache-status", "")
        return "fwd=miss" in status and "collapsed" not in status


def namespace(question: Question) -> str:
    """Where the answer to a question is kept: always the same place."""
    return NAMESPACES[sum(question.name.encode()) % len(NAMESPACES)]


async def ask(
    base_url: str,
    question: Question,
    path: str = PATHS[0],
    *,
    stream: bool = False,
    model: str = f"openai/{MODEL}",
    **headers: str,
) -> Asked:
    """Ask one question. Whatever goes wrong is what was heard."""
    at = time.monotonic()
    heard = Heard()
    try:
        async with asyncio.timeout(GIVES_UP_S):
            caller = await Caller.connect(base_url)
            try:
                body = question.body(path, stream=stream, model=model)
                caller.send(path, body, X_Orchestrator_Cache_Namespace=namespace(question), **headers)
                heard = await caller.listen()
            finally:
                caller.leave()
    except TimeoutError:
        heard.error = f"nothing within {GIVES_UP_S:g} s"
    except OSError as error:
        heard.error = f"no connection: {type(error).__name__}"
    return Asked(question, at, time.monotonic(), heard)


class Load:
    """So many callers at work, from entering to leaving; all they heard is in `asked`, in the order it ended."""

    def __init__(self, run: Run, base_url: str, callers: int, pause_s: float = 0.01) -> None:
        self.asked: list[Asked] = []
        self._run = run
        self._base_url = base_url
        self._pause_s = pause_s
        self._callers = callers
        self._work: list[asyncio.Task[None]] = []
        self._known = [Question(name=f"known-{number}") for number in range(KNOWN)]

    async def __aenter__(self) -> Load:
        self._work = [asyncio.create_task(self._keep_asking(number)) for number in range(self._callers)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for work in self._work:
            work.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)

    def between(self, since: float, until: float) -> list[Asked]:
        """What was asked in that time."""
        return [one for one in self.asked if since <= one.at < until]

    async def _keep_asking(self, number: int) -> None:
        count = 0
        while True:
            count += 1
            is_new = self._run.random.random() < SHARE_OF_NEW
            question = Question(name=f"new-{number}-{count}") if is_new else self._run.random.choice(self._known)
            stream = self._run.random.random() < 0.5
            path = self._run.random.choice(PATHS)
            self.asked.append(await ask(self._base_url, question, path, stream=stream))
            await asyncio.sleep(self._pause_s)


def nobody_is_wrong(run: Run, asked: Sequence[Asked]) -> None:
    """The oracle: nobody heard what is no part of the right answer."""
    run.counts["requests"] += len(asked)
    run.counts["right answers"] += sum(one.heard.is_right(one.question) for one in asked)
    wrong = [one for one in asked if one.heard.is_wrong(one.question)]
    run.expect(not wrong, f"{len(wrong)} wrong answers of {len(asked)}: {wrong[:1]}")


@dataclass(frozen=True, slots=True)
class Purge:
    """A purge that was acknowledged, with the monotonic times of asking for it and of the acknowledgement."""

    namespace: str
    at: float
    acknowledged_at: float


async def purge(base_url: str, key: str, place: str) -> Purge | None:
    """Purge what is kept in a namespace. None when that was not acknowledged in full."""
    at = time.monotonic()
    try:
        async with asyncio.timeout(GIVES_UP_S):
            caller = await Caller.connect(base_url)
            try:
                caller.send_raw(
                    f"DELETE /api/admin/v1/cache?namespace={place} HTTP/1.1\r\nHost: localhost\r\n"
                    f"Authorization: Bearer {key}\r\n\r\n".encode()
                )
                heard = await caller.head()
                told = json.loads(await caller.read_some(2**16))
            finally:
                caller.leave()
    except (OSError, TimeoutError, EOFError, ValueError):
        return None
    # A tier that was not reached keeps it out of sight; who did not hear of it may not.
    is_known = heard.status == 200 and not {"record", "other processes"} & told["unreached"].keys()
    return Purge(place, at, time.monotonic()) if is_known else None


def nothing_purged_is_served(
    run: Run, asked: Sequence[Asked], purges: Sequence[Purge], provider: ScriptedProvider
) -> None:
    """The oracle of purges: what was answered after one comes from a call that was made after it was asked for."""
    made: dict[str, list[float]] = {}
    for call in provider.calls():
        made.setdefault(call.name, []).append(call.at)
    stale = []
    for one in asked:
        if not one.heard.is_right(one.question):
            continue
        before = [
            each for each in purges if each.namespace == namespace(one.question) and each.acknowledged_at < one.at
        ]
        run.counts["answers after a purge"] += bool(before)
        if before and not any(max(each.at for each in before) <= at <= one.over_at for at in made[one.question.name]):
            stale.append(one)
    run.counts["purges acknowledged"] += len(purges)
    run.expect(not stale, f"{len(stale)} answers were served after they were purged: {stale[:1]}")
