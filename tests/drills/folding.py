"""Whoever writes, folds and deletes records is killed at random moments: each record is in the figures once.

What the rollups are to hold is added up here from every record that was ever written, with none of the product.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from tests.drills.base import Drill, Run, eventually
from tests.drills.till import Till

DOING = ("write", "fold", "fold", "fold", "forget")
A_LOOK_EVERY = 5  # kills
ALL = 0  # tenants
DAY_S = 86400
DAYS_KEPT = {60: 2, 900: 10, 3600: 62, 21600: 400, DAY_S: 10**6}  # by length
APART = "\x1f"
CALLED = ("miss", "bypass")

FOLDED = """
SELECT (SELECT COALESCE(SUM(json_extract(cell.value, '$.n')), 0) FROM orchestrator_rollup, json_each(cells) AS cell
        WHERE tenant_id = 0 AND length = 86400 AND cell.key LIKE 'cell%'),
    (SELECT COUNT(*) FROM seen_orchestrator_requestrecord WHERE id <= mark.upto)
FROM orchestrator_rollupmark AS mark WHERE name = 'requests'
"""
LEFT = """
SELECT (SELECT COUNT(*) FROM seen_orchestrator_requestrecord), (SELECT COUNT(*) FROM orchestrator_requestrecord),
    (SELECT COUNT(*) FROM seen_orchestrator_requestrecord
        WHERE julianday('now') - julianday(at) < 5.5 AND id NOT IN (SELECT id FROM orchestrator_requestrecord))
"""
Sums = dict["Place", Counter[str]]


class Place(NamedTuple):
    """A rollup."""

    tenant: int
    length: int
    start: int


async def run(run: Run) -> None:
    """Kill, and look whether what is folded is what was written up to the mark; at the end look at every rollup."""
    with TemporaryDirectory(prefix="orch-") as name:
        ledger = Path(name) / "ledger.sqlite3"
        with Till(Path(name)) as till:
            await done(till, "prepare")
            doing = [till.start(what) for what in DOING]
            for kill in range(run.pick(60, 600)):
                await asyncio.sleep(run.random.uniform(0.01, 0.2))
                place = run.random.randrange(len(DOING))
                os.kill(doing[place], signal.SIGKILL)
                doing[place] = till.start(DOING[place])
                run.counts["kills"] += 1
                if kill % A_LOOK_EVERY == 0:
                    await asyncio.to_thread(look, run, ledger, f"after kill {kill}")
            for one in doing:
                os.kill(one, signal.SIGKILL)
            await done(till, "finish")
        look(run, ledger, "at the end")
        compare(run, ledger)


async def done(till: Till, what: str) -> Any:
    """Wait for one that ends by itself; what it said."""
    one = till.start(what)
    await eventually(lambda: till.has_ended(one), what, within_s=300)
    return till.told(one)


def look(run: Run, ledger: Path, when: str) -> None:
    """What days hold is what was written up to the mark."""
    with closing(sqlite3.connect(ledger)) as database:
        for held, written in database.execute(FOLDED):
            run.expect(held == written, f"{when}: {held} requests are in rollups, {written} were written until there")


def compare(run: Run, ledger: Path) -> None:
    """Every rollup, whether its records are there still or not."""
    with closing(sqlite3.connect(ledger)) as database:
        expected, found = from_records(database), from_rollups(database)
        written, left, early = database.execute(LEFT).fetchone()
    for length in DAYS_KEPT:
        theirs = {place: sums for place, sums in expected.items() if place.length == length}
        ours = {place: sums for place, sums in found.items() if place.length == length}
        wrong = [place for place in theirs.keys() | ours.keys() if theirs.get(place) != ours.get(place)]
        example = f"{wrong[0]}: {ours.get(wrong[0])} for {theirs.get(wrong[0])}" if wrong else ""
        run.expect(not wrong, f"{len(wrong)} of {len(theirs)} rollups of {length} s are wrong: {example}")
        run.expect(bool(theirs), f"no record is to be in a rollup of {length} s")
    run.counts |= Counter({"records": written, "records deleted": written - left, "rollups": len(found)})
    run.expect(early == 0, f"{early} records were deleted that are to be kept")
    run.expect(left < written, "no record was deleted")


def from_records(database: sqlite3.Connection) -> Sums:
    """What is to be in rollups."""
    database.row_factory = sqlite3.Row
    now, sums = datetime.now(UTC).timestamp(), dict[Place, Counter[str]]()

    def add(row: sqlite3.Row, more: dict[str, int]) -> None:
        second = int(datetime.fromisoformat(row["at"]).replace(tzinfo=UTC).timestamp())
        for length, days in DAYS_KEPT.items():
            if now - second < days * DAY_S:
                for tenant in (ALL, row["tenant_id"]):
                    sums.setdefault(Place(tenant, length, second // length * length), Counter()).update(more)

    tried = set()
    for row in database.execute("SELECT * FROM seen_orchestrator_attempt"):
        tried.add(row["request_id"])
        add(row, {"failed": 1})
    for row in database.execute("SELECT * FROM seen_orchestrator_requestrecord"):
        more = {name: row[column] or 0 for name, column in COLUMNS.items()}
        add(row, {"n": 1, "in steps": 1, "took": 1, row["tier"]: 1} | more)
        if row["outcome"] != "done" and row["tier"] in CALLED and row["request_id"] not in tried:
            add(row, {"failed": 1})
    database.row_factory = None
    return {place: +one for place, one in sums.items()}


COLUMNS = {
    "prompt": "prompt_tokens",
    "completion": "completion_tokens",
    "cost": "cost_microusd",
    "saved": "saved_microusd",
}


def from_rollups(database: sqlite3.Connection) -> Sums:
    """What is in them."""
    sums = {}
    for *place, steps, cells, times in database.execute(
        "SELECT tenant_id, length, start, steps, cells, times FROM orchestrator_rollup"
    ):
        sums[Place(*place)] = +_opened(json.loads(steps), json.loads(cells), json.loads(times))
    return sums


def _opened(steps: Any, cells: Any, times: Any) -> Counter[str]:
    found: Counter[str] = Counter()
    for name, numbers in cells.items():
        if name.startswith("failed"):
            found["failed"] += numbers["n"]
            continue
        found.update({key: numbers.get(key, 0) for key in ("n", *COLUMNS)})
        found[name.split(APART)[2]] += numbers["n"]
    found["in steps"] = sum(steps.get("tier", {}).values())
    found["took"] = sum(sum(numbers.values()) for name, numbers in times.items() if name.startswith(f"tier{APART}"))
    return found


DRILL = Drill("folding", "whoever folds the ledger is killed", run, long_within_s=900)
