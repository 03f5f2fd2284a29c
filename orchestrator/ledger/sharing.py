"""Shares of budgets, asked for: what this machine may not spend yet, and Redis may grant.

Redis is asked on the event loop, and the ledger is written in threads: neither waits for the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.core.clock import Clock
from orchestrator.core.redis_async import Line
from orchestrator.core.redis_scripts import Script, Scripts, Word
from orchestrator.core.tasks import end, in_time
from orchestrator.ledger.accounts import Account
from orchestrator.ledger.machines import Own
from orchestrator.ledger.share_scripts import KEYS, TELLS
from orchestrator.ledger.shares import Elsewhere, Grant, Short, Told

ASK_S = 0.25  # Redis is waited for
AT_ONCE = 100  # pots in one script


class Teller:
    """Tells Redis of shares, and understands what it says."""

    def __init__(self, line: Line, clock: Clock) -> None:
        """`line` leads to the Redis that the machines have in common."""
        self._scripts = Scripts(
            line,
            clock,
            "Budgets: Redis is out, so this machine spends what it was granted, and no more",
            "Budgets: Redis is back",
        )

    @property
    def is_alone(self) -> bool:
        """Whether Redis does not answer."""
        return self._scripts.is_alone

    async def ask(self, script: Script, arguments: Sequence[Word]) -> Any:
        """What it says, as text and lists of text; None when it says nothing."""
        return _text(await self._scripts.ask(script, KEYS, arguments))

    async def tell(self, who: Own, some: Sequence[Told]) -> list[tuple[Grant, list[Elsewhere]]] | None:
        """Tell how accounts stand; return what is granted of each, and how it stands elsewhere.

        None when Redis does not answer, or not to this machine in this life.
        """
        return understood(who, some, await self.ask(TELLS, words(who, some)))

    async def aclose(self) -> None:
        """Carry out what waits, and close the connection."""
        await self._scripts.aclose()


class Asking:
    """Asks for more, for many callers at once."""

    def __init__(self, teller: Teller, granted: Callable[[Own, Sequence[Grant]], None]) -> None:
        """`granted` writes what is."""
        self._teller = teller
        self._granted = granted
        self._who = Own("", "")  # for whom is waited
        self._wanted: dict[Account, Told] = {}
        self._answer: asyncio.Future[frozenset[Account]] | None = None  # to those
        self._work: asyncio.Task[None] | None = None
        self.asked = 0  # times

    async def ask(self, short: Short) -> bool:
        """Ask for what is short, together with all who wait; return whether there is more of each than was known.

        Says no when Redis does not answer within twice `ASK_S` of the event loop's turning.
        """
        self._add(short)
        if self._answer is None:
            self._answer = asyncio.get_running_loop().create_future()
        answer = self._answer
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._carry_out(), name="shares")
        if not await in_time(answer, 2 * ASK_S):  # for those before us, and then for us
            return False
        more = answer.result()
        return all(want.account in more for want in short.wants)

    async def aclose(self) -> None:
        """Ask no more."""
        if self._work is not None:
            await end([self._work])

    def _add(self, short: Short) -> None:
        if short.own != self._who:
            self._who, self._wanted = short.own, {}
        for want in short.wants:
            before = self._wanted.get(want.account, want)
            newest = max(before, want, key=lambda one: (one.number, -one.held))
            needed = want.target - want.used + (0 if before is want else before.target - before.used)
            used = max(before.used, want.used)
            self._wanted[want.account] = newest._replace(used=used, target=used + needed)

    async def _carry_out(self) -> None:
        while (answer := self._answer) is not None:
            who, wanted = self._who, list(self._wanted.values())
            self._wanted, self._answer = {}, None
            more: set[Account] = set()
            try:
                for start in range(0, len(wanted), AT_ONCE):
                    some = wanted[start : start + AT_ONCE]
                    self.asked += 1
                    grants = [grant for grant, _ in await self._teller.tell(who, some) or ()]
                    if grants:
                        self._granted(who, grants)
                    held = {want.account: want.held for want in some}
                    more.update(grant.account for grant in grants if grant.granted > held[grant.account])
            finally:
                if not answer.done():
                    answer.set_result(frozenset(more))


def words(who: Own, some: Sequence[Told]) -> list[Word]:
    """How accounts stand, as the script takes it."""
    said: list[Word] = [who.name, who.life]
    for one in some:
        amount = "" if one.amount is None else one.amount
        said += [one.pot, one.number, one.held, one.used, one.spent, amount, one.ends, one.target]
    return said


def understood(who: Own, some: Sequence[Told], answer: Any) -> list[tuple[Grant, list[Elsewhere]]] | None:
    """What the script says to it, as `Teller.tell` returns it."""
    if answer is None or answer[0] != who.life:
        return None
    found = []
    for one, (number, granted, others) in zip(some, answer[1:], strict=True):
        there = [
            Elsewhere(name, one.account, int(stated) if stated else None, int(held), int(spent), int(used) - int(spent))
            for name, held, used, spent, stated in others
        ]
        found.append((Grant(one.account, int(number), int(granted)), there))
    return found


def _text(answer: Any) -> Any:
    if isinstance(answer, list):
        return [_text(one) for one in answer]
    return answer.decode() if isinstance(answer, bytes) else answer
