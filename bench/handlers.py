"""The lean handler beside Django's own: one endpoint, one server, one machine, in turn.

Each answers `POST /api/chat` from memory, with the key check and the records on, in one uvicorn
process: the product without its replay, Django's handler with the middleware of a new project (`default`),
and Django's handler with none (`bare`). Prints one JSON line; the ratios are what to quote. Needs
wrk (`apt-get install wrk`). Run by `make bench`.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack

from bench import wrk as by_wrk
from bench.lines import emit, ratios, spread
from bench.load import Question
from bench.serving import NO_REPLAY, Served, end_in_order, running, say, upstream, warm

ROUNDS, SECONDS = 5, 3.0
PATH = "/api/chat"
MIDDLEWARE = {"default": "default", "bare": "none"}


def main() -> int:
    """Measure and print."""
    if by_wrk.program() is None:
        say(by_wrk.MISSING)
        return 1
    end_in_order()
    rates: dict[str, list[float]] = {}
    with ExitStack() as stack:
        provider = stack.enter_context(upstream())
        product = stack.enter_context(Served(provider.address, workers=1, **NO_REPLAY))
        questions = {"lean": product.question(PATH)}
        for name, middleware in MIDDLEWARE.items():
            command = [sys.executable, "-m", "uvicorn", "bench.django_handler:application", "--no-access-log"]
            environment = product.environment() | {"BENCH_MIDDLEWARE": middleware}
            _, address = stack.enter_context(running([*command, "--log-level", "warning", "--fd"], environment))
            questions[name] = Question(address + PATH, questions["lean"].model, is_streamed=False, key=product.key)
        for question in questions.values():
            warm(question, 0)
        for _ in range(ROUNDS):
            for name, question in questions.items():
                rates.setdefault(name, []).append(by_wrk.wrk(question, SECONDS).rate)
        emit(
            "handlers",
            f"{PATH}, whole, one question, from memory",
            on=product.on(),
            rounds=ROUNDS,
            seconds=SECONDS,
            connections=by_wrk.CONNECTIONS,
            answers_per_s={name: spread(found) for name, found in rates.items()},
            lean_over={name: ratios(rates["lean"], rates[name]) for name in MIDDLEWARE},
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
