"""Many ask the same at once: one call to the provider, and everybody gets its answer.

Also when whoever asked first hangs up, and when the web worker that makes the call is killed.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections import Counter
from itertools import product as combinations

from tests.drills.base import Drill, Run, eventually, running
from tests.drills.caller import Caller, Heard
from tests.drills.processes import maker_of, served_by
from tests.drills.provider import Call, ScriptedProvider
from tests.drills.question import PATHS, Question
from tests.product import Product

WORKERS = 2
REDIS_TIMEOUT_S = 2  # on a busy machine a Redis that is only slow is there all the same, and the call is shared
FORMS = tuple(combinations(PATHS, (True, False)))  # one question in every dialect, streamed and whole
TRIES = 50  # to reach every worker
AT_A_TIME = 20  # connections; more at once may all be taken by one worker
BACK_WITHIN_S = 20.0
RECOVERS_WITHIN_S = 15.0


async def run(run: Run) -> None:
    """Rounds of identical questions over several web workers."""
    settings = {"ORCHESTRATOR_WEB_WORKERS": WORKERS, "ORCHESTRATOR_REDIS_TIMEOUT_S": REDIS_TIMEOUT_S}
    with ScriptedProvider() as provider, running(run, provider, **settings) as product:
        stampede = Stampede(run, provider, product)
        for number in range(run.pick(1, 20)):
            await stampede.everybody_asks(f"plain-{number}")
        for number in range(run.pick(1, 5)):
            await stampede.the_first_hangs_up(f"hang-up-{number}")
        for number in range(run.pick(1, 5)):
            await stampede.the_leader_is_killed(f"kill-{number}")
        for number in range(run.pick(1, 5)):
            await stampede.the_leader_is_killed_midway(f"kill-midway-{number}")
        run.timed("answered_after", stampede.answered_after)
        p99_s = run.timed("survivors_answered_after_kill", stampede.recovered_after)
        run.in_time(p99_s, RECOVERS_WITHIN_S, "after a kill until the last are answered (p99)")


class Stampede:
    """One product under many callers."""

    def __init__(self, run: Run, provider: ScriptedProvider, product: Product) -> None:
        self.run, self.provider, self.product = run, provider, product
        self.callers = run.pick(200, 1000)
        self.provider_takes_s = float(run.pick(1, 2))
        self.answered_after: list[float] = []
        self.recovered_after: list[float] = []

    async def everybody_asks(self, name: str) -> None:
        """All at once."""
        question = Question(name=name, first_s=self.provider_takes_s)
        callers = await self.connect()
        began = time.monotonic()
        ask(callers, question)
        heard = await listen(callers)
        self.answered_after += [one.at[-1] - began for one in heard if one.at]
        self.judge(question, heard)
        self.judge_calls(name, 1)

    async def the_first_hangs_up(self, name: str) -> None:
        """Whoever began the call leaves during it; the others do not notice."""
        question = Question(name=name, first_s=self.provider_takes_s, gate=name)
        first, *others = await self.connect()
        ask([first], question)
        await self.call_of(name)
        ask(others, question)
        await self.everybody_listens(len(others) + 1)
        first.leave("reset")
        await eventually(lambda: first.port not in served_by(self.product), "the product to notice")
        self.provider.open_gate(name)
        self.judge(question, await listen(others))
        calls = self.judge_calls(name, 1)
        self.run.expect(all(call.state == "finished" for call in calls), f"{name}: given up with its first caller")

    async def the_leader_is_killed(self, name: str) -> None:
        """The worker that makes the call dies before its first byte; the other's callers are answered."""
        question = Question(name=name, gate=name)
        callers = await self.connect()
        ask(callers, question)
        call = await self.call_of(name)
        await self.everybody_is_heard(callers)
        survivors = await self.kill_maker_of(call, callers)
        killed_at = time.monotonic()
        self.provider.open_gate(name)
        heard = dict(zip(callers, await listen(callers), strict=True))
        self.recovered_after += [heard[caller].at[-1] - killed_at for caller in survivors if heard[caller].at]
        self.judge(question, [heard[caller] for caller in survivors])
        self.nobody_is_wrong(question, list(heard.values()))
        self.judge_calls(name, 2)
        await self.all_workers()

    async def the_leader_is_killed_midway(self, name: str) -> None:
        """As before, but part of the answer is out: what is told to a caller is told once, or visibly broken off."""
        question = Question(name=name, pieces=6, gate=name, gate_after=3)
        callers = await self.connect()
        ask(callers, question)
        call = await self.call_of(name)
        streamed = [caller for place, caller in enumerate(callers) if FORMS[place % len(FORMS)][1]]
        await asyncio.gather(*(some_pieces(caller, 3) for caller in streamed))
        survivors = await self.kill_maker_of(call, callers)
        killed_at = time.monotonic()
        self.provider.open_gate(name)
        heard = dict(zip(callers, await listen(callers), strict=True))
        self.recovered_after += [heard[caller].at[-1] - killed_at for caller in survivors if heard[caller].at]
        self.nobody_is_wrong(question, list(heard.values()))
        for caller in survivors:
            if caller in streamed:
                self.run.counts["broken off visibly"] += not heard[caller].is_right(question)
                self.run.expect(
                    heard[caller].is_right(question) or bool(heard[caller].error), f"{name}: a stream just ended"
                )
        self.judge(question, [heard[caller] for caller in survivors if caller not in streamed])
        self.judge_calls(name, 2)
        await self.all_workers()

    async def connect(self) -> list[Caller]:
        """Callers that are connected, to every worker, and have asked nothing yet."""
        callers: list[Caller] = []
        address = self.product.base_url
        while len(callers) < self.callers:
            callers += await asyncio.gather(*(Caller.connect(address) for _ in range(AT_A_TIME)))
        await self.everybody_is_heard(callers)
        for _ in range(TRIES):  # which worker takes a connection is the kernel's choice, and a busy one is slow to
            shares = self.shares(callers)
            if len(shares) == WORKERS:
                break
            for caller in callers[:AT_A_TIME]:
                caller.leave()
            more = await asyncio.gather(*(Caller.connect(address) for _ in range(AT_A_TIME)))
            callers = [*callers[AT_A_TIME:], *more]
            await self.everybody_is_heard(callers)
        shares = self.shares(callers)
        self.run.expect(len(shares) == WORKERS, f"the callers are all with one of the {WORKERS} workers: {shares}")
        self.run.counts["fewest callers of a worker"] = min(
            [*shares.values(), self.run.counts["fewest callers of a worker"] or self.callers]
        )
        return callers

    async def everybody_listens(self, callers: int) -> None:
        """So many hear a call: whose question is still being read would begin another when this one is given up."""

        def listening() -> bool:
            _, page = self.product.get("/metrics")
            counts = re.search(rb"^orchestrator_listeners ([0-9.]+)", page, re.MULTILINE)
            return counts is not None and float(counts[1]) >= callers

        await eventually(listening, "every caller to hear the call")

    def shares(self, callers: list[Caller]) -> Counter[int]:
        """How many callers each worker has."""
        served = served_by(self.product)
        return Counter(served[caller.port] for caller in callers)

    async def everybody_is_heard(self, callers: list[Caller]) -> None:
        """Every caller's connection was taken by a worker."""
        ports = {caller.port for caller in callers}
        await eventually(lambda: ports <= served_by(self.product).keys(), "the callers' connections to be taken")

    async def call_of(self, name: str) -> Call:
        """The first call to the provider for the question of that name."""
        calls: list[Call] = await eventually(lambda: self.provider.calls(name), "the call to the provider")
        return calls[0]

    async def kill_maker_of(self, call: Call, callers: list[Caller]) -> list[Caller]:
        """Kill the worker that made the call; return the callers of the others."""
        served = served_by(self.product)
        leader = maker_of(self.product, call.peer_port)
        assert leader is not None, "nobody made the call"
        os.kill(leader, signal.SIGKILL)
        survivors = [caller for caller in callers if served[caller.port] != leader]
        self.run.counts["callers of a killed worker"] += len(callers) - len(survivors)
        return survivors

    async def all_workers(self) -> None:
        """Every worker is there again."""

        def are_there() -> bool:
            web = [one for one in self.product.status()["processes"] if one["role"] == "web"]
            return all(one["is_ready"] for one in web)

        await eventually(are_there, "the killed worker to be back", BACK_WITHIN_S)

    def judge(self, question: Question, heard: list[Heard]) -> None:
        """All of them have the right answer."""
        self.run.counts["callers"] += len(heard)
        self.nobody_is_wrong(question, heard)
        unanswered = [one for one in heard if not one.is_right(question)]
        self.run.expect(
            not unanswered, f"{question.name}: {len(unanswered)} of {len(heard)} without an answer, {unanswered[:1]}"
        )

    def nobody_is_wrong(self, question: Question, heard: list[Heard]) -> None:
        """None of them heard what is no part of the right answer."""
        wrong = [one for one in heard if one.is_wrong(question)]
        self.run.expect(not wrong, f"{question.name}: {len(wrong)} wrong answers of {len(heard)}, {wrong[:1]}")

    def judge_calls(self, name: str, most: int) -> list[Call]:
        """The provider was asked so often at most."""
        calls = self.provider.calls(name)
        self.run.counts["rounds"] += 1
        self.run.counts["calls"] += len(calls)
        self.run.expect(1 <= len(calls) <= most, f"{name}: {len(calls)} calls to the provider, {most} are right")
        return calls


def ask(callers: list[Caller], question: Question) -> None:
    """All ask the same, each in the next form."""
    for place, caller in enumerate(callers):
        path, stream = FORMS[place % len(FORMS)]
        caller.send(path, question.body(path, stream=stream))


async def some_pieces(caller: Caller, count: int) -> None:
    """Listen until so many pieces were heard."""
    await caller.head()
    while len(caller.heard.at) < count:
        await caller.next_piece()


async def listen(callers: list[Caller]) -> list[Heard]:
    """What each hears, to the end."""
    heard = await asyncio.gather(*(caller.listen() for caller in callers))
    for caller in callers:
        caller.leave()
    return heard


DRILL = Drill("stampede", "identical questions at once become one call", run, long_within_s=1200)
