"""How long commits to the ledger take while several processes write: python bench/ledger.py [--plain] [--callers N].

Each process asks in a closed loop: reserve on three budgets, a provider of up to 20 ms, then commit the record with its
charge. `--records` leaves the money out; `--plain` takes Django's own SQLite, whose writers take no turns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BASE = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--records", action="store_true")
    parser.add_argument("--callers", type=int, default=500)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--per-second", type=float, default=0.0, help="an open loop of so many calls, all together")
    parser.add_argument("--writer", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.writer:
        print(json.dumps(asyncio.run(_write(args))))
        return
    with tempfile.TemporaryDirectory() as data:
        env = os.environ | {"ORCHESTRATOR_DATA_DIR": data, "PYTHONPATH": str(BASE)}
        subprocess.run([sys.executable, __file__, "--writer", "--seconds", "0"], env=env, check=True, stdout=-3)
        ours = [sys.executable, *sys.argv, "--writer"]
        writers = [subprocess.Popen(ours, env=env, stdout=-1, text=True) for _ in range(args.processes)]
        heard = [json.loads(writer.communicate()[0]) for writer in writers]
    calls = sum(len(one["commit"]) for one in heard)
    took = max(one["took_s"] for one in heard)
    print(f"{'plain' if args.plain else 'turns'}, {args.callers} callers: {calls / took:.0f} calls/s", end="")
    for part in ("reserve", "commit"):
        all_ms = sorted(ms for one in heard for ms in one[part])
        if all_ms:
            at = [all_ms[min(int(len(all_ms) * share), len(all_ms) - 1)] for share in (0.5, 0.9, 0.99, 1)]
            print("; {} p50 {:.1f}, p90 {:.1f}, p99 {:.1f}, longest {:.0f} ms".format(part, *at), end="")
    print(f"; refused {sum(one['refused'] for one in heard)}")


async def _write(args: argparse.Namespace) -> dict[str, object]:  # noqa: C901  # one story, though a long one
    os.environ["DJANGO_SETTINGS_MODULE"] = "orchestrator.settings"
    import django
    from django.conf import settings

    if args.plain:
        settings.DATABASES["default"]["ENGINE"] = "django.db.backends.sqlite3"
    django.setup()
    from asgiref.sync import sync_to_async

    budgets = await sync_to_async(_budgets)()
    if not args.seconds:
        return {}
    from orchestrator.core.clock import Clock
    from orchestrator.core.errors import LedgerUnavailable
    from orchestrator.core.types import Caller, ChatRequest
    from orchestrator.ledger.writer import Ledger
    from tests.ledger.calls import charged, reservation

    ledger = Ledger(Clock())
    caller = Caller(tenant_id=1, tenant="bench")
    reserved_ms: list[float] = []
    committed_ms: list[float] = []
    refused = 0

    async def call() -> None:
        nonlocal refused
        entry = ledger.begin(ChatRequest(model="big", request_id="r" * 24, endpoint="/api/chat"), caller)
        one = reservation(*budgets, at=entry.at)
        try:
            if not args.records:
                began = time.perf_counter()
                await ledger.reserve(one)
                reserved_ms.append((time.perf_counter() - began) * 1e3)
            await asyncio.sleep(random.uniform(0, 0.02))  # noqa: S311
            entry.ended("done", entry.started + 0.01)
            if not args.records:
                entry.charges.append(charged(one, at=entry.at))
            began = time.perf_counter()
            await ledger.commit(entry)
            committed_ms.append((time.perf_counter() - began) * 1e3)
        except LedgerUnavailable:
            refused += 1

    async def callers() -> None:
        while time.perf_counter() < until:
            await call()

    began = time.perf_counter()
    until = began + args.seconds
    if args.per_second:
        every_s, calls = args.processes / args.per_second, set()
        for number in range(int(args.seconds / every_s)):
            await asyncio.sleep(began + number * every_s - time.perf_counter())
            calls.add(asyncio.create_task(call()))
        await asyncio.gather(*calls)
    else:
        await asyncio.gather(*(callers() for _ in range(args.callers // args.processes)))
    took_s = time.perf_counter() - began
    await asyncio.to_thread(ledger.close)
    return {"reserve": reserved_ms, "commit": committed_ms, "refused": refused, "took_s": took_s}


def _budgets() -> list[object]:
    from django.core.management import call_command

    from orchestrator.models import Budget, Tenant

    call_command("migrate", verbosity=0)
    Tenant.objects.get_or_create(pk=1, defaults={"name": "bench"})
    return [
        Budget.objects.get_or_create(
            name=name, defaults={"period": "day", "each": "tenant", "amount_microusd": 10**15}
        )[0]
        for name in ("a", "b", "c")
    ]


if __name__ == "__main__":
    main()
