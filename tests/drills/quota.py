"""Many spend one quota at once: no more passes than it says, and with Redis in trouble no more than is stated.

A quota here is so slow that nothing drains while the drill runs, so every answer counts against it for good.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable

from tests.drills.base import Drill, Run, eventually, running
from tests.drills.caller import Heard, ask
from tests.drills.provider import ScriptedProvider
from tests.drills.question import Question
from tests.product import PROJECT, Product
from tests.servers import RedisServer

WORKERS = 2
SPENDERS = 1000
MONTH_S = 31 * 86400
SHARE = 16  # of what is left, one part may be in a lease
BEAT_S = 1.0
STOPPED_S = 3.0
AGAIN_S = 0.2  # who is told to come again asks after so long
GIVES_BACK_WITHIN_S = 15.0
KNOWN = Question(name="known")
OUT, BACK = "Limits: Redis is out", "Limits: Redis is back"
MAKE = """
import json
from orchestrator.core.permissions import EVERYBODY
from tests.keys import issue_key
from orchestrator.models import ApiKey, Limit
for name, kind, amount, per_s in {limits!r}:
    print(json.dumps([name, issue_key(name, "drill")]))
    Limit.objects.create(
        name=name, kind=kind, each="key", key=ApiKey.objects.of(EVERYBODY).get(name=name), amount=amount, per_s=per_s
    )
"""
PLACES = 25
REDIS_TIMEOUT_S = {True: 0.5, False: 2.0}  # on a busy machine a Redis that is only slow is there all the same
FLUSHED_AT = (0.2, 0.4, 0.6)  # of the quota
TRIES = 4  # of a quota, where Redis is out for a worker that the trouble does not put it out for
LATE = 2  # answers of Redis may come too late before it is out for a worker: each is charged here as well
PATIENCE = 32  # refusals in a row, a quarter of a second apart: what is leased is back by then


async def run(run: Run) -> None:
    """One quota after the other is spent, each with another trouble in the middle."""
    server = RedisServer().start()
    try:
        with (
            ScriptedProvider() as provider,
            running(
                run,
                provider,
                REDIS_URL=server.url,
                ORCHESTRATOR_WEB_WORKERS=WORKERS,
                ORCHESTRATOR_REQUIRE_KEYS=1,
                ORCHESTRATOR_REDIS_TIMEOUT_S=REDIS_TIMEOUT_S[run.is_long],
                ORCHESTRATOR_QUEUE=100_000,  # who has to wait for the processor is not what this is about
                ORCHESTRATOR_QUEUE_TIMEOUT_S=60,
            ) as product,
        ):
            quotas = Quotas(run, provider, product, server)
            rounds = range(run.pick(1, 5))
            await asyncio.to_thread(quotas.make_keys, rounds)
            for number in rounds:
                await quotas.nothing_happens(f"calm-{number}")
                await quotas.redis_forgets(f"flushed-{number}")
                await quotas.redis_stops(f"stopped-{number}")
                await quotas.a_worker_is_killed(f"killed-{number}")
                await quotas.so_many_at_a_time(f"together-{number}")
    finally:
        server.stop()


class Quotas:
    """One product, and those who spend what its limits allow."""

    def __init__(self, run: Run, provider: ScriptedProvider, product: Product, server: RedisServer) -> None:
        self.run, self.provider, self.product, self.server = run, provider, product, server
        self.amount = run.pick(1200, 5000)
        self._asked = 0
        self._outs = 0  # how often Redis was out for a worker, before the quota that is spent now
        self._never_back = 0  # of these, for workers that were killed then
        self._keys: dict[str, str] = {}

    async def nothing_happens(self, name: str) -> None:
        """Exactly as many are answered as the quota says; short: give or take what Redis said too late."""
        await self.spend_and_judge(name, self.nothing, over=0, under=0)

    async def redis_forgets(self, name: str) -> None:
        """Emptied three times: what was used is put back by those who know."""

        async def flush(heard: Counter[int]) -> None:
            for share in FLUSHED_AT:
                await self.reaches(heard, share)
                await asyncio.to_thread(self.server.command, "FLUSHALL")

        # A worker that does not hear of it for a beat may let through what the other one knows of: a burst at most.
        over, under = len(FLUSHED_AT) * self.amount, self.lost(len(FLUSHED_AT))
        await self.spend_and_judge(name, flush, over=over, under=under)

    async def redis_stops(self, name: str) -> None:
        """It stands still for a while: each worker goes on with its share."""

        async def stop(heard: Counter[int]) -> None:
            await self.reaches(heard, 1 / 3)
            self.server.pause()
            try:
                await asyncio.sleep(STOPPED_S)
            finally:
                self.server.resume()

        await self.spend_and_judge(name, stop, over=self.amount, under=self.lost(1), outs=WORKERS)

    async def a_worker_is_killed(self, name: str) -> None:
        """What it had charged stays charged; only what it had leased is nobody's."""

        async def kill(heard: Counter[int]) -> None:
            await self.reaches(heard, 1 / 3)
            os.kill(self.product.pids("web")[0], signal.SIGKILL)
            self._never_back = self.outs() - self.product.logs().count(BACK)

        await self.spend_and_judge(name, kill, over=0, under=self.lost(1))

    async def so_many_at_a_time(self, name: str) -> None:
        """No more calls are under way than there are places, and each place is free again after its call."""
        key, places = self._keys[name], PLACES
        asking = [
            asyncio.create_task(self.ask(key, Question(name=f"{name} {number}", gate=name)))
            for number in range(self.run.pick(200, 500))
        ]
        done, waiting = await self.all_but(asking, places)
        refused = Counter(one.result().status for one in done)
        self.run.expect(refused == {429: len(asking) - places}, f"{name}: {refused} beside {places} places")
        calls = await asyncio.to_thread(self.provider.summary)
        self.run.expect(calls["open"] <= places, f"{name}: {calls['open']} calls in {places} places")
        self.provider.open_gate(name)
        answered = await asyncio.gather(*waiting)
        self.run.expect(all(one.status == 200 for one in answered), f"{name}: who had a place was not answered")
        again = await self.a_place(name, key)
        self.run.expect(again.status == 200, f"{name}: no place is free after all calls ended: {again.error}")

    async def a_place(self, name: str, key: str) -> Heard:
        """What is heard once there is a place: who had it tells Redis of it a moment after its answer."""
        give_up = time.monotonic() + GIVES_BACK_WITHIN_S
        while True:
            heard = await self.ask(key, Question(name=f"{name} again"))
            if heard.status != 429 or time.monotonic() > give_up:
                return heard
            await asyncio.sleep(AGAIN_S)

    async def all_but(
        self, asking: list[asyncio.Task[Heard]], places: int
    ) -> tuple[set[asyncio.Task[Heard]], set[asyncio.Task[Heard]]]:
        """Wait until only so many have no answer yet."""
        async with asyncio.timeout(60):
            while True:
                done = {one for one in asking if one.done()}
                if len(done) >= len(asking) - places:
                    return done, set(asking) - done
                await asyncio.sleep(0.02)

    async def spend_and_judge(
        self, name: str, trouble: Callable[[Counter[int]], Awaitable[None]], *, over: int, under: int, outs: int = 0
    ) -> None:
        """Spend a quota. Where Redis is out for a worker more than `outs` times, a busy machine is to blame: again.

        What passes then is bounded all the same, as where Redis stands still. Short: also again where too little
        passes, for an answer that comes too late may have been about many leases; each time is no such accident.
        """
        for one in names(name):
            spent = await self.spend(one, trouble)
            found = self.outs() - self._outs
            is_judged = found <= outs
            is_last = one == names(name)[-1]
            if is_judged and not (self.run.is_long or is_last) and spent[200] < self.least(spent, under):
                self.run.counts[f"{name.partition('-')[0]} spent again for too little"] += 1
                is_judged = False
            self.judge(
                one, spent, over=over if is_judged else max(over, self.amount), under=under if is_judged else None
            )
            await eventually(lambda: len(self.product.pids("web")) == WORKERS, "the worker to be back", 30.0)
            await eventually(self.count_together, "the workers to find Redis again", 30.0)
            if is_judged:
                return
            self.run.counts[f"{name.partition('-')[0]} Redis out for a worker"] += max(0, found - outs)
        self.run.expect(False, f"{name}: Redis was out for a worker, {TRIES} times of {TRIES}")

    async def spend(self, name: str, trouble: Callable[[Counter[int]], Awaitable[None]]) -> Counter[int]:
        """A thousand ask until each was refused, once more when the trouble is over; what they heard, by status.

        Half of them ask what nobody asked before, which a model answers, the others what is replayed.
        """
        key = self._keys[name]
        self._outs = self.outs()
        heard: Counter[int] = Counter()
        is_over = asyncio.Event()

        async def spender(number: int) -> None:
            while True:
                answer = await self.ask(key, KNOWN if number % 2 else self.fresh(name))
                heard[answer.status] += 1
                if answer.status == 503:  # too many for the processor, and nothing was charged
                    self.run.expect("retry-after" in answer.headers, f"{name}: 503 without Retry-After")
                    await asyncio.sleep(AGAIN_S)
                elif answer.status == 429:
                    self.is_refusal(name, answer)
                    if is_over.is_set():
                        return
                    await is_over.wait()

        async def troubled() -> None:
            await trouble(heard)
            is_over.set()

        await asyncio.gather(troubled(), *(spender(number) for number in range(SPENDERS)))
        await self.spend_the_rest(name, key, heard)
        return heard

    async def spend_the_rest(self, name: str, key: str, heard: Counter[int]) -> None:
        """What was leased and not used is given back within some seconds, and may be spent then."""
        refused = 0
        for _ in range(self.amount):
            if heard[200] >= self.amount or refused >= PATIENCE:
                return
            answer = await self.ask(key, self.fresh(name))
            heard[answer.status] += 1
            refused = refused + 1 if answer.status == 429 else 0
            if answer.status != 200:
                await asyncio.sleep(0.25)

    def judge(self, name: str, heard: Counter[int], *, over: int, under: int | None) -> None:
        """The answers and the provider's log say how much passed; `under` is None where it may be anything less."""
        answered, broken = heard[200], heard[0]
        kind = name.partition("-")[0]
        self.run.figures[f"{kind}_passed_share"] = round(answered / self.amount, 4)
        self.run.counts[f"{kind} answered"] += answered
        self.run.counts[f"{kind} refused"] += heard[429]
        self.run.counts[f"{kind} broken off"] += broken
        self.run.counts[f"{kind} told to come again"] += heard[503]
        strange = {status: count for status, count in heard.items() if status not in {0, 200, 429, 503}}
        self.run.expect(not strange, f"{name}: answers of other kinds: {strange}")
        self.run.expect(not broken or kind == "killed", f"{name}: {broken} connections broke")
        if not self.run.is_long:  # who heard nothing of Redis goes by what it last said
            over += WORKERS * LATE
        calls = len([call for call in self.provider.calls() if call.name.startswith(f"{name} ")])
        self.run.expect(calls <= self.amount + over, f"{name}: {calls} calls of {self.amount}, and {over} more")
        self.run.expect(answered <= self.amount + over, f"{name}: {answered} answers of {self.amount} and {over} more")
        if under is None:
            return
        least = self.least(heard, under)
        self.run.expect(answered >= least, f"{name}: only {answered} answers of {self.amount}, not {least}")

    def least(self, heard: Counter[int], under: int) -> int:
        """How many have to be answered where `under` may be lost, and what broke off was charged."""
        if not self.run.is_long:  # on a busy machine Redis has charged what it is too late to say
            under += WORKERS * (self.amount // SHARE + LATE)
        return self.amount - under - heard[0]

    def is_refusal(self, name: str, answer: Heard) -> None:
        """It says which limit it is, and when to come again."""
        is_right = int(answer.headers.get("retry-after", "0")) > 0 and name in answer.headers.get("ratelimit", "")
        self.run.expect(is_right, f"{name}: a refusal without its headers: {answer.headers}")

    def fresh(self, name: str) -> Question:
        """A question that nobody has asked."""
        self._asked += 1
        return Question(name=f"{name} {self._asked}", pieces=1)

    async def ask(self, key: str, question: Question) -> Heard:
        """One request; a status of 0 is a connection that broke before its answer."""
        try:
            return await ask(self.product.base_url, question, stream=False, Authorization=f"Bearer {key}")
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            return Heard(error=f"{type(error).__name__}")

    def make_keys(self, rounds: range) -> None:
        """For each quota a key with one limit."""
        limits = [
            (one, "requests", self.amount, MONTH_S)
            for number in rounds
            for kind in ("calm", "flushed", "stopped", "killed")
            for one in names(f"{kind}-{number}")
        ]
        limits += [(f"together-{number}", "concurrent", PLACES, None) for number in rounds]  # type: ignore[misc]
        command = [sys.executable, "manage.py", "shell", "-v", "0", "-c", MAKE.format(limits=limits)]
        done = subprocess.run(
            command, cwd=PROJECT, env=self.product.environment(), check=True, timeout=60, capture_output=True, text=True
        )
        self._keys = dict(map(json.loads, done.stdout.splitlines()))

    def lost(self, times: int) -> int:
        """What may be in leases that were taken in vain, so many times: two in each worker."""
        return times * WORKERS * 2 * (self.amount // SHARE + 1)

    def outs(self) -> int:
        """How often a worker found that Redis is out."""
        return self.product.logs().count(OUT)

    async def reaches(self, heard: Counter[int], share: float) -> None:
        """Wait until so much of the quota is spent."""
        async with asyncio.timeout(60):
            while heard[200] < share * self.amount:
                await asyncio.sleep(0.005)

    async def nothing(self, heard: Counter[int]) -> None:
        """No trouble."""

    def count_together(self) -> bool:
        """Whether each worker that lost Redis has found it again."""
        return self.product.logs().count(BACK) >= self.outs() - self._never_back


def names(name: str) -> list[str]:
    """Those of the quotas that are spent one after the other, until one can be judged."""
    return [name, *(f"{name}-{again}" for again in range(1, TRIES))]


DRILL = Drill("quota", "many spend one quota, Redis in trouble: no more passes than is stated", run, long_within_s=900)
