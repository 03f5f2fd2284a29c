"""A machine's part in budgets that several spend, put together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.core.clock import Clock
from orchestrator.core.redis_async import Line
from orchestrator.ledger.share_beat import ShareBeat
from orchestrator.ledger.sharing import Asking, Teller

if TYPE_CHECKING:
    from orchestrator.ledger.writer import Ledger


class Together:
    """Asks, tells and gives back, by one connection."""

    def __init__(self, line: Line, clock: Clock, ledger: Ledger, *, file: str, label: str, lock: Path) -> None:
        """What `ledger` is short of is asked for here. The rest as `ShareBeat` has it."""
        self._teller = Teller(line, clock)
        self.asking = Asking(self._teller, ledger.granted)
        self._beat = ShareBeat(self._teller, clock, file=file, label=label, lock=lock)
        ledger.shares = self.asking

    @property
    def is_alone(self) -> bool:
        """Whether Redis does not answer, so that nothing is granted."""
        return self._teller.is_alone

    def start(self) -> None:
        """Begin, on the event loop."""
        self._beat.start()

    async def aclose(self) -> None:
        """Give back what is not needed."""
        await self.asking.aclose()
        await self._beat.aclose()
        await self._teller.aclose()
