"""A process of one machine, with a ledger of its own and a Redis that it shares: it spends as it is told.

spend HOW-OFTEN HOW-MUCH BUDGET   so many calls, a few at a time; it answers with what became of them
on BUDGET HOW-MUCH                until the next word, which it then answers
shares                            how often Redis was asked for more
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

AT_ONCE = 40
UNHURRIED_S = 0.05  # a call of those that go on until they are told to end, so that there is money left until then


async def main(folder: Path) -> None:
    import django

    django.setup()
    from asgiref.sync import sync_to_async
    from django.conf import settings

    from orchestrator.core.clock import Clock
    from orchestrator.core.inodes import file_of
    from orchestrator.core.redis_async import Line, open_redis, socket_s
    from orchestrator.ledger.sharing import ASK_S
    from orchestrator.ledger.together import Together
    from orchestrator.ledger.writer import Ledger
    from orchestrator.models import Budget

    file = file_of(folder / "ledger.sqlite3")
    ledger = Ledger(Clock(), file=file)
    line = Line(open_redis(timeout_s=socket_s(ASK_S), most_connections=2), ASK_S)
    together = Together(line, Clock(), ledger, file=file, label=folder.name, lock=settings.RUN_DIR / "shares")
    together.start()
    budgets = await sync_to_async(lambda: {one.name: one for one in Budget.objects.all()})()
    spending: asyncio.Task[Counter[str]] | None = None
    while word := (await asyncio.to_thread(sys.stdin.readline)).split():
        match word:
            case ["spend", count, amount, name]:
                say(await spend(ledger, budgets[name], int(amount), int(count)))
            case ["on", name, amount]:
                spending = asyncio.create_task(spend(ledger, budgets[name], int(amount), None))
                say("on")
            case ["off"] if spending:
                spending.cancel()
                say(await spending)
            case ["shares"]:
                say(together.asking.asked)
    await together.aclose()
    await asyncio.to_thread(ledger.close)


async def spend(ledger: Any, budget: Any, amount: int, count: int | None) -> Counter[str]:
    from orchestrator.core.errors import BudgetSpent

    heard: Counter[str] = Counter()
    left = iter(range(10**9 if count is None else count))

    async def caller() -> None:
        for _ in left:
            one = reservation(budget, amount)
            try:
                await ledger.reserve(one)
            except BudgetSpent:
                heard["refused"] += 1
                await asyncio.sleep(0.01)
                continue
            heard["reserved"] += 1
            await asyncio.sleep(0.001 if count else UNHURRIED_S)
            charge(ledger, one, amount)

    try:
        await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
    except asyncio.CancelledError:
        if count is not None:
            raise
    return heard


def reservation(budget: Any, amount: int) -> Any:
    from secrets import token_hex

    from orchestrator.core.budgets import EVER
    from orchestrator.ledger.holds import Line, Reservation
    from tests.ledger.calls import AT, CALL

    lines = (Line(budget.pk, budget.name, "", EVER, True),)
    return Reservation(token_hex(16), AT, amount, lines, CALL | {"at": str(AT.replace(tzinfo=None))})


def charge(ledger: Any, one: Any, cost: int) -> None:
    from orchestrator.ledger.holds import Charged
    from tests.ledger.calls import AT, CALL

    ledger.charge(Charged(one.hold, CALL | {"hold": one.hold, "at": AT, "cost_microusd": cost}))


def say(what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(os.environ["ORCHESTRATOR_DATA_DIR"])))
