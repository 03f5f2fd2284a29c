"""A ledger that was there before rollups: what they hold after the upgrade is what its records say."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from tests.drills import keeping
from tests.drills.base import Run
from tests.drills.folding import compare, done
from tests.drills.till import BASE, Till

BEFORE_ROLLUPS = "0020_shares"
RECORDS = 3_000
FIGURES = ("requests", "errors", "prompt_tokens", "completion_tokens", "saved")
SHOWN = """
SELECT COUNT(*), SUM(status = 504), SUM(prompt_tokens), SUM(completion_tokens), SUM(saved_microusd)
FROM seen_orchestrator_requestrecord WHERE at >= ?
"""


def fill(folder: Path) -> Path:
    """A ledger of that time with records in it, which are remembered as they are."""
    ledger = folder / "ledger.sqlite3"
    command = [sys.executable, "manage.py", "migrate", "orchestrator", BEFORE_ROLLUPS, "--verbosity", "0"]
    subprocess.run(command, check=True, cwd=BASE, env=os.environ | {"ORCHESTRATOR_DATA_DIR": str(folder)})  # ours
    chance = random.Random(20)
    with closing(sqlite3.connect(ledger)) as database, database:
        for number in keeping.TENANTS:
            tenant = {"id": number, "name": f"acme {number}"}
            insert(database, "orchestrator_tenant", tenant)
        for _ in range(RECORDS):
            row = keeping.row(chance)
            row["at"] = str(row["at"].replace(tzinfo=None))
            insert(database, "orchestrator_requestrecord", row)
            if row["outcome"] != "done" and chance.random() < 0.5:
                insert(database, "orchestrator_attempt", keeping.attempt(row)._asdict() | {"at": row["at"]})
        for name in keeping.REMEMBERED:
            database.execute(f"CREATE TABLE seen_{name} AS SELECT * FROM {name}")  # noqa: S608  # our own names
    return ledger


def insert(database: sqlite3.Connection, table: str, row: dict[str, object]) -> None:
    """One row, as far as the table of that time has its columns; what else it has and must be known is 0."""
    columns = database.execute('SELECT name FROM pragma_table_info(?) WHERE "notnull" AND NOT pk', [table])
    known = {name for (name,) in database.execute("SELECT name FROM pragma_table_info(?)", [table])}
    values = {name: 0 for (name,) in columns} | {name: value for name, value in row.items() if name in known}
    places = ", ".join("?" * len(values))
    sql = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places})"  # noqa: S608  # our own names
    database.execute(sql, list(values.values()))


async def test_records_of_before_rollups_are_in_them_after_the_upgrade(tmp_path: Path) -> None:
    """They are folded, those that are old are deleted then, and the figures stay what all of them came to."""
    ledger = fill(tmp_path)
    with Till(tmp_path) as till:  # which migrates
        unfolded = await done(till, "tell")
        await done(till, "finish")
        folded = await done(till, "tell")
    run = Run("folding", seed=0)
    compare(run, ledger)
    assert not run.reasons
    assert run.counts["records"] == RECORDS
    with closing(sqlite3.connect(ledger)) as database:
        for told in (unfolded, folded):
            shown = tuple(told[name] for name in FIGURES)
            assert shown == database.execute(SHOWN, [told["since"]]).fetchone()
