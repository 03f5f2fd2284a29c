"""Memory of each role: idle, under load, after it."""

from __future__ import annotations

import threading
import time
from itertools import count

import psutil
import uvloop

from bench.lines import about, emit, rounded
from bench.load import closed_loop
from bench.plan import Plan
from bench.serving import Served, upstream, warm
from bench.wrk import wrk

PATH = "/v1/chat/completions"
CALLERS = 64
EACH_S = 0.1
MIB = 1024**2
ROLES = ("web", "models", "worker", "redis")


def run(plan: Plan) -> None:
    """Hits for as many rounds, then misses, whose answers are kept: what they take is what the cache holds."""
    with upstream() as provider, Served(provider.address, workers=plan.workers) as product:
        question = product.question(PATH)
        warm(question, 0)
        product.load_pages()
        idle = {role: rss_mib(product.processes(role)) for role in ROLES}
        numbers, web = count(1), product.processes("web")
        loads: dict[str, list[dict[str, float]]] = {"hits": [], "misses": []}
        for _ in range(plan.rounds):
            with Peak(web) as peak:
                answers = wrk(question, plan.seconds).answers
            loads["hits"].append({"answers": answers, "peak": peak.mib, "after": rss_mib(web)})
        for _ in range(plan.rounds):
            with Peak(web) as peak:
                load = uvloop.run(closed_loop(question, numbers, callers=CALLERS, seconds=plan.seconds))
            loads["misses"].append({"answers": len(load.latencies), "peak": peak.mib, "after": rss_mib(web)})
        time.sleep(plan.seconds)  # what it does behind the answers is part of "under load"
        emit(
            "memory",
            "resident memory in MiB",
            **about(product),
            rounds=plan.rounds,
            seconds=plan.seconds,
            idle=idle,
            web_under_load=loads,
            after={role: rss_mib(product.processes(role)) for role in ROLES},
        )


def rss_mib(processes: list[psutil.Process]) -> float:
    """Of all of them and their children, in MiB; shared pages count in each."""
    family = [one for process in processes for one in (process, *process.children(recursive=True))]
    return rounded(sum(one.memory_info().rss for one in family) / MIB)


class Peak:
    """The most that processes take while a block runs, looked at ten times a second."""

    def __init__(self, processes: list[psutil.Process]) -> None:
        self._processes = processes
        self._is_over = threading.Event()
        self._looking = threading.Thread(target=self._look)
        self.mib = 0.0

    def __enter__(self) -> Peak:
        self._looking.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._looking.join()

    def _look(self) -> None:
        while True:
            self.mib = max(self.mib, rss_mib(self._processes))
            if self._is_over.wait(EACH_S):
                return
