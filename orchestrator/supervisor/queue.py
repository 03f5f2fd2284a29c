"""Celery's queue in memory, whose reader looks often whether it is to end."""

from __future__ import annotations

from typing import Any

from kombu.transport import memory

LONGEST_WAIT_S = 0.2


class Transport(memory.Transport):  # type: ignore[misc]  # Kombu has no types
    """Kombu's, with which Celery would wait for two seconds in a row, and hear of a signal only then."""

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Called by Celery: hand on what has come, within `timeout` seconds; raises TimeoutError when nothing has."""
        super().drain_events(connection, LONGEST_WAIT_S if timeout is None else min(timeout, LONGEST_WAIT_S))
