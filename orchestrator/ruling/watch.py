"""Keeps a process up with the rules: what is published holds in every process within a second."""

from __future__ import annotations

from typing import NamedTuple

from orchestrator.core.errors import Busy
from orchestrator.core.following import READ_DEADLINE_S, Follower
from orchestrator.ruling.documents import EMPTY
from orchestrator.ruling.versions import newest, newest_first
from routing.rules.checking import read_document
from routing.rules.compiled import RuleSet, compile_rules


class Found(NamedTuple):
    """What was read: the number of the newest version, the rules to go by, and what is wrong with newer ones."""

    newest: int
    rules: RuleSet
    wrong: dict[int, Exception]


class RuleWatch(Follower[Found]):
    """The rules, ready to be asked. Those that were read last hold, whatever becomes of the database."""

    what = "the rules"
    looked_for = "whether the rules changed"
    _rules: RuleSet | None = None
    _newest = -1

    def rules(self) -> RuleSet:
        """What requests go by. Raises Busy before any were read: they might forbid what is asked."""
        if self._rules is None:
            raise Busy("The rules could not be read yet; try again shortly.", retry_after_s=1)
        return self._rules

    def read(self) -> Found:
        """The newest version, compiled; where it cannot be, what holds already, or else the one before it."""
        number, wrong = 0, dict[int, Exception]()
        for row in newest_first():
            number = number or row.number
            try:
                return Found(number, compile_rules(read_document(row.document), row.number), wrong)
            except Exception as error:  # noqa: BLE001  # whatever it is, traffic goes on
                wrong[row.number] = error
            if self._rules is not None:
                return Found(number, self._rules, wrong)
        if wrong:
            raise next(iter(wrong.values()))
        return Found(0, compile_rules(EMPTY, 0), wrong)

    def apply(self, found: Found) -> None:
        """Go by it from now on."""
        self._newest, self._rules = found.newest, found.rules
        for number, error in found.wrong.items():
            self.say(f"version {number} of the rules", error)

    async def look(self) -> None:
        """Whether there is a newer version: another machine may have published it."""
        if await self._thread.run(READ_DEADLINE_S, newest) != self._newest:
            self.changed()
