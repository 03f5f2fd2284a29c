"""Says that something does not work, and that it does again: each once, however many requests meet it."""

from __future__ import annotations

import logging


class Trouble:
    """With one thing, in one process."""

    def __init__(self, log: logging.Logger, what: str, instead: str) -> None:
        """`what` cannot be done, in words, and what is done `instead`."""
        self._log, self._what, self._instead = log, what, instead
        self._is_there = False

    def met(self, error: Exception) -> None:
        """It did not work."""
        if not self._is_there:
            self._is_there = True
            words = f"{type(error).__name__}: {error}".rstrip(": ")
            self._log.error("%s cannot be done, so %s: %s", self._what, self._instead, words)
            self._log.debug("This is where it failed.", exc_info=error)  # a fault of ours is found by it

    def over(self) -> None:
        """It worked."""
        if self._is_there:
            self._is_there = False
            self._log.warning("%s can be done again", self._what)
