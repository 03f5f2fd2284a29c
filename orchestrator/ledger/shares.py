"""Shares: how much of a budget this machine may spend, where several spend it. Each function is a part of somebody's
transaction.

A share is raised by what Redis said last only, in the life of Redis that this machine is in; it is lowered here, on
disk, before Redis hears of it. So what Redis has granted is never less than what the machines together may spend.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

from orchestrator.core.budgets import EVER, PERIODS, begins
from orchestrator.core.errors import BudgetSpent
from orchestrator.ledger.accounts import Account, Used, rules, used
from orchestrator.ledger.machines import Own, is_still
from orchestrator.ledger.pots import ends_s, pots
from orchestrator.ledger.share_scripts import LATE_S
from orchestrator.ledger.sql import Cursor, insert_all, packed, select_all, table
from orchestrator.models import Budget, BudgetPeriod, Machine, Share, ShareElsewhere

KEPT = timedelta(days=40)  # so long ago the period began of a share that is kept
_ACCOUNT = ("budget_id", "under", "begins")
_THERE = " AND ".join(f"{name} = asked.value ->> {place}" for place, name in enumerate(_ACCOUNT))
_AFTER = " AND ".join(f"{name} = asked.value ->> {place}" for place, name in enumerate(_ACCOUNT, 1))  # what comes first


class Kept(NamedTuple):
    """A share as it stands."""

    granted: int = 0
    number: int = 0


class Told(NamedTuple):
    """What is told of an account.

    number  of the last word on it that was heard.    held  that this machine may spend.
    amount  of the budget; None: it counts no more.   ends  when, in seconds since the epoch; 0: never.
    target  so much is to be held; 0: what is held does.
    """

    account: Account
    pot: str
    number: int
    held: int
    used: int
    spent: int
    amount: int | None
    ends: int
    target: int = 0


class Grant(NamedTuple):
    """So much this machine may spend, in all; said by Redis under a number."""

    account: Account
    number: int
    granted: int


class Elsewhere(NamedTuple):
    """What is known of the same account at another machine. `amount` is None where none is stated."""

    machine: str
    account: Account
    amount: int | None
    granted: int
    spent: int
    reserved: int


class Short(BudgetSpent):
    """This machine's shares do not reach for a call; others may have some to spare."""

    own: Own
    wants: Sequence[Told] = ()

    @classmethod
    def of(cls, own: Own, wants: Sequence[Told]) -> Short:
        """The error that knows what is wanted, and by which machine."""
        error = cls("The share of this machine does not reach for this call.")
        error.own, error.wants = own, wants
        return error


def kept(cursor: Cursor, accounts: Collection[Account]) -> dict[Account, Kept]:
    """The shares there are."""
    rows = select_all(
        cursor,
        f"SELECT {_selected('s')}, s.granted_microusd, s.number FROM json_each(%s) AS asked"  # noqa: S608  # our own names
        f" CROSS JOIN {table(Share)} AS s ON {_THERE}",
        [[*account] for account in sorted(accounts)],
    )
    return {Account(*key): Kept(granted, number) for *key, granted, number in rows}


def adopt(cursor: Cursor, who: Own, grants: Collection[Grant]) -> None:
    """Write what was granted, unless it was in another life, or something newer was heard."""
    if not grants or not is_still(cursor, who):
        return
    newest: dict[Account, Grant] = {}
    for grant in grants:
        if grant.account not in newest or newest[grant.account].number < grant.number:
            newest[grant.account] = grant
    names = (*_ACCOUNT, "number", "granted_microusd")
    newer = (
        f"ON CONFLICT ({', '.join(_ACCOUNT)}) DO UPDATE SET granted_microusd = excluded.granted_microusd,"
        " number = excluded.number WHERE excluded.number > number"
    )
    insert_all(cursor, Share, names, [(*one.account, one.number, one.granted) for one in newest.values()], newer)


def note(cursor: Cursor, accounts: Iterable[Account]) -> None:
    """There may be shares of these: before somebody asks for the first."""
    rows = [(*account, 0, 0) for account in accounts]
    insert_all(cursor, Share, (*_ACCOUNT, "granted_microusd", "number"), rows, "ON CONFLICT DO NOTHING")


def give_back(cursor: Cursor, accounts: Collection[Account]) -> list[Told]:
    """Hold no more of these than is needed, and return how they stand then."""
    of_them, shared = used(cursor, accounts), kept(cursor, accounts)
    found = told(cursor, [(one, of_them.get(one, Used()), shared.get(one, Kept())) for one in accounts])
    lowered = [[one.used, *one.account] for one in found if one.held > one.used]
    cursor.execute(
        f"UPDATE {table(Share)} AS s SET granted_microusd = asked.value ->> 0 FROM json_each(%s) AS asked"  # noqa: S608  # our own name
        f" WHERE {_AFTER}",
        [packed(lowered)],
    )
    return [one._replace(held=min(one.held, one.used)) for one in found]


def wanted(cursor: Cursor, now: datetime, names: Collection[str] | None) -> list[Told]:
    """How those of these pots stand that this machine has to do with; None: all there are."""
    return [one for one in standing(cursor, now) if names is None or one.pot in names]


def standing(cursor: Cursor, now: datetime, *, also_over: bool = False) -> list[Told]:
    """How every account stands whose period is not long over; `also_over`: of which there is a share.

    Periods begin on few days, each of which an index finds. What begins after today is of a clock that was set back.
    """
    if also_over:
        first, after = dict.fromkeys(PERIODS, EVER), (now - KEPT).date() - timedelta(days=1)
        days = {EVER}
    else:
        first, after = {period: begins(period, now - timedelta(seconds=LATE_S)) for period in PERIODS}, now.date()
        days = {*first.values(), *(begins(period, now) for period in PERIODS)}
    each = " UNION ALL ".join(
        f"SELECT a.budget_id, a.under, a.begins FROM json_each(%s) AS day CROSS JOIN {one} AS a ON a.begins = day.value"  # noqa: S608  # our own name
        f" UNION ALL SELECT budget_id, under, begins FROM {one} WHERE begins > %s"
        for one in (table(BudgetPeriod), table(Share))
    )
    cursor.execute(
        f"WITH place AS (SELECT DISTINCT * FROM ({each}))"  # noqa: S608  # our own names
        f" SELECT {_selected('place')}, coalesce(p.spent_microusd, 0), coalesce(p.reserved_microusd, 0),"
        " coalesce(s.granted_microusd, 0), coalesce(s.number, 0) FROM place"
        f" JOIN {table(Budget)} AS b ON b.id = place.budget_id AND place.begins >= json_extract(%s, '$.' || b.period)"
        f" LEFT JOIN {table(BudgetPeriod)} AS p"
        " ON (p.budget_id, p.under, p.begins) = (place.budget_id, place.under, place.begins)"
        f" LEFT JOIN {table(Share)} AS s"
        " ON (s.budget_id, s.under, s.begins) = (place.budget_id, place.under, place.begins)",
        [
            *[packed(sorted(map(str, days))), str(after)] * 2,
            packed({period: str(day) for period, day in first.items()}),
        ],
    )
    found = [
        (Account(*key), Used(spent, reserved), Kept(granted, number))
        for *key, spent, reserved, granted, number in cursor.fetchall()
    ]
    return told(cursor, found)


def told(cursor: Cursor, found: Sequence[tuple[Account, Used, Kept]]) -> list[Told]:
    """What is to be told of accounts; nothing of budgets that are gone."""
    numbers = {account.budget_id for account, _, _ in found}
    every, on = rules(cursor, numbers, also_off=True), rules(cursor, numbers)
    names = pots(cursor, every, [account for account, _, _ in found])
    return [
        Told(
            account,
            names[account],
            share.number,
            share.granted,
            max(used.spent + used.reserved, 0),
            max(used.spent, 0),
            on[account.budget_id].amount if account.budget_id in on else None,
            ends_s(every[account.budget_id], account),
        )
        for account, used, share in found
        if account in names
    ]


def elsewhere(cursor: Cursor, accounts: Collection[Account]) -> dict[Account, Used]:
    """What other machines spent and reserved, as far as was heard."""
    rows = select_all(
        cursor,
        f"SELECT {_selected('e')}, sum(e.spent_microusd), sum(e.reserved_microusd) FROM json_each(%s) AS asked"  # noqa: S608  # our own names
        f" CROSS JOIN {table(ShareElsewhere)} AS e ON {_THERE} GROUP BY 1, 2, 3",
        [[*account] for account in sorted(accounts)],
    )
    return {Account(*key): Used(*used) for *key, a, b in rows for used in ((a, b),)}


def heard(cursor: Cursor, news: Collection[Elsewhere]) -> None:
    """Write what is known of other machines."""
    sums = ("amount_microusd", "granted_microusd", "spent_microusd", "reserved_microusd")
    names = (*_ACCOUNT, "machine", *sums)
    rows = [(*one.account, one.machine, one.amount, one.granted, one.spent, one.reserved) for one in news]
    update = ", ".join(f"{name} = excluded.{name}" for name in sums)
    conflict = f"ON CONFLICT ({', '.join(names[:4])}) DO UPDATE SET {update}"
    insert_all(cursor, ShareElsewhere, names, rows, conflict)


def bequeathed(cursor: Cursor) -> list[tuple[str, str, int, int]]:
    """Of machines that are lost: the pot, the machine, what is known to be spent or reserved, and what is spent."""
    cursor.execute(
        f"SELECT {_selected('e')}, e.machine, e.spent_microusd, e.reserved_microusd FROM {table(ShareElsewhere)} AS e"  # noqa: S608
        f" JOIN {table(Machine)} AS m ON m.name = e.machine WHERE m.gone = %s",
        [Machine.Gone.LOST.value],
    )
    rows = [(Account(*key), machine, spent, reserved) for *key, machine, spent, reserved in cursor.fetchall()]
    names = pots(cursor, rules(cursor, {row[0].budget_id for row in rows}, also_off=True), [row[0] for row in rows])
    return [(names[of], machine, spent + reserved, spent) for of, machine, spent, reserved in rows if of in names]


def long_over(cursor: Cursor, before: date, most: int) -> dict[Account, str]:
    """Accounts of periods that began so long ago, and what they are called; empty where their budget is gone."""
    cursor.execute(
        f"SELECT {_selected('s')} FROM {table(Share)} AS s WHERE s.begins < %s AND s.begins <> %s LIMIT %s",  # noqa: S608
        [before.isoformat(), EVER.isoformat(), most],
    )
    found = [Account(*row) for row in cursor.fetchall()]
    names = pots(cursor, rules(cursor, {one.budget_id for one in found}, also_off=True), found)
    return {account: names.get(account, "") for account in found}


def forget(cursor: Cursor, accounts: Collection[Account]) -> None:
    """Nothing is kept of them."""
    for model in (Share, ShareElsewhere):
        cursor.execute(
            f"DELETE FROM {table(model)} WHERE (budget_id, under, begins) IN"  # noqa: S608  # our own name
            " (SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(%s))",
            [packed([[*account] for account in sorted(accounts)])],
        )


def _selected(of: str) -> str:
    return f"{of}.budget_id, {of}.under, CAST({of}.begins AS TEXT)"
