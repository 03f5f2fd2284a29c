"""Writers of the ledger are killed at random moments, and the power is cut; nothing that was acknowledged is lost.

The processes are the ledger's own, without the product around them, so that they can be killed a thousand times.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apsw

from orchestrator.core.budgets import EVER
from orchestrator.ledger import charging, reserving
from orchestrator.ledger.holds import Charged, Line, Reservation, released
from orchestrator.ledger.reserving import Wanted
from tests.drills import power, till
from tests.drills.base import Drill, Run, eventually
from tests.drills.till import Till
from tests.ledger.calls import CALL

WRITERS = 3
A_SNAPSHOT_EVERY = 10  # kills
AT = "2026-11-26 12:00:00"

# By budget: what is free of it, what it has reserved and spent, and the same by its holds and charges.
SUMS = """
SELECT b.name, b.amount_microusd, b.is_hard, coalesce(p.spent_microusd, 0), coalesce(p.reserved_microusd, 0),
  (SELECT coalesce(sum(amount_microusd), 0) FROM orchestrator_holdline WHERE budget_id = b.id),
  (SELECT coalesce(sum(cost_microusd), 0) FROM orchestrator_charge WHERE ',' || tags || ',' LIKE '%,' || b.name || ',%')
FROM orchestrator_budget b LEFT JOIN orchestrator_budgetperiod p ON p.budget_id = b.id
"""
BUDGETS = "SELECT id, name, is_hard FROM orchestrator_budget WHERE name NOT GLOB 'small-[1-9]'"  # one is small
ORPHANS = "SELECT count(*) FROM orchestrator_holdline WHERE hold_id NOT IN (SELECT id FROM orchestrator_hold)"
DAYS = """
SELECT (SELECT coalesce(sum(cost_microusd), 0) FROM orchestrator_charge),
  (SELECT coalesce(sum(cost_microusd), 0) FROM orchestrator_spendday),
  (SELECT count(*) FROM orchestrator_charge), (SELECT coalesce(sum(calls), 0) FROM orchestrator_spendday)
"""


async def run(run: Run) -> None:
    """Killed, asked by too many at once, as fast as it is meant to go, and without power."""
    with TemporaryDirectory(prefix="orch-") as name:
        folder = Path(name)
        with Till(folder) as paying:
            empty = (folder / "ledger.sqlite3").read_bytes()
            await killed(run, folder, paying)
            await spent(run, folder, paying)
            await rushed(run, paying)
    await asyncio.to_thread(powerless, run, empty)


async def killed(run: Run, folder: Path, paying: Till) -> None:
    """Writers are killed with SIGKILL, wherever they are; others take their place, and charge what they left."""
    writers = [paying.start("pay") for _ in range(WRITERS)]
    for kill in range(run.pick(20, 1_000)):
        await asyncio.sleep(run.random.uniform(0.02, 0.3))
        place = run.random.randrange(WRITERS)
        os.kill(writers[place], signal.SIGKILL)
        writers[place] = paying.start("pay")
        if kill % A_SNAPSHOT_EVERY == 0:
            await asyncio.to_thread(sums, run, folder / "ledger.sqlite3", f"after kill {kill}")
        run.counts["kills"] += 1
    await asyncio.sleep(0.5)
    await eventually(lambda: paying.heard()["committed"], "one of them to live until a commit", within_s=60)
    for writer in writers:
        os.kill(writer, signal.SIGKILL)
        run.counts["kills"] += 1
    sweeping = paying.start("sweep")
    await eventually(lambda: paying.has_ended(sweeping), "holds of the dead to be charged", within_s=60)
    sums(run, folder / "ledger.sqlite3", "at the end")
    with closing(sqlite3.connect(folder / "ledger.sqlite3")) as database:
        outcomes = dict(database.execute("SELECT hold, outcome FROM orchestrator_charge"))
        records = Counter(name for (name,) in database.execute("SELECT request_id FROM orchestrator_requestrecord"))
        left = database.execute("SELECT count(*) FROM orchestrator_hold").fetchone()[0]
    heard = paying.heard()
    run.counts |= Counter(
        {
            "calls charged": len(outcomes),
            "calls charged for the dead": sum(outcome == "lost" for outcome in outcomes.values()),
            "records": len(records),
            "commits heard": len(heard["committed"]),
            "reservations heard": len(heard["reserved"]),
        }
    )
    lost = [hold for hold in heard["committed"] if outcomes.get(hold) != "done" or hold not in records]
    run.expect(not lost, f"{len(lost)} of {len(heard['committed'])} acknowledged records are lost")
    run.expect(max(records.values(), default=1) == 1, "a record was written twice")
    run.expect(left == 0, f"{left} holds of dead processes are left")
    run.expect(len(heard["committed"]) > 0, "nothing was committed")


def sums(run: Run, ledger: Path, when: str) -> None:
    """What is spent is what was charged, what is reserved is what calls under way hold, and no budget is overdrawn."""
    with closing(sqlite3.connect(ledger)) as database:
        database.execute("BEGIN")
        rows = database.execute(SUMS).fetchall()
        orphans = database.execute(ORPHANS).fetchone()[0]
        days = database.execute(DAYS).fetchone()
    for name, amount, is_hard, spent, reserved, held, charged in rows:
        run.expect(spent == charged, f"{when}: {name} has spent {spent}, its charges are {charged}")
        run.expect(reserved == held, f"{when}: {name} has reserved {reserved}, its holds are {held}")
        run.expect(not is_hard or spent + reserved <= amount, f"{when}: {name} is overdrawn: {spent}+{reserved}")
    run.expect(orphans == 0, f"{when}: {orphans} lines without a hold")
    run.expect(days[0] == days[1] and days[2] == days[3], f"{when}: days and charges differ: {days}")


async def spent(run: Run, folder: Path, paying: Till) -> None:
    """500 ask at once for a budget that is enough for 100, in two processes.

    The ledger may be too slow for some where others need the processors as well: then again, on another budget.
    """
    for number in range(till.SPENDS):
        both = [paying.start("spend", 250, number) for _ in range(2)]
        await eventually(lambda both=both: all(map(paying.has_ended, both)), "reservations", within_s=60)
        told = [paying.told(pid) for pid in both]
        reserved, refused, late = (sum(one[what] for one in told) for what in ("reserved", "refused", "unavailable"))
        run.counts["reserved of 500"] = reserved
        run.counts["refused of 500 since the ledger was too slow"] += late
        judge_spent(run, reserved, refused, late)
        sums(run, folder / "ledger.sqlite3", "after 500 at once")
        if not late:
            return
    run.expect(False, f"the ledger was too slow for some of 500 calls, {till.SPENDS} times of {till.SPENDS}")


def judge_spent(run: Run, reserved: int, refused: int, late: int) -> None:
    """What became of 500 calls. Who was told too late may have taken what another was refused for."""
    is_right = 100 - late <= reserved <= 100
    run.expect(is_right, f"of 500 calls on a budget for 100, {reserved} were let through, {late} were told too late")
    run.expect(reserved + refused + late == 500, f"{reserved + refused + late} of 500 calls came to an end")


async def rushed(run: Run, paying: Till) -> None:
    """1,000 paid calls a second; how long they wait is for reading."""
    seconds = run.pick(2, 10)
    both = [paying.start("rush", 500, seconds) for _ in range(2)]
    await eventually(lambda: all(map(paying.has_ended, both)), "1,000 calls a second", within_s=90)
    told = [paying.told(pid) for pid in both]
    calls = sum(len(one["commit"]) for one in told)
    run.figures["calls_per_s"] = round(calls / max(one["seconds"][0] for one in told), 1)
    for part in ("reserve", "commit"):
        run.timed(part, [took for one in told for took in one[part]])
    refused = int(sum(one["refused"][0] for one in told))
    run.counts["refused since the ledger was too slow"] = refused  # where others need the processors as well
    run.expect(calls + refused == 1_000 * seconds, f"{calls + refused} of {1_000 * seconds} calls came to an end")
    run.expect(calls > 0, "no call was made")


def powerless(run: Run, empty: bytes) -> None:
    """The power is cut at a random write or sync, and what was not synced is there, is not, or is torn."""
    for cut in range(run.pick(15, 200)):
        chance = random.Random(run.seed * 1_000 + cut)
        acknowledged, files = _until_the_power_is_cut(f"disk {run.seed} {cut}", empty, chance)
        with TemporaryDirectory() as name:
            power.write(files, Path(name))
            run.counts["power cuts"] += 1
            run.counts["charges acknowledged before them"] += len(acknowledged["charged"])
            with closing(sqlite3.connect(Path(name) / "ledger.sqlite3")) as database:
                sound = database.execute("PRAGMA integrity_check").fetchone()[0]
                if not run.expect(sound == "ok", f"power cut {cut}: {sound}"):
                    continue
                charged = {hold for (hold,) in database.execute("SELECT hold FROM orchestrator_charge")}
                held = {hold for (hold,) in database.execute("SELECT id FROM orchestrator_hold")}
            lost = (acknowledged["charged"] - charged) | (acknowledged["held"] - held - charged)
            run.expect(not lost, f"power cut {cut}: {len(lost)} acknowledged calls are lost")
            sums(run, Path(name) / "ledger.sqlite3", f"after power cut {cut}")


def _until_the_power_is_cut(
    name: str, empty: bytes, chance: random.Random
) -> tuple[dict[str, set[str]], dict[str, bytes]]:
    """What was acknowledged until then, and the files as they are found."""
    disk = power.Disk(name)
    disk.load("/ledger.sqlite3", empty)
    acknowledged: dict[str, set[str]] = {"charged": set(), "held": set()}
    connection = apsw.Connection("/ledger.sqlite3", vfs=name)
    files: dict[str, bytes] = {}
    try:
        for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=20"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        budgets = connection.execute(BUDGETS).fetchall()
        disk.until = disk.steps + chance.randrange(1, 1_500)
        while True:
            _one_batch(connection, budgets, acknowledged, chance)
    except power.PowerCut:
        files = disk.left(chance)
        disk.until = 0  # it closes what is open as on any day; nobody looks at that disk again
    finally:
        connection.close()
        disk.unregister()
    return acknowledged, files


def _one_batch(
    connection: apsw.Connection, budgets: Sequence[Any], acknowledged: dict[str, set[str]], chance: random.Random
) -> None:
    """Some calls begin and some end, in one transaction."""
    cursor = power.Cursor(connection)
    at = datetime.fromisoformat(AT).replace(tzinfo=UTC)
    wanted, charges = [], []
    for _ in range(chance.randrange(1, 8)):
        about = chance.sample(list(budgets), 2)
        lines = tuple(Line(number, name, "", EVER, bool(is_hard)) for number, name, is_hard in about)
        hold = f"{chance.getrandbits(128):032x}"
        call = CALL | {"tags": ",".join(line.name for line in lines), "request_id": hold, "at": AT}
        wanted.append(Wanted(Reservation(hold, at, till.AMOUNT, lines, call), True))
        acknowledged.setdefault(f"tags {hold}", {call["tags"]})
    under_way = sorted(acknowledged["held"])
    for hold in chance.sample(under_way, len(under_way) // 2):
        tags = next(iter(acknowledged[f"tags {hold}"]))
        row = CALL | {"hold": hold, "at": at, "cost_microusd": chance.randint(1, till.AMOUNT), "tags": tags}
        charges.append(released(hold) if chance.random() < 0.1 else Charged(hold, row))
    connection.execute("BEGIN IMMEDIATE")
    charging.charge(cursor, charges, AT)
    refused = reserving.reserve(cursor, "drill", wanted, at.timestamp())
    released_now = {one.hold for one in charges if one.is_free}
    acknowledged["held"] -= released_now  # whether that was written is not known until it is heard
    connection.execute("COMMIT")
    acknowledged["held"] -= {one.hold for one in charges}
    acknowledged["charged"] |= {one.hold for one in charges if not one.is_free}
    held = (one.reservation.hold for one, refusal in zip(wanted, refused, strict=True) if refusal is None)
    acknowledged["held"].update(held)


DRILL = Drill("money", "writers of the ledger are killed, and the power is cut", run, long_within_s=1800)
