"""How far budgets are used, and who is to be told of it. Each function is a part of somebody's transaction.

The rows of `BudgetPeriod` are written here by SQL alone: they change with every call, and are no change of policy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import date
from typing import NamedTuple

from orchestrator.core.budgets import Budget as Rule
from orchestrator.ledger.sql import Cursor, insert_all, select_all, table
from orchestrator.models import Budget, BudgetAlert, BudgetPeriod, ShareElsewhere

_MOVE = (
    "ON CONFLICT (budget_id, under, begins) DO UPDATE SET spent_microusd = spent_microusd + excluded.spent_microusd,"
    " reserved_microusd = reserved_microusd + excluded.reserved_microusd"
)


class Account(NamedTuple):
    """A budget in one of its periods, for one of what it counts apart."""

    budget_id: int
    under: str
    begins: str  # a date

    @classmethod
    def of(cls, budget_id: int, under: str, begins: date | str) -> Account:
        """The account of that day."""
        return cls(budget_id, under, begins if isinstance(begins, str) else begins.isoformat())


class Used(NamedTuple):
    """So much of it, in millionths of a dollar; also by how much that moves."""

    spent: int = 0
    reserved: int = 0


def rules(cursor: Cursor, budgets: Iterable[int], *, also_off: bool = False) -> dict[int, Rule]:
    """What budgets say now, as against when their caller was made: those that are there and not off, by number."""
    rows = select_all(
        cursor,
        f"SELECT id, name, period, each, amount_microusd, is_hard, shares, tenant_id IS NULL FROM {table(Budget)}"  # noqa: S608  # our own name
        f" WHERE {'true' if also_off else 'NOT is_off'} AND id IN (SELECT value FROM json_each(%s))",
        sorted(set(budgets)),
    )
    return {
        number: Rule(
            id=number,
            name=name,
            period=period,
            each=each,
            amount=amount,
            is_hard=bool(is_hard),
            shares=_shares(shares),
            is_common=bool(is_common),
        )
        for number, name, period, each, amount, is_hard, shares, is_common in rows
    }


def used(cursor: Cursor, accounts: Collection[Account]) -> dict[Account, Used]:
    """How far they are used; those are left out that nobody has used yet."""
    if not accounts:
        return {}
    rows = select_all(
        cursor,
        "SELECT p.budget_id, p.under, CAST(p.begins AS TEXT), p.spent_microusd, p.reserved_microusd"  # noqa: S608  # our own name
        f" FROM json_each(%s) AS asked CROSS JOIN {table(BudgetPeriod)} AS p ON p.budget_id = asked.value ->> 0"
        " AND p.under = asked.value ->> 1 AND p.begins = asked.value ->> 2",
        [[*account] for account in sorted(accounts)],
    )
    return {Account(*key): Used(spent, reserved) for *key, spent, reserved in rows}


def spent_everywhere(cursor: Cursor, accounts: Collection[Account]) -> dict[Account, int]:
    """What is spent of them: here, and at other machines as far as was heard."""
    if not accounts:
        return {}
    rows = select_all(
        cursor,
        "SELECT p.budget_id, p.under, CAST(p.begins AS TEXT),"  # noqa: S608  # our own names
        f" p.spent_microusd + coalesce((SELECT sum(e.spent_microusd) FROM {table(ShareElsewhere)} AS e"
        " WHERE (e.budget_id, e.under, e.begins) = (p.budget_id, p.under, p.begins)), 0)"
        f" FROM json_each(%s) AS asked CROSS JOIN {table(BudgetPeriod)} AS p ON p.budget_id = asked.value ->> 0"
        " AND p.under = asked.value ->> 1 AND p.begins = asked.value ->> 2",
        [[*account] for account in sorted(accounts)],
    )
    return {Account(*key): spent for *key, spent in rows}


def move(cursor: Cursor, moves: Mapping[Account, Used]) -> None:
    """Add to what is spent and reserved."""
    names = ("budget_id", "under", "begins", "spent_microusd", "reserved_microusd")
    rows = [(*account, *by) for account, by in sorted(moves.items()) if any(by)]
    insert_all(cursor, BudgetPeriod, names, rows, _MOVE)


def tell_of_shares(cursor: Cursor, accounts: Collection[Account], at: str) -> None:
    """Write down which shares are reached, each once, whoever comes to it first."""
    known = rules(cursor, (account.budget_id for account in accounts))
    reached = [
        (*account, share, at, spent)
        for account, spent in spent_everywhere(cursor, accounts).items()
        if (rule := known.get(account.budget_id)) and spent > 0
        for share in rule.shares
        if spent * 100 >= share * rule.amount
    ]
    names = ("budget_id", "under", "begins", "share", "at", "spent_microusd")
    insert_all(cursor, BudgetAlert, names, reached, "ON CONFLICT DO NOTHING")


def _shares(text: str) -> tuple[int, ...]:
    return tuple(int(share) for share in text.split(",") if share.strip().isdecimal())
