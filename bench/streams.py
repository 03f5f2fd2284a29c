"""Many streams at once: whether frames come when they are due, and what an idle stream takes."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count, islice, repeat
from typing import Any

import psutil
import uvloop

from bench.lines import about, compare, emit, rounded
from bench.load import Listener, Question, open_streams, percentile
from bench.plan import Plan
from bench.serving import Answers, Served, Upstream, cpu_s, floor, say, upstream, warm

PATH = "/v1/chat/completions"
WITHIN_S = 60.0
WAVE = 128  # idle streams that are opened at once
WAVE_S = 10.0  # that a wave may take to begin; one of which none does is the last
IDLE_S = 300.0  # far longer than they are kept
OTHER_FILES = 500  # open files besides the connections
FREED_WITHIN_S = 20.0
MIB = 1024**2


def run(plan: Plan) -> None:
    """Paced, then idle."""
    with ExitStack() as stack:
        provider = stack.enter_context(upstream())
        product = stack.enter_context(Served(provider.address, workers=plan.workers))
        warm(product.question(PATH), 0)
        _paced(provider, product, plan)
        _idle(product, plan)


def _paced(provider: Upstream, product: Served, plan: Plan) -> None:
    model = f"paced-{plan.frames}-{plan.pause_ms}"
    through = product.question(PATH, model, is_streamed=True)
    answers = Answers()
    answers.learn("paced", *warm(through, 0, wanted="miss"), pause_s=plan.pause_ms / 1000)
    numbers = count(1)
    with floor(answers) as bare:
        directly = provider.question(model, is_streamed=True)
        questions = {"direct": directly, "floor": bare.question("paced", like=through), "product": through}
        rounds: dict[str, list[dict[str, float]]] = {who: [] for who in questions}
        for _ in range(plan.rounds):
            for who, question in questions.items():
                processes = {"direct": [], "floor": [bare.process], "product": product.processes("web")}[who]
                rounds[who].append(uvloop.run(_listen(question, numbers, processes, plan)))
    compare(
        "streams",
        f"{plan.streams} at once, {plan.frames} frames each, {plan.pause_ms} ms apart, {PATH}",
        product,
        rounds,
        "frames_per_s",
        due={"seconds": rounded((plan.frames - 1) * plan.pause_ms / 1000), "gap_ms": plan.pause_ms},
        load="listeners on raw sockets in one Python process; they, the provider and the product share the cores",
        floor_is="a bare ASGI function that sends the same frames with the same pauses, same server, one process",
    )


async def _listen(
    question: Question, numbers: count[int], processes: list[psutil.Process], plan: Plan
) -> dict[str, float]:
    before, own, began = cpu_s(processes), time.process_time(), time.perf_counter()
    listeners = await open_streams(question, islice(numbers, plan.streams), WITHIN_S)
    await asyncio.wait([one.over for one in listeners], timeout=WITHIN_S)
    took = time.perf_counter() - began
    whole = [one for one in listeners if one.over.done() and one.over.result()]
    for one in listeners:
        one.transport.close()
    gaps = [gap for one in whole for gap in one.gaps]
    frames = sum(one.frames for one in listeners)
    lasted = [one.ended - one.began for one in whole]
    return {
        "gap_p50_ms": 1000 * percentile(gaps, 50),
        "gap_p99_ms": 1000 * percentile(gaps, 99),
        "gap_max_ms": 1000 * max(gaps),
        "stream_p50_s": percentile(lasted, 50),
        "stream_max_s": max(lasted),
        "seconds": took,
        "frames_per_s": frames / took,
        "errors": len(listeners) - len(whole),
        "cpu_us_per_frame": 1e6 * (cpu_s(processes) - before) / frames,
        "listeners_cpu_us_per_frame": 1e6 * (time.process_time() - own) / frames,
    }


def _idle(product: Served, plan: Plan) -> None:
    """Each of its own, then all of one question, which share one call."""
    allowed = min(one.rlimit(psutil.RLIMIT_NOFILE)[0] for one in [psutil.Process(), *product.processes("web")])
    # In a web worker each stream is two connections.
    streams = min(plan.idle_streams, (allowed - OTHER_FILES) // 2)
    if streams < plan.idle_streams:
        say(f"only {streams} idle streams: a process may have {allowed} files open here")
    question = product.question(PATH, f"idle-{IDLE_S:.0f}", is_streamed=True)
    for case, numbers in (("each its own question", count(1)), ("all one question", repeat(0))):
        product.restart_web()  # what one case took would be there for the next
        product.load_pages()
        found = uvloop.run(_hold(question, numbers, streams, product.processes("web"), plan))
        emit(
            "streams",
            f"idle: {case}, {PATH}",
            **about(product),
            wanted=plan.idle_streams,
            streams=streams,
            open_files_allowed=allowed,
            seconds_kept=plan.idle_s,
            **found,
        )


async def _hold(
    question: Question, numbers: Iterator[int], streams: int, web: list[psutil.Process], plan: Plan
) -> dict[str, Any]:
    before, files, began = _rss(web), _files(web), time.perf_counter()
    listeners: list[Listener] = []
    while (left := streams - len(listeners)) > 0:
        wave = await open_streams(question, islice(numbers, min(left, WAVE)), WAVE_S)
        listeners += wave
        if not any(_has_begun(one) for one in wave):
            break
    opened_s = time.perf_counter() - began
    going = [one for one in listeners if _has_begun(one)]
    cpu, since = cpu_s(web), time.perf_counter()
    await asyncio.wait([one.over for one in going], timeout=plan.idle_s)
    with_them, cpu_share = _rss(web), (cpu_s(web) - cpu) / (time.perf_counter() - since)
    broken = [one for one in going if one.over.done()]
    for one in listeners:
        one.transport.abort()
    give_up = time.monotonic() + FREED_WITHIN_S
    while _files(web) > files + OTHER_FILES // 10 and time.monotonic() < give_up:  # noqa: ASYNC110  # another process
        await asyncio.sleep(0.1)
    return {
        "asked_for": len(listeners),
        "opened": len(going),
        "opened_within_s": rounded(opened_s),
        "broken": len(broken),
        "rss_mib": {"before": before, "with": with_them, "after": _rss(web)},
        "kib_per_stream": rounded((with_them - before) * 1024 / max(len(going), 1)),
        "web_cpu_share": rounded(cpu_share),
        "files_left_open": _files(web) - files,
    }


def _has_begun(listener: Listener) -> bool:
    return listener.first.done() and listener.first.result()


def _rss(processes: list[psutil.Process]) -> float:
    return rounded(sum(one.memory_info().rss for one in processes) / MIB)


def _files(processes: list[psutil.Process]) -> int:
    return sum(one.num_fds() for one in processes)


def allow_open_files() -> None:
    """Raise this process's limit, and with it that of all it starts, as far as it may be."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
