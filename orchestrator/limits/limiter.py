"""Whether a caller may ask once more, and what a call takes of its limits."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.core.limits import NO_LIMIT, Standing
from orchestrator.core.types import Caller


class Hold:
    """What a call has taken of its caller's limits: a place among those at a time, and the tokens it may come to."""

    def settle(self, tokens: int) -> None:
        """The model read and wrote so many: what was held beyond them is given back, what is missing is taken."""

    def release(self) -> None:
        """The call is over. What was not settled is given back whole; a second time it does nothing."""


class Limiter:
    """Counts what callers ask against their limits."""

    def charge_at_once(self, caller: Caller, model: str, address: str) -> Standing | None:
        """Charge one request from what this process holds; None when that does not do: then `charge` is asked.

        Takes microseconds and waits for nothing: repeated answers are charged so.
        """
        return NO_LIMIT if not caller.limits else None

    async def charge(self, caller: Caller, model: str, address: str) -> Standing:
        """Charge one request to `model`, by its full name. Raises TooMany."""
        return NO_LIMIT

    async def hold(self, caller: Caller, model: str, address: str, tokens: Callable[[], int]) -> Hold:
        """Take a place among the calls at a time, and as many tokens as `tokens` says, before a model is asked.

        `tokens` is called where a limit counts them. Raises TooMany.
        """
        return Hold()

    async def aclose(self) -> None:
        """Give back what is held."""
