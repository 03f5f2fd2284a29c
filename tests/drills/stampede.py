"""Many ask the same at once: one call to the provider, and everybody gets its answer."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from itertools import product as combinations

from tests.drills.base import Drill, Run, running
from tests.drills.caller import Caller, Heard
from tests.drills.provider import ScriptedProvider
from tests.drills.question import PATHS, Question
from tests.product import Product

WORKERS = 2
CALLS = 1 if find_spec("cache.sharing") else WORKERS  # without it each process shares only with itself
FORMS = tuple(combinations(PATHS, (True, False)))  # one question in every dialect, streamed and whole


async def run(run: Run) -> None:
    """Rounds of identical questions over several web workers."""
    if CALLS > 1:
        run.note(f"calls are shared within a process only: {CALLS} of them for {WORKERS} web workers are right")
    with ScriptedProvider() as provider, running(run, provider, ORCHESTRATOR_WEB_WORKERS=WORKERS) as product:
        for number in range(run.pick(2, 20)):
            await plain(run, provider, product, number)


async def plain(run: Run, provider: ScriptedProvider, product: Product, number: int) -> None:
    """Everybody asks at once."""
    question = Question(name=f"plain-{number}", first_s=run.pick(1, 2))
    callers = await connect(run.pick(200, 1000), product)
    heard = await ask(callers, question)
    judge(run, question, heard)
    calls = provider.calls(question.name)
    run.counts["rounds"] += 1
    run.counts["calls"] += len(calls)
    run.expect(len(calls) <= CALLS, f"{question.name}: {len(calls)} calls to the provider, {CALLS} at most")


async def connect(count: int, product: Product) -> list[Caller]:
    """Callers that are connected and have asked nothing yet."""
    address = product.base_url
    return await asyncio.gather(*(Caller.connect(address) for _ in range(count)))


async def ask(callers: list[Caller], question: Question) -> list[Heard]:
    """All ask the same, each in the next form; what they heard."""
    for place, caller in enumerate(callers):
        path, stream = FORMS[place % len(FORMS)]
        caller.send(path, question.body(path, stream=stream))
    heard = await asyncio.gather(*(caller.listen() for caller in callers))
    for caller in callers:
        caller.leave()
    return heard


def judge(run: Run, question: Question, heard: list[Heard]) -> None:
    """Everybody has the right answer."""
    run.counts["callers"] += len(heard)
    wrong = [one for one in heard if one.is_wrong(question)]
    run.expect(not wrong, f"{question.name}: {len(wrong)} wrong answers of {len(heard)}, {wrong[:1]}")
    unanswered = [one for one in heard if not one.is_right(question)]
    run.expect(
        not unanswered, f"{question.name}: {len(unanswered)} of {len(heard)} without an answer, {unanswered[:1]}"
    )


DRILL = Drill("stampede", "identical questions at once become one call", run, within_s=120, long_within_s=900)
