"""Redis, as the limits ask it: their scripts, and the life of what it remembers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.core.clock import Clock
from orchestrator.core.redis_async import Line
from orchestrator.core.redis_scripts import Script, Scripts, Word
from orchestrator.limits.scripts import LIFE


class Shared(Scripts):
    """What all processes count in. `is_alone` while this one has to count by itself."""

    def __init__(self, line: Line | None, clock: Clock) -> None:
        """Without a line there never was a Redis."""
        super().__init__(
            line,
            clock,
            "Limits: Redis is out, each process counts its share alone",
            "Limits: Redis is back, all processes count together",
        )
        self.life = ""  # of what Redis remembers

    async def ask(self, script: Script, keys: Sequence[str], arguments: Sequence[Word]) -> Any:
        """What Redis says; None when it does not, or is not asked for the moment."""
        return await super().ask(script, (LIFE, *keys), arguments)

    def drop(self, key: str, member: str) -> None:
        """Take `member` out of those who hold a place; nobody waits for it, and what is lost runs out by itself."""
        if self._line is not None and not self.is_alone:
            self._line.send("ZREM", key, member)

    def lives(self, life: str) -> bool:
        """Redis names its life. Return whether it has forgotten what it was told before."""
        before, self.life = self.life, life
        return bool(before) and before != self.life
