"""Redis, as the limits ask it: a script at a time, and nothing while it does not answer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from redis.exceptions import NoScriptError, RedisError

from orchestrator.core.breaker import Breaker, Turn
from orchestrator.core.clock import Clock
from orchestrator.core.errors import Busy
from orchestrator.core.redis_async import Line
from orchestrator.limits.scripts import LIFE, Script

log = logging.getLogger(__name__)
Word = str | bytes | int


class Shared:
    """What all processes count in. `is_alone` while this one has to count by itself."""

    def __init__(self, line: Line | None, clock: Clock) -> None:
        """Without a line there never was a Redis."""
        self._line = line
        self._breaker = Breaker(clock)
        self.is_alone = line is None
        self.life = ""  # of what Redis remembers

    @property
    def exists(self) -> bool:
        """Whether there is a Redis at all."""
        return self._line is not None

    async def ask(self, script: Script, keys: Sequence[str], arguments: Sequence[Word]) -> Any:
        """What Redis says; None when it does not, or is not asked for the moment."""
        if self._line is None or (turn := self._breaker.turn()) is Turn.NONE:
            return None
        words = (1 + len(keys), LIFE, *keys, *arguments)
        try:
            try:
                answer = await self._line.ask("EVALSHA", script.name, *words)
            except NoScriptError:
                answer = await self._line.ask("EVAL", script.text, *words)
        except Busy:  # this process asks more than goes through; that is no fault of Redis
            self._breaker.abandoned(turn)
            return None
        except (RedisError, OSError, TimeoutError) as error:
            if self._breaker.failed(turn):
                self.is_alone = True
                log.warning("Limits: Redis is out, each process counts its share alone (%s)", error)
            return None
        except BaseException:
            self._breaker.abandoned(turn)
            raise
        if (out_s := self._breaker.succeeded(turn)) is not None:
            self.is_alone = False
            log.warning("Limits: Redis is back after %.1f s, all processes count together", out_s)
        return answer

    def drop(self, key: str, member: str) -> None:
        """Take `member` out of those who hold a place; nobody waits for it, and what is lost runs out by itself."""
        if self._line is not None and not self.is_alone:
            self._line.send("ZREM", key, member)

    def lives(self, life: str) -> bool:
        """Redis names its life. Return whether it has forgotten what it was told before."""
        before, self.life = self.life, life
        return bool(before) and before != self.life

    async def aclose(self) -> None:
        """Carry out what waits, and close the connection."""
        if self._line is not None:
            await self._line.aclose()
