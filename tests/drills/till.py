"""Processes that pay for calls or keep the records, each with a ledger of its own, until they are killed.

The first of them is ready and does nothing but start others, which takes a few milliseconds each:

    pay      reserve, wait for a provider, commit or release; for ever
    spend    250 reservations at once on one of the small budgets
    rush     calls as fast as they are meant to come, for a while
    sweep    charge what the dead left behind, and end

Or they do one of what `keeping` has: they write records, fold and delete them.

What was acknowledged is written down as it is heard, by each in a file of its own, and outlives it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

BASE = Path(__file__).resolve().parent.parent.parent
CALLERS = 30
AMOUNT = 100
SPEND_EACH = 7
SPENDS = 5  # times at most, each on a budget of its own: `small-0` and so on
RUSH_AMOUNT = 10**12


class Till:
    """The first process, seen from outside."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = (folder / "log").open("w")
        env = os.environ | {"ORCHESTRATOR_DATA_DIR": str(folder), "PYTHONPATH": str(BASE)}
        command = [sys.executable, "-m", "tests.drills.till", str(folder)]
        self._process = subprocess.Popen(  # ours
            command, env=env, cwd=BASE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        self._read()

    def __enter__(self) -> Till:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._process.communicate()
        self._log.close()

    def start(self, what: str, *args: object) -> int:
        """Start one that does so, and return its number as a process."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, (what, *args))) + "\n")
        self._process.stdin.flush()
        return int(self._read())

    def has_ended(self, pid: int) -> bool:
        """Whether it did all it was to do."""
        return (self._folder / f"{pid}.done").exists()

    def told(self, pid: int) -> Any:
        """What it said at its end."""
        return json.loads((self._folder / f"{pid}.done").read_text())

    def heard(self) -> dict[str, set[str]]:
        """The holds that were acknowledged, by what was heard of them."""
        found: dict[str, set[str]] = {"reserved": set(), "committed": set()}
        for path in self._folder.glob("*.heard"):
            for line in path.read_text().splitlines():
                what, _, hold = line.partition(" ")
                if len(hold) == 32:  # else it was killed while it wrote it down
                    found[what].add(hold)
        return found

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"it ended: {(self._folder / 'log').read_text()[-2000:]}")
        return line.strip()


def main(folder: Path) -> None:
    """Make the ledger, then start whom one is told to."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "orchestrator.settings"
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connections

    from orchestrator.models import Budget, Tenant

    call_command("migrate", verbosity=0)
    Tenant.objects.get_or_create(pk=1, defaults={"name": "drill"})
    fields: dict[str, Any] = {"period": "total", "each": "all"}
    for name, amount, is_hard in (
        ("tight", 150_000, True),
        ("wide", 10**9, True),
        ("soft", 50_000, False),
        ("small-0", 100 * SPEND_EACH, True),
        ("rush", RUSH_AMOUNT, True),
        *((f"small-{number}", 100 * SPEND_EACH, True) for number in range(1, SPENDS)),
    ):
        Budget.objects.get_or_create(name=name, defaults=fields | {"amount_microusd": amount, "is_hard": is_hard})
    with connections["default"].cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connections.close_all()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    _say("ready")
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            sys.stdin.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                _be(folder, *line.split())
            except BaseException:  # noqa: BLE001  # whatever it is, it is not the first process that goes on
                traceback.print_exc()
            finally:
                os._exit(0)
        _say(str(pid))


def _be(folder: Path, what: str, *args: str) -> None:
    from tests.drills.keeping import DOES

    told = DOES[what]() if what in DOES else asyncio.run(_Payer(folder).do(what, *map(int, args)))
    draft = folder / f"{os.getpid()}.draft"  # nobody reads half of it
    draft.write_text(json.dumps(told))
    draft.rename(folder / f"{os.getpid()}.done")


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


class _Payer:
    """One process that pays."""

    def __init__(self, folder: Path) -> None:
        from asgiref.sync import sync_to_async

        from orchestrator.core.clock import Clock
        from orchestrator.core.types import Caller
        from orchestrator.ledger.writer import Ledger
        from orchestrator.models import Budget

        self._ledger = Ledger(Clock())
        self._caller = Caller(tenant_id=1, tenant="drill")
        self._read = sync_to_async(lambda: {one.name: one for one in Budget.objects.all()})
        self._heard = os.open(folder / f"{os.getpid()}.heard", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        self._random = random.Random()  # not after a seed: what it does depends on when it is killed
        self._budgets: dict[str, Any] = {}

    async def do(self, what: str, *args: int) -> Any:
        self._budgets = await self._read()
        told = await {"pay": self._pay, "spend": self._spend, "rush": self._rush, "sweep": self._sweep}[what](*args)
        await asyncio.to_thread(self._ledger.close)
        return told

    async def _pay(self) -> None:
        await asyncio.gather(*(self._caller_for_ever() for _ in range(CALLERS)))

    async def _caller_for_ever(self) -> None:
        from orchestrator.core.errors import BudgetSpent, LedgerUnavailable

        while True:
            about = self._random.choice((("tight", "soft"), ("tight", "wide"), ("wide", "soft"), ("wide",), ()))
            try:
                await self._call(*about)
            except (BudgetSpent, LedgerUnavailable):  # the second on a busy machine: its deadline has passed
                await asyncio.sleep(0.02)

    async def _call(self, *about: str, is_told: bool = True) -> tuple[float, float]:
        """One call; return how long it was waited for its reservation and for its record."""
        from orchestrator.core.types import ChatRequest
        from orchestrator.ledger.holds import Charged

        is_asked = bool(about) and self._random.random() < 0.8
        if not is_asked:
            about = tuple(name for name in about if not self._budgets[name].is_hard)
        entry = self._ledger.begin(ChatRequest(model="big", endpoint="/api/chat"), self._caller)
        one = self._reservation(about, AMOUNT, entry.at)
        entry.request = ChatRequest(model="big", endpoint="/api/chat", request_id=one.hold)
        began = time.perf_counter()
        if is_asked:
            await self._ledger.reserve(one)
            if is_told:
                os.write(self._heard, f"reserved {one.hold}\n".encode())
        else:
            self._ledger.hold(one)
        reserved = time.perf_counter()
        await asyncio.sleep(self._random.uniform(0, 0.01))
        asked = time.perf_counter()
        entry.is_paid = True
        entry.ended("done", entry.started + 0.01)
        chance = self._random.random()
        if chance < 0.1:
            self._ledger.release(one.hold)
        elif chance < 0.2:
            self._ledger.charge(Charged(one.hold, one.call | {"cost_microusd": None}))
        else:
            cost = self._random.randint(1, AMOUNT)
            entry.charges.append(Charged(one.hold, one.call | {"cost_microusd": cost}))
            await self._ledger.commit(entry)
            if is_told:
                os.write(self._heard, f"committed {one.hold}\n".encode())
        return reserved - began, time.perf_counter() - asked

    def _reservation(self, about: tuple[str, ...], amount: int, at: Any) -> Any:
        from secrets import token_hex

        from orchestrator.core.budgets import EVER
        from orchestrator.ledger.holds import Line, Reservation
        from tests.ledger.calls import CALL

        budgets = [self._budgets[name] for name in about]
        lines = tuple(Line(one.pk, one.name, "", EVER, one.is_hard) for one in budgets)
        call = CALL | {"at": str(at.replace(tzinfo=None)), "tags": ",".join(about)}
        hold = token_hex(16)
        return Reservation(hold, at, amount, lines, call | {"request_id": hold})

    async def _spend(self, count: int, number: int) -> dict[str, int]:
        from orchestrator.core.clock import Clock
        from orchestrator.core.errors import BudgetSpent, LedgerUnavailable

        at = datetime.fromtimestamp(Clock().now(), UTC)
        results = await asyncio.gather(
            *(self._ledger.reserve(self._reservation((f"small-{number}",), SPEND_EACH, at)) for _ in range(count)),
            return_exceptions=True,
        )
        return {
            "reserved": sum(result is None for result in results),
            "refused": sum(isinstance(result, BudgetSpent) for result in results),
            "unavailable": sum(isinstance(result, LedgerUnavailable) for result in results),
        }

    async def _rush(self, per_s: int, seconds: int) -> dict[str, list[float]]:
        from orchestrator.core.errors import LedgerUnavailable

        calls = []
        began = time.perf_counter()
        for number in range(per_s * seconds):
            await asyncio.sleep(began + number / per_s - time.perf_counter())
            calls.append(asyncio.create_task(self._call("rush", is_told=False)))
        heard = await asyncio.gather(*calls, return_exceptions=True)
        refused = [one for one in heard if isinstance(one, LedgerUnavailable)]
        took = [one for one in heard if isinstance(one, tuple)]
        return {
            "refused": [float(len(refused))],
            "reserve": [one for one, _ in took],
            "commit": [one for _, one in took],
            "seconds": [time.perf_counter() - began],
        }

    async def _sweep(self) -> int:
        from asgiref.sync import sync_to_async

        from orchestrator.models import Hold

        async with asyncio.timeout(60):
            while await sync_to_async(Hold.objects.exists)():
                await asyncio.sleep(0.05)
        return self._ledger.lost_calls


if __name__ == "__main__":
    main(Path(sys.argv[1]))
