"""Holds: what calls under way may come to. Each function is a part of somebody's transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import date
from typing import NamedTuple

from orchestrator.core.budgets import ends, spent
from orchestrator.core.errors import OrchestratorError, PriceUnknown
from orchestrator.ledger import accounts
from orchestrator.ledger.accounts import Account, Used
from orchestrator.ledger.allowance import Divided, Whole
from orchestrator.ledger.holds import Reservation
from orchestrator.ledger.sql import Cursor, insert_all, moment, packed, select_all, table
from orchestrator.models import Charge, Hold, HoldLine


class Wanted(NamedTuple):
    """A reservation.

    may_be_refused  somebody waits to hear whether it is.
    may_be_there    it was written before, or not: a transaction may have succeeded whose end was not heard of.
    may_ask         other machines, before it is refused.
    """

    reservation: Reservation
    may_be_refused: bool
    may_be_there: bool = False
    may_ask: bool = False


def reserve(
    cursor: Cursor, holder: str, wanted: Sequence[Wanted], now: float, file: str = ""
) -> list[OrchestratorError | None]:
    """Reserve for each in turn, on all of its budgets or on none; return why not, or None, for each.

    What budgets allow is read here, so a change of one counts from its own transaction on. A budget that was deleted
    or switched off is about nothing. With the `file` that the ledger is in, several machines spend the budgets, and
    what this one may is its share.
    """
    there = _there(cursor, [one.reservation.hold for one in wanted if one.may_be_there])
    wanted_lines = [line for one in wanted for line in one.reservation.lines]
    rules = accounts.rules(cursor, (line.budget_id for line in wanted_lines)) if wanted_lines else {}
    asked = {Account.of(line.budget_id, line.under, line.begins) for line in wanted_lines}
    used = defaultdict(Used, accounts.used(cursor, asked))
    allowed = Divided(rules, cursor, file, asked) if file and asked else Whole(rules)
    moves: defaultdict[Account, Used] = defaultdict(Used)
    refused: list[OrchestratorError | None] = []
    held: list[tuple[Reservation, list[Account]]] = []
    for reservation, may_be_refused, _, may_ask in wanted:
        about = {Account.of(line.budget_id, line.under, line.begins) for line in reservation.lines}
        lines = sorted(account for account in about if account.budget_id in rules)
        refusal = None
        if may_be_refused:
            hard = [account for account in lines if rules[account.budget_id].is_hard]
            refusal = _refusal(reservation.amount, hard, allowed, used, now, may_ask=may_ask)
        refused.append(refusal)
        if refusal is None and reservation.hold not in there:
            there.add(reservation.hold)
            held.append((reservation, lines))
            for account in lines:
                amount = reservation.amount or 0
                used[account] = Used(used[account].spent, used[account].reserved + amount)
                moves[account] = Used(0, moves[account].reserved + amount)
    add(cursor, holder, held)
    accounts.move(cursor, moves)
    return refused


def end(cursor: Cursor, holds: Collection[str]) -> tuple[dict[str, list[tuple[Account, int]]], int]:
    """Holds are over; return what was reserved for each, by account, and how many of them there were."""
    if not holds:
        return {}, 0
    ended = sorted(set(holds))
    lines: defaultdict[str, list[tuple[Account, int]]] = defaultdict(list)
    moves: defaultdict[Account, Used] = defaultdict(Used)
    for hold, budget, under, begins, amount in select_all(
        cursor,
        "SELECT hold_id, budget_id, under, CAST(begins AS TEXT), amount_microusd"  # noqa: S608  # our own name
        f" FROM {table(HoldLine)} WHERE hold_id IN (SELECT value FROM json_each(%s))",
        ended,
    ):
        account = Account(budget, under, begins)
        lines[hold].append((account, amount))
        moves[account] = Used(0, moves[account].reserved - amount)
    for model, column, is_any in ((HoldLine, "hold_id", bool(lines)), (Hold, "id", True)):
        if is_any:
            cursor.execute(
                f"DELETE FROM {table(model)} WHERE {column} IN (SELECT value FROM json_each(%s))",  # noqa: S608  # our own names
                [packed(ended)],
            )
    count = cursor.rowcount
    accounts.move(cursor, moves)
    return lines, count


def add_lines(cursor: Cursor, lines: Iterable[tuple[str, Account, int]]) -> None:
    """Holds count against these accounts as well."""
    names = ("hold_id", "budget_id", "under", "begins", "amount_microusd")
    insert_all(cursor, HoldLine, names, [(hold, *account, amount) for hold, account, amount in lines])


def _there(cursor: Cursor, holds: Sequence[str]) -> set[str]:
    """Those that were written, be they over by now."""
    if not holds:
        return set()
    sql = (
        f"SELECT id FROM {table(Hold)} WHERE id IN (SELECT value FROM json_each(%s))"  # noqa: S608  # our own names
        f" UNION ALL SELECT hold FROM {table(Charge)} WHERE hold IN (SELECT value FROM json_each(%s))"
    )
    return {hold for (hold,) in select_all(cursor, sql, holds, holds)}


def add(cursor: Cursor, holder: str, held: Sequence[tuple[Reservation, list[Account]]]) -> None:
    """Holds, with the accounts that each counts against."""
    rows = [(one.hold, holder, moment(one.at), one.amount, packed(one.call)) for one, _ in held]
    insert_all(cursor, Hold, ("id", "holder", "at", "amount_microusd", "call"), rows)
    add_lines(cursor, ((one.hold, account, one.amount or 0) for one, lines in held for account in lines))


def _refusal(
    amount: int | None,
    hard: Sequence[Account],
    allowed: Whole,
    used: dict[Account, Used],
    now: float,
    *,
    may_ask: bool,
) -> OrchestratorError | None:
    """Why these budgets do not allow it: of several that do not, the one says so whose renewal is furthest."""
    if amount is None:
        return PriceUnknown() if hard else None
    short = [account for account in hard if sum(used[account]) + amount > allowed.here(account)]
    if not short:
        return None
    if may_ask and (less := allowed.short({account: used[account] for account in short}, amount)):
        return less

    def renewal(account: Account) -> date:
        return ends(allowed.rules[account.budget_id].period, date.fromisoformat(account.begins)) or date.max

    last = max(short, key=renewal)
    rule, of = allowed.rules[last.budget_id], allowed.known(last, used[last])
    refusal = spent(
        rule,
        used=of.spent,
        reserved=of.reserved,
        asked=amount,
        first=date.fromisoformat(last.begins),
        now=now,
        is_divided=allowed.is_divided,
    )
    refusal.budget = rule.name
    return refusal
