"""Answers that a provider makes: what going through the product adds to asking it directly."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice

import psutil
import uvloop

from bench.lines import compare, spreads
from bench.load import Load, Question, closed_loop, percentile
from bench.plan import Plan
from bench.serving import Served, Upstream, cpu_s, upstream, warm

# How many ask at once, and what the provider does. One that answers at once is asked as much as the product can
# take, so what is added is mostly waiting in line; one that thinks first shows what the product itself adds.
CASES = ((1, "at-once"), (16, "at-once"), (64, "at-once"), (16, "about-100"))
PATH = "/v1/chat/completions"
WARM_UP_S = 30.0
STRIDE = 100_000  # questions, more than are asked in a round
RAMP_S = 0.3  # over which callers come in where the provider thinks: all at once they would measure a burst


def run(plan: Plan) -> None:
    """Every question is new to the product; the provider is asked the same ones directly, in the same round."""
    with upstream() as provider, Served(provider.address, workers=plan.workers) as product:
        through = product.question(PATH)
        warm(through, 0)
        most = max(callers for callers, _ in CASES)
        uvloop.run(closed_loop(through, islice(count(1), plan.warm_up), callers=most, seconds=WARM_UP_S))
        starts = count(STRIDE, STRIDE)
        for callers, model in CASES:
            _measure(model, starts, callers, provider, product, plan)


def _measure(model: str, starts: Iterator[int], callers: int, provider: Upstream, product: Served, plan: Plan) -> None:
    directly, through = provider.question(model), product.question(PATH, model)
    roles = {"web": product.processes("web"), "redis": product.processes("redis"), "upstream": [provider.process]}
    alone = {"upstream": [provider.process]}
    directs, ours, added = [], [], []

    def ask_directly(start: int) -> Load:
        load, figures = uvloop.run(_round(directly, count(start), callers, plan, alone))
        directs.append(figures)
        return load

    def ask_through(start: int) -> Load:
        calls = provider.calls()
        load, figures = uvloop.run(_round(through, count(start), callers, plan, roles))
        ours.append({**figures, "calls_per_answer": (provider.calls() - calls) / len(load.latencies)})
        return load

    for number in range(plan.rounds):
        start = next(starts)
        # Each goes first in turn: whoever does finds the machine colder.
        if number % 2:
            load, direct = ask_through(start), ask_directly(start)
        else:
            direct, load = ask_directly(start), ask_through(start)
        both = [load.took[asked] - direct.took[asked] for asked in load.took.keys() & direct.took.keys()]
        added.append({f"p{percent}_ms": 1000 * percentile(both, percent) for percent in (50, 99)})
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
        added=spreads(added),
    )


async def _round(
    question: Question, numbers: Iterator[int], callers: int, plan: Plan, roles: dict[str, list[psutil.Process]]
) -> tuple[Load, dict[str, float]]:
    """What came of it, and the figures."""
    before = {role: cpu_s(processes) for role, processes in roles.items()}
    ramp_s = 0.0 if question.model.endswith("at-once") else RAMP_S
    load = await closed_loop(question, numbers, callers=callers, seconds=plan.seconds, ramp_s=ramp_s)
    answers = len(load.latencies)
    if load.failed or load.sources.total() != load.sources["miss"] + load.sources[""]:
        raise RuntimeError(f"{load.failed} of {answers} failed, or were no misses: {dict(load.sources)}")
    used = {f"{role}_cpu_us_per_answer": 1e6 * (cpu_s(roles[role]) - before[role]) / answers for role in roles}
    return load, {
        "answers_per_s": load.rate,
        "p50_ms": load.percentile_ms(50),
        "p99_ms": load.percentile_ms(99),
        **used,
        "callers_cpu_us_per_answer": 1e6 * load.cpu_s / answers,
    }
