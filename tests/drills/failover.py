"""One provider hangs, with hundreds waiting for it: who asks another sees nothing of that. One dies and comes back: who
asks a model that is also elsewhere sees nothing of that either.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.drills.base import Drill, Run, eventually, running
from tests.drills.caller import Caller
from tests.drills.load import Asked, ask, nobody_is_wrong
from tests.drills.provider import ScriptedProvider
from tests.drills.question import MODEL, PATHS, Question
from tests.product import Product
from tests.servers import free_ports

CALLERS = 6
TAKES_S = 0.03  # each provider, until it begins
NEVER_S = 300.0
SLOWER_BY = 10.0  # p99 beside the baseline, at most, or
SLOW_S = 1.0  # this, if that is more: neighbours on this machine are slow at times
CLOSED_WITHIN_S = 20.0
BACK_WITHIN_S = 60.0  # twice the longest pause of a breaker
AT_ONCE = 50  # connections
PATIENCE = {"first_token_timeout_s": NEVER_S, "kind": "compatible", "is_paid": False}


async def run(run: Run) -> None:
    """Both, over two web workers."""
    (port,) = free_ports(1)  # nobody else gets it while there is nothing
    with (
        ScriptedProvider(port) as one,
        ScriptedProvider() as two,
        running(run, one, ORCHESTRATOR_WEB_WORKERS=2) as product,
    ):
        set_up(product, {"one": one, "two": two})
        await one_hangs(run, product, one)
        await one_dies(run, product, one, two)


def set_up(product: Product, providers: dict[str, ScriptedProvider]) -> None:
    """Register each provider, and the model `both` that runs at all of them, asked in this order."""
    document = {
        "providers": {name: PATIENCE | {"address": provider.address} for name, provider in providers.items()},
        "models": {
            "both": {
                "deployments": [
                    {"provider": name, "remote_name": MODEL, "rank": rank} for rank, name in enumerate(providers)
                ]
            }
        },
    }
    headers = {"Authorization": f"Bearer {product.issue_key('drill', '--admin')}", "Content-Type": "application/json"}
    url = f"{product.base_url}/api/admin/v1/registry"
    request = urllib.request.Request(url, json.dumps(document).encode(), headers, method="PUT")  # noqa: S310  # our own
    with urllib.request.urlopen(request, timeout=30):  # noqa: S310
        pass


@asynccontextmanager
async def callers(run: Run, product: Product, name: str, model: str) -> AsyncIterator[list[Asked]]:
    """Some who ask one new question after the other; what they heard, as it comes."""
    asked: list[Asked] = []
    address = product.base_url

    async def keep_asking(number: int) -> None:
        count = 0
        while True:
            count += 1
            question = Question(name=f"{name}-{run.seed}-{number}-{count}", headers_s=TAKES_S)
            path = PATHS[count % len(PATHS)]
            asked.append(await ask(address, question, path, stream=True, model=model))

    tasks = [asyncio.create_task(keep_asking(number)) for number in range(CALLERS)]
    try:
        yield asked
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def one_hangs(run: Run, product: Product, hung: ScriptedProvider) -> None:
    """Many wait for a provider that says nothing; others ask the other provider, before and meanwhile."""
    for_s = run.pick(2, 20)
    async with callers(run, product, "calm", f"two/{MODEL}") as calm:
        await asyncio.sleep(for_s)
    many = run.pick(100, 500)
    waiting = await wait_for(run, product, many)
    await eventually(lambda: hung.summary()["open"] >= many, "all of them to wait", 60)
    async with callers(run, product, "meanwhile", f"two/{MODEL}") as meanwhile:
        await asyncio.sleep(for_s)
    run.expect(hung.summary()["open"] >= many, "who waits for the provider that hangs was not left waiting")
    for caller in waiting:
        caller.leave()
    left_at = time.monotonic()
    await eventually(lambda: hung.summary()["open"] == 0, "their calls to be closed", CLOSED_WITHIN_S)
    run.figures["hung_calls_closed_after_s"] = round(time.monotonic() - left_at, 3)
    run.counts["callers of a provider that hangs"] = many
    for name, asked in (("calm", calm), ("meanwhile", meanwhile)):
        nobody_is_wrong(run, asked)
        failed = [one for one in asked if not one.heard.is_right(one.question)]
        run.expect(not failed, f"{name}: {len(failed)} of {len(asked)} were not answered: {failed[:1]}")
    before_s = run.timed("calm", [one.took_s for one in calm])
    p99_s = run.timed("meanwhile", [one.took_s for one in meanwhile])
    run.in_time(p99_s, max(SLOWER_BY * before_s, SLOW_S), "beside a provider that hangs (p99)")


async def wait_for(run: Run, product: Product, many: int) -> list[Caller]:
    """So many callers, each of whom asks `one` something it never answers."""
    waiting: list[Caller] = []
    for start in range(0, many, AT_ONCE):
        some = await asyncio.gather(*(Caller.connect(product.base_url) for _ in range(min(AT_ONCE, many - start))))
        for caller in some:
            question = Question(name=f"hung-{run.seed}-{len(waiting)}", headers_s=NEVER_S)
            caller.send("/api/chat", question.body("/api/chat", stream=True, model=f"one/{MODEL}"))
            waiting.append(caller)
    return waiting


async def one_dies(run: Run, product: Product, first: ScriptedProvider, second: ScriptedProvider) -> None:
    """The place that is asked first dies under load, and comes back."""
    async with callers(run, product, "both", "both") as asked:
        await asyncio.sleep(1)
        await eventually(lambda: calls_of(first, "both"), "the first place to be asked", 30)
        run.expect(not calls_of(second, "both"), "the second place was asked while the first was there")
        first.kill()
        died_at = time.monotonic()
        await asyncio.sleep(run.pick(2, 30))
        await eventually(lambda: calls_of(second, "both"), "the second place to be asked", 30)
        run.counts["answers by the second place"] = len(calls_of(second, "both"))
        with ScriptedProvider(first.port) as back:
            back_at = time.monotonic()
            try:
                await eventually(lambda: len(calls_of(back, "both")) >= CALLERS, "it to be asked again", BACK_WITHIN_S)
                run.figures["asked_again_after_s"] = round(calls_of(back, "both")[0].at - back_at, 3)
                # Each web worker finds out by itself.
                await eventually(lambda: is_left_alone(second), "the second place to be left alone", BACK_WITHIN_S)
                run.figures["second_left_alone_after_s"] = round(time.monotonic() - back_at, 3)
            except TimeoutError as error:
                run.expect(False, str(error))
    nobody_is_wrong(run, asked)
    # What was being said when it died cannot be taken back: it ends with an error that is seen.
    broken = [one for one in asked if one.heard.text and one.heard.error and one.at <= died_at <= one.over_at]
    failed = [one for one in asked if not one.heard.is_right(one.question) and one not in broken]
    run.counts["answers cut in the middle"] = len(broken)
    run.expect(not failed, f"{len(failed)} of {len(asked)} were not answered: {failed[:1]}")
    run.timed("both", [one.took_s for one in asked])


def is_left_alone(provider: ScriptedProvider) -> bool:
    """Whether a second passes without a call."""
    calls = len(calls_of(provider, "both"))
    time.sleep(1)
    return len(calls_of(provider, "both")) == calls


def calls_of(provider: ScriptedProvider, name: str) -> list[Any]:
    """The calls for questions that are called so."""
    return [call for call in provider.calls() if call.name.startswith(f"{name}-")]


DRILL = Drill("failover", "providers hang and die: others notice nothing", run, long_within_s=600)
