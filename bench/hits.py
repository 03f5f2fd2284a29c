"""Answers from cache: how many a second, how soon, beside the floor, by tier."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from itertools import count, islice
from typing import Any

import psutil
import uvloop

from bench.lines import compare, spread
from bench.load import Question, closed_loop
from bench.plan import Plan
from bench.serving import NO_REPLAY, OPEN, Answers, Floor, Served, cpu_s, floor, upstream, warm
from bench.wrk import CONNECTIONS, wrk

PATHS = ("/api/chat", "/v1/chat/completions")
SEEDING_CALLERS = 2  # so few that every tier keeps up
FLOOR = "a bare ASGI function that reads the body and answers with the same bytes, same server, one process"
NO_END_S = 120.0


def run(plan: Plan) -> None:
    """Memory by wrk, then every tier by callers of our own; at last memory without replay, and with two workers."""
    with ExitStack() as stack:
        provider = stack.enter_context(upstream())
        product = stack.enter_context(Served(provider.address, workers=plan.workers))
        shapes = {
            f"{path}, {'streamed' if streamed else 'whole'}": product.question(path, is_streamed=streamed)
            for path in PATHS
            for streamed in (False, True)
        }
        answers = Answers()
        for name, question in shapes.items():
            answers.learn(_slug(name), *_again_and_again(question))
        bare = stack.enter_context(floor(answers))
        uvloop.run(_ask_all(product.question(PATHS[0]), range(plan.questions), "memory", workers=plan.workers))
        for name, question in shapes.items():
            for questions in (1, plan.questions):
                calls = provider.calls()
                _by_wrk(name, question, questions, product, bare.question(_slug(name), like=question), bare, plan)
                if provider.calls() != calls:
                    raise RuntimeError(f"{provider.calls() - calls} answers of {name} did not come from memory")
        _by_tier(product, bare, plan)
    _limited(plan)
    _apart("nothing replayed", plan, plan.workers, **NO_REPLAY)
    if plan.workers == 1:
        _apart("two workers, which compete with wrk for the cores", plan, 2)


def _slug(name: str) -> str:
    return name.strip("/").replace("/", "-").replace(", ", "-")


def _by_wrk(
    name: str, question: Question, questions: int, product: Served, same: Question, bare: Floor, plan: Plan
) -> None:
    rounds: dict[str, list[dict[str, float]]] = {"floor": [], "product": []}
    for _ in range(plan.rounds):
        for who, asked, processes in (
            ("floor", same, [bare.process]),
            ("product", question, product.processes("web")),
        ):
            rounds[who].append(_round(asked, questions, processes, plan.seconds))
    asked_for = "one question" if questions == 1 else f"{questions} questions in turn"
    compare(
        "hits",
        f"memory: {name}, {asked_for}",
        product,
        rounds,
        "answers_per_s",
        seconds=plan.seconds,
        connections=CONNECTIONS,
        load="wrk, one thread, on the same cores; its percentiles are corrected for coordinated omission",
        floor_is=FLOOR,
    )


def _round(question: Question, questions: int, processes: list[psutil.Process], seconds: float) -> dict[str, float]:
    before = cpu_s(processes)
    found = wrk(question, seconds, questions=questions)
    return {
        "answers_per_s": found.rate,
        "p50_ms": found.p50_ms,
        "p99_ms": found.p99_ms,
        "cpu_us_per_answer": 1e6 * (cpu_s(processes) - before) / found.answers,
        "wrk_cpu_share": found.cpu_s / found.seconds,
    }


def _by_tier(product: Served, bare: Floor, plan: Plan) -> None:
    """Each question once after the web worker began anew, so that its memory is empty; for SQLite Redis is, too."""
    question = product.question(PATHS[0])
    same = bare.question(_slug(f"{PATHS[0]}, whole"), like=question)
    alone, together = plan.lookups // 5, plan.lookups - plan.lookups // 5
    first = 10_000_000
    uvloop.run(_ask_all(question, range(first, first + plan.lookups), None, workers=product.workers))
    rounds: dict[str, list[dict[str, float]]] = {"floor": [], "redis": [], "sqlite": [], "memory": []}
    for _ in range(plan.rounds):
        for tier in rounds:
            if tier in {"redis", "sqlite"}:
                if tier == "sqlite":
                    product.flush_redis()
                product.restart_web()
            processes = [bare.process] if tier == "floor" else product.processes("web")
            asked = same if tier == "floor" else question
            rounds[tier].append(uvloop.run(_finds(asked, first, alone, together, tier, processes)))
            if tier == "floor":
                del rounds[tier][-1]["share_alone"], rounds[tier][-1]["share_together"]
    for tier, found in rounds.items():
        if tier == "floor":
            continue
        compare(
            "hits",
            f"{tier}: /api/chat, whole, each question once",
            product,
            {"product": found, "floor": rounds["floor"]},
            "answers_per_s",
            finds_alone=alone,
            finds_together=together,
            connections=CONNECTIONS,
            load="callers on raw sockets in one Python process, on the same cores",
            floor_is=FLOOR,
            added_alone_p50_ms=spread(
                [one["alone_p50_ms"] - other["alone_p50_ms"] for one, other in zip(found, rounds["floor"], strict=True)]
            ),
        )


async def _finds(
    question: Question, first: int, alone: int, together: int, tier: str, processes: list[psutil.Process]
) -> dict[str, float]:
    numbers = count(first)
    by_one = await closed_loop(question, islice(numbers, alone), callers=1, seconds=NO_END_S)
    before = cpu_s(processes)
    by_many = await closed_loop(question, islice(numbers, together), callers=CONNECTIONS, seconds=NO_END_S)
    if by_one.failed or by_many.failed:
        raise RuntimeError(f"{by_one.failed + by_many.failed} lookups failed, to be found in {tier}")
    return {
        "alone_p50_ms": by_one.percentile_ms(50),
        "alone_p99_ms": by_one.percentile_ms(99),
        "answers_per_s": by_many.rate,
        "p50_ms": by_many.percentile_ms(50),
        "p99_ms": by_many.percentile_ms(99),
        "cpu_us_per_answer": 1e6 * (cpu_s(processes) - before) / together,
        # Of the answers, how many came from the tier: it may be passed over when it is slow.
        "share_alone": by_one.sources[tier] / alone,
        "share_together": by_many.sources[tier] / together,
    }


async def _ask_all(question: Question, numbers: range, until: str | None, *, workers: int) -> None:
    """Have every answer kept; with `until`, ask again until all come from that tier in all workers."""
    while True:
        load = await closed_loop(question, iter(numbers), callers=SEEDING_CALLERS, seconds=NO_END_S)
        if load.failed:
            raise RuntimeError(f"{load.failed} of {len(numbers)} questions were not answered")
        if until is None or load.sources[until] == len(numbers):
            return


def _apart(name: str, plan: Plan, workers: int, **settings: Any) -> None:
    """One case on a product of its own, with other settings."""
    with upstream() as provider, Served(provider.address, workers=workers, **settings) as product:
        question = product.question(PATHS[0])
        answers = Answers()
        answers.learn("apart", *_again_and_again(question))
        uvloop.run(_warm_workers(question))
        with floor(answers) as bare:
            same = bare.question("apart", like=question)
            _by_wrk(f"{PATHS[0]}, whole, {name}", question, 1, product, same, bare, plan)


def _limited(plan: Plan) -> None:
    """With a key required and four limits on, beside the same product with neither."""
    with (
        upstream() as provider,
        Served(provider.address, workers=plan.workers, **OPEN) as free,
        Served(provider.address, workers=plan.workers) as limited,
    ):
        limited.limit()
        free.key = ""
        rounds: dict[str, list[dict[str, float]]] = {"floor": [], "product": []}
        for product in (free, limited):
            uvloop.run(_warm_workers(product.question(PATHS[0])))
        for _ in range(plan.rounds):
            for who, product in (("floor", free), ("product", limited)):
                asked = product.question(PATHS[0])
                rounds[who].append(_round(asked, 1, product.processes("web"), plan.seconds))
        compare(
            "hits",
            f"memory: {PATHS[0]}, whole, one question, a key required and four limits on",
            limited,
            rounds,
            "answers_per_s",
            seconds=plan.seconds,
            connections=CONNECTIONS,
            load="wrk, one thread, on the same cores; its percentiles are corrected for coordinated omission",
            floor_is="the same product without keys and limits",
        )


def _again_and_again(question: Question) -> tuple[bytes, list[bytes]]:
    """The answer as it is from the third time on: what was found in memory once is replayed."""
    warm(question, 0)
    return warm(question, 0)


async def _warm_workers(question: Question) -> None:
    """Over many connections, so that each worker has it in memory."""
    async with asyncio.timeout(NO_END_S):
        while True:
            load = await closed_loop(question, iter([0] * 256), callers=64, seconds=NO_END_S)
            if load.sources["memory"] == 256:
                return
