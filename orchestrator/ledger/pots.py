"""What accounts are called on every machine: numbers are those of one ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time
from hashlib import blake2b

from orchestrator.core.budgets import Budget as Rule
from orchestrator.core.budgets import ends
from orchestrator.ledger.accounts import Account
from orchestrator.ledger.sql import Cursor, select_all, table
from orchestrator.models import ApiKey, Team, Tenant

_NAMES = {
    "key": f"SELECT id, prefix FROM {table(ApiKey)}",  # noqa: S608  # our own name, here and below
    "team": (
        f"SELECT t.id, o.name || '/' || t.name FROM {table(Team)} AS t"  # noqa: S608
        f" JOIN {table(Tenant)} AS o ON o.id = t.tenant_id"
    ),
    "tenant": f"SELECT id, name FROM {table(Tenant)}",  # noqa: S608
}


def pots(cursor: Cursor, budgets: Mapping[int, Rule], accounts: Iterable[Account]) -> dict[Account, str]:
    """What accounts are called on every machine.

    A budget is the same everywhere when it has the same name and period and counts the same apart. Numbers are those of
    one ledger, so keys go by their prefix, and tenants and teams by their names.
    """
    accounts = [account for account in accounts if account.budget_id in budgets]
    words: defaultdict[str, set[int]] = defaultdict(set)
    for account in accounts:
        if account.under.isdecimal():
            words[budgets[account.budget_id].each].add(int(account.under))
    names: dict[tuple[str, str], str] = {}
    for each, numbers in words.items():
        if each in _NAMES:
            sql = f"SELECT * FROM ({_NAMES[each]}) WHERE id IN (SELECT value FROM json_each(%s))"  # noqa: S608
            found = select_all(cursor, sql, sorted(numbers))
            names |= {(each, str(number)): name for number, name in found}
    return {
        account: _pot(rule, names.get((rule.each, account.under), account.under), account.begins)
        for account in accounts
        for rule in (budgets[account.budget_id],)
    }


def ends_s(rule: Rule, account: Account) -> int:
    """When its period ends, in seconds since the epoch; 0: never."""
    day = ends(rule.period, date.fromisoformat(account.begins))
    return 0 if day is None else int(datetime.combine(day, time(), UTC).timestamp())


def _pot(rule: Rule, under: str, begins: str) -> str:
    said = "\0".join((rule.name, rule.period, rule.each, under, begins))
    return blake2b(said.encode("utf-8", "replace"), digest_size=16).hexdigest()
