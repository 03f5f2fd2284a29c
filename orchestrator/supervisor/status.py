"""What runs, in a small file that doctors, dashboards and tests read: `run/processes.json`."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from orchestrator.supervisor.child import Child

log = logging.getLogger(__name__)

NAME = "processes.json"


class StatusFile:
    """Written anew at every change, removed at the end."""

    def __init__(self, folder: Path, only: str | None, address: str | None) -> None:
        self._path = folder / (f"{only}.{NAME}" if only else NAME)
        self._draft = self._path.with_suffix(".draft")
        self._address = address
        self.is_ready = False
        self._is_stale = False

    def write(self, children: Iterable[Child]) -> None:
        """Replace the file in one step. Where that fails it is logged, once: the file serves onlookers only."""
        content = {
            "supervisor": os.getpid(),
            "address": self._address,
            "is_ready": self.is_ready,
            "processes": [
                {
                    "role": child.program.role,
                    "name": child.program.name,
                    "pid": child.pid,
                    "is_ready": child.is_ready.is_set(),
                    "can_wait": child.program.can_wait,
                    "restarts": child.restarts,
                }
                for child in children
            ],
        }
        try:
            self._draft.write_text(json.dumps(content, indent=1))
            self._draft.replace(self._path)
        except OSError as error:
            if not self._is_stale:
                told = "%s cannot be written (%s); the product runs on, what the file says may be out of date"
                log.warning(told, self._path, error.strerror)
            self._is_stale = True
            return
        if self._is_stale:
            log.warning("%s can be written again", self._path)
        self._is_stale = False

    def remove(self) -> None:
        """Nothing runs any more."""
        try:
            self._draft.unlink(missing_ok=True)
            self._path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s cannot be removed (%s); it names processes that are gone", self._path, error.strerror)
