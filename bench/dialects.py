"""One answer from memory in every dialect, whole and streamed: whether any of them costs more than another."""

from __future__ import annotations

from contextlib import ExitStack

from bench.lines import about, emit, ratios, spreads
from bench.plan import Plan
from bench.serving import NO_REPLAY, Served, cpu_s, upstream, warm
from bench.wrk import CONNECTIONS, wrk

PATHS = ("/api/chat", "/v1/chat/completions", "/v1/messages")
SHAPES = tuple((path, is_streamed) for path in PATHS for is_streamed in (False, True))
HOW = {"replayed as bytes": {}, "through the whole API, nothing replayed": NO_REPLAY}


def run(plan: Plan) -> None:
    """The question is asked once, in the first dialect; all others find its answer."""
    for how, settings in HOW.items():
        with ExitStack() as stack:
            provider = stack.enter_context(upstream())
            product = stack.enter_context(Served(provider.address, workers=plan.workers, **settings))
            _measure(how, product, plan)
            if (calls := provider.calls()) != 1:
                raise RuntimeError(f"one question in every dialect made {calls} calls")


def _measure(how: str, product: Served, plan: Plan) -> None:
    warm(product.question(PATHS[0]), 0)
    questions = {
        f"{path}, {'streamed' if streamed else 'whole'}": product.question(path, is_streamed=streamed)
        for path, streamed in SHAPES
    }
    for question in questions.values():
        warm(question, 0)  # and from now on it is replayed, where that is on
    processes = product.processes("web")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in questions}
    for number in range(plan.rounds):
        names = list(questions)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            before = cpu_s(processes)
            load = wrk(questions[name], plan.seconds)
            cpu_us = 1e6 * (cpu_s(processes) - before) / load.answers
            found[name].append(
                {"answers_per_s": load.rate, "cpu_us_per_answer": cpu_us, "p50_ms": load.p50_ms, "p99_ms": load.p99_ms}
            )
    costs = {name: [figures["cpu_us_per_answer"] for figures in rounds] for name, rounds in found.items()}
    for name, rounds in found.items():
        emit(
            "dialects",
            f"memory, {how}: {name}",
            **about(product),
            rounds=plan.rounds,
            seconds=plan.seconds,
            connections=CONNECTIONS,
            load="wrk, one thread, on the same cores; its percentiles are corrected for coordinated omission",
            product=spreads(rounds),
            cpu_ratio_to_first_dialect=ratios(costs[name], costs[next(iter(costs))]),
        )
