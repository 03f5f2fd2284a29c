"""The way to the engines: as many at a time as this process can serve, tenants in turn, the rest sent away at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from orchestrator.core.types import Caller


class Gate:
    """Lets calls through."""

    @asynccontextmanager
    async def place(self, caller: Caller) -> AsyncIterator[None]:
        """Have a place while a call is made; wait for it in a fair queue. Raises TooMany, Busy."""
        yield
