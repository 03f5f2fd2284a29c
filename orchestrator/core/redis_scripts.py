"""Redis, asked a script at a time, and not at all while it does not answer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from hashlib import sha1
from typing import Any, NamedTuple

from redis.exceptions import NoScriptError, RedisError

from orchestrator.core.breaker import Breaker, Turn
from orchestrator.core.clock import Clock
from orchestrator.core.errors import Busy
from orchestrator.core.redis_async import Line

log = logging.getLogger(__name__)
Word = str | bytes | int


class Script(NamedTuple):
    """A script, and the name Redis knows it by once it was told."""

    text: str
    name: str

    @classmethod
    def of(cls, text: str) -> Script:
        """The script of that text."""
        return cls(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


class Scripts:
    """What is asked of Redis by scripts. `is_alone` while it does not answer, or when there is none."""

    def __init__(self, line: Line | None, clock: Clock, out: str, back: str) -> None:
        """Without a line there never was a Redis. `out` and `back` are what the log says of it."""
        self._line = line
        self._breaker = Breaker(clock)
        self._out = out
        self._back = back
        self.is_alone = line is None

    @property
    def exists(self) -> bool:
        """Whether there is a Redis at all."""
        return self._line is not None

    async def ask(self, script: Script, keys: Sequence[str], arguments: Sequence[Word]) -> Any:
        """What Redis says; None when it does not, or is not asked for the moment."""
        if self._line is None or (turn := self._breaker.turn()) is Turn.NONE:
            return None
        words = (len(keys), *keys, *arguments)
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
                log.warning("%s (%s)", self._out, error)
            return None
        except BaseException:
            self._breaker.abandoned(turn)
            raise
        if (out_s := self._breaker.succeeded(turn)) is not None:
            self.is_alone = False
            log.warning("%s, after %.1f s", self._back, out_s)
        return answer

    async def aclose(self) -> None:
        """Carry out what waits, and close the connection."""
        if self._line is not None:
            await self._line.aclose()
