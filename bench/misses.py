"""Answers that a provider makes: what going through the product adds to asking it directly."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice

import psutil
import uvloop

from bench.lines import compare, spreads
from bench.load import Question, closed_loop
from bench.plan import Plan
from bench.serving import Served, Upstream, cpu_s, upstream, warm

# How many ask at once, and what the provider does. One that answers at once is asked as much as the product can
# take, so what is added is mostly waiting in line; one that thinks first shows what the product itself adds.
CASES = ((1, "at-once"), (16, "at-once"), (64, "at-once"), (16, "about-100"))
PATH = "/v1/chat/completions"
WARM_UP_S = 30.0


def run(plan: Plan) -> None:
    """Every question is new."""
    with upstream() as provider, Served(provider.address, workers=plan.workers) as product:
        through = product.question(PATH)
        warm(through, 0)
        numbers = count(1)
        most = max(callers for callers, _ in CASES)
        uvloop.run(closed_loop(through, islice(numbers, plan.warm_up), callers=most, seconds=WARM_UP_S))
        for callers, model in CASES:
            _measure(model, numbers, callers, provider, product, plan)


def _measure(model: str, numbers: Iterator[int], callers: int, provider: Upstream, product: Served, plan: Plan) -> None:
    directly, through = provider.question(model), product.question(PATH, model)
    roles = {"web": product.processes("web"), "redis": product.processes("redis"), "upstream": [provider.process]}
    alone = {"upstream": [provider.process]}
    directs, ours = [], []
    for _ in range(plan.rounds):
        _, direct = uvloop.run(_round(directly, numbers, callers, plan, alone))
        calls = provider.calls()
        answers, found = uvloop.run(_round(through, numbers, callers, plan, roles))
        directs.append(direct)
        ours.append({**found, "calls_per_answer": (provider.calls() - calls) / answers})
    both = list(zip(ours, directs, strict=True))
    compare(
        "misses",
        f"{'one caller' if callers == 1 else f'{callers} callers'}, {PATH}, whole, provider {model}",
        product,
        {"product": ours, "floor": directs},
        "answers_per_s",
        seconds=plan.seconds,
        callers=callers,
        load="callers on raw sockets in one Python process; it, the provider and the product share the cores",
        floor_is="the provider asked directly by the same callers",
        added=spreads([{name: one[name] - other[name] for name in ("p50_ms", "p99_ms")} for one, other in both]),
    )


async def _round(
    question: Question, numbers: Iterator[int], callers: int, plan: Plan, roles: dict[str, list[psutil.Process]]
) -> tuple[int, dict[str, float]]:
    """How many answers there were, and the figures."""
    before = {role: cpu_s(processes) for role, processes in roles.items()}
    load = await closed_loop(question, numbers, callers=callers, seconds=plan.seconds)
    answers = len(load.latencies)
    if load.failed or load.sources.total() != load.sources["miss"] + load.sources[""]:
        raise RuntimeError(f"{load.failed} of {answers} failed, or were no misses: {dict(load.sources)}")
    used = {f"{role}_cpu_us_per_answer": 1e6 * (cpu_s(roles[role]) - before[role]) / answers for role in roles}
    return answers, {
        "answers_per_s": load.rate,
        "p50_ms": load.percentile_ms(50),
        "p99_ms": load.percentile_ms(99),
        **used,
        "callers_cpu_us_per_answer": 1e6 * load.cpu_s / answers,
    }
