"""Answers that are under way, each tied to the key it is given to: what ends the key ends them."""

from __future__ import annotations

from orchestrator.core.types import Caller, Chunks


class Lifelines:
    """Knows every answer that is being given."""

    def tied(self, chunks: Chunks, caller: Caller) -> Chunks:
        """The same answer, for as long as the caller's key holds and its longest stream lasts.

        Raises Unauthorized or TooMany from the chunks when it is ended before its end.
        """
        return chunks

    async def aclose(self) -> None:
        """Watch no more."""
