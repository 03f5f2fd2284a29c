"""How much of its budgets a machine may spend: all that is left where it is alone, else its shares."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property

from orchestrator.core.budgets import Budget as Rule
from orchestrator.ledger import machines, shares
from orchestrator.ledger.accounts import Account, Used
from orchestrator.ledger.shares import Kept, Short
from orchestrator.ledger.sql import Cursor


class Whole:
    """Of a machine whose budgets nobody else spends."""

    is_divided = False

    def __init__(self, rules: Mapping[int, Rule]) -> None:
        """`rules` are what the budgets say now."""
        self.rules = rules

    def here(self, account: Account) -> int:
        """So much may be spent and reserved here."""
        return self.rules[account.budget_id].amount

    def known(self, account: Account, used: Used) -> Used:
        """What is spent and reserved by all, of which `used` is by this machine."""
        return used

    def short(self, used: Mapping[Account, Used], amount: int) -> Short | None:
        """What to ask others for, when `amount` is needed of each; None where they have nothing to give."""
        return None


class Divided(Whole):
    """Of one that spends them together with others."""

    is_divided = True

    def __init__(self, rules: Mapping[int, Rule], cursor: Cursor, file: str, accounts: Collection[Account]) -> None:
        """`file` is the one that the ledger is in: shares that were written in another are not this machine's."""
        super().__init__(rules)
        self._cursor = cursor
        self._accounts = accounts
        self._own = machines.own(cursor, file)
        self._kept = shares.kept(cursor, accounts) if self._own.name else {}

    def here(self, account: Account) -> int:
        """Its share, and no more than the budget has by now."""
        return min(self._kept.get(account, Kept()).granted, super().here(account))

    def known(self, account: Account, used: Used) -> Used:
        """As far as was heard."""
        there = self._elsewhere.get(account, Used())
        return Used(used.spent + there.spent, used.reserved + there.reserved)

    def short(self, used: Mapping[Account, Used], amount: int) -> Short | None:
        """What is spent elsewhere does not come back, so nobody is asked for more than the rest."""
        if not self._own.life:
            return None
        for account, of in used.items():
            if self.known(account, Used(of.spent, 0)).spent + of.reserved + amount > super().here(account):
                return None
        shares.note(self._cursor, used)  # so that it is told of, and can be given back, whatever becomes of the answer
        stand = [(account, of, self._kept.get(account, Kept())) for account, of in used.items()]
        return Short.of(self._own, [one._replace(target=one.used + amount) for one in shares.told(self._cursor, stand)])

    @cached_property
    def _elsewhere(self) -> dict[Account, Used]:
        return shares.elsewhere(self._cursor, self._accounts)
