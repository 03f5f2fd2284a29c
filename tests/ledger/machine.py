"""A machine of a test's own: a ledger in memory, and what goes to and fro between it and Redis."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from django.db import connection
from redis import Redis

from orchestrator.core.budgets import EVER
from orchestrator.core.ids import hex_id
from orchestrator.core.redis_scripts import Script
from orchestrator.ledger import accounts, charging, machines, reserving, shares
from orchestrator.ledger.accounts import Account, Used
from orchestrator.ledger.holds import Charged, Line, Reservation
from orchestrator.ledger.machines import Own, Peer
from orchestrator.ledger.reserving import Wanted
from orchestrator.ledger.share_scripts import BEQUEATHS, HELLOS, KEYS, TELLS
from orchestrator.ledger.shares import Elsewhere, Grant, Kept, Short, Told
from orchestrator.ledger.sharing import understood, words
from tests.ledger.calls import AT, CALL

NOW = "2026-11-26 12:00:00"
FILE = "1"


class SQL:
    """The ledger's SQL, as sqlite3 has it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._cursor = connection.cursor()

    def execute(self, sql: str, params: Any = None, /) -> None:
        self._cursor.execute(sql.replace("%s", "?"), params or ())

    def fetchall(self) -> list[tuple[Any, ...]]:
        return list(self._cursor.fetchall())

    @property
    def rowcount(self) -> int:
        return self._cursor.rowcount


class Asked:
    """A script on its way to Redis, and what it says to it."""

    def __init__(self, machine: Machine, script: Script, arguments: Sequence[Any]) -> None:
        self.machine, self._script, self._arguments = machine, script, arguments
        self.answer: Any = None

    def reach(self, redis: Redis) -> None:
        """Redis does it."""
        self.answer = _text(redis.register_script(self._script.text)([*KEYS], self._arguments))

    def come_back(self) -> None:
        """Its answer is heard."""


class Telling(Asked):
    """How accounts stand."""

    def __init__(self, machine: Machine, who: Own, some: Sequence[Told], *, is_all: bool = False) -> None:
        super().__init__(machine, TELLS, words(who, some))
        self.who, self.some, self.is_all = who, some, is_all

    def come_back(self) -> None:
        said = understood(self.who, self.some, self.answer)
        if said is None:
            return
        self.machine.adopt(self.who, [grant for grant, _ in said])
        self.machine.hear([there for _, others in said for there in others])
        if self.is_all:
            self.machine.told_in = self.who.life


class Hello(Asked):
    """That a machine is there."""

    def __init__(self, machine: Machine) -> None:
        self.who, peers = machine.own(), machine.peers()
        gone = [word for peer in peers if peer.gone for word in (peer.name, peer.gone)]
        is_told = int(bool(self.who.life) and machine.told_in == self.who.life)
        names = [peer.name for peer in peers]
        super().__init__(
            machine, HELLOS, [self.who.name, hex_id(16), self.who.life, "here", is_told, len(names), *names, *gone]
        )

    def come_back(self) -> None:
        life, _, _, *table = self.answer
        self.machine.meet([Peer(name, label, gone) for name, label, _, gone, _, _ in table if name != self.who.name])
        if life != self.who.life:
            self.machine.enter(self.who, life)


class Machine:
    """One of several."""

    def __init__(self, *budgets: tuple[str, int], each: str = "all") -> None:
        """With budgets of these names and amounts."""
        self._database = sqlite3.connect(":memory:", isolation_level=None)
        self._sql = SQL(self._database)
        an_empty_ledger(self._database, dict(budgets), each)
        self.told_in = ""
        self.holds: dict[str, int] = {}
        self._count = 0
        machines.be(self._sql, FILE, "here")

    def close(self) -> None:
        self._database.close()

    def own(self) -> Own:
        return machines.own(self._sql, FILE)

    def peers(self) -> list[Peer]:
        return machines.peers(self._sql)

    def reserve(self, amount: int, budget: int = 1, *, may_ask: bool = True, file: str = FILE) -> Exception | None:
        """As one of its processes does."""
        self._count += 1
        hold = f"{self._count:032}"
        one = Reservation(hold, AT, amount, (Line(budget, "a", "", EVER, True),), CALL | {"at": NOW})
        [refusal] = reserving.reserve(self._sql, "me", [Wanted(one, True, may_ask=may_ask)], AT.timestamp(), file)
        if refusal is None:
            self.holds[hold] = amount
        return refusal

    def reserve_at_last(self, amount: int, redis: Redis, budget: int = 1) -> Exception | None:
        """Also after asking."""
        refusal = self.reserve(amount, budget)
        if isinstance(refusal, Short):
            do(Telling(self, refusal.own, refusal.wants), redis)
            refusal = self.reserve(amount, budget, may_ask=False)
        return refusal

    def settle(self, hold: str, cost: int) -> None:
        del self.holds[hold]
        charging.charge(self._sql, [Charged(hold, CALL | {"at": AT, "cost_microusd": cost})], NOW)

    def telling(self) -> Telling:
        """All that it has."""
        return Telling(self, self.own(), shares.standing(self._sql, AT, also_over=True), is_all=True)

    def giving_back(self) -> Telling:
        """It holds no more than it needs."""
        found = [one.account for one in shares.wanted(self._sql, AT, None)]
        return Telling(self, self.own(), shares.give_back(self._sql, found))

    def bequeathing(self) -> Asked:
        """What those had who are gone."""
        return Asked(
            self, BEQUEATHS, [self.own().life, *(word for row in shares.bequeathed(self._sql) for word in row)]
        )

    def adopt(self, who: Own, grants: Sequence[Grant]) -> None:
        shares.adopt(self._sql, who, grants)

    def hear(self, news: Sequence[Elsewhere]) -> None:
        shares.heard(self._sql, news)

    def meet(self, others: Sequence[Peer]) -> None:
        machines.meet(self._sql, others)

    def enter(self, who: Own, life: str) -> None:
        machines.enter(self._sql, who, life)

    def release(self, name: str, how: str = "lost") -> None:
        """An operator says that one is gone."""
        self._database.execute("UPDATE orchestrator_machine SET gone = ? WHERE name = ?", (how, name))

    def change(self, amount: int, budget: int = 1) -> None:
        """Of a budget."""
        self._database.execute("UPDATE orchestrator_budget SET amount_microusd = ? WHERE id = ?", (amount, budget))

    def switch_off(self, budget: int = 1) -> None:
        """It counts no more here."""
        self._database.execute("UPDATE orchestrator_budget SET is_off = 1 WHERE id = ?", (budget,))

    def delete(self, budget: int = 1) -> None:
        """With what was counted under it."""
        for table in ("budgetperiod", "holdline", "share", "shareelsewhere"):
            self._database.execute(f"DELETE FROM orchestrator_{table} WHERE budget_id = ?", (budget,))  # noqa: S608
        self._database.execute("DELETE FROM orchestrator_budget WHERE id = ?", (budget,))

    def used(self, budget: int = 1) -> Used:
        account = Account.of(budget, "", EVER)
        return accounts.used(self._sql, [account]).get(account, Used())

    def share(self, budget: int = 1) -> int:
        account = Account.of(budget, "", EVER)
        return shares.kept(self._sql, [account]).get(account, Kept()).granted

    def in_touch(self, redis: Redis) -> None:
        """As its beat does, once."""
        for _ in range(2):
            do(Hello(self), redis)
            if self.told_in != self.own().life:
                do(self.bequeathing(), redis)
                do(self.telling(), redis)
        do(Hello(self), redis)


def time_passes(machines: Sequence[Machine], redis: Redis) -> None:
    """All who are there have spoken, and Redis' life is not young any more."""
    for _ in range(2):
        for one in machines:
            one.in_touch(redis)
    redis.hset(KEYS[0], "since", 0)
    nobody_waits(redis)


def nobody_waits(redis: Redis) -> None:
    """What came back is held for nobody any more."""
    if waits := [field for field in redis.hkeys(KEYS[0]) if field.startswith(b"w:")]:
        redis.hdel(KEYS[0], *waits)


def an_empty_ledger(database: sqlite3.Connection, budgets: Mapping[str, int], each: str = "all") -> None:
    """With nothing but budgets, by their amounts."""
    _empty().backup(database)
    sql = (
        "INSERT INTO orchestrator_budget (name, period, each, amount_microusd, is_hard, shares, model, provider,"
        " is_off, is_given) VALUES (?, 'total', ?, ?, 1, '50', '', '', 0, 0)"
    )
    database.executemany(sql, [(name, each, amount) for name, amount in budgets.items()])
    database.commit()


@cache
def _empty() -> sqlite3.Connection:
    """A ledger without a row."""
    sql = (
        "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND tbl_name LIKE 'orchestrator_%%'"
        " AND name NOT LIKE 'sqlite_%%' ORDER BY type DESC"
    )
    database = sqlite3.connect(":memory:")
    with connection.cursor() as cursor:
        cursor.execute(sql)
        for (statement,) in cursor.fetchall():
            database.execute(statement)
    return database


def do(asked: Asked, redis: Redis) -> None:
    """Nothing comes between."""
    asked.reach(redis)
    asked.come_back()


def restarted(redis: Redis, kept: dict[Any, Any]) -> None:
    """Redis comes back with what it had on disk, as another run."""
    redis.flushall()
    if kept:
        redis.hset(KEYS[0], mapping={**kept, b"run": b"another"})


def _text(answer: Any) -> Any:
    if isinstance(answer, list):
        return [_text(one) for one in answer]
    return answer.decode() if isinstance(answer, bytes) else answer
