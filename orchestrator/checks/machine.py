"""What it runs as, and on."""

from __future__ import annotations

import os
import resource
import sqlite3
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core import checks

from orchestrator.checks import DOCTOR, START
from orchestrator.checks.finding import Found, fatal, unsafe, unwise
from orchestrator.checks.ledger import has_ledger
from orchestrator.core.files import ENOUGH

SAFE_SQLITE = (3, 51, 3)
FEWEST_FILES = 4096


@checks.register(START)
def sqlite_is_safe(**_: Any) -> Found:
    """SQLite before 3.51.3 can corrupt a database when it resets its write-ahead log."""
    if sqlite3.sqlite_version_info < SAFE_SQLITE:
        yield unsafe(
            1,
            f"SQLite {sqlite3.sqlite_version} has a fault that can corrupt the databases.",
            "Install the pysqlite3 package (`make install` does), which carries a newer one.",
        )


@checks.register(START)
def user_is_ordinary(**_: Any) -> Found:
    """A flaw in native code should not own the machine. In a container root owns little."""
    is_container = Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()
    if hasattr(os, "geteuid") and os.geteuid() == 0 and not is_container:
        yield unsafe(
            6,
            "Running as root: a flaw in native code, such as what runs models, would own this machine.",
            "Run it as a user of its own; nothing it does needs root.",
        )


@checks.register(START)
def files_are_enough(**_: Any) -> Found:
    """Each caller takes two; what is more waits."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < FEWEST_FILES:
        yield unwise(
            14,
            f"{hard} files may be open at a time, so {hard // 2} callers at most are served, and a few idle ones keep"
            " out all others.",
            f"Raise the limit before the start: `ulimit -Hn {ENOUGH}`, or LimitNOFILE={ENOUGH} in a unit of systemd.",
        )


@checks.register(DOCTOR, deploy=True)
def ledger_can_shrink(**_: Any) -> Found:
    """A file that was made without it keeps the pages of what is deleted, and grows to the most there ever was."""
    from django.db import DatabaseError

    from orchestrator.ledger import tidying

    try:
        is_stuck = has_ledger() and not tidying.shrinks()
    except DatabaseError:
        return  # `ledger_is_of_now` says that it cannot be read
    if is_stuck:
        yield unwise(
            56,
            "The ledger's file was made so that it never shrinks: what old records leave free is used again, not given"
            " back.",
            "Stop the product, and type: sqlite3 ledger.sqlite3 'PRAGMA auto_vacuum=2; VACUUM;' in the data folder. It"
            " needs as much room again as the file takes, and some minutes.",
        )


@checks.register(DOCTOR, deploy=True)
def router_knows_models(**_: Any) -> Found:
    """Without what it ships with the router chooses by names and prices, and learns nothing."""
    from routing.predictor.priors import Unusable, shipped

    try:
        shipped()
    except Unusable as error:
        yield unwise(
            46,
            f"`auto` chooses by the names and prices of models alone, and learns nothing: {error}.",
            "Install this version again.",
        )


@checks.register(DOCTOR, deploy=True)
def ledger_is_of_now(**_: Any) -> Found:
    """An older program on a newer ledger may write what the newer one cannot read."""
    from django.db import DatabaseError, connections
    from django.db.migrations.executor import MigrationExecutor

    ledger = Path(str(settings.DATABASES["default"]["NAME"]))
    if not ledger.exists():
        return  # the first start makes it
    try:
        executor = MigrationExecutor(connections["default"])
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        ours = {app for app, _ in executor.loader.disk_migrations}
        unknown = {name for name in executor.loader.applied_migrations if name[0] in ours} - set(
            executor.loader.disk_migrations
        )
    except DatabaseError as error:
        yield fatal(
            7,
            f"The ledger, {ledger}, cannot be used: {error}.",
            "Make room on its disk if that is full; if the file is damaged, put a backup in its place.",
        )
        return
    if unknown:
        yield unsafe(
            10,
            f"The ledger was written by a newer version ({', '.join(sorted('.'.join(one) for one in unknown))}).",
            "Install that version again, or put the backup of before in its place.",
        )
    elif plan:
        yield unwise(
            10,
            f"The ledger is of an older version; {len(plan)} migrations are to come.",
            "Make a backup; the next start brings it up to date, as `manage.py migrate` does.",
        )
