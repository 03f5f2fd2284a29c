"""What runs, in a small file that doctors, dashboards and tests read: `run/processes.json`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from orchestrator.supervisor.child import Child

NAME = "processes.json"


class StatusFile:
    """Written anew at every change, removed at the end."""

    def __init__(self, folder: Path, only: str | None, address: str | None) -> None:
        self._path = folder / (f"{only}.{NAME}" if only else NAME)
        self._address = address
        self.is_ready = False

    def write(self, children: Iterable[Child]) -> None:
        """Replace the file in one step."""
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
                    "restarts": child.restarts,
                }
                for child in children
            ],
        }
        draft = self._path.with_suffix(".draft")
        draft.write_text(json.dumps(content, indent=1))
        draft.replace(self._path)

    def remove(self) -> None:
        """Nothing runs any more."""
        self._path.unlink(missing_ok=True)
