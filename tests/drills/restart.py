"""Everything is killed, in turn and at random moments, under load, while answers are purged."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import time
from contextlib import closing, suppress

import httpx

from tests.drills.base import Drill, Run, eventually, running
from tests.drills.load import NAMESPACES, Asked, Load, Purge, ask, nobody_is_wrong, nothing_purged_is_served, purge
from tests.drills.provider import ScriptedProvider
from tests.drills.question import Question
from tests.product import Product, is_running
from tests.servers import free_ports

CALLERS, PAUSE_S = 3, 0.05  # about fifty questions a second; a full machine would be measured, not the product
PURGE_EVERY_S = 0.3
LONGEST_REST_S = 0.7  # before a kill, for the load to go on
RECOVERED_WITHIN_S = 60.0  # else it is given up
AIM_S = 2.0  # p99 until the first right answer
KINDS = ("a web worker", "all web workers", "the model host", "Redis", "Celery", "everything")
ROLES = {"all web workers": "web", "the model host": "models", "Redis": "redis", "Celery": "worker"}
LOCAL = {
    "model": "smollm2:135m",
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "options": {"temperature": 0, "num_predict": 12},
    "stream": False,
}


async def run(run: Run) -> None:
    """Kill, and see when the first right answer comes from the same address."""
    (port,) = free_ports(1)
    with (
        ScriptedProvider() as provider,
        running(run, provider, ORCHESTRATOR_WEB_WORKERS=2, OLLAMA_HOST=f"127.0.0.1:{port}") as product,
    ):
        killing = Killing(run, product)
        await killing.all_are_ready()
        await killing.local_answer()  # how many threads suit a model is measured once, the first time it is loaded
        admin_key = await asyncio.to_thread(product.issue_key, "drill", "--admin")
        purging = asyncio.create_task(killing.keep_purging(admin_key))
        try:
            async with Load(run, product.base_url, CALLERS, PAUSE_S) as load:
                for _ in range(run.pick(3, 20)):
                    # Each once a round: what dies again within seconds of its start is made to wait.
                    for kind in run.random.sample(KINDS, len(KINDS)):
                        await asyncio.sleep(run.random.uniform(0.05, LONGEST_REST_S))
                        await killing.kill(kind)
                await asyncio.sleep(1)  # with nothing being killed, for the last purges to be seen
        finally:
            purging.cancel()
        killing.judge(load.asked, provider)
        asked = load.asked + killing.asked
        nobody_is_wrong(run, asked)
        nothing_purged_is_served(run, asked, killing.purges, provider)
        nothing_paid_is_forgotten(run, asked, product)


class Killing:
    """One product that is killed again and again."""

    def __init__(self, run: Run, product: Product) -> None:
        self.run, self.product = run, product
        self.base_url = product.base_url
        self.asked: list[Asked] = []
        self.purges: list[Purge] = []
        self.took_s: dict[str, list[float]] = {kind: [] for kind in KINDS}

    async def kill(self, kind: str) -> None:
        """Kill once, and wait for a right answer, then for every process."""
        if kind == "everything":
            pids = [*self.product.pids(), self.product.pid]
            for pid in reversed(pids):  # the supervisor first: it must not start anything again
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.to_thread(self.product.wait)
            await eventually(lambda: not any(map(is_running, pids)), "every process to be gone")
            began = time.monotonic()
            await asyncio.to_thread(self.product.start, wait=False)
        else:
            pids = self.product.pids(ROLES.get(kind, "web"))
            began = time.monotonic()
            for pid in pids[: 1 if kind == "a web worker" else None]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.run.counts[f"kills of {kind}"] += 1
        await (self.local_answer() if kind == "the model host" else self._answer(f"{kind} {len(self.asked)}"))
        self.took_s[kind].append(time.monotonic() - began)
        await self.all_are_ready()

    async def _answer(self, name: str) -> None:
        question = Question(name=f"after {name}")
        give_up = time.monotonic() + RECOVERED_WITHIN_S
        while time.monotonic() < give_up:
            self.asked.append(await ask(self.base_url, question))
            if self.asked[-1].heard.is_right(question):
                return
            await asyncio.sleep(0.01)
        self.run.expect(False, f"no right answer within {RECOVERED_WITHIN_S:g} s {question.name}")

    async def local_answer(self) -> None:
        """Ask the local model until it answers."""
        async with httpx.AsyncClient(timeout=RECOVERED_WITHIN_S) as client:
            give_up = time.monotonic() + RECOVERED_WITHIN_S
            while time.monotonic() < give_up:
                headers = {"Cache-Control": "no-cache, no-store"}
                response = await client.post(f"{self.base_url}/api/chat", json=LOCAL, headers=headers)
                if response.status_code == httpx.codes.OK:
                    text = response.json()["message"]["content"]
                    self.run.expect("Paris" in text, f"the local model says {text!r}")
                    return
                await asyncio.sleep(0.01)
        self.run.expect(False, f"the local model gives no answer within {RECOVERED_WITHIN_S:g} s")

    async def all_are_ready(self) -> None:
        """Every process is there; so that each kill is one, and not two on top of each other."""

        def are_ready() -> bool:
            status = self.product.status()
            processes = status.get("processes", [])
            return bool(status.get("is_ready")) and all(one["is_ready"] and is_running(one["pid"]) for one in processes)

        await eventually(are_ready, "every process to be back", RECOVERED_WITHIN_S)

    async def keep_purging(self, key: str) -> None:
        """Purge one namespace after the other, whatever is going on."""
        while True:
            for place in NAMESPACES:
                if done := await purge(self.base_url, key, place):
                    self.purges.append(done)
                else:
                    self.run.counts["purges not acknowledged"] += 1
                await asyncio.sleep(PURGE_EVERY_S)

    def judge(self, asked: list[Asked], provider: ScriptedProvider) -> None:
        """How long it took, and whether who was not hit got an answer."""
        for kind, took_s in self.took_s.items():
            longest_s = self.run.timed(f"first right answer after {kind}", took_s)
            self.run.in_time(longest_s, AIM_S, f"{kind}: until the first right answer (p99)")
        lost = [one for one in asked if not one.heard.is_right(one.question)]
        self.run.counts["broken off or refused"] = len(lost)
        self.run.counts["calls to the provider"] = len(provider.calls())


def nothing_paid_is_forgotten(run: Run, asked: list[Asked], product: Product) -> None:
    """Who heard an answer to its end that cost money finds it in the ledger."""
    ended = {one.heard.headers["x-request-id"] for one in asked if one.is_call and one.heard.is_right(one.question)}
    with closing(sqlite3.connect(product.data / "ledger.sqlite3", timeout=10)) as ledger:
        rows = ledger.execute("SELECT request_id FROM orchestrator_requestrecord WHERE is_paid AND outcome = 'done'")
        recorded = {row[0] for row in rows}
    run.counts["paid answers"] = len(ended)
    run.expect(ended <= recorded, f"{len(ended - recorded)} of {len(ended)} paid answers are not in the ledger")


DRILL = Drill("restart", "everything is killed: right answers within seconds", run, long_within_s=1500)
