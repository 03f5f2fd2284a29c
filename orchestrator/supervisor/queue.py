"""Celery's queue in memory, whose reader looks often whether it is to end."""

from __future__ import annotations

from typing import Any

from kombu.transport import memory

LONGEST_WAIT_S = 0.2


class Transport(memory.Transport):
    """Kombu's, with which Celery would wait for two seconds in a row, and hear of a signal only then."""

    def drain_events(self, connection: Any, timeout: float | None = None, **_: Any) -> None:
        """Called by Celery: hand on what has come, within `timeout` seconds; raises TimeoutError when nothing has."""
        longest_s = min(timeout or LONGEST_WAIT_S, LONGEST_WAIT_S)
        super().drain_events(connection, timeout=longest_s)  # type: ignore[no-untyped-call]
