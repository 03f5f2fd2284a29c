"""Two processes on two data directories with one Redis spend one budget."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from orchestrator.ledger.share_scripts import TABLE
from tests.ledger.machine import an_empty_ledger
from tests.product import PROJECT, until
from tests.servers import RedisServer

EACH = 1_000
AMOUNTS = {"house": 400 * EACH, "storm": 3_000 * EACH}


class Spender:
    """One of them."""

    def __init__(self, folder: Path, redis: RedisServer) -> None:
        self.ledger = folder / "ledger.sqlite3"
        (folder / "keys").mkdir(parents=True, mode=0o700)
        (folder / "keys" / "master").write_text("5" * 64)
        (folder / "keys" / "master").chmod(0o600)
        with closing(sqlite3.connect(self.ledger)) as database:
            an_empty_ledger(database, AMOUNTS)
        env = os.environ | {
            "ORCHESTRATOR_DATA_DIR": str(folder),
            "REDIS_URL": redis.url,
            "DJANGO_SETTINGS_MODULE": "orchestrator.settings",
        }
        self._log = (folder / "log").open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.ledger.spender"],
            env=env, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True,
        )  # fmt: skip

    def close(self) -> None:
        self._process.communicate(timeout=30)
        self._log.close()

    def begin(self, *words: object) -> None:
        assert self._process.stdin
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, Path(self._log.name).read_text()[-3000:]
        return json.loads(line)

    def do(self, *words: object) -> Any:
        self.begin(*words)
        return self.answer()

    def used(self, name: str) -> int:
        """Spent and reserved."""
        sql = (
            "SELECT coalesce(sum(spent_microusd + reserved_microusd), 0) FROM orchestrator_budgetperiod"
            " WHERE budget_id = (SELECT id FROM orchestrator_budget WHERE name = ?)"
        )
        with closing(sqlite3.connect(self.ledger, timeout=10)) as database:
            found: int = database.execute(sql, [name]).fetchone()[0]
            return found


@pytest.fixture
def two(tmp_path: Path, own_redis: RedisServer, db: None) -> Iterator[list[Spender]]:
    with ExitStack() as stack:
        two = [Spender(tmp_path / name, own_redis) for name in ("one", "other")]
        for one in two:
            stack.callback(one.close)
        with Redis.from_url(own_redis.url) as redis:
            until(lambda: knows_both(redis.hgetall(TABLE)), "each to know of the other", 30)
            redis.hset(TABLE, "since", 0)  # both are there, and nobody else has to be waited for
        yield two


def spent_to_the_end(two: list[Spender], by: Spender, name: str) -> None:
    """One alone spends what there is: what others were granted and do not need comes back."""
    give_up = time.monotonic() + 30
    while AMOUNTS[name] - sum(one.used(name) for one in two) >= EACH:
        assert time.monotonic() < give_up, "there is money left that nobody can spend"
        by.do("spend", 40, EACH, name)


def knows_both(table: dict[bytes, bytes]) -> bool:
    said = Counter((field[:2], value) for field, value in table.items())
    return said[b"r:", b"1"] == said[b"h:", b"2"] == 2


def more_than(two: list[Spender], name: str, spent: int) -> Callable[[], bool]:
    return lambda: sum(one.used(name) for one in two) > spent


def test_two_spend_as_much_as_there_is_and_no_more(two: list[Spender], own_redis: RedisServer) -> None:
    for one in two:
        one.begin("spend", 300, EACH, "house")
    heard = [one.answer() for one in two]
    assert all(one["reserved"] for one in heard)
    spent_to_the_end(two, two[0], "house")
    assert sum(one.used("house") for one in two) == AMOUNTS["house"]
    assert sum(one.do("shares") for one in two) < 600

    # While Redis is flushed, killed and started again.
    for one in two:
        one.do("on", "storm", EACH)
    for hurt in (lambda: own_redis.command("FLUSHALL"), own_redis.kill, own_redis.start):
        until(more_than(two, "storm", sum(one.used("storm") for one in two)), "more to be spent", 20)
        hurt()
    for one in two:
        one.do("off")
    assert sum(one.used("storm") for one in two) <= AMOUNTS["storm"]
    spent_to_the_end(two, two[1], "storm")
    assert sum(one.used("storm") for one in two) == AMOUNTS["storm"]
