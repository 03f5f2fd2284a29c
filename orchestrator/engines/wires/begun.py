"""Answers that say again what they go on from."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.core.types import Chunk


class Begun:
    """Takes from an answer what it says again. One that does not say it again, to the letter, stays as it is."""

    def __init__(self, words: str) -> None:
        """`words` is what the caller has of the answer already."""
        self._left = words
        self._held = ""  # what may be their beginning

    def without(self, chunk: Chunk) -> Chunk:
        """The next piece as the caller has to hear it."""
        if not self._left or not (chunk.text or chunk.done):
            return chunk
        text = self._held + chunk.text
        if self._left.startswith(text) and text != self._left and not chunk.done:
            self._held = text
            return replace(chunk, text="", logprobs=())
        rest = text.removeprefix(self._left)
        self._left = self._held = ""
        return replace(chunk, text=rest)
